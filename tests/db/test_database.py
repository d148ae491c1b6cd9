"""The writer: one durable commit for all waiting units, no reply before it, and an error to every caller if it fails.

The reactor here is a queue that the test drains itself. The first job of a test blocks the writer until all others are queued,
so that they form one group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from queue import Queue
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text
from sqlalchemy.exc import IntegrityError
from twisted.internet.defer import CancelledError, Deferred

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import INBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from tests import turns

pytestmark = pytest.mark.sql_differs

PATIENCE_S = 20.0
TERMINAL: ContextVar[str] = ContextVar("terminal", default="nobody")
DAY = datetime(2017, 3, 1, tzinfo=UTC)
NAMES = [f"n{number:02}" for number in range(12)]


class Reactor:
    """callFromThread as a queue: calls from threads run when the test drains it."""

    def __init__(self) -> None:
        self._pending: Queue[Callable[[], None]] = Queue()

    def call(self, turn: Callable[[], None]) -> None:
        self._pending.put(turn)

    def turn(self) -> None:
        self._pending.get(timeout=PATIENCE_S)()

    def until(self, waiters: list[Deferred[Any]]) -> list[Any]:
        """Drain the queue until every waiter has fired; return results and errors in the order of the waiters."""
        return turns.told(waiters, self.turn)


class Gate:
    """Work that blocks the writer until the test opens the gate."""

    def __init__(self, database: Database) -> None:
        self._inside, self._open = Event(), Event()
        self.waiter = database.write(self._hold, LockSet())
        assert self._inside.wait(PATIENCE_S)

    def _hold(self, _unit: UnitOfWork) -> None:
        self._inside.set()
        assert self._open.wait(PATIENCE_S)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def database(shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], reactor: Reactor) -> Iterator[Database]:
    database = Database(shared_engine, make_unit, reactor.call)
    yield database
    database.close()


@pytest.fixture
def commits(shared_engine: Engine) -> list[str]:
    """Records every COMMIT from here on."""
    said: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement == "COMMIT":
            said.append(statement)

    event.listen(shared_engine, "before_cursor_execute", listen)
    return said


@pytest.fixture
def promises(shared_engine: Engine) -> Iterator[None]:
    """A table with deferred constraints, which make a real COMMIT fail."""
    with shared_engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE promised (id INTEGER REFERENCES kept (id) DEFERRABLE INITIALLY DEFERRED)")
        yield
        connection.exec_driver_sql("DROP TABLE promised")
        connection.exec_driver_sql("DROP TABLE kept")


def _write(unit: UnitOfWork, name: str) -> str:
    unit.execute(insert(INBOX).values(agency="CUHK", digest=name, made_at=DAY, keep_until=DAY))
    return name


def _write_badly(unit: UnitOfWork, name: str) -> str:
    _write(unit, name)
    raise ZeroDivisionError(name)


def _promise(unit: UnitOfWork, name: str) -> str:
    unit.execute(_PROMISE)
    return _write(unit, name)


def _names(connection: Connection) -> list[str]:
    return list(connection.execute(select(INBOX.c.digest).order_by(INBOX.c.digest)).scalars())


def _kept(engine: Engine) -> list[str]:
    """The rows visible to another connection."""
    with engine.connect() as other:
        return _names(other)


# ---- groups


def test_queued_units_share_one_commit(database: Database, reactor: Reactor, commits: list[str], shared_engine: Engine) -> None:
    gate = Gate(database)
    waiters = [database.write(bind(_write, name), LockSet()) for name in NAMES]
    gate.open()
    assert reactor.until([gate.waiter, *waiters])[1:] == NAMES
    assert len(commits) == 2
    assert _kept(shared_engine) == NAMES


def test_batch_size_one_commits_each_unit_separately(
    shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], reactor: Reactor, commits: list[str]
) -> None:
    database = Database(shared_engine, make_unit, reactor.call, batch=1)
    waiters = [database.write(bind(_write, name), LockSet()) for name in NAMES]
    reactor.until(waiters)
    database.close()
    assert len(commits) == len(NAMES)


def test_only_the_unit_that_raises_is_rolled_back(database: Database, reactor: Reactor, shared_engine: Engine) -> None:
    gate = Gate(database)
    good, bad, also_good = (
        database.write(bind(_write, "a"), LockSet()),
        database.write(bind(_write_badly, "b"), LockSet()),
        database.write(bind(_write, "c"), LockSet()),
    )
    gate.open()
    outcomes = reactor.until([good, bad, also_good])
    assert (outcomes[0], outcomes[2]) == ("a", "c")
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert _kept(shared_engine) == ["a", "c"]


def test_unit_swallowing_a_database_error_does_not_affect_other_units(
    database: Database, reactor: Reactor, shared_engine: Engine
) -> None:
    def swallow(unit: UnitOfWork) -> None:
        with pytest.raises(IntegrityError):
            unit.execute(insert(INBOX).values(agency="CUHK", digest="a", made_at=DAY, keep_until=None))

    gate = Gate(database)
    waiters: list[Deferred[Any]] = [
        database.write(bind(_write, "a"), LockSet()),
        database.write(swallow, LockSet()),
        database.write(bind(_write, "c"), LockSet()),
    ]
    gate.open()
    outcomes = reactor.until(waiters)
    assert (outcomes[0], outcomes[2]) == ("a", "c")
    assert _kept(shared_engine) == ["a", "c"]


@pytest.mark.usefixtures("promises")
def test_commit_is_repeated_without_the_unit_that_made_it_fail(
    database: Database, reactor: Reactor, shared_engine: Engine
) -> None:
    gate = Gate(database)
    waiters = [
        database.write(bind(_write, "a"), LockSet()),
        database.write(bind(_promise, "b"), LockSet()),
        database.write(bind(_write, "c"), LockSet()),
    ]
    gate.open()
    outcomes = reactor.until(waiters)
    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == ("a", IntegrityError, "c")
    assert _kept(shared_engine) == ["a", "c"]


@pytest.mark.usefixtures("promises")
def test_writer_continues_after_a_failed_commit(database: Database, reactor: Reactor, shared_engine: Engine) -> None:
    reactor.until([database.write(bind(_promise, "a"), LockSet())])
    assert reactor.until([database.write(bind(_write, "b"), LockSet())]) == ["b"]
    assert _kept(shared_engine) == ["b"]


def test_every_unit_fails_when_the_transaction_cannot_begin(
    database: Database, reactor: Reactor, shared_engine: Engine
) -> None:
    def refuse(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("BEGIN"):
            raise OSError("no space left on device")

    gate = Gate(database)
    waiters = [database.write(bind(_write, name), LockSet()) for name in NAMES]
    event.listen(shared_engine, "before_cursor_execute", refuse)
    gate.open()
    assert [type(outcome) for outcome in reactor.until(waiters)] == [OSError] * len(NAMES)
    event.remove(shared_engine, "before_cursor_execute", refuse)
    assert _kept(shared_engine) == []


# ---- answers


def test_units_are_answered_only_after_the_durable_commit(database: Database, reactor: Reactor, shared_engine: Engine) -> None:
    seen_inside: list[list[str]] = []

    def write_and_look(unit: UnitOfWork, name: str) -> None:
        _write(unit, name)
        seen_inside.append(_kept(shared_engine))

    waiter = database.write(bind(write_and_look, "a"), LockSet())
    seen_when_answered: list[list[str]] = []
    waiter.addCallback(lambda _: seen_when_answered.append(_kept(shared_engine)))
    reactor.until([waiter])
    assert (seen_inside, seen_when_answered) == ([[]], [["a"]])


def test_work_and_replies_keep_the_submission_order(database: Database, reactor: Reactor) -> None:
    done: list[str] = []
    answered: list[str] = []

    def write_down(_unit: UnitOfWork, name: str) -> str:
        done.append(name)
        return name

    gate = Gate(database)
    waiters = [database.write(bind(write_down, name), LockSet()) for name in NAMES]
    for waiter in waiters:
        waiter.addCallback(answered.append)
    gate.open()
    reactor.until(waiters)
    assert done == answered == NAMES


def test_unit_is_committed_when_its_caller_has_cancelled(database: Database, reactor: Reactor, shared_engine: Engine) -> None:
    gate = Gate(database)
    given_up, other = database.write(bind(_write, "a"), LockSet()), database.write(bind(_write, "b"), LockSet())
    given_up.cancel()
    gate.open()
    outcomes = reactor.until([given_up, other])
    assert isinstance(outcomes[0], CancelledError)
    assert _kept(shared_engine) == ["a", "b"]


def test_exception_in_a_listener_affects_no_reply(shared_engine: Engine, reactor: Reactor) -> None:
    class Loud(UnitOfWork):
        def committed(self) -> None:
            raise ZeroDivisionError("the listener")

    database = Database(shared_engine, lambda connection: Loud(connection, str), reactor.call)
    waiters = [database.write(bind(_write, name), LockSet()) for name in NAMES]
    database.close()
    while not all(waiter.called for waiter in waiters):
        with pytest.raises(ZeroDivisionError):
            reactor.turn()
    assert reactor.until(waiters) == NAMES


def test_unit_runs_in_the_context_of_its_caller(database: Database, reactor: Reactor) -> None:
    token = TERMINAL.set("counter-1")
    asked = [database.write(lambda _unit: TERMINAL.get(), LockSet()), database.read(lambda _unit: TERMINAL.get(), is_long=True)]
    TERMINAL.reset(token)
    later = database.write(lambda _unit: TERMINAL.get(), LockSet())
    assert reactor.until([*asked, later]) == ["counter-1", "counter-1", "nobody"]


_PROMISE = text("INSERT INTO promised (id) VALUES (1)")
