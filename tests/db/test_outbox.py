"""The outbox: lanes keep their order, a dead letter blocks only its own lane, messages of a dead gateway are released."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from structlog.testing import capture_logs

from hkall_gateway.db.engine.compiled import flush
from hkall_gateway.db.outbox import SET_ASIDE_S, OutboxRow
from hkall_gateway.db.tables import LINKS, OUTBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.circuit import DOWN, CircuitState, after_reply
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, PatronNotice, is_letter
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.examples import example_count

pytestmark = pytest.mark.sql_differs

LEASE_S = 60
Plan = Callable[..., str]


def _telling(request: str, partner: str, at: datetime) -> PartnerMessage:
    return PartnerMessage(
        send=Notification.ASK_LENDER.value, request=request, partner=partner, wire_agency="HKU", wire_id="w-1", at=at
    )


def _put(unit: UnitOfWork, request: str, partner: str, now: datetime) -> None:
    unit.outbox.put(Notification.ASK_LENDER, _telling(request, partner, now), "c-1", now)


def _claim(store: SoleStore, now: datetime, who: str = "gw1", limit: int = 100) -> list[int]:
    return [row.id for row in store.now(_taken, now, who, limit)]


def _taken(unit: UnitOfWork, now: datetime, who: str, limit: int) -> tuple[OutboxRow, ...]:
    return unit.outbox.claim(now, who, LEASE_S, limit)


def _sent(store: SoleStore, row: int, now: datetime) -> None:
    store.now(lambda unit: unit.outbox.mark_sent(row, now))


def _filled(store: SoleStore, now: datetime, *lanes: tuple[str, str]) -> None:
    for request, partner in lanes:
        store.now(_put, request, partner, now)


@pytest.mark.parametrize("send", Notification)
def test_queued_message_is_claimed_with_all_its_fields(store: SoleStore, now: datetime, send: Notification) -> None:
    letter = is_letter(send)
    payload = (
        PatronNotice(send=send.value, request="R1", patron="P1", title="Dune", at=now, notice=7)
        if letter
        else _telling("R1", "CUHK", now)
    )
    store.now(lambda unit: unit.outbox.put(send, payload, "c-1", now))
    (row,) = store.now(_taken, now, "gw1", 10)
    assert (row.send, row.payload, row.corr, row.attempts, row.made_at) == (send, payload, "c-1", 1, now)
    assert (row.kind, row.recipient) == (("mail", "P1") if letter else ("ncip", "CUHK"))


# fmt: off
NEWER: dict[str, dict[str, str]] = {
    "a message of another kind": {"send": "tell_lender_of_tomorrow"},
    "a fact of another name":    {"payload": '{"_":"Telling","tomorrow":"x"}'},
    "a record of another name":  {"payload": '{"_":"Telegram"}'},
    "another way of writing":    {"payload": "<Telling/>"},
}
# fmt: on


@pytest.mark.parametrize("name", NEWER)
def test_message_written_by_a_newer_version_is_left_without_blocking_others(store: SoleStore, now: datetime, name: str) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R2", "CUHK"), ("R1", "PolyU"))
    store.now(lambda unit: unit.execute(OUTBOX.update().where(OUTBOX.c.id == 1).values(**NEWER[name])))
    assert _claim(store, now) == [2, 3]
    assert store.now(lambda unit: unit.outbox.row_state(1)) == ("waiting", 0)
    assert store.now(lambda unit: unit.outbox.held_by("gw1")) == 2


def test_unreadable_rows_are_set_aside_and_others_of_their_channel_delivered(store: SoleStore, now: datetime) -> None:
    _filled(store, now, *((f"R{number}", "CUHK") for number in range(12)))
    spoil = OUTBOX.update().where(OUTBOX.c.id <= 5).values(payload="{spoilt")
    store.now(lambda unit: unit.execute(spoil))
    with capture_logs() as logs:
        assert [row.id for row in store.now(_four_of_each, now)] == [6, 7, 8, 9]
    assert {number for line in logs for number in line["rows"]} == {1, 2, 3, 4, 5}
    assert {(line["event"], line["channel"]) for line in logs} == {("outbox.unreadable", "CUHK")}
    assert store.now(lambda unit: unit.outbox.set_aside()) == {"CUHK": 5}
    assert [row.id for row in store.now(lambda unit: unit.outbox.rows())] == [6, 7, 8, 9, 10, 11, 12]
    assert store.now(lambda unit: unit.outbox.unreadable()) == tuple((number, "CUHK") for number in range(1, 6))
    with capture_logs() as logs:
        _claim(store, now + timedelta(seconds=SET_ASIDE_S))
    assert logs


def _four_of_each(unit: UnitOfWork, now: datetime) -> tuple[OutboxRow, ...]:
    return unit.outbox.claim(now, "gw1", LEASE_S, 100, lambda _link, under_way: 4 - under_way)


@pytest.mark.parametrize(
    ("due_s", "heard_s", "is_stalled"), [(300, None, True), (299, None, False), (300, 300, True), (300, 299, False)]
)
def test_channel_is_stalled_when_a_due_message_is_unsent_and_no_reply_arrives(
    store: SoleStore, now: datetime, due_s: int, heard_s: int | None, is_stalled: bool
) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK")]))
    if heard_s is not None:
        store.now(lambda unit: unit.circuits.keep(after_reply(CircuitState(agency="CUHK"), now - timedelta(seconds=heard_s))))
    _filled(store, now - timedelta(seconds=due_s), ("R1", "CUHK"))
    assert _claim(store, now) == [1]  # also while a gateway has it
    assert store.now(lambda unit: unit.outbox.stalled(now)) == ({"CUHK"} if is_stalled else set())


def test_channel_that_is_down_or_paused_is_not_stalled(store: SoleStore, now: datetime) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK"), Partner(agency="PolyU", name="PolyU")]))
    _filled(store, now - timedelta(hours=1), ("R1", "CUHK"), ("R1", "PolyU"))
    store.now(lambda unit: unit.circuits.keep(CircuitState(agency="CUHK", state=DOWN)))
    store.now(lambda unit: unit.circuits.keep(CircuitState(agency="PolyU", rests_until=now)))
    assert store.now(lambda unit: unit.outbox.stalled(now)) == set()


def test_messages_with_the_same_key_are_sent_in_order_one_at_a_time(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "CUHK"), ("R1", "CUHK"))
    left = []
    while claimed := _claim(store, now):
        left.append(claimed)
        _sent(store, claimed[0], now)
    assert left == [[1], [2], [3]]


def test_messages_with_different_keys_do_not_block_each_other(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "CUHK"), ("R2", "CUHK"), ("R1", "PolyU"))
    assert _claim(store, now) == [1, 3, 4]


@pytest.mark.parametrize("counted", [5_000, 20_000])
def test_channels_due_at_once_are_ordered_by_name(
    postgres_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], now: datetime, counted: int
) -> None:
    store = SoleStore(postgres_engine, make_unit)
    store.now(_listed_and_counted, counted)
    _filled(store, now, *[("R1", f"A{n:05}") for n in (7, 3, 9, 1, 8, 2, 6, 4)])
    claimed = store.now(_taken_by_hashing, now)
    store.close()
    assert claimed == [4, 6, 2, 8, 7, 1, 5, 3]


def _listed_and_counted(unit: UnitOfWork, partners: int) -> None:
    unit.execute(LINKS.insert(), [{"agency": f"A{n:05}"} for n in reversed(range(partners))])
    unit.connection.exec_driver_sql("ANALYZE links")


def _taken_by_hashing(unit: UnitOfWork, now: datetime) -> list[int]:
    # As PostgreSQL does of itself for a directory of some size: then the lines come in the order of their hashes.
    unit.connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
    return [row.id for row in _taken(unit, now, "gw1", 100)]


def test_claim_is_limited_in_number(store: SoleStore, now: datetime) -> None:
    _filled(store, now, *[(f"R{n}", "CUHK") for n in range(5)])
    assert [_claim(store, now, limit=2) for _ in range(3)] == [[1, 2], [3, 4], [5]]


def test_message_claimed_by_one_gateway_is_not_available_to_another(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"))
    assert (_claim(store, now, "gw1"), _claim(store, now, "gw2")) == ([1], [])


@pytest.mark.parametrize(("after_s", "claimed"), [(LEASE_S - 1, []), (LEASE_S, []), (LEASE_S + 1, [1])])
def test_lease_expires(store: SoleStore, now: datetime, after_s: int, claimed: list[int]) -> None:
    _filled(store, now, ("R1", "CUHK"))
    _claim(store, now, "gw1")
    assert _claim(store, now + timedelta(seconds=after_s), "gw2") == claimed


def test_restarted_gateway_releases_only_its_own_messages(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R2", "CUHK"))
    assert (_claim(store, now, "gw1", 1), _claim(store, now, "gw2", 1)) == ([1], [2])
    store.now(lambda unit: unit.outbox.release("gw1", now))
    assert _claim(store, now, "gw3") == [1]


def test_message_in_flight_at_a_crash_has_an_unknown_outcome(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R2", "CUHK"))
    _claim(store, now, "gw1", 1)
    store.now(lambda unit: unit.outbox.release("gw1", now))
    assert store.now(lambda unit: [(row.id, row.state) for row in unit.outbox.rows()]) == [(1, "unsure"), (2, "waiting")]
    store.now(lambda unit: unit.outbox.mark_dead(1, "given up"))
    store.now(lambda unit: unit.outbox.retry(1, now))
    row = store.now(lambda unit: unit.outbox.row(1))
    assert row is not None
    assert row.state is OutboxState.UNSURE


def test_message_released_from_a_dead_gateway_has_an_unknown_outcome(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R2", "CUHK"))
    _claim(store, now, "gw1", 1)
    later = now + timedelta(seconds=LEASE_S + 1)
    assert [(row.id, row.state) for row in store.now(_taken, later, "gw2", 2)] == [(1, "unsure"), (2, "waiting")]
    assert store.now(lambda unit: [attempt.kind for attempt in unit.outbox.attempts(1)]) == ["unknown"]
    assert store.now(lambda unit: unit.outbox.attempts(2)) == ()


def test_failed_message_blocks_later_messages_of_its_key_until_the_retry(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "CUHK"), ("R2", "CUHK"))
    assert _claim(store, now) == [1, 3]
    store.now(lambda unit: unit.outbox.retry_later(1, now + timedelta(minutes=5), "timeout"))
    assert _claim(store, now + timedelta(minutes=4)) == [3]
    (row,) = store.now(_taken, now + timedelta(minutes=5), "gw1", 1)
    assert (row.id, row.attempts, row.last_error) == (1, 2, "timeout")


def test_dead_letter_blocks_only_messages_with_its_key(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "CUHK"), ("R2", "CUHK"))
    _claim(store, now, limit=1)
    store.now(lambda unit: unit.outbox.mark_dead(1, "refused for good"))
    assert _claim(store, now) == [3]


def test_retried_dead_letter_is_sent_before_the_messages_that_it_blocked(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "CUHK"))
    store.now(lambda unit: unit.outbox.mark_dead(1, "refused"))
    assert store.now(lambda unit: unit.outbox.retry(1, now))
    assert _claim(store, now) == [1]


def test_only_unsettled_messages_can_be_retried(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"))
    _sent(store, 1, now)
    assert not store.now(lambda unit: unit.outbox.retry(1, now))
    assert not store.now(lambda unit: unit.outbox.retry(99, now))


def test_message_in_flight_cannot_be_retried_until_its_lease_expires(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"))
    _claim(store, now)
    assert not store.now(lambda unit: unit.outbox.retry(1, now))
    later = now + timedelta(seconds=LEASE_S + 1)
    assert store.now(lambda unit: unit.outbox.retry(1, later))
    (row,) = store.now(_taken, later, "gw2", 1)
    assert (row.state, row.attempts) == ("unsure", 1)  # whoever had it may have sent it


@pytest.mark.parametrize("state", [OutboxState.DONE, OutboxState.DROPPED])
def test_settled_message_releases_the_next_message_with_its_key(store: SoleStore, now: datetime, state: OutboxState) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "CUHK"))
    store.now(lambda unit: unit.outbox.mark_dead(1, "refused"))
    assert store.now(lambda unit: unit.outbox.close(1, state, "told by telephone", now))
    assert _claim(store, now) == [2]


def test_message_in_flight_cannot_be_settled_manually(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"))
    _claim(store, now)
    assert not store.now(lambda unit: unit.outbox.close(1, OutboxState.DROPPED, "no", now))


def test_long_error_is_stored_truncated(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"))
    store.now(lambda unit: unit.outbox.mark_dead(1, "x" * 10_000))
    (row,) = store.now(lambda unit: unit.outbox.rows())
    assert row.last_error == "x" * 500


def test_list_is_filtered_by_partner_and_request(store: SoleStore, now: datetime) -> None:
    _filled(store, now, ("R1", "CUHK"), ("R1", "PolyU"), ("R2", "CUHK"))
    _sent(store, 3, now)
    assert [row.id for row in store.now(lambda unit: unit.outbox.rows(partner="CUHK"))] == [1]
    assert [row.id for row in store.now(lambda unit: unit.outbox.rows(request="R1"))] == [1, 2]
    assert [row.id for row in store.now(lambda unit: unit.outbox.rows(states=[OutboxState.SENT]))] == [3]


def test_queue_depths_count_letters_together_and_partners_separately(store: SoleStore, now: datetime) -> None:
    later = now + timedelta(hours=1)
    _filled(store, now, ("R1", "CUHK"), ("R2", "PolyU"))
    _filled(store, later, ("R3", "CUHK"))
    for patron in ("P1", "P2"):
        letter = PatronNotice(send=Notification.LETTER_PICKUP.value, request="R9", patron=patron, title="Dune", at=later)
        store.now(lambda unit: unit.outbox.put(Notification.LETTER_PICKUP, letter, "", later))  # noqa: B023  # it runs at once
    store.now(lambda unit: unit.outbox.mark_dead(2, "refused"))
    assert sorted(store.now(lambda unit: unit.outbox.depths())) == [
        ("CUHK", "waiting", 2, now),
        ("PolyU", "dead", 1, now),
        ("mail", "waiting", 2, later),
    ]


def test_claim_does_not_scan_the_table(plan: Plan, store: SoleStore, now: datetime) -> None:
    _filled(store, now, *[(f"R{n}", "CUHK") for n in range(1000)])  # more than the database has ever counted
    lines, due = (plan(_taken, now, "gw1", 10, question=number) for number in (0, -1))
    assert lines.count("ix_outbox_waiting") >= 3  # the first line, the next, and when something is due on each
    assert due.count("ix_outbox_waiting") == 1  # what is to tell is gone through once, and not for each of it
    assert "ix_outbox_request" in due
    assert "Seq Scan" not in lines + due


def test_two_gateways_never_claim_the_same_row(
    postgres_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], now: datetime
) -> None:
    store = SoleStore(postgres_engine, make_unit)
    _filled(store, now, *[(f"R{n}", partner) for n, partner in enumerate(("CUHK", "CUHK", "PolyU", "PolyU"))])
    store.close()
    with postgres_engine.connect() as one, postgres_engine.connect() as other:
        for connection in (one, other):
            connection.exec_driver_sql("BEGIN")
        first = [row.id for row in _taken(make_unit(one), now, "gw1", 2)]
        second = [row.id for row in _taken(make_unit(other), now, "gw2", 4)]
        one.execute(text("COMMIT"))
        third = [row.id for row in _taken(make_unit(other), now, "gw2", 4)]
        other.execute(text("COMMIT"))
    assert (first, second, third) == ([1, 2], [], [3, 4])


def _claim_within(unit: UnitOfWork, now: datetime, who: str, in_flight: int) -> list[int]:
    return [row.id for row in unit.outbox.claim(now, who, LEASE_S, 100, lambda _link, under_way: in_flight - under_way)]


def test_partner_limit_counts_messages_in_flight_at_every_gateway(store: SoleStore, now: datetime) -> None:
    _filled(store, now, *[(f"R{n}", "CUHK") for n in range(6)], ("R1", "PolyU"))
    assert store.now(_claim_within, now, "gw1", 3) == [1, 2, 3, 7]
    assert store.now(_claim_within, now, "gw2", 4) == [4]
    assert store.now(_claim_within, now, "gw2", 4) == []
    _sent(store, 2, now)
    assert store.now(_claim_within, now, "gw2", 4) == [5]
    assert store.now(lambda unit: unit.outbox.under_way(now)) == {"CUHK": 4, "PolyU": 1}


def test_full_channel_does_not_delay_other_channels(store: SoleStore, now: datetime) -> None:
    _filled(store, now, *[(f"R{n}", "CUHK") for n in range(200)], ("R1", "PolyU"))
    assert store.now(_claim_within, now, "gw1", 1) == [1, 201]


def test_two_gateways_claiming_concurrently_respect_the_partner_limit(
    postgres_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], now: datetime
) -> None:
    store = SoleStore(postgres_engine, make_unit)
    _filled(store, now, *[(f"R{n}", "CUHK") for n in range(8)], ("R1", "PolyU"))
    with postgres_engine.connect() as one, postgres_engine.connect() as other:
        one.exec_driver_sql("BEGIN")
        first = _claim_within(make_unit(one), now, "gw1", 3)
        flush(one)
        other.exec_driver_sql("BEGIN")
        second = _claim_within(make_unit(other), now, "gw2", 3)
        one.execute(text("COMMIT"))
        third = _claim_within(make_unit(other), now, "gw2", 4)
        other.execute(text("COMMIT"))
    store.close()
    assert first == [1, 2, 3, 9]
    assert second == []  # the first is not committed yet: nobody waits for it, and nobody guesses
    assert third == [4]


def test_counting_messages_in_flight_does_not_scan_the_table(plan: Plan, now: datetime) -> None:
    assert "ix_outbox_leased" in plan(lambda unit: unit.outbox.under_way(now))


STEPS = st.lists(st.sampled_from(["claim", "sent", "later", "dead", "retry", "wait"]), max_size=30)
LANES = st.lists(st.sampled_from(["R1", "R2", "R3"]), min_size=1, max_size=8)


@settings(max_examples=example_count(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LANES, STEPS, st.randoms(use_true_random=False))
def test_messages_with_the_same_key_are_sent_in_order_after_any_sequence_of_events(
    now: datetime, lanes: list[str], steps: list[str], choice: object
) -> None:
    engine = databases.MEMORY.fresh()
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    _filled(store, now, *[(request, "CUHK") for request in lanes])
    settled = _played(store, now, steps, choice)
    store.close()
    engine.dispose()
    for request in set(lanes):
        numbers = [n for n in settled if lanes[n - 1] == request]
        assert numbers == [n for n, lane in enumerate(lanes, start=1) if lane == request][: len(numbers)]


def _played(store: SoleStore, now: datetime, steps: list[str], choice: object) -> list[int]:
    """The rows sent, in the order of sending."""
    held: list[int] = []
    sent: list[int] = []
    for step in steps:
        if step == "claim":
            held += _claim(store, now)
        elif step == "wait":
            now, held = now + timedelta(seconds=LEASE_S + 1), []
        elif held:
            row = held.pop(choice.randrange(len(held)))  # type: ignore[attr-defined]  # Hypothesis' Random
            sent += [row] if step == "sent" else []
            store.now(_settled, step, row, now)
    return sent


def _settled(unit: UnitOfWork, step: str, row: int, now: datetime) -> None:
    match step:
        case "sent":
            unit.outbox.mark_sent(row, now)
        case "later":
            unit.outbox.retry_later(row, now + timedelta(minutes=1), "timeout")
        case "dead":
            unit.outbox.mark_dead(row, "refused")
        case "retry":
            unit.outbox.mark_dead(row, "refused")
            unit.outbox.retry(row, now)
