"""The single writer: all units that queued while the last commit ran share one durable commit; results follow it (law 2).

A unit of work that raises is rolled back alone. There is no timer, so a single message does not wait for others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.pool import StaticPool
from twisted.internet.defer import Deferred

from hkall_gateway.clock import monotonic_us
from hkall_gateway.db.engine.db_errors import name_of
from hkall_gateway.db.engine.deadline import DatabaseClock, Deadline
from hkall_gateway.db.engine.group import constant_pause, expired, read_group, refuse, run_group
from hkall_gateway.db.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.db.engine.worker import GroupResult, InlineReader, Job, JobRunner, Worker

LOG = structlog.get_logger()

T = TypeVar("T")

BATCH_UNITS = 256
Watch = Callable[[str, int], AbstractContextManager[None]]

REFUSALS_S = 60
"""Seconds between two lines of the log about units that the database refused."""
INLINE_WAIT_MS = 100
"""Milliseconds that the reactor waits to read a file that another process has locked. Only such a lock makes readers wait."""


def no_watch(_lane: str, _units: int) -> AbstractContextManager[None]:
    """Measure no groups: the default `watch`."""
    return nullcontext()


class Store(Protocol):
    """Runs a function of a unit in one transaction: `Database` with threads, `Immediate` synchronously."""

    def run(
        self,
        work: Callable[..., T],
        *args: Any,
        locks: LockSet = NO_LOCKS,
        repeatable: bool = False,
        deadline: Deadline | None = None,
    ) -> Awaitable[T]: ...

    def read(self, work: Callable[..., T], *args: Any) -> Awaitable[T]: ...

    def read_inline(self, work: Callable[..., T], *args: Any, patron: str = "") -> Awaitable[T]: ...


class Database:
    """The daemon's store: one writer thread with group commit, a reader thread, and lookups in a file in the reactor's thread.

    `make_unit` wraps a connection; `in_reactor` is the reactor's callFromThread. `batch=1` commits each unit separately, for
    the benchmark. `draw` returns a random number in [0, 1), for pauses. `watch` returns a context manager that is entered
    around each group, in the thread that runs it; its arguments are "writer" or "reader" and the number of units. `run` and
    `read` return a Deferred that fires in the reactor's thread, with Unavailable if the database is away or another gateway
    blocked the unit for too long. `seconds` is the monotonic clock of deadlines.
    """

    def __init__(
        self,
        engine: Engine,
        make_unit: Callable[[Connection], Any],
        in_reactor: Callable[[Callable[[], None]], Any],
        batch: int = BATCH_UNITS,
        draw: Callable[[], float] = constant_pause,
        watch: Watch = no_watch,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = DatabaseClock(seconds) if engine.dialect.name == "postgresql" else None
        groups = _Groups(make_unit, draw, watch)
        in_memory = isinstance(engine.pool, StaticPool)
        self._writer = Worker(engine, groups.write, refuse, in_reactor, "writer", batch)
        self._reader = self._writer if in_memory else Worker(engine, groups.read, refuse, in_reactor, "reader", batch)
        self._here: JobRunner = self._reader
        if engine.dialect.name == "sqlite" and not in_memory:
            self._here = InlineReader(_at_hand(engine), groups.read, in_reactor, batch)

    def run(
        self,
        work: Callable[..., T],
        *args: Any,
        locks: LockSet = NO_LOCKS,
        repeatable: bool = False,
        deadline: Deadline | None = None,
    ) -> Deferred[T]:
        """Run `work(unit, *args)` in a transaction of its own inside the group; the Deferred fires after the durable commit.

        `work` may run more than once, and only its last run counts. `repeatable`: committed twice it has one effect.
        `deadline`: it fails with Expired, and has no effect, unless it begins before.
        """
        return _put(self._writer, work, args, locks, repeatable, deadline, self._clock)

    def read(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run `work(unit, *args)`, which only queries."""
        return _put(self._reader, work, args, NO_LOCKS, True)

    def read_inline(self, work: Callable[..., T], *args: Any, patron: str = "") -> Deferred[T]:
        """Run `read` for a lookup by key; with a SQLite file it runs in the reactor's thread, which is faster than waking a
        thread.

        `patron` is the card concerned; the data of all patrons in the group are prefetched together.
        """
        return _put(self._here, work, args, LockSet(patron), True)

    def close(self) -> None:
        """Finish the queued jobs and end both threads; callers get their results in the reactor's next iteration."""
        for runner in {id(x): x for x in (self._here, self._writer, self._reader)}.values():
            runner.stop()


def _at_hand(engine: Engine) -> Connection:
    """Return a connection to a file for the reactor's thread, which waits only briefly for another process."""
    connection = engine.connect()
    connection.exec_driver_sql(f"PRAGMA busy_timeout={INLINE_WAIT_MS}")
    return connection


class _Groups:
    """Runs the units of a group and commits them."""

    def __init__(self, make_unit: Callable[[Connection], Any], draw: Callable[[], float], watch: Watch) -> None:
        self._make_unit, self._draw, self._watch = make_unit, draw, watch
        self._silent_until_us = 0

    def read(self, connection: Connection, jobs: Sequence[Job[Any]]) -> GroupResult[Job[Any]]:
        with self._watch("reader", len(jobs)):
            return self._log(read_group(connection, self._make_unit, jobs))

    def write(self, connection: Connection, jobs: Sequence[Job[Any]]) -> GroupResult[Job[Any]]:
        over = [job for job in jobs if job.over]  # these take no locks
        if over:
            jobs = [job for job in jobs if not job.over]
        with self._watch("writer", len(jobs)):
            result = _rested(run_group(connection, self._make_unit, jobs, draw=self._draw)) if jobs else GroupResult(())
        return self._log(replace(result, answers=[*map(expired, over), *result.answers]) if over else result)

    def _log(self, result: GroupResult[Job[Any]]) -> GroupResult[Job[Any]]:
        """Log that units were refused, at most once in REFUSALS_S seconds: a full disk refuses each of them."""
        now_us = monotonic_us()
        if result.refused is not None and now_us >= self._silent_until_us:
            self._silent_until_us = now_us + REFUSALS_S * 1_000_000
            LOG.warning("database.refused", why=name_of(result.refused))
        return result


def _rested(result: GroupResult[Job[Any]]) -> GroupResult[Job[Any]]:
    """Return the result, after giving the jobs to retry back to the timers of their deadlines."""
    for job in result.again:
        job.undo()
    return result


def _put(
    runner: JobRunner,
    work: Callable[..., T],
    args: tuple[Any, ...],
    locks: LockSet,
    repeatable: bool,
    deadline: Deadline | None = None,
    clock: DatabaseClock | None = None,
) -> Deferred[T]:
    answer: Deferred[T] = Deferred()
    runner.put(Job(work, args, locks, partial(_settle, answer), repeatable, deadline, clock))
    return answer


def _settle(answer: Deferred[T], result: T, error: BaseException | None) -> None:
    """Fire with the result or the error. A cancelled Deferred does not fire; the unit is committed all the same."""
    if answer.called:
        return
    if error is None:
        answer.callback(result)
    else:
        answer.errback(error)
