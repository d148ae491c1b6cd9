"""The writer of a file: short units run in the reactor's turn; commits, and what may last, on a thread.

The reactor here is a queue of turns that the test takes itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from threading import Event, get_ident
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text
from sqlalchemy.exc import IntegrityError
from twisted.internet.defer import Deferred

from hkall_gateway.rules.vocabulary import LostRace
from hkall_gateway.store.engine import split_writer
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.engine.database import Database
from hkall_gateway.store.engine.split_writer import UNITS_AN_ITERATION
from hkall_gateway.store.schema import upgrade
from hkall_gateway.store.tables import INBOX
from hkall_gateway.store.unit import Unit
from tests import turns

PATIENCE_S = 20.0
DAY = datetime(2017, 3, 1, tzinfo=UTC)


class Site:
    """A gateway's file, and the turns of its reactor."""

    def __init__(self, path: Path, make_unit: Callable[[Connection], Unit]) -> None:
        self.path, self.engine = path, open_engine(f"sqlite:///{path}")
        upgrade(self.engine)
        self.said: list[tuple[str, bool]] = []
        self.groups: list[tuple[str, int]] = []
        self._once: dict[str, Callable[[], object]] = {}
        self._pending: Queue[Callable[[], None]] = Queue()
        self.database = Database(self.engine, make_unit, self._pending.put, watch=self._watch)
        event.listen(self.engine, "before_cursor_execute", self._hear)
        self._reactor = get_ident()

    def _hear(self, _c: object, _cursor: object, statement: str, *_more: object) -> None:
        word = statement.partition(" ")[0]
        self.said.append((word, get_ident() == self._reactor))
        self._once.pop(word, lambda: None)()

    def _watch(self, lane: str, units: int) -> AbstractContextManager[None]:
        self.groups.append((lane, units))
        return nullcontext()

    def run(self, name: str, work: Callable[..., Any] | None = None, *, short: bool = True) -> Deferred[Any]:
        return self.database.run(work or write, name, short=short)

    @property
    def is_idle(self) -> bool:
        """Whether the reactor has nothing to do."""
        return self._pending.empty()

    def turn(self) -> None:
        self._pending.get(timeout=PATIENCE_S)()

    def told(self, *waiters: Deferred[Any]) -> list[Any]:
        """What they hear, after as many turns as that takes."""
        return turns.told(waiters, self.turn)

    def kept(self) -> list[str]:
        """What another connection sees."""
        with self.engine.connect() as other:
            return list(other.execute(select(INBOX.c.digest).order_by(INBOX.c.digest)).scalars())

    def before(self, word: str, work: Callable[[], object]) -> None:
        """Do `work` once, before the next statement that begins so."""
        self._once[word] = work


@pytest.fixture
def site(tmp_path: Path, make_unit: Callable[[Connection], Unit]) -> Iterator[Site]:
    made = Site(tmp_path / "split_writer.db", make_unit)
    yield made
    made.database.close()
    made.engine.dispose()


def write(unit: Unit, name: str) -> str:
    unit.execute(insert(INBOX).values(agency="CUHK", digest=name, made_at=DAY, keep_until=DAY))
    return name


def test_units_run_in_the_reactors_turn_and_the_commit_does_not(site: Site) -> None:
    assert site.told(site.run("a"), site.run("b")) == ["a", "b"]
    assert site.said == [("BEGIN", True), ("INSERT", True), ("INSERT", True), ("COMMIT", False)]
    assert site.groups == [("writer", 2)]


def test_nothing_is_done_before_the_turn_and_nobody_answered_before_the_commit(site: Site) -> None:
    waiter, lasts = site.run("a"), Event()
    assert site.said == []
    site.before("COMMIT", lambda: lasts.wait(PATIENCE_S))
    site.turn()
    assert (waiter.called, site.kept()) == (False, [])
    lasts.set()
    assert (site.told(waiter), site.kept()) == (["a"], ["a"])


def test_the_reactor_reads_while_a_commit_lasts(site: Site) -> None:
    waiter, lasts = site.run("a"), Event()
    site.before("COMMIT", lambda: lasts.wait(PATIENCE_S))
    site.turn()
    glance = site.database.read_inline(lambda unit: unit.patron("P0001"))
    assert (site.told(glance), waiter.called) == ([None], False)
    lasts.set()
    assert site.told(waiter) == ["a"]


def test_what_came_in_while_the_last_group_was_done_is_the_next(site: Site) -> None:
    first, lasts = site.run("a"), Event()
    site.before("COMMIT", lambda: lasts.wait(PATIENCE_S))
    site.turn()
    others = [site.run(name) for name in "bcd"]
    lasts.set()
    assert site.told(first, *others) == list("abcd")
    assert site.groups == [("writer", 1), ("writer", 3)]


def test_a_crowd_keeps_the_reactor_for_no_more_than_some_units_at_a_time(site: Site) -> None:
    names = [f"{number:03}" for number in range(UNITS_AN_ITERATION + 1)]
    assert site.told(*map(site.run, names)) == names
    assert site.groups == [("writer", UNITS_AN_ITERATION), ("writer", 1)]


def test_what_may_last_is_done_on_the_thread_with_all_that_wait(site: Site) -> None:
    waiters = [site.run("a"), site.run("b", short=False)]
    assert site.told(*waiters) == ["a", "b"]
    assert [who for what, who in site.said if what in {"BEGIN", "INSERT", "COMMIT"}] == [False] * 4


def test_who_writes_from_elsewhere_does_not_hold_up_the_reactor(site: Site) -> None:
    other = sqlite3.connect(site.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiter, thread_waits = site.run("a"), Event()
    site.before("PRAGMA", thread_waits.set)
    site.turn()  # it has tried, and comes back at once
    assert thread_waits.wait(PATIENCE_S)
    other.execute("COMMIT")
    assert (site.told(waiter), site.kept()) == (["a"], ["a"])
    other.close()
    assert site.told(site.run("b")) == ["b"]
    assert site.said[-1] == ("COMMIT", False)
    assert site.said[-2] == ("INSERT", True)


def test_all_who_wait_for_another_process_wait_once(site: Site) -> None:
    other = sqlite3.connect(site.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    names = [f"{number:03}" for number in range(2 * UNITS_AN_ITERATION)]
    waiters = [site.run(name) for name in names]
    site.before("PRAGMA", lambda: other.execute("COMMIT"))
    assert site.told(*waiters) == names
    assert site.groups[-1] == ("writer", 2 * UNITS_AN_ITERATION)
    other.close()


def test_a_unit_that_raises_is_rolled_back_alone(site: Site) -> None:
    def badly(unit: Unit, name: str) -> None:
        write(unit, name)
        raise ZeroDivisionError(name)

    told = site.told(site.run("a"), site.run("b", badly), site.run("c"))
    assert (told[0], type(told[1]), told[2], site.kept()) == ("a", ZeroDivisionError, "c", ["a", "c"])


def test_a_commit_that_one_unit_makes_fail_is_repeated_without_it_on_the_thread(site: Site) -> None:
    with site.engine.connect() as other:
        other.exec_driver_sql("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
        other.exec_driver_sql("CREATE TABLE promised (id INTEGER REFERENCES kept (id) DEFERRABLE INITIALLY DEFERRED)")

    def promise(unit: Unit, name: str) -> str:
        unit.execute(text("INSERT INTO promised (id) VALUES (1)"))
        return write(unit, name)

    told = site.told(site.run("a"), site.run("b", promise), site.run("c"))
    assert (told[0], type(told[1]), told[2], site.kept()) == ("a", IntegrityError, "c", ["a", "c"])
    assert {in_reactor for word, in_reactor in site.said if word == "COMMIT"} == {False}
    assert (site.told(site.run("d")), site.kept()) == (["d"], ["a", "c", "d"])


def test_a_unit_that_was_outrun_is_tried_again_by_itself(site: Site) -> None:
    tries = iter((True, True, True, False))  # in the reactor, with the others on the thread, alone, after the pause

    def outrun(unit: Unit, name: str) -> str:
        if next(tries):
            raise LostRace(name)
        return write(unit, name)

    assert site.told(site.run("a"), site.run("b", outrun), site.run("c")) == ["a", "b", "c"]
    assert site.groups == [("writer", 3), ("writer", 3), ("writer", 1)]


def test_the_next_group_does_not_begin_while_one_who_was_outrun_pauses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, over = iter((True, True, False)), Event()

    class Pause:
        def wait(self, _seconds: float) -> None:
            over.wait(PATIENCE_S)

    def outrun(unit: Unit, name: str) -> str:
        if next(tries):
            raise LostRace(name)
        return write(unit, name)

    monkeypatch.setattr(split_writer, "Event", Pause)
    again = site.run("a", outrun)
    site.turn()
    site.turn()  # nobody is told anything yet
    other = site.run("b")
    assert site.is_idle
    over.set()
    assert site.told(other, again) == ["b", "a"]


def test_nothing_that_waits_is_lost_when_it_ends(site: Site) -> None:
    begun = site.run("a")
    site.turn()
    waiting = [site.run("b"), site.run("c", short=False)]
    site.database.close()
    assert site.kept() == ["a", "b", "c"]
    assert site.told(begun, *waiting) == ["a", "b", "c"]
    with pytest.raises(RuntimeError, match="closed"):
        site.run("d")
    with pytest.raises(RuntimeError, match="closed"):
        site.database.read_inline(lambda unit: unit.patron("P0001"))
