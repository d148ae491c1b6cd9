"""Server restarts, broken connections, locks of another gateway: retried where that is safe, otherwise refused.

PostgreSQL sessions are terminated from another session; errors that cannot be timed that way are raised where the driver would
raise them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import Queue
from threading import Event
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from twisted.internet.defer import Deferred

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.connect import Limits, open_engine
from hkall_gateway.db.engine.db_errors import STATES, DbErrorClass, Unavailable, classify
from hkall_gateway.db.engine.group import TRIES
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import INBOX, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.simulator.databases import SoleStore
from tests import turns

PATIENCE_S = 20.0
DAY = datetime(2017, 3, 1, tzinfo=UTC)
MakeUnit = Callable[[Connection], UnitOfWork]
SHORT = Limits(lock_s=0.05)


class Site:
    """A gateway's database, other sessions beside it, and a reactor queue that the test drains."""

    def __init__(self, engine: Engine, others: Engine, make_unit: MakeUnit) -> None:
        self.engine, self._others = engine, others
        self._pending: Queue[Callable[[], None]] = Queue()
        self.draws: list[float] = []
        self.database = Database(engine, make_unit, self._pending.put, draw=self._draw)

    def _draw(self) -> float:
        self.draws.append(0.0)
        return 0.0

    def all(self, *waiters: Deferred[Any]) -> list[Any]:
        return turns.told(waiters, lambda: self._pending.get(timeout=PATIENCE_S)())

    def write(self, work: Any, **how: Any) -> Any:
        return self.all(self.database.write(work, LockSet(), **how))[0]

    def backend(self) -> int:
        found: int = self.write(lambda unit: unit.execute(text("SELECT pg_backend_pid()")).scalar())
        return found

    def end_session(self, backend: int) -> None:
        with self._others.connect() as other:
            other.exec_driver_sql(f"SELECT pg_terminate_backend({backend}, 5000)")

    def kept(self) -> list[str]:
        with self._others.connect() as other:
            return list(other.execute(select(INBOX.c.digest).order_by(INBOX.c.digest)).scalars())


@pytest.fixture
def site(postgres_engine: Engine, make_unit: MakeUnit) -> Iterator[Site]:
    engine = open_engine(postgres_engine.url.render_as_string(hide_password=False), SHORT)
    made = Site(engine, postgres_engine, make_unit)
    yield made
    made.database.close()
    engine.dispose()


def write(unit: UnitOfWork, name: str) -> str:
    unit.execute(insert(INBOX).values(agency="CUHK", digest=name, made_at=DAY, keep_until=DAY))
    return name


def at(site: Site, word: str, work: Callable[[], None]) -> None:
    """Run `work` once, just before the gateway's session executes a statement containing `word`."""

    def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement == word:
            event.remove(site.engine, "before_cursor_execute", listen)
            work()

    event.listen(site.engine, "before_cursor_execute", listen)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY_TIMEOUT])
def test_sqlite_file_locked_by_another_process_raises_busy(code: int) -> None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    with open_engine("sqlite://").connect() as connection:
        assert classify(connection, error) is DbErrorClass.BUSY


# ---- the connection


def test_uncommitted_group_is_repeated_on_a_new_connection_after_a_disconnect(site: Site) -> None:
    site.end_session(site.backend())
    assert (site.write(bind(write, "a")), site.kept()) == ("a", ["a"])


def test_disconnect_between_two_units_of_a_group_loses_no_reply(site: Site) -> None:
    backend, tries = site.backend(), iter((True, False))

    def break_and_write(unit: UnitOfWork) -> str:
        if next(tries):
            site.end_session(backend)
        return write(unit, "b")

    both = site.database.write(bind(write, "a"), LockSet()), site.database.write(break_and_write, LockSet())
    assert (site.all(*both), site.kept()) == (["a", "b"], ["a", "b"])


def test_idempotent_work_is_repeated_after_a_commit_of_unknown_outcome(site: Site) -> None:
    backend = site.backend()
    at(site, "COMMIT", lambda: site.end_session(backend))
    assert (site.write(bind(write, "a"), repeatable=True), site.kept()) == ("a", ["a"])


def test_query_on_a_broken_connection_is_repeated_on_a_new_one(site: Site) -> None:
    (backend,) = site.all(site.database.read(lambda unit: unit.execute(text("SELECT pg_backend_pid()")).scalar(), is_long=True))
    site.end_session(backend)
    assert site.all(site.database.read(lambda unit: unit.partners.among(("CUHK",)), is_long=True)) == [{}]


def away(*_: object) -> None:
    raise psycopg.OperationalError("connection refused")


def test_requests_fail_at_once_during_an_outage_and_succeed_afterwards(site: Site) -> None:
    backend = site.backend()
    event.listen(site.engine, "do_connect", away)
    site.end_session(backend)
    assert isinstance(site.write(bind(write, "a")), Unavailable)
    refused = site.database.write(bind(write, "b"), LockSet())
    assert refused.called  # without a turn of the reactor: it waited for nothing
    assert [type(told) for told in site.all(refused)] == [Unavailable]
    event.remove(site.engine, "do_connect", away)
    told: list[Any] = []
    while not told or isinstance(told[-1], Unavailable):
        told.append(site.write(bind(write, "c")))
    assert (told[-1], site.kept()) == ("c", ["c"])


def test_stop_during_an_outage_does_not_wait_for_the_server(site: Site) -> None:
    backend = site.backend()
    event.listen(site.engine, "do_connect", away)
    site.end_session(backend)
    assert isinstance(site.write(bind(write, "a")), Unavailable)
    site.database.close()
    with pytest.raises(RuntimeError, match="closed"):
        site.database.write(bind(write, "b"), LockSet())


def test_command_line_survives_a_broken_connection(site: Site, make_unit: MakeUnit) -> None:
    store = SoleStore(site.engine, make_unit)
    site.end_session(store.now(lambda unit: int(unit.execute(text("SELECT pg_backend_pid()")).scalar_one())))
    assert store.now(write, "a") == "a"
    store.close()


# ---- another gateway in the way


class Holder:
    """Another session that locks a patron's row until it is told to release it."""

    def __init__(self, engine: Engine) -> None:
        self._connection = engine.connect()
        self._connection.execute(insert(PATRONS).values(barcode="P1"))
        self._connection.exec_driver_sql("BEGIN")
        self._connection.execute(select(PATRONS.c.barcode).with_for_update())

    def let_go(self) -> None:
        self._connection.exec_driver_sql("ROLLBACK")
        self._connection.close()


def touch(unit: UnitOfWork, tried: Callable[[], object]) -> str:
    tried()
    unit.execute(update(PATRONS).values(name="x"))
    return "touched"


def test_unit_timing_out_on_a_lock_is_retried_while_others_are_answered(site: Site, postgres_engine: Engine) -> None:
    holder = Holder(postgres_engine)
    tries = iter((lambda: None, lambda: None, holder.let_go))
    held, other = (
        site.database.write(bind(touch, lambda: next(tries)()), LockSet()),
        site.database.write(bind(write, "a"), LockSet()),
    )
    assert site.all(held, other) == ["touched", "a"]
    assert site.draws  # it paused for a drawn time in between


def test_unit_that_stays_locked_out_gets_try_again_after_several_attempts(site: Site, postgres_engine: Engine) -> None:
    holder, tries = Holder(postgres_engine), []
    told = site.write(bind(touch, lambda: tries.append(1)))
    holder.let_go()
    assert isinstance(told, Unavailable)
    assert (str(told), len(tries)) == ("LockNotAvailable 55P03", TRIES)


def test_statement_timeout_is_reported_to_its_unit_while_others_are_answered(
    postgres_engine: Engine, make_unit: MakeUnit
) -> None:
    engine = open_engine(postgres_engine.url.render_as_string(hide_password=False), Limits(statement_s=0.1))
    site = Site(engine, postgres_engine, make_unit)
    slow = site.database.write(lambda unit: unit.execute(text("SELECT pg_sleep(20)")).scalar(), LockSet())
    told = site.all(slow, site.database.write(bind(write, "a"), LockSet()))
    site.database.close()
    engine.dispose()
    assert isinstance(told[0], Unavailable)
    assert (str(told[0]), told[1], site.kept()) == ("QueryCanceled 57014", "a", ["a"])


def test_frozen_gateway_keeps_row_locks_for_a_limited_time(postgres_engine: Engine, make_unit: MakeUnit) -> None:
    engine = open_engine(postgres_engine.url.render_as_string(hide_password=False), Limits(idle_s=0.2))
    site = Site(engine, postgres_engine, make_unit)
    Holder(postgres_engine).let_go()
    has_it, go_on, tries = Event(), Event(), iter((True, False))

    def stand_still(unit: UnitOfWork) -> str:
        touched = touch(unit, lambda: None)
        if next(tries):
            has_it.set()
            go_on.wait(PATIENCE_S)
        return touched

    still = site.database.write(stand_still, LockSet())
    assert has_it.wait(PATIENCE_S)
    with postgres_engine.connect() as other:  # it waits until the server has ended the other session
        assert other.execute(update(PATRONS).values(name="y")).rowcount == 1
    go_on.set()
    assert site.all(still) == ["touched"]  # on a new connection, once more
    site.database.close()
    engine.dispose()


def test_row_inserted_by_another_gateway_is_seen_by_the_retry(site: Site, postgres_engine: Engine) -> None:
    def write_or_find(unit: UnitOfWork) -> str:
        if unit.execute(select(INBOX.c.digest)).first():
            return "found"
        with postgres_engine.connect() as other:  # just now, at another gateway
            other.execute(insert(INBOX).values(agency="CUHK", digest="a", made_at=DAY, keep_until=DAY))
        return write(unit, "a")

    assert site.write(write_or_find) == "found"


def test_repeated_unique_violation_is_raised(site: Site) -> None:
    site.write(bind(write, "a"))
    assert isinstance(site.write(bind(write, "a")), IntegrityError)


# ---- the table


@pytest.mark.parametrize(("state", "fault"), [*STATES.items(), ("22003", DbErrorClass.BUG), ("57P01", DbErrorClass.LOST)])
def test_each_sqlstate_maps_to_its_error_class(site: Site, state: str, fault: DbErrorClass) -> None:
    error = psycopg.errors.lookup(state)() if len(state) == 5 else psycopg.DatabaseError()
    error.sqlstate = error.sqlstate or f"{state}000"
    with site.engine.connect() as connection:
        assert classify(connection, error) is fault


def test_every_sqlstate_exists_in_postgresql() -> None:
    known = {name for name in dir(psycopg.errors) if isinstance(getattr(psycopg.errors, name), type)}
    states = {getattr(psycopg.errors, name).sqlstate for name in known if hasattr(getattr(psycopg.errors, name), "sqlstate")}
    assert {state for state in STATES if len(state) == 5} <= states
    assert {state for state in STATES if len(state) == 2} <= {str(state)[:2] for state in states}
