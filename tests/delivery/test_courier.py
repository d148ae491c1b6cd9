"""The courier: at-least-once delivery, in order, by a persistent schedule, with dead letters at the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, Delivered, delivered
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.config.policy import load
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.outbox import UNSETTLED, OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.courier import APART_S, LEASE_S, ChannelTerms, Courier, Schedule
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules.circuit import CircuitSettings, circuit
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxKind, OutboxState
from hkall_gateway.simulator.databases import SoleStore
from tests import databases

NOON = datetime(2017, 3, 1, 4, tzinfo=UTC)


class Post:
    """A courier on a fake clock, with a carrier that replies as told."""

    def __init__(
        self,
        *answers: DeliveryResult,
        attempts: int = 3,
        in_flight: int = 4,
        terms: ChannelTerms | None = None,
        circuit_settings: CircuitSettings = CIRCUIT_SETTINGS,
    ) -> None:
        engine = databases.empty()
        self.store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
        self.clock = Clock()
        self.store.now(lambda unit: unit.partners.write([Partner(agency=agency, name=agency) for agency in ("CUHK", "LU")]))
        library = Library(agency="HKU", name="HKU", policy=load(None), pickup_locations=("HKU-MAIN-LENDING",))
        verify: Any = None  # a delivery asks nothing of the local system
        self.circulation = Circulation(
            self.store,
            ConnectedSystem(
                self.store, Snapshot(ConnectorTools(store=self.store, agency="HKU", verify=verify)), lambda: library, self.now
            ),
            lambda: library,
            self.now,
        )
        self.answers = list(answers)
        self.carried: list[str] = []
        self.down: set[str] = set()
        self.failing: set[str] = set()
        self.failure = DeliveryKind.UNREACHABLE
        self.slow: list[Deferred[DeliveryResult]] | None = None
        self._terms, self._attempts, self._circuit_settings = (
            terms or ChannelTerms(in_flight=in_flight),
            attempts,
            circuit_settings,
        )
        self.courier = self.beside("test")

    def beside(self, name: str) -> Courier:
        """The courier of another gateway with this name."""
        schedule, here = (
            Schedule(attempts=self._attempts, first_wait_s=30, longest_wait_s=3600, draw=lambda: 0.0),
            (self.clock, self.now, name),
        )
        agreed, carriers = self._terms, {OutboxKind.NCIP: self.carry}
        return Courier(self.store, self.circulation, carriers, schedule, *here, lambda _line: agreed, self._circuit_settings)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.clock.seconds())

    async def carry(self, row: OutboxRow) -> DeliveryResult:
        self.carried.append(f"{row.request}/{row.recipient}/{row.send.value}")
        if self.slow is not None:
            waiting: Deferred[DeliveryResult] = Deferred()
            self.slow.append(waiting)
            return await waiting
        if row.recipient in self.down or row.request in self.failing:
            return DeliveryResult(kind=self.failure)
        return self.answers.pop(0) if self.answers else DeliveryResult(kind=DeliveryKind.ACCEPTED)

    def put(self, request: str, partner: str, send: Notification = Notification.ASK_LENDER) -> None:
        message = PartnerMessage(
            send=send.value, request=request, partner=partner, wire_agency="HKU", wire_id=f"{request}-1", at=self.now()
        )
        self.store.now(lambda unit: unit.outbox.put(send, message, "c1", self.now()))

    def start(self) -> None:
        ensureDeferred(self.courier.start())

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def nudge(self) -> None:
        """Nudge the courier and let a moment pass."""
        self.courier.nudge()
        self.clock.advance(APART_S)

    def circuit(self, agency: str = "CUHK") -> str:
        return circuit(self.store.now(lambda unit: unit.circuits.find(agency)), self.now())

    def states(self) -> list[tuple[str, str]]:
        rows = self.store.now(lambda unit: unit.outbox.rows(states=(*UNSETTLED, OutboxState.SENT)))
        return [(row.request, row.state) for row in rows]


class Two:
    """Two gateways on one database with carriers that behave the same."""

    def __init__(self, **post: Any) -> None:
        self.one = Post(**post)
        self.other = self.one.beside("other")

    def start(self) -> None:
        for courier in (self.one.courier, self.other):
            ensureDeferred(courier.start())


def test_partner_limit_holds_across_gateways() -> None:
    two = Two(in_flight=3)
    two.one.slow = []
    for n in range(8):
        two.one.put(f"R{n}", "CUHK")
    two.start()
    two.one.pass_time(5)
    assert len(two.one.carried) == 3
    for answered in range(1, 6):
        two.one.slow[answered - 1].callback(DeliveryResult(kind=DeliveryKind.ACCEPTED))
        two.one.pass_time(1)
        assert len(two.one.carried) == 3 + answered
    assert len(set(two.one.carried)) == 8  # none twice


def test_channel_found_down_by_one_gateway_is_not_tried_by_another() -> None:
    two = Two(circuit_settings=CircuitSettings(failures=2, probe_s=60))
    two.one.down.add("CUHK")
    for n in range(6):
        two.one.put(f"R{n}", "CUHK")
    two.start()
    two.one.pass_time(59)
    tried = len(two.one.carried)
    assert two.one.circuit() == "open"
    two.one.pass_time(120)
    assert len(two.one.carried) == tried + 2  # one an interval, from both together
    two.one.down.clear()
    two.one.pass_time(120)
    assert {state for _, state in two.one.states()} == {"sent"}


def test_due_message_is_sent_at_once() -> None:
    post = Post()
    post.put("R1", "CUHK")
    post.start()
    assert post.carried == ["R1/CUHK/ask_lender"]
    assert post.states() == [("R1", "sent")]


def test_courier_polls_on_a_nudge_or_after_a_second() -> None:
    post = Post()
    post.start()
    post.put("R1", "CUHK")
    assert post.carried == []
    post.pass_time(1)
    assert post.carried == ["R1/CUHK/ask_lender"]
    post.put("R2", "CUHK")
    post.nudge()
    assert post.carried[-1] == "R2/CUHK/ask_lender"


def test_frequent_nudges_are_combined_into_one_poll() -> None:
    post = Post(in_flight=20)
    post.start()
    for n in range(20):
        post.put(f"R{n}", "CUHK")
        post.courier.nudge()
    assert post.carried == []
    post.clock.advance(APART_S)
    assert len(post.carried) == 20


class Restless(Clock):
    """A clock that advances by varying amounts at every call, like a real one."""

    def __init__(self) -> None:
        super().__init__()
        self._draw = Random(1)

    def seconds(self) -> float:
        self.rightNow += self._draw.random() / 1_000_000
        return self.rightNow


def test_timer_is_set_once_for_several_nudges() -> None:
    post = Post()
    post.clock = Restless()
    post.courier = post.beside("test")
    post.start()
    post.courier.nudge()
    timers: Any = post.clock.getDelayedCalls()
    moved: list[float] = []
    timers[0].reset = moved.append
    for _ in range(40):
        post.courier.nudge()
    assert (len(timers), moved) == (1, [])
    post.put("R1", "CUHK")
    post.clock.advance(APART_S)
    assert post.carried == ["R1/CUHK/ask_lender"]


def test_messages_with_one_ordering_key_wait_for_the_first_message() -> None:
    post = Post(DeliveryResult(kind=DeliveryKind.UNREACHABLE))
    post.put("R1", "CUHK")
    post.put("R1", "CUHK", Notification.CANCEL_AT_LENDER)
    post.put("R2", "CUHK")
    post.start()
    assert post.carried == ["R1/CUHK/ask_lender", "R2/CUHK/ask_lender"]
    post.pass_time(16)
    assert post.carried[2:] == ["R1/CUHK/ask_lender", "R1/CUHK/cancel_at_lender"]


def test_failed_message_backs_off_and_becomes_a_dead_letter() -> None:
    """The partner answers other messages, but not this one."""
    post = Post()
    post.failing = {"R1"}
    post.put("R1", "CUHK", Notification.TELL_LENDER_RECEIVED)
    post.start()
    second = 0
    while post.carried.count("R1/CUHK/tell_lender_received") < 3 and second < 4000:
        second += 1
        post.put(f"A{second}", "CUHK", Notification.TELL_LENDER_RECEIVED)
        post.pass_time(1)
    assert 30 <= second <= 70
    assert post.states()[0] == ("R1", "dead")
    post.pass_time(4000)
    assert post.carried.count("R1/CUHK/tell_lender_received") == 3


@pytest.mark.parametrize("kind", [DeliveryKind.UNREACHABLE, DeliveryKind.LATER, DeliveryKind.UNKNOWN])
@pytest.mark.parametrize("waiting", [1, 8, 50])
@pytest.mark.parametrize(("blip_s", "most_s"), [(1, 10), (5, 10), (20, 30)])
def test_everything_arrives_soon_after_a_short_interruption(blip_s: int, most_s: int, waiting: int, kind: DeliveryKind) -> None:
    post = Post(attempts=12)
    post.failing = {f"R{number:02}" for number in range(waiting)}
    post.failure = kind
    for number in range(waiting):
        post.put(f"R{number:02}", "CUHK")
    post.start()
    post.pass_time(blip_s)
    post.failing = set()
    post.pass_time(most_s)
    assert {state for _, state in post.states()} == {"sent"}


def test_log_says_when_a_message_that_waits_for_its_channel_is_sent_again() -> None:
    post = Post(attempts=1)
    post.down = {"CUHK"}
    post.put("R1", "CUHK")
    with capture_logs() as logs:
        post.start()
        post.pass_time(2)
    failed = [line["retry_at"] for line in logs if line["event"] == "courier.failed"]
    assert failed == ["2017-03-01T04:00:02+00:00", "2017-03-01T04:00:06+00:00"]
    assert [line for line in logs if line["event"] == "courier.dead"] == []


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_short_interruption_does_not_use_up_few_attempts(attempts: int) -> None:
    post = Post(attempts=attempts)
    post.down = {"CUHK"}
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(20)
    post.down = set()
    post.pass_time(20)
    assert post.states() == [("R1", "sent")]


def test_partner_is_not_contacted_before_its_retry_after_time() -> None:
    post = Post(DeliveryResult(kind=DeliveryKind.LATER, retry_after_s=120))
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(119)
    assert len(post.carried) == 1
    post.pass_time(2)
    assert len(post.carried) == 2


def test_concurrent_deliveries_to_a_partner_are_limited() -> None:
    post = Post(in_flight=2)
    post.slow = []
    for n in range(5):
        post.put(f"R{n}", "CUHK")
    post.put("R9", "LU")
    post.start()
    assert [c.split("/")[1] for c in post.carried] == ["CUHK", "CUHK", "LU"]
    post.slow[0].callback(DeliveryResult(kind=DeliveryKind.ACCEPTED))
    assert len(post.carried) == 4


def test_exception_in_a_carrier_does_not_lose_the_message() -> None:
    post = Post()
    post.put("R1", "CUHK")

    async def broken(_row: OutboxRow) -> DeliveryResult:
        raise ZeroDivisionError

    post.courier._carriers = {OutboxKind.NCIP: broken}
    post.start()
    assert post.states() == [("R1", "unsure")]  # where the bug struck is not known


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail="smtp: no"),
            {"event": "courier.failed", "log_level": "warning", "why": "smtp: no"},
        ),
        (
            DeliveryResult(kind=DeliveryKind.UNDELIVERABLE, detail="smtp 550"),
            {"event": "courier.sent", "log_level": "warning", "why": "smtp 550"},
        ),
        (
            DeliveryResult(kind=DeliveryKind.NOT_NEEDED, detail="it is lent"),
            {"event": "courier.not_needed", "log_level": "info", "why": "it is lent"},
        ),
        (DeliveryResult(kind=DeliveryKind.ACCEPTED), {"event": "courier.sent", "log_level": "info"}),
    ],
)
def test_reason_of_a_failed_delivery_is_logged(answer: DeliveryResult, line: dict[str, str]) -> None:
    post = Post()
    post.put("R1", "CUHK")
    post.answers = [answer]
    with capture_logs() as logged:
        post.start()
    (found,) = [entry for entry in logged if entry["event"].startswith("courier.")]
    assert {name: found[name] for name in line} == line


def test_messages_of_a_dead_gateway_are_claimed_at_the_next_start() -> None:
    post = Post()
    post.put("R1", "CUHK")
    post.store.now(lambda unit: unit.outbox.claim(post.now(), "test", 600, 10))
    post.start()
    assert post.carried == ["R1/CUHK/ask_lender"]


class Flaky:
    """A store that fails for a given number of writes."""

    def __init__(self, store: SoleStore) -> None:
        self._store, self.away = store, 0

    async def write(self, *what: Any, **how: Any) -> Any:
        if self.away:
            self.away -= 1
            raise Unavailable("OperationalError")
        return await self._store.write(*what, **how)

    async def read(self, query: Any, **how: Any) -> Any:
        return await self._store.read(query, **how)


def test_outcome_during_a_database_outage_is_recorded_afterwards() -> None:
    post = Post()
    post.slow = []
    post.put("R1", "CUHK")
    post.start()
    flaky = Flaky(post.store)
    post.circulation.store = flaky
    flaky.away = 3
    post.slow[0].callback(DeliveryResult(kind=DeliveryKind.ACCEPTED))
    post.pass_time(2)
    assert post.states() == [("R1", "waiting")]
    post.pass_time(1)
    assert (post.states(), len(post.carried)) == ([("R1", "sent")], 1)


def test_claim_with_a_lost_reply_is_repeated_without_the_messages_in_flight() -> None:
    post = Post()
    post.slow = []
    post.put("R1", "CUHK")
    post.start()
    flaky = Flaky(post.store)
    post.courier._store, flaky.away = flaky, 1
    post.put("R2", "CUHK")
    post.store.now(lambda unit: unit.outbox.claim(post.now(), "test", 600, 10))  # committed, and the connection broke
    post.pass_time(2)
    assert post.carried == ["R1/CUHK/ask_lender", "R2/CUHK/ask_lender"]


def test_message_in_flight_after_its_lease_is_not_resent_by_the_same_gateway() -> None:
    post = Post()
    post.slow = []
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(LEASE_S + 5)
    assert post.carried == ["R1/CUHK/ask_lender"]
    post.slow[0].callback(DeliveryResult(kind=DeliveryKind.ACCEPTED))
    assert post.states() == [("R1", "sent")]


def test_duplicate_outcome_of_one_attempt_counts_once() -> None:
    post = Post()
    post.put("R1", "CUHK")
    (row,) = post.store.now(lambda unit: unit.outbox.claim(post.now(), "test", 600, 10))
    for _ in range(2):
        post.store.now(
            in_context(
                delivered,
                post.circulation.library,
                post.now(),
                Delivered(
                    row=row,
                    answer=DeliveryResult(kind=DeliveryKind.UNKNOWN),
                    retry_at=post.now(),
                    circuit_settings=CIRCUIT_SETTINGS,
                ),
            )
        )
    kept = post.store.now(lambda unit: unit.outbox.row(row.id))
    assert kept is not None
    assert (kept.state, kept.attempts) == ("unsure", 1)


def test_stop_waits_for_messages_in_flight() -> None:
    post = Post()
    post.slow = []
    post.put("R1", "CUHK")
    post.start()
    ended: list[None] = []
    ensureDeferred(post.courier.stop()).addCallback(ended.append)
    assert ended == []
    post.slow[0].callback(DeliveryResult(kind=DeliveryKind.ACCEPTED))
    assert ended == [None]
    assert post.states() == [("R1", "sent")]


def test_messages_claimed_during_stop_are_released_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    post, claims = Post(), list[tuple[Deferred[Any], Any]]()
    write = post.store.write

    def late(work: Any, *args: Any, **how: Any) -> Any:
        answer = write(work, *args, **how)
        if work != post.courier.claim:
            return answer
        claims.append((Deferred(), finished(answer)))
        return claims[-1][0]

    monkeypatch.setattr(post.store, "write", late)
    post.put("R1", "CUHK")
    post.start()
    ended: list[None] = []
    ensureDeferred(post.courier.stop()).addCallback(ended.append)
    assert ended == []
    waiting, rows = claims[0]
    waiting.callback(rows)
    assert (ended, post.carried, post.states()) == ([None], [], [("R1", "waiting")])
    assert post.store.now(lambda unit: unit.outbox.held_by("test")) == 0


@pytest.mark.parametrize(("made", "seconds"), [(1, 15), (2, 30), (3, 60), (8, 1800), (11, 1800)])
def test_retry_delay_doubles_up_to_the_maximum(made: int, seconds: int) -> None:
    schedule = Schedule(attempts=12, first_wait_s=30, longest_wait_s=3600, draw=lambda: 0.0)
    assert schedule.next_try(made, NOON) == NOON + timedelta(seconds=seconds)


@given(made=st.integers(1, 11), draw=st.floats(0, 1, exclude_max=True))
def test_retry_delay_is_between_half_and_all_of_the_exponential_delay(made: int, draw: float) -> None:
    next_try = Schedule(attempts=12, first_wait_s=30, longest_wait_s=21600, draw=lambda: draw).next_try(made, NOON)
    assert next_try is not None
    whole = min(30 * 2 ** (made - 1), 21600)
    assert whole / 2 <= (next_try - NOON).total_seconds() <= whole


# ---- the line to a partner


def test_channel_is_probed_at_intervals_after_five_failures() -> None:
    post = Post(attempts=12)
    post.down = {"CUHK"}
    for n in range(20):
        post.put(f"R{n:02}", "CUHK")
    post.start()
    before = len(post.carried)
    post.pass_time(600)
    assert post.circuit() == "open"
    assert 4 + 9 <= len(post.carried) - before <= 4 + 11  # four within half a minute, then one a minute


def test_first_success_reopens_the_channel() -> None:
    post = Post(attempts=12)
    post.down = {"CUHK"}
    for n in range(20):
        post.put(f"R{n:02}", "CUHK")
    post.start()
    post.pass_time(300)
    post.down = set()
    post.pass_time(75)
    assert post.circuit() == "closed"
    assert {state for _, state in post.states()} == {"sent"}


def test_refusal_counts_as_a_success_of_the_channel() -> None:
    post = Post(
        *[DeliveryResult(kind=DeliveryKind.UNREACHABLE)] * 5,
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Unknown Request"),
        attempts=12,
    )
    for n in range(6):
        post.put(f"R{n}", "CUHK")
    post.start()
    post.pass_time(61)
    assert post.circuit() == "closed"


def test_channel_that_is_down_uses_no_attempts() -> None:
    post = Post(attempts=6)
    post.down = {"CUHK"}
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(3600)
    assert post.states() == [("R1", "waiting")]


def test_channel_down_for_too_long_uses_attempts() -> None:
    post = Post(attempts=6, circuit_settings=CircuitSettings(failures=2, probe_s=60, give_up_s=600))
    post.down = {"CUHK"}
    post.put("R1", "CUHK", Notification.TELL_LENDER_RECEIVED)
    post.start()
    post.pass_time(1800)
    assert post.states() == [("R1", "dead")]


def test_unavailable_partner_does_not_delay_other_partners() -> None:
    post = Post(attempts=12)
    post.down = {"CUHK"}
    for n in range(200):
        post.put(f"R{n:03}", "CUHK")
    post.start()
    post.pass_time(300)
    post.put("R999", "LU")
    post.nudge()
    assert post.carried[-1] == "R999/LU/ask_lender"


def test_busy_partner_pauses_its_whole_channel_for_the_requested_time() -> None:
    post = Post(DeliveryResult(kind=DeliveryKind.LATER, retry_after_s=120), in_flight=1)
    post.put("R1", "CUHK")
    post.put("R2", "CUHK")
    post.start()
    post.pass_time(119)
    assert post.carried == ["R1/CUHK/ask_lender"]
    post.pass_time(3)
    assert sorted(post.carried[1:]) == ["R1/CUHK/ask_lender", "R2/CUHK/ask_lender"]


def test_message_waiting_for_its_turn_stays_available_to_every_gateway() -> None:
    post = Post(in_flight=2)
    post.slow = []
    for n in range(5):
        post.put(f"R{n}", "CUHK")
    post.start()
    other = post.store.now(lambda unit: unit.outbox.claim(post.now(), "another", 600, 10))
    assert [row.request for row in other] == ["R2", "R3", "R4"]


def test_number_of_attempts_can_be_set_per_partner() -> None:
    post = Post(attempts=12, terms=ChannelTerms(attempts=2))
    post.down, post.failure = {"CUHK"}, DeliveryKind.UNKNOWN
    post.put("R1", "CUHK", Notification.TELL_LENDER_RECEIVED)
    post.start()
    post.pass_time(60)
    assert post.states() == [("R1", "dead")]


def test_message_of_unknown_outcome_stays_unsure_until_a_reply() -> None:
    post = Post(
        DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="cut"), DeliveryResult(kind=DeliveryKind.UNREACHABLE), attempts=5
    )
    post.put("R1", "CUHK")
    post.start()
    assert post.states() == [("R1", "unsure")]
    post.pass_time(4)
    assert (post.carried, post.states()) == (["R1/CUHK/ask_lender"] * 2, [("R1", "unsure")])
    post.pass_time(60)
    assert post.states() == [("R1", "sent")]


def test_every_attempt_is_recorded_with_its_outcome() -> None:
    post = Post(
        DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="cut"),
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Unknown Item", detail="no copy"),
    )
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(16)
    kept = post.store.now(lambda unit: unit.outbox.attempts(1))
    assert [(a.kind, a.problem, a.detail) for a in kept] == [("unknown", "", "cut"), ("refused", "Unknown Item", "no copy")]


def test_partner_outage_of_a_day_loses_none_of_a_thousand_messages() -> None:
    post = Post(attempts=12, in_flight=4)
    post.down = {"CUHK"}
    for n in range(1000):
        post.put(f"R{n // 2:04}", "CUHK", Notification.ASK_LENDER if n % 2 == 0 else Notification.CANCEL_AT_LENDER)
    post.start()
    first = len(post.carried)
    for _ in range(24 * 60):
        post.clock.advance(60)
    trials = len(post.carried) - first
    post.put("R9999", "LU")
    post.nudge()
    assert post.carried[-1] == "R9999/LU/ask_lender"
    assert trials <= 24 * 60
    _drains_in_order_at_the_limit(post)


def _drains_in_order_at_the_limit(post: Post) -> None:
    """Assert that a slow partner has at most four messages in flight, and gets each request before its cancellation."""
    post.down, post.slow, post.carried, most = set(), [], [], 0
    for _ in range(2000):
        post.clock.advance(60)
        most = max(most, len(post.slow))
        while post.slow:
            waiting, post.slow = post.slow, []
            for one in waiting:
                one.callback(DeliveryResult(kind=DeliveryKind.ACCEPTED))
            most = max(most, len(post.slow))
        if len(post.carried) >= 1000:
            break
    assert most == 4
    assert {state for _, state in post.states()} == {"sent"}
    told = [c.split("/") for c in post.carried]
    for number in {request for request, _, _ in told}:
        assert [send for request, _, send in told if request == number] == ["ask_lender", "cancel_at_lender"]
