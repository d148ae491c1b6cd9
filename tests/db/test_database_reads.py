"""Read-only queries: they see committed data, leave no open transaction, and do not wait for the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select
from twisted.internet.defer import Deferred

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.schema import upgrade
from hkall_gateway.db.tables import INBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Refusal

PATIENCE_S = 20.0
Answered = Callable[[Deferred[Any]], Any]


@pytest.fixture
def turns() -> Queue[Callable[[], None]]:
    return Queue()


@pytest.fixture
def database(
    shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], turns: Queue[Callable[[], None]]
) -> Iterator[Database]:
    database = Database(shared_engine, make_unit, turns.put)
    yield database
    database.close()


@pytest.fixture
def answered(turns: Queue[Callable[[], None]]) -> Answered:
    """The result or error of a waiter, delivered in a reactor iteration."""

    def wait(waiter: Deferred[Any]) -> Any:
        while not waiter.called:
            turns.get(timeout=PATIENCE_S)()
        found: list[Any] = []
        waiter.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found[0]

    return wait


def _digests(unit: UnitOfWork) -> list[str]:
    return list(unit.execute(select(INBOX.c.digest).order_by(INBOX.c.digest)).scalars())


def _write(unit: UnitOfWork, digest: str, now: datetime) -> None:
    unit.execute(insert(INBOX).values(agency="CUHK", digest=digest, made_at=now, keep_until=now))


def test_query_sees_committed_data(database: Database, answered: Answered, now: datetime) -> None:
    answered(database.write(bind(_write, "a", now), LockSet()))
    assert answered(database.read(_digests, is_long=True)) == ["a"]


def test_query_leaves_no_open_transaction(database: Database, answered: Answered, now: datetime) -> None:
    answered(database.read(bind(_write, "b", now), is_long=True))
    assert answered(database.write(_digests, LockSet())) == []


def test_refusal_in_a_read_only_query_is_not_journalled(database: Database, answered: Answered, now: datetime) -> None:
    def refuse(unit: UnitOfWork) -> str:
        unit.refuse(Refusal(Reason.UNKNOWN_ITEM), now, Actor(who="counter-1", channel="sip2", message="11"), patron="P1")
        return "refused"

    assert answered(database.read(refuse, is_long=True)) == "refused"
    assert answered(database.write(lambda unit: unit.journal.history("P1"), LockSet())) == ()


def test_failing_query_does_not_affect_other_queries(database: Database, answered: Answered) -> None:
    waiters = [
        database.read(lambda _unit: 1, is_long=True),
        database.read(lambda _unit: 1 // 0, is_long=True),
        database.read(lambda _unit: 3, is_long=True),
    ]
    outcomes = [answered(waiter) for waiter in waiters]
    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (1, ZeroDivisionError, 3)


@pytest.mark.parametrize("read", [Database.read, partial(Database.read, is_long=True)])
def test_query_does_not_wait_for_the_writer(database: Database, answered: Answered, read: Callable[..., Deferred[str]]) -> None:
    inside, go_on = Event(), Event()

    def hold(_unit: UnitOfWork) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)

    writing = database.write(hold, LockSet())
    assert inside.wait(PATIENCE_S)
    assert answered(read(database, lambda _unit: "answered")) == "answered"
    go_on.set()
    answered(writing)


def test_query_is_answered_while_the_writer_waits_for_another_process(
    tmp_path: Path,
    make_unit: Callable[[Connection], UnitOfWork],
    answered: Answered,
    turns: Queue[Callable[[], None]],
    now: datetime,
) -> None:
    file, writer_begins = tmp_path / "two_processes.db", Event()
    engine = open_engine(f"sqlite:///{file}")
    upgrade(engine)
    database = Database(engine, make_unit, turns.put, watch=lambda lane, _units: _entered(writer_begins, lane))
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = database.write(bind(_write, "a", now), LockSet())
        assert writer_begins.wait(PATIENCE_S)
        assert (answered(database.read(_digests)), writing.called) == ([], False)
        other.execute("COMMIT")
    answered(writing)
    assert answered(database.read(_digests)) == ["a"]
    database.close()
    engine.dispose()


def _entered(writer_begins: Event, lane: str) -> AbstractContextManager[None]:
    if lane == "writer":
        writer_begins.set()
    return nullcontext()
