"""Selecting sendable messages by channel, so that messages for a paused or busy partner cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, update

from hkall_gateway.db.tables import OUTBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import circuit
from hkall_gateway.rules.circuit import DOWN, CircuitState
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, PatronNotice
from hkall_gateway.rules.partners import Partner
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.examples import example_count

pytestmark = pytest.mark.sql_differs

IN_FLIGHT = 4
LEASE_S = 60
HOUR = timedelta(hours=1)
Look = Callable[[UnitOfWork, datetime], object]


def _put(unit: UnitOfWork, now: datetime, partner: str, requests: range, each: int = 1) -> None:
    """Enqueue this many messages about each of these requests."""
    for number in requests:
        for _ in range(each):
            message = PartnerMessage(
                send=Notification.ASK_LENDER.value,
                request=f"R{number}",
                partner=partner,
                wire_agency="HKU",
                wire_id="w-1",
                at=now,
            )
            unit.outbox.put(Notification.ASK_LENDER, message, "c-1", now)


def _put_letters(unit: UnitOfWork, now: datetime, patrons: range) -> None:
    for number in patrons:
        letter = PatronNotice(
            send=Notification.LETTER_PICKUP.value, request=f"R{number}", patron=f"P{number}", title="Dune", at=now
        )
        unit.outbox.put(Notification.LETTER_PICKUP, letter, "c-1", now)


def _claim(unit: UnitOfWork, now: datetime, limit: int = 100) -> list[int]:
    def room(link: CircuitState, under_way: int) -> int:
        return circuit.room(link, IN_FLIGHT, under_way, now)

    return [row.id for row in unit.outbox.claim(now, "gw1", LEASE_S, limit, room)]


def _rest(unit: UnitOfWork, now: datetime, agency: str = "CUHK") -> None:
    unit.circuits.keep(
        CircuitState(agency=agency, state=DOWN, failures=5, down_since=now, heard_at=now, rests_until=now + HOUR)
    )


def _hold_lanes(unit: UnitOfWork, now: datetime, state: str = "waiting") -> None:
    """Make the first of the two messages of each lane dead or delayed."""
    unit.execute(update(OUTBOX).where(OUTBOX.c.id % 2 == 1).values(state=state, next_at=now + HOUR))


# ---- what a look costs


@pytest.fixture
def memory() -> Iterator[SoleStore]:
    """A store on SQLite that counts its virtual machine steps."""
    engine = databases.MEMORY.fresh()
    opened = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    opened.now(lambda unit: unit.partners.write([Partner(agency=agency, name=agency) for agency in ("CUHK", "PolyU")]))
    yield opened
    opened.close()
    engine.dispose()


def _steps(store: SoleStore, look: Look, now: datetime) -> int:
    """The number of SQLite virtual machine steps of some work."""
    counted = [0]

    def count() -> None:
        counted[0] += 1

    def watched(unit: UnitOfWork) -> None:
        driver: Any = unit.connection.connection.driver_connection
        driver.set_progress_handler(count, 1)
        look(unit, now)
        driver.set_progress_handler(None, 0)

    store.now(watched)
    return counted[0]


def _resting(unit: UnitOfWork, now: datetime, count: int) -> None:
    _put(unit, now, "CUHK", range(count))
    _rest(unit, now)


def _full(unit: UnitOfWork, now: datetime, count: int) -> None:
    _put(unit, now, "CUHK", range(count))
    _claim(unit, now)


def _not_due(unit: UnitOfWork, now: datetime, count: int) -> None:
    _put(unit, now + HOUR, "CUHK", range(count))


def _many_letters(unit: UnitOfWork, now: datetime, count: int) -> None:
    _put_letters(unit, now, range(count))
    _claim(unit, now)


def _dead(unit: UnitOfWork, now: datetime, count: int) -> None:
    _put(unit, now, "CUHK", range(count))
    unit.execute(update(OUTBOX).values(state="dead"))


def _open(unit: UnitOfWork, now: datetime, count: int) -> None:
    _put(unit, now, "CUHK", range(count))


def _next_due(unit: UnitOfWork, _now: datetime) -> object:
    return unit.outbox.next_due()


@pytest.mark.parametrize("look", [_claim, _next_due])
@pytest.mark.parametrize("waiting", [_resting, _full, _not_due, _many_letters, _dead, _open])
def test_cost_of_a_claim_does_not_depend_on_the_queue_length(
    memory: SoleStore, now: datetime, waiting: Callable[[UnitOfWork, datetime, int], None], look: Look
) -> None:
    memory.now(waiting, now, 50)
    few = _steps(memory, look, now)
    memory.now(lambda unit: unit.execute(OUTBOX.delete()))
    memory.now(waiting, now, 5_000)
    assert _steps(memory, look, now) <= few * 1.1


def test_blocked_messages_with_the_same_key_are_read_once(memory: SoleStore, now: datetime) -> None:
    taken = []
    for first, upto in ((0, 1_000), (1_000, 2_000)):
        memory.now(_put, now, "CUHK", range(first, upto), 2)
        memory.now(_hold_lanes, now)
        taken.append(_steps(memory, _claim, now))
    assert taken[1] <= taken[0] * 2.2


# fmt: off
COUNTED: Mapping[str, Callable[[UnitOfWork, datetime], object]] = {
    "never":                         lambda unit, now: None,
    "when it was empty":             lambda unit, now: unit.connection.exec_driver_sql("ANALYZE outbox"),
    "when it was about one request": lambda unit, now: _counted(unit, now, 1),
    "when it was about a few":       lambda unit, now: _counted(unit, now, 8),
}
# fmt: on


def _counted(unit: UnitOfWork, now: datetime, requests: int) -> None:
    _put(unit, now, "CUHK", range(requests), 200 // requests)
    unit.connection.exec_driver_sql("ANALYZE outbox")
    unit.execute(OUTBOX.delete())


@pytest.mark.parametrize("counted", COUNTED)
def test_postgresql_uses_indexes_for_sendable_rows_regardless_of_statistics(
    postgres_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], now: datetime, counted: str
) -> None:
    store = SoleStore(postgres_engine, make_unit)
    store.now(COUNTED[counted], now)
    store.now(_put, now, "CUHK", range(1_000), 2)
    store.now(_hold_lanes, now)
    found = _explained(store, postgres_engine, now)
    store.close()
    assert "Index Scan using ix_outbox_waiting on outbox" in found
    assert "ix_outbox_request" in found
    assert "pk_outbox" not in found
    assert "Seq Scan" not in found
    assert "Join" not in found


def _explained(store: SoleStore, engine: Engine, now: datetime) -> str:
    """PostgreSQL's plan for the last query of a claim, which selects the rows themselves."""
    asked: list[tuple[str, Any]] = []

    def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        asked.extend([(statement, parameters)] if "FOR UPDATE" in statement else [])

    event.listen(engine, "before_cursor_execute", listen)
    store.now(_claim, now)
    event.remove(engine, "before_cursor_execute", listen)
    statement, parameters = asked[-1]
    plan = store.now(lambda unit: unit.connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all())
    return "\n".join(line for (line,) in plan)


# ---- who may leave


def test_oldest_message_of_a_channel_is_sent_first_and_channels_are_independent(store: SoleStore, now: datetime) -> None:
    store.now(_put, now - timedelta(minutes=2), "CUHK", range(10))
    store.now(_put, now - timedelta(minutes=1), "PolyU", range(1))
    store.now(_put_letters, now, range(3))
    assert store.now(_claim, now) == [1, 2, 3, 4, 11, 12, 13, 14]
    assert store.now(_claim, now) == []


def test_retried_message_is_ordered_by_its_new_time(store: SoleStore, now: datetime) -> None:
    store.now(_put, now, "CUHK", range(6))
    store.now(lambda unit: unit.outbox.retry_later(1, now + timedelta(minutes=1), "timeout"))
    assert store.now(_claim, now + HOUR) == [2, 3, 4, 5]


@pytest.mark.parametrize("state", ["waiting", "dead"])
def test_channel_with_blocked_messages_does_not_delay_other_channels(store: SoleStore, now: datetime, state: str) -> None:
    store.now(_put, now - HOUR, "CUHK", range(100), 2)
    store.now(_hold_lanes, now, state)
    store.now(_put, now - HOUR, "CUHK", range(100, 101))
    store.now(_put, now, "PolyU", range(1))
    assert store.now(_claim, now, 2) == [201, 202]


def test_letters_to_many_patrons_share_one_channel(store: SoleStore, now: datetime) -> None:
    store.now(_put_letters, now, range(1_000))
    assert store.now(_claim, now) == [1, 2, 3, 4]
    assert store.now(lambda unit: unit.outbox.under_way(now)) == {"mail": 4}


def test_no_message_is_sent_to_a_paused_partner(store: SoleStore, now: datetime) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK")]))
    store.now(_put, now, "CUHK", range(3))
    store.now(_rest, now)
    assert store.now(_claim, now + HOUR - timedelta(seconds=1)) == []
    assert store.now(_claim, now + HOUR) == [1]  # one tries the line


# ---- when something is due


def test_next_due_time_ignores_paused_channels_and_blocked_messages(store: SoleStore, now: datetime) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="PolyU", name="PolyU")]))
    assert store.now(_next_due, now) is None
    store.now(_put, now, "PolyU", range(1))
    store.now(_rest, now, "PolyU")
    assert store.now(_next_due, now) == now + HOUR
    store.now(_put, now, "CUHK", range(1, 2), 2)
    store.now(lambda unit: unit.outbox.retry_later(2, now + timedelta(minutes=9), "timeout"))
    assert store.now(_next_due, now) == now + timedelta(minutes=9)  # not when what is behind it would be
    store.now(lambda unit: unit.outbox.mark_dead(2, "refused"))
    assert store.now(_next_due, now) == now + HOUR


# ---- the same by a plain search through all that was ever told

ROW = {
    "request": st.sampled_from([f"R{n}" for n in range(8)]),
    "recipient": st.sampled_from(["CUHK", "PolyU", "P1", "P2"]),
    "state": st.sampled_from(["waiting", "waiting", "unsure", "dead", "sent", "dropped"]),
    "next_at": st.integers(-3, 1),
    "lease_until": st.sampled_from([None, None, None, -1, 1]),
}
"""Times in minutes from now."""
Rows = list[dict[str, Any]]


@settings(max_examples=example_count(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(ROW), max_size=40), st.sets(st.sampled_from(["CUHK", "PolyU"]), max_size=1))
def test_claim_finds_the_same_messages_as_a_full_search(now: datetime, rows: Rows, resting: set[str]) -> None:
    engine = databases.MEMORY.fresh()
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    store.now(_furnish, now, rows, resting)
    taken = store.now(_claim, now)
    store.close()
    engine.dispose()
    assert sorted(taken) == sorted(_searched(rows, resting))


def _furnish(unit: UnitOfWork, now: datetime, rows: Rows, resting: set[str]) -> None:
    unit.partners.write([Partner(agency=agency, name=agency) for agency in ("CUHK", "PolyU")])
    for agency in resting:
        _rest(unit, now, agency)
    for number, row in enumerate(rows, start=1):
        if _line(row) == "mail":
            unit.outbox.put(
                Notification.LETTER_PICKUP,
                PatronNotice(send="letter_pickup", request=row["request"], patron=row["recipient"], title="Dune", at=now),
                "",
                now,
            )
        else:
            unit.outbox.put(
                Notification.ASK_LENDER,
                PartnerMessage(
                    send="ask_lender", request=row["request"], partner=row["recipient"], wire_agency="HKU", wire_id="", at=now
                ),
                "",
                now,
            )
        times = {n: now + timedelta(minutes=row[n]) for n in ("next_at", "lease_until") if row[n] is not None}
        unit.execute(update(OUTBOX).where(OUTBOX.c.id == number).values(state=row["state"], **times))


def _line(row: dict[str, Any]) -> str:
    return "mail" if row["recipient"] in {"P1", "P2"} else row["recipient"]


def _searched(rows: Rows, resting: set[str]) -> Iterator[int]:
    for line in {_line(row) for row in rows} - resting:
        here = [(row["next_at"], number) for number, row in enumerate(rows) if _line(row) == line and _may_leave(rows, number)]
        under_way = sum(row["lease_until"] == 1 for row in rows if _line(row) == line)
        yield from [number + 1 for _, number in sorted(here)[: max(IN_FLIGHT - under_way, 0)]]


def _may_leave(rows: Rows, number: int) -> bool:
    row = rows[number]
    lane = [one["state"] for one in rows[:number] if (one["request"], one["recipient"]) == (row["request"], row["recipient"])]
    is_first = not {"waiting", "unsure", "dead"} & set(lane)
    return is_first and row["state"] in {"waiting", "unsure"} and row["next_at"] <= 0 and row["lease_until"] != 1
