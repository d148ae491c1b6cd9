"""The same document several times at once, at one gateway and at two: one outcome, for which the others wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from queue import Queue
from threading import Event
from typing import Any

from sqlalchemy import Connection, Engine
from twisted.internet.defer import Deferred

from hkall_gateway.db import inbox
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork

PATIENCE_S = 20.0
DOCUMENT = ("CUHK", "same")
LOCKS = LockSet(document=DOCUMENT)
Turns = Queue[Callable[[], None]]
MakeUnit = Callable[[Connection], UnitOfWork]


class Answers:
    """Replies to a document once; every computed reply has its own number."""

    def __init__(self, now: datetime) -> None:
        self._now, self._numbers = now, count(1)
        self.claimed, self.go_on = Event(), Event()

    def answer(self, unit: UnitOfWork) -> str:
        kept = inbox.find(unit, *DOCUMENT, self._now)
        if kept is not None:
            return kept
        self.claimed.set()
        assert self.go_on.wait(PATIENCE_S)
        outcome = f"outcome {next(self._numbers)}"
        inbox.keep(unit, *DOCUMENT, outcome, self._now + timedelta(days=30), self._now)
        return outcome


def _outcomes(waiters: list[Deferred[str]], turns: Turns) -> list[Any]:
    while not all(waiter.called for waiter in waiters):
        turns.get(timeout=PATIENCE_S)()
    found: list[Any] = []
    for waiter in waiters:
        waiter.addBoth(found.append)
    return found


def test_five_concurrent_identical_documents_have_one_outcome(
    shared_engine: Engine, make_unit: MakeUnit, now: datetime
) -> None:
    turns: Turns = Queue()
    database, answers = Database(shared_engine, make_unit, turns.put), Answers(now)
    waiters = [database.write(answers.answer, LOCKS)]
    assert answers.claimed.wait(PATIENCE_S)
    waiters += [database.write(answers.answer, LOCKS) for _ in range(4)]
    answers.go_on.set()
    outcomes = _outcomes(waiters, turns)
    database.close()
    assert outcomes == ["outcome 1"] * 5


def test_second_gateway_waits_for_the_outcome_of_the_first(postgres_engine: Engine, make_unit: MakeUnit, now: datetime) -> None:
    turns: Turns = Queue()
    first, second = (Database(postgres_engine, make_unit, turns.put) for _ in range(2))
    answers = Answers(now)
    waiters = [first.write(answers.answer, LOCKS)]
    assert answers.claimed.wait(PATIENCE_S)
    waiters += [second.write(answers.answer, LOCKS) for _ in range(4)]
    _wait_until_somebody_waits(postgres_engine)
    answers.go_on.set()
    outcomes = _outcomes(waiters, turns)
    first.close()
    second.close()
    assert outcomes == ["outcome 1"] * 5


def _wait_until_somebody_waits(engine: Engine) -> None:
    """Wait until PostgreSQL reports a session waiting for another one's lock, so that the race is real."""
    with engine.connect() as connection:
        for _ in range(10_000):
            waiting = connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one()
            if waiting:
                return
    raise AssertionError("the second gateway did not wait for the first")
