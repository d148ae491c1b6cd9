"""The courier: at least once, in order, by a schedule that survives, and a dead letter at the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from hkall_gateway.courier import Courier, Schedule
from hkall_gateway.desk.asks import Answer
from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.tidings import Telling
from hkall_gateway.store.database import Immediate
from hkall_gateway.store.engine import open_engine
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.tables import create_all
from hkall_gateway.store.unit import Unit

NOON = datetime(2017, 3, 1, 4, tzinfo=UTC)


class Delivered:
    """Stands for the desk: writes into the store what it is told of a delivery."""

    def __init__(self, store: Immediate, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self.answers: list[tuple[int, str]] = []

    async def delivered(self, row: OutboxRow, answer: Answer, retry_at: datetime | None) -> None:
        self.answers.append((row.id, answer.kind))
        await self._store.run(self._settle, row, answer, retry_at)

    def _settle(self, unit: Unit, row: OutboxRow, answer: Answer, retry_at: datetime | None) -> None:
        if answer.kind == "accepted":
            unit.outbox.sent(row.id, self._now())
        elif retry_at is None:
            unit.outbox.dead(row.id, answer.kind)
        else:
            unit.outbox.later(row.id, retry_at, answer.kind)


class Post:
    """A courier on a fake clock, with a carrier that answers what it is told to."""

    def __init__(self, *answers: Answer, attempts: int = 3, in_flight: int = 4) -> None:
        engine = open_engine("sqlite://")
        create_all(engine)
        self.store = Immediate(engine, lambda connection: Unit(connection, lambda: "R1"))
        self.clock = Clock()
        self.desk = Delivered(self.store, self.now)
        self.answers = list(answers)
        self.carried: list[str] = []
        self.slow: list[Deferred[Answer]] | None = None
        schedule = Schedule(attempts, 30, 3600, lambda: 0.0)
        desk: Any = self.desk
        self.courier = Courier(
            self.store, desk, {"ncip": self.carry}, schedule, self.clock, self.now, "test", lambda _who: in_flight
        )

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.clock.seconds())

    async def carry(self, row: OutboxRow) -> Answer:
        self.carried.append(f"{row.request}/{row.recipient}/{row.send.value}")
        if self.slow is not None:
            waiting: Deferred[Answer] = Deferred()
            self.slow.append(waiting)
            return await waiting
        return self.answers.pop(0) if self.answers else Answer("accepted")

    def put(self, request: str, partner: str, send: Send = Send.ASK_LENDER) -> None:
        telling = Telling(send.value, request, partner, "HKU", f"{request}-1", self.now())
        self.store.now(lambda unit: unit.outbox.put(send, telling, "c1", self.now()))

    def start(self) -> None:
        ensureDeferred(self.courier.start())

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def states(self) -> list[tuple[str, str]]:
        rows = self.store.now(lambda unit: unit.outbox.rows(states=("waiting", "dead", "sent")))
        return [(row.request, row.state) for row in rows]


def test_what_is_due_leaves_at_once() -> None:
    post = Post()
    post.put("R1", "CUHK")
    post.start()
    assert post.carried == ["R1/CUHK/ask_lender"]
    assert post.states() == [("R1", "sent")]


def test_a_nudge_is_enough_and_without_one_a_second_is() -> None:
    post = Post()
    post.start()
    post.put("R1", "CUHK")
    assert post.carried == []
    post.pass_time(1)
    assert post.carried == ["R1/CUHK/ask_lender"]
    post.put("R2", "CUHK")
    post.courier.nudge()
    assert post.carried[-1] == "R2/CUHK/ask_lender"


def test_a_lane_leaves_in_order_and_waits_for_its_first() -> None:
    post = Post(Answer("unreachable"))
    post.put("R1", "CUHK")
    post.put("R1", "CUHK", Send.CANCEL_AT_LENDER)
    post.put("R2", "CUHK")
    post.start()
    assert post.carried == ["R1/CUHK/ask_lender", "R2/CUHK/ask_lender"]
    post.pass_time(16)
    assert post.carried[2:] == ["R1/CUHK/ask_lender", "R1/CUHK/cancel_at_lender"]


def test_a_failure_waits_longer_each_time_and_ends_as_a_dead_letter() -> None:
    post = Post(*[Answer("unreachable")] * 3)
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(14)
    assert len(post.carried) == 1
    post.pass_time(2)
    assert len(post.carried) == 2
    post.pass_time(28)
    assert len(post.carried) == 2
    post.pass_time(3)
    assert len(post.carried) == 3
    assert post.states() == [("R1", "dead")]
    post.pass_time(4000)
    assert len(post.carried) == 3


def test_a_partner_that_names_a_time_is_not_asked_before_it() -> None:
    post = Post(Answer("later", retry_after_s=120))
    post.put("R1", "CUHK")
    post.start()
    post.pass_time(119)
    assert len(post.carried) == 1
    post.pass_time(2)
    assert len(post.carried) == 2


def test_no_more_than_the_limit_are_under_way_to_one_partner() -> None:
    post = Post(in_flight=2)
    post.slow = []
    for n in range(5):
        post.put(f"R{n}", "CUHK")
    post.put("R9", "LU")
    post.start()
    assert [c.split("/")[1] for c in post.carried] == ["CUHK", "CUHK", "LU"]
    post.slow[0].callback(Answer("accepted"))
    assert len(post.carried) == 4


def test_a_bug_in_a_carrier_loses_nothing() -> None:
    post = Post()
    post.put("R1", "CUHK")

    async def broken(_row: OutboxRow) -> Answer:
        raise ZeroDivisionError

    post.courier._carriers = {"ncip": broken}
    post.start()
    assert post.states() == [("R1", "waiting")]


def test_what_a_dead_gateway_had_in_hand_is_taken_up_at_the_next_start() -> None:
    post = Post()
    post.put("R1", "CUHK")
    post.store.now(lambda unit: unit.outbox.claim(post.now(), "test", 600, 10))
    post.start()
    assert post.carried == ["R1/CUHK/ask_lender"]


def test_stopping_waits_for_what_is_under_way() -> None:
    post = Post()
    post.slow = []
    post.put("R1", "CUHK")
    post.start()
    ended: list[None] = []
    ensureDeferred(post.courier.stop()).addCallback(ended.append)
    assert ended == []
    post.slow[0].callback(Answer("accepted"))
    assert ended == [None]
    assert post.states() == [("R1", "sent")]


@pytest.mark.parametrize(("made", "seconds"), [(1, 15), (2, 30), (3, 60), (8, 1800), (11, 1800)])
def test_the_wait_doubles_up_to_the_longest(made: int, seconds: int) -> None:
    schedule = Schedule(12, 30, 3600, lambda: 0.0)
    assert schedule.next_try(made, NOON) == NOON + timedelta(seconds=seconds)


@given(made=st.integers(1, 11), draw=st.floats(0, 1, exclude_max=True))
def test_the_wait_is_between_half_and_all_of_the_exponential_one(made: int, draw: float) -> None:
    next_try = Schedule(12, 30, 21600, lambda: draw).next_try(made, NOON)
    assert next_try is not None
    whole = min(30 * 2 ** (made - 1), 21600)
    assert whole / 2 <= (next_try - NOON).total_seconds() <= whole
