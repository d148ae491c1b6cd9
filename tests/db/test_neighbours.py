"""Failures are isolated: in mixed groups every valid unit takes effect and is answered, on both databases.

A bad unit is one of BAD. The writer is blocked until all units of an example are queued, so that they form one group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from queue import Queue
from threading import Event
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.compiled import insert_row
from hkall_gateway.db.engine.connect import Limits, open_engine
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import INBOX, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import LostRace
from tests import turns
from tests.examples import example_count

PATIENCE_S = 30.0
DAY = datetime(2017, 3, 1, tzinfo=UTC)
HELD = "a card that another gateway has locked"
ADD = insert_row(PATRONS, "barcode", "name")
PROMISE = text("INSERT INTO promised (id) VALUES (1)")
NUMBERS = count()


def write(unit: UnitOfWork, name: str) -> str:
    """The effect of every unit: its own row."""
    unit.execute(insert(INBOX).values(agency="CUHK", digest=name, made_at=DAY, keep_until=DAY))
    return name


def write_later(unit: UnitOfWork, name: str) -> str:
    """The same with statements that PostgreSQL receives with the next query or with COMMIT."""
    ADD.write(unit.connection, barcode=name, name="buffered")
    return write(unit, name)


def raise_at_once(_unit: UnitOfWork, name: str) -> str:
    raise ZeroDivisionError(name)


def raise_after_its_write(unit: UnitOfWork, name: str) -> str:
    write(unit, name)
    raise ZeroDivisionError(name)


def lose_a_race(unit: UnitOfWork, name: str) -> str:
    write_later(unit, name)
    raise LostRace(name)


def fail_at_its_flush(unit: UnitOfWork, name: str) -> str:
    write(unit, name)
    ADD.write(unit.connection, barcode="twice", name="a barcode that is there already")
    return name


def fail_at_commit(unit: UnitOfWork, name: str) -> str:
    unit.execute(PROMISE)
    return write(unit, name)


def write_a_nul(unit: UnitOfWork, name: str) -> str:
    ADD.write(unit.connection, barcode=name, name="a\0b")
    return write(unit, name)


def write_a_surrogate(unit: UnitOfWork, name: str) -> str:
    ADD.write(unit.connection, barcode=name, name="\udcff")
    return write(unit, name)


def write_a_number_beyond_64_bits(unit: UnitOfWork, name: str) -> str:
    write(unit, name)
    unit.execute(text("INSERT INTO kept (id) VALUES (:id)"), {"id": 2**70})
    return name


def swallow_an_error(unit: UnitOfWork, name: str) -> str:
    with suppress(DBAPIError):
        unit.execute(text("INSERT INTO kept (id) VALUES (0)"))
    return write(unit, name) if unit.dialect == "sqlite" else name


def end_as(state: str) -> Callable[[UnitOfWork, str], str]:
    """Work that ends with this SQLSTATE on PostgreSQL, and with a lost race on SQLite."""

    def end(unit: UnitOfWork, name: str) -> str:
        write_later(unit, name)
        if unit.dialect == "sqlite":
            raise LostRace(name)
        unit.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$"))
        return name

    return end


def lose_the_connection(unit: UnitOfWork, name: str) -> str:
    if unit.dialect == "sqlite":
        raise LostRace(name)
    unit.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    return name


# fmt: off
BAD: Final[dict[str, tuple[Callable[[UnitOfWork, str], str], LockSet]]] = {
    "a NUL in its lock":       (write, LockSet("a\0b")),
    "a surrogate in its lock": (write, LockSet("\udcff", item=("HKU", "\udcff"))),
    "a NUL in a request":      (write, LockSet(request="a\0b")),
    "a lock that is held":     (write, LockSet(HELD)),
    "at once":                 (raise_at_once, LockSet()),
    "after its write":         (raise_after_its_write, LockSet()),
    "a lost race":             (lose_a_race, LockSet()),
    "at its flush":            (fail_at_its_flush, LockSet()),
    "at COMMIT":               (fail_at_commit, LockSet()),
    "a NUL":                   (write_a_nul, LockSet()),
    "a surrogate":             (write_a_surrogate, LockSet()),
    "beyond 64 bits":          (write_a_number_beyond_64_bits, LockSet()),
    "an error swallowed":      (swallow_an_error, LockSet()),
    "a serialization failure": (end_as("40001"), LockSet()),
    "a deadlock":              (end_as("40P01"), LockSet()),
    "a lock timeout":          (end_as("55P03"), LockSet()),
    "a statement timeout":     (end_as("57014"), LockSet()),
    "the connection":          (lose_the_connection, LockSet()),
}
# fmt: on
GOOD: Final = {"good": (write, LockSet()), "good and buffered": (write_later, LockSet("P1", item=("HKU", "C1")))}


class Site:
    """A gateway's database, and a reactor queue that the test drains."""

    def __init__(self, engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> None:
        self.engine = engine
        self._pending: Queue[Callable[[], None]] = Queue()
        self.database = Database(engine, make_unit, self._pending.put, draw=lambda: 0.0)

    def told(self, waiters: list[Deferred[Any]]) -> list[Any]:
        return turns.told(waiters, lambda: self._pending.get(timeout=PATIENCE_S)())

    def group(self, *asked: tuple[Callable[[UnitOfWork, str], str], LockSet]) -> list[tuple[str, Any]]:
        """Queue units while the writer is blocked; return (name, result) of each, in order."""
        inside, let_go = Event(), Event()

        def hold(_unit: UnitOfWork) -> None:
            inside.set()
            assert let_go.wait(PATIENCE_S)

        holder = self.database.write(hold, LockSet())
        assert inside.wait(PATIENCE_S)
        names = [f"u{next(NUMBERS)}" for _ in asked]
        waiters = [self.database.write(bind(work, name), locks) for (work, locks), name in zip(asked, names, strict=True)]
        let_go.set()
        return list(zip(names, self.told([holder, *waiters])[1:], strict=True))

    def kept(self) -> set[str]:
        """Return the effects that another connection sees."""
        with self.engine.connect() as other:
            return set(other.execute(select(INBOX.c.digest)).scalars())


@pytest.fixture
def site(shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[Site]:
    """A database with a row for a flush to find, a constraint checked at COMMIT, and a lock of another gateway."""
    engine = open_engine(shared_engine.url.render_as_string(hide_password=False), Limits(lock_s=0.05))
    with shared_engine.connect() as other:
        other.exec_driver_sql("CREATE TABLE kept (id BIGINT PRIMARY KEY)")
        other.exec_driver_sql("CREATE TABLE promised (id BIGINT REFERENCES kept (id) DEFERRABLE INITIALLY DEFERRED)")
        other.exec_driver_sql("INSERT INTO kept (id) VALUES (0)")
        other.execute(insert(PATRONS), [{"barcode": "twice", "name": "there"}])
        if other.dialect.name == "postgresql":
            other.exec_driver_sql("BEGIN")
            other.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            make_unit(other).lock([LockSet(HELD)])
        made = Site(engine, make_unit)
        yield made
        made.database.close()
        engine.dispose()
        if other.dialect.name == "postgresql":
            other.exec_driver_sql("ROLLBACK")
        other.exec_driver_sql("DROP TABLE promised")
        other.exec_driver_sql("DROP TABLE kept")


GROUPS = st.lists(st.one_of(st.sampled_from(sorted(GOOD)), st.sampled_from(sorted(BAD))), min_size=2, max_size=12)


@settings(max_examples=example_count(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=GROUPS)
@example(kinds=[kind for bad in BAD for kind in ("good", bad)] + ["good and buffered"])
def test_valid_units_of_a_group_take_effect_and_are_answered(site: Site, kinds: list[str]) -> None:
    heard = site.group(*({**GOOD, **BAD}[kind] for kind in kinds))
    kept = site.kept()
    for kind, (name, answer) in zip(kinds, heard, strict=True):
        if kind in GOOD:
            assert (kind, answer) == (kind, name)
        assert (kind, isinstance(answer, Exception)) == (kind, name not in kept)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 2, 5])
def test_failing_unit_does_not_affect_other_units_at_any_position(site: Site, bad: str, place: int) -> None:
    kinds = ["good", "good and buffered"] * 3
    kinds[place] = bad
    heard = site.group(*({**GOOD, **BAD}[kind] for kind in kinds))
    good = [name for name, _ in heard if name != heard[place][0]]
    assert [answer for name, answer in heard if name in good] == good
    assert set(good) <= site.kept()
