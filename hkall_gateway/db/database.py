"""Access to the database: `write` runs units of work with a durable commit, `read` runs queries in a snapshot.

Units that are queued while a commit runs share the next commit, and get their results after it (law 2). If a unit raises, only
that unit is rolled back. There is no timer, so a single message does not wait for other messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import StaticPool

from hkall_gateway.clock import monotonic_us
from hkall_gateway.db import bind
from hkall_gateway.db.engine.compiled import flush
from hkall_gateway.db.engine.connect import ended_after
from hkall_gateway.db.engine.db_errors import name_of
from hkall_gateway.db.engine.expiry import DatabaseClock
from hkall_gateway.db.engine.group import constant_pause, read_group, run_group
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.engine.worker import DoGroup, GroupResult, InlineRunner, InReactor, Job, Together, Unit, Worker, at_once
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Deadline

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

P = ParamSpec("P")
T = TypeVar("T")

MakeUnit = Callable[[Connection], "UnitOfWork"]
BATCH_UNITS = 256
Watch = Callable[[str, int], AbstractContextManager[None]]

REFUSALS_S = 60
"""Minimum time between two log lines about refused units, in seconds."""
TRIAL_S = 0.5
"""Longest time of a decision whose changes are rolled back, in seconds. A decision takes a few milliseconds."""
INLINE_WAIT_MS = 100
"""Maximum time that a read in the reactor's thread waits for a file locked by another process, in milliseconds."""


def no_watch(_lane: str, _units: int) -> AbstractContextManager[None]:
    """Measure nothing. This is the default `watch`."""
    return nullcontext()


class Store(Protocol):
    """Interface for running units of work and queries."""

    def write(
        self,
        work: Callable[[UnitOfWork], T],
        locks: LockSet,
        until: Deadline | None = None,
        *,
        repeatable: bool = False,
    ) -> Awaitable[T]:
        """Run a unit of work and return its result after the commit."""

    def read(self, query: Callable[[UnitOfWork], T], *, patron: str = "", is_long: bool = False) -> Awaitable[T]:
        """Run a query in a snapshot."""


class Database:
    """The gateway's database: a writer thread with group commit, a reader thread, and short queries in the reactor's thread.

    Args:
        make_unit: Creates a unit of work on a connection.
        in_reactor: The reactor's callFromThread.
        batch: Maximum number of units in a commit. The benchmark commits each unit separately with 1.
        draw: Returns a random number in [0, 1), for pauses.
        watch: Called with "writer" or "reader" and the number of units. Its context manager is entered around each group.
        seconds: Monotonic clock for deadlines.
        soon: The reactor's callLater(0), for calls from the reactor's thread. It does not wake a sleeping reactor.
        together: Its context manager is entered around the replies of a group, if it has several short queries.
    """

    _writer: Worker | InlineRunner
    _reader: Worker | InlineRunner
    _inline: Worker | InlineRunner
    _clock: DatabaseClock | None = None
    _silent_until_us = 0

    def __init__(
        self,
        engine: Engine,
        make_unit: MakeUnit,
        in_reactor: InReactor,
        batch: int = BATCH_UNITS,
        draw: Callable[[], float] = constant_pause,
        watch: Watch = no_watch,
        seconds: Callable[[], float] = monotonic,
        soon: Callable[[Callable[[], None]], object] | None = None,
        together: Together = nullcontext,
    ) -> None:
        self._make_unit, self._draw, self._watch = make_unit, draw, watch
        self._clock = DatabaseClock(seconds) if engine.dialect.name == "postgresql" else None
        in_memory = isinstance(engine.pool, StaticPool)
        hand_over = soon or at_once
        self._writer = Worker(engine, self._write_group, in_reactor, "writer", batch, hand_over)
        self._reader = self._writer if in_memory else Worker(engine, self._read_group, in_reactor, "reader", batch, hand_over)
        self._inline = self._reader
        if engine.dialect.name == "sqlite" and not in_memory:
            connection = engine.connect()
            connection.exec_driver_sql(f"PRAGMA busy_timeout={INLINE_WAIT_MS}")
            self._inline = InlineRunner(connection, self._read_group, soon or in_reactor, batch, together)

    def write(
        self,
        work: Callable[[UnitOfWork], T],
        locks: LockSet,
        until: Deadline | None = None,
        *,
        repeatable: bool = False,
    ) -> Deferred[T]:
        """Run a unit of work as part of the next group.

        Args:
            work: The unit of work. It may run more than once, but only the last run takes effect.
            locks: The objects that the unit decides about, or `unlocked` with the reason why it needs none.
            until: The time before which the unit must begin. A late unit has no effect and fails with Expired.
            repeatable: Whether committing the unit twice has the same effect as committing it once.

        Returns:
            A Deferred that fires in the reactor's thread after the durable commit. It fails with Unavailable if the database is
            unreachable, or another gateway blocked the unit for too long.
        """
        until_there_s = self._clock.there(until.until_s) if self._clock and until else None
        return _queue_job(self._writer, work, locks, repeatable, until, until_there_s)

    def read(self, query: Callable[[UnitOfWork], T], *, patron: str = "", is_long: bool = False) -> Deferred[T]:
        """Run a query in a snapshot.

        On an SQLite file, a short query runs in the reactor's thread, which is faster than waking another thread.

        Args:
            query: The query. Writes are discarded or refused.
            patron: Card of the patron whose data to prefetch, together with the other patrons of the group.
            is_long: Whether the query takes longer than a lookup by key.
        """
        return _queue_job(self._reader if is_long else self._inline, query, LockSet(patron), repeatable=True)

    def close(self) -> None:
        """Finish the queued jobs and end both threads. Callers get their results in the reactor's next iteration."""
        for runner in {id(x): x for x in (self._inline, self._writer, self._reader)}.values():
            runner.stop()

    def _read_group(self, connection: Connection, jobs: Sequence[Job]) -> GroupResult:
        with self._watch("reader", len(jobs)):
            result = read_group(connection, self._make_unit, jobs)
        self._log_refusal(result)
        return result

    def _write_group(self, connection: Connection, jobs: Sequence[Job]) -> GroupResult:
        over = [job.expiry() for job in jobs if job.deadline is not None and job.deadline.over]  # checked before taking locks
        if over:
            jobs = [job for job in jobs if job.deadline is None or not job.deadline.over]
        with self._watch("writer", len(jobs)):
            result = GroupResult(answers=())
            if jobs:
                result = run_group(connection, self._make_unit, jobs, draw=self._draw, clock=self._clock)
        for job in result.again:  # the timer of a job's deadline may expire the job before the retry
            job.undo()
        self._log_refusal(result)
        return replace(result, answers=[*over, *result.answers]) if over else result

    def _log_refusal(self, result: GroupResult) -> None:
        """Log that units were refused, at most once in REFUSALS_S seconds, because a full disk refuses every unit."""
        if result.refused is not None and monotonic_us() >= self._silent_until_us:
            self._silent_until_us = monotonic_us() + REFUSALS_S * 1_000_000
            import structlog  # imported late, because most commands load this module but never log

            structlog.get_logger().warning("database.refused", why=name_of(result.refused))


class Immediate(Database):
    """A database without threads for tests, the simulation and the command line: each call returns after its commit.

    `before_commit` may raise an Exception to simulate a failed commit, or any other BaseException to simulate a crash.
    """

    def __init__(self, engine: Engine, make_unit: MakeUnit, before_commit: Callable[[], None] | None = None) -> None:
        connection = engine.connect()
        write: DoGroup = lambda opened, jobs: run_group(opened, make_unit, jobs, before_commit)  # noqa: E731
        read: DoGroup = lambda opened, jobs: read_group(opened, make_unit, jobs)  # noqa: E731
        self._writer, self._reader = InlineRunner(connection, write, at_once), InlineRunner(connection, read, at_once)
        self._inline = self._reader

    def write_now(self, work: Callable[[UnitOfWork], T], locks: LockSet) -> T:
        """Run a unit of work under its locks, and return its result after the commit."""
        return _run_now(self._writer, work, locks)

    def trial(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run a unit of work, return its result, and roll back its changes.

        The unit holds the writer of an SQLite file, so it is ended after TRIAL_S seconds.

        Raises:
            Unavailable: The database is down, or the unit took too long.
        """

        def bounded(unit: UnitOfWork) -> T:
            with ended_after(unit.connection, TRIAL_S):
                return work(unit)

        return in_trial(self.write_now, bounded)

    def read_now(self, query: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> T:
        """Run `query(unit, *args)` in a snapshot and return its result."""
        return _run_now(self._reader, bind(query, *args, **named), LockSet(), repeatable=True)


class _Undone(Exception):
    """Raised by `in_trial` to roll back its transaction."""


def in_trial(transact: Callable[[Callable[[UnitOfWork], None], LockSet], object], work: Callable[[UnitOfWork], T]) -> T:
    """Run a unit of work, return its result, and roll back its changes.

    Args:
        transact: Runs a unit in its own transaction, and raises any exception that the unit raises.
        work: The unit of work.
    """
    results: list[T] = []

    def undone(unit: UnitOfWork) -> None:
        results.append(work(unit))
        flush(unit.connection)
        raise _Undone

    try:
        transact(undone, unlocked("the changes are rolled back"))
    except _Undone:
        return results[-1]
    raise AssertionError("the transaction was not rolled back")


def finished(awaitable: Awaitable[T]) -> T:
    """Return the result of an awaitable that completes without waiting. Raises RuntimeError if the awaitable has to wait."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("this would have to wait")


def _queue_job(
    runner: Worker | InlineRunner,
    work: Callable[[UnitOfWork], T],
    locks: LockSet,
    repeatable: bool,
    until: Deadline | None = None,
    until_there_s: float | None = None,
) -> Deferred[T]:
    """Queue a unit. The unit is committed even if its Deferred is cancelled."""
    from twisted.internet.defer import Deferred  # imported late, because commands do not need Twisted

    answer: Deferred[T] = Deferred()

    def reply(result: object, error: BaseException | None) -> None:
        if answer.called:
            return
        if error is None:
            answer.callback(cast("T", result))
        else:
            answer.errback(error)

    for_engine = cast("Callable[[Unit], object]", work)  # the engine gives it what `make_unit` made
    runner.put(Job(for_engine, locks, reply, repeatable, until, until_there_s))
    return answer


def _run_now(
    runner: Worker | InlineRunner,
    work: Callable[[UnitOfWork], T],
    locks: LockSet,
    *,
    repeatable: bool = False,
) -> T:
    """Run a job in the calling thread and return its result."""
    answers: list[tuple[object, BaseException | None]] = []
    for_engine = cast("Callable[[Unit], object]", work)
    runner.put(Job(for_engine, locks, lambda result, error: answers.append((result, error)), repeatable))
    result, error = answers[0]
    if error is not None:
        raise error
    return cast("T", result)
