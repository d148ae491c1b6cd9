"""A unit of work begins before its deadline or never, on both databases, whether the writer or the timer takes it.

The clock of the deadlines is a number that the test changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import Queue
from threading import Event
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, insert, select
from twisted.internet.defer import Deferred

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.compiled import flush
from hkall_gateway.db.engine.expiry import Expired, without
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import INBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Deadline, current, until
from hkall_gateway.rules.vocabulary import LostRace
from tests import turns

pytestmark = pytest.mark.sql_differs

PATIENCE_S: Final = 20.0
DAY: Final = datetime(2017, 3, 1, tzinfo=UTC)
ITEM: Final = LockSet(item=("", "C1"))


def write(unit: UnitOfWork, name: str) -> str:
    unit.execute(insert(INBOX).values(agency="CUHK", digest=name, made_at=DAY, keep_until=DAY))
    return name


class Site:
    """A gateway's database. `now_s` is the clock of its deadlines."""

    def __init__(self, engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> None:
        self.engine, self.now_s = engine, 1000.0
        self._pending: Queue[Callable[[], None]] = Queue()
        self.database = Database(engine, make_unit, self._pending.put, draw=lambda: 0.0, seconds=lambda: self.now_s)

    def deadline(self, seconds: float = 8.0) -> Deadline:
        return Deadline(lambda: self.now_s, self.now_s + seconds)

    def told(self, *waiters: Deferred[Any]) -> list[Any]:
        return turns.told(waiters, lambda: self._pending.get(timeout=PATIENCE_S)())

    def hold(self) -> tuple[Deferred[None], Event]:
        """Keep the writer busy until the event is set."""
        inside, let_go = Event(), Event()

        def held(_unit: UnitOfWork) -> None:
            inside.set()
            assert let_go.wait(PATIENCE_S)

        waiter = self.database.write(held, LockSet())
        assert inside.wait(PATIENCE_S)
        return waiter, let_go

    def kept(self) -> set[str]:
        """Return the effects that another connection sees."""
        with self.engine.connect() as other:
            return set(other.execute(select(INBOX.c.digest)).scalars())


@pytest.fixture
def site(shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[Site]:
    made = Site(shared_engine, make_unit)
    yield made
    made.database.close()


@pytest.fixture
def postgres_site(postgres_engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[Site]:
    made = Site(postgres_engine, make_unit)
    yield made
    made.database.close()


def test_unit_never_runs_when_its_deadline_passes_in_the_queue(site: Site) -> None:
    holder, let_go = site.hold()
    late = site.database.write(bind(write, "late"), ITEM, site.deadline(8))
    later = site.database.write(bind(write, "in time"), LockSet(), until=site.deadline(20))
    without_one = site.database.write(bind(write, "without"), LockSet())
    site.now_s += 8
    let_go.set()
    _, no, *yes = site.told(holder, late, later, without_one)
    assert isinstance(no, Expired)
    assert yes == ["in time", "without"]
    assert site.kept() == {"in time", "without"}


def test_unit_never_runs_when_its_caller_has_gone(site: Site) -> None:
    deadline = site.deadline()
    holder, let_go = site.hold()
    waiter = site.database.write(bind(write, "gone"), LockSet(), until=deadline)
    assert deadline.drop("gone")
    let_go.set()
    _, no = site.told(holder, waiter)
    assert isinstance(no, Expired)
    assert (site.kept(), deadline.why) == (set(), "gone")


def test_timer_cannot_expire_a_unit_that_has_begun(site: Site) -> None:
    deadline, taken = site.deadline(), list[bool]()

    def work(unit: UnitOfWork) -> str:
        site.now_s += 60
        taken.append(deadline.drop("late"))
        return write(unit, "begun")

    assert site.told(site.database.write(work, LockSet(), until=deadline)) == ["begun"]
    assert (taken, deadline.drop("late"), site.kept()) == ([False], False, {"begun"})


def test_unit_either_runs_or_expires_but_never_both(site: Site) -> None:
    for turn in range(100):
        deadline, taken = site.deadline(), list[bool]()
        timer = threading.Thread(target=lambda d=deadline, t=taken: t.append(d.drop("late")))
        waiter = site.database.write(bind(write, f"u{turn}"), LockSet(), until=deadline)
        if turn % 2:
            time.sleep(turn / 100_000)
        timer.start()
        (answer,) = site.told(waiter)
        timer.join()
        assert taken == [isinstance(answer, Expired)]
        assert (f"u{turn}" in site.kept()) is not taken[0]


def test_unit_is_not_retried_after_its_deadline(site: Site) -> None:
    runs: list[int] = []

    def conflict(unit: UnitOfWork) -> str:
        runs.append(1)
        write(unit, "again")
        site.now_s += 9
        raise LostRace("another gateway was first")

    deadline = site.deadline(8)
    (no,) = site.told(site.database.write(conflict, LockSet(), until=deadline))
    assert isinstance(no, Expired)
    assert (len(runs), site.kept(), deadline.why) == (1, set(), "late")


def test_timer_expires_a_rolled_back_unit_that_waits_for_its_retry(site: Site) -> None:
    """The unit runs twice at once and would run a third time; the second run triggers the timer."""
    deadline, taken = site.deadline(), list[bool]()

    def conflict(unit: UnitOfWork) -> str:
        write(unit, "again")
        taken.append(deadline.drop("late"))
        raise LostRace("another gateway was first")

    (no,) = site.told(site.database.write(conflict, LockSet(), until=deadline))
    assert isinstance(no, Expired)
    assert (taken, deadline.drop("late"), site.kept()) == ([False], True, set())


def test_unit_grouped_with_a_failing_unit_keeps_its_deadline(site: Site) -> None:
    def raise_late(_unit: UnitOfWork) -> None:
        site.now_s += 9
        raise ZeroDivisionError

    holder, let_go = site.hold()
    bad = site.database.write(raise_late, LockSet())
    good = site.database.write(bind(write, "good"), LockSet(), until=site.deadline(20))
    late = site.database.write(bind(write, "late"), LockSet(), until=site.deadline(8))
    let_go.set()
    _, raised, kept, no = site.told(holder, bad, good, late)
    assert (type(raised), kept, type(no)) == (ZeroDivisionError, "good", Expired)
    assert site.kept() == {"good"}


def test_unit_never_runs_when_its_deadline_passes_while_it_waits_for_a_lock(postgres_site: Site) -> None:
    site = postgres_site
    with site.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        UnitOfWork(other, str).lock([ITEM])
        flush(other)
        waiter = site.database.write(bind(write, "waits"), ITEM, site.deadline(8))
        _until_it_waits_for_a_lock(site)
        site.now_s += 8
        other.exec_driver_sql("ROLLBACK")
    (no,) = site.told(waiter)
    assert isinstance(no, Expired)
    assert site.kept() == set()


def test_unit_never_runs_when_its_deadline_has_passed_by_the_database_clock(postgres_site: Site) -> None:
    """For example, on a machine that was paused as a whole, so that its own clock stood still."""
    site = postgres_site
    assert site.told(site.database.write(bind(write, "measures"), LockSet(), until=site.deadline())) == ["measures"]
    with site.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        UnitOfWork(other, str).lock([ITEM])
        flush(other)
        paused = site.database.write(bind(write, "paused"), ITEM, site.deadline(0.5))
        other.exec_driver_sql("SELECT pg_sleep(0.6)")
        other.exec_driver_sql("ROLLBACK")
    (no,) = site.told(paused)
    assert isinstance(no, Expired)
    assert site.told(site.database.write(bind(write, "next"), ITEM, site.deadline())) == ["next"]
    assert site.kept() == {"measures", "next"}


def _until_it_waits_for_a_lock(site: Site) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with site.engine.connect() as other:
        for _ in range(2000):
            if other.exec_driver_sql(waiting).scalar_one():
                return
            time.sleep(0.005)
    raise AssertionError("nobody waits")


# ---- work of several units


def test_command_is_not_dropped_while_work_without_a_deadline_runs(site: Site) -> None:
    deadline = site.deadline()
    with until(deadline):
        with without():
            site.now_s += 9
            assert not deadline.drop("late")
            assert site.told(site.database.write(bind(write, "bulk"), LockSet(), until=current())) == ["bulk"]
        assert current() is deadline
    assert deadline.drop("late")


def test_work_without_a_deadline_does_not_begin_after_the_deadline_of_its_command(site: Site) -> None:
    deadline = site.deadline()
    site.now_s += 9
    with until(deadline), pytest.raises(Expired), without():
        raise AssertionError("it began")


def test_reads_have_no_deadline(site: Site) -> None:
    deadline = site.deadline()
    site.now_s += 9
    with until(deadline):
        assert site.told(site.database.read(lambda _unit: "read", is_long=True)) == ["read"]
