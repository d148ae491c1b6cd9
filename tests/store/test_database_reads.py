"""Questions that decide nothing: they see what is committed, leave nothing, and do not wait for the writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from queue import Queue
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select
from twisted.internet.defer import Deferred

from hkall_gateway.store.engine.database import Database
from hkall_gateway.store.tables import INBOX
from hkall_gateway.store.unit import Unit

PATIENCE_S = 20.0
Answered = Callable[[Deferred[Any]], Any]


@pytest.fixture
def turns() -> Queue[Callable[[], None]]:
    return Queue()


@pytest.fixture
def database(
    shared_engine: Engine, make_unit: Callable[[Connection], Unit], turns: Queue[Callable[[], None]]
) -> Iterator[Database]:
    database = Database(shared_engine, make_unit, turns.put)
    yield database
    database.close()


@pytest.fixture
def answered(turns: Queue[Callable[[], None]]) -> Answered:
    """What a waiter gets: a result or an error, in the reactor's turn."""

    def wait(waiter: Deferred[Any]) -> Any:
        while not waiter.called:
            turns.get(timeout=PATIENCE_S)()
        found: list[Any] = []
        waiter.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found[0]

    return wait


def _digests(unit: Unit) -> list[str]:
    return list(unit.execute(select(INBOX.c.digest).order_by(INBOX.c.digest)).scalars())


def _write(unit: Unit, digest: str, now: datetime) -> None:
    unit.execute(insert(INBOX).values(agency="CUHK", digest=digest, made_at=now, keep_until=now))


def test_a_question_sees_what_is_committed(database: Database, answered: Answered, now: datetime) -> None:
    answered(database.run(_write, "a", now))
    assert answered(database.read(_digests)) == ["a"]


def test_a_question_leaves_nothing(database: Database, answered: Answered, now: datetime) -> None:
    answered(database.read(_write, "b", now))
    assert answered(database.run(_digests)) == []


def test_a_question_that_raises_fails_alone(database: Database, answered: Answered) -> None:
    waiters = [database.read(lambda _unit: 1), database.read(lambda _unit: 1 // 0), database.read(lambda _unit: 3)]
    outcomes = [answered(waiter) for waiter in waiters]
    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (1, ZeroDivisionError, 3)


def test_a_question_does_not_wait_for_the_writer(database: Database, answered: Answered) -> None:
    inside, go_on = Event(), Event()

    def hold(_unit: Unit) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)

    writing = database.run(hold)
    assert inside.wait(PATIENCE_S)
    assert answered(database.read(lambda _unit: "answered")) == "answered"
    go_on.set()
    answered(writing)
