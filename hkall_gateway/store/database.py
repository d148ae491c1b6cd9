"""The one writer: whatever waits becomes one durable commit, and nobody is answered before it (law 2).

Each unit of work runs inside its own SAVEPOINT; one that raises is rolled back alone. There is no timer: a batch is what
came in while the last one was being committed, so a lone message waits for nobody.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.pool import StaticPool
from twisted.internet.defer import Deferred

from hkall_gateway.store.lane import Answer, Lane, give
from hkall_gateway.store.prepared import Prepared

T = TypeVar("T")

BATCH_UNITS = 256


@dataclass(frozen=True, slots=True)
class Locks:
    """What a unit of work will decide about.

    PostgreSQL locks the rows of a whole group first, patrons and then requests, each in the order of their numbers, so that
    the groups of two gateways wait for each other and never both. SQLite needs none.
    """

    patron: str = ""
    request: str = ""
    item: tuple[str, str] = ("", "")


NO_LOCKS = Locks()


class Store(Protocol):
    """Something that runs a function of a unit in one transaction; `Database` with a thread, `Immediate` at once."""

    def run(self, work: Callable[..., T], *args: Any, locks: Locks = NO_LOCKS) -> Awaitable[T]: ...

    def read(self, work: Callable[..., T], *args: Any) -> Awaitable[T]: ...


@dataclass(slots=True)
class _Job(Generic[T]):
    """One unit of work, waiting; `settle` tells its waiter, in the reactor's thread."""

    work: Callable[..., T]
    args: tuple[Any, ...]
    locks: Locks
    settle: Callable[[Any, BaseException | None], None]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


_BEGIN = {"sqlite": Prepared(text("BEGIN IMMEDIATE")), "postgresql": Prepared(text("BEGIN"))}
_ASK = {"sqlite": Prepared(text("BEGIN")), "postgresql": Prepared(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))}
_COMMIT, _ROLLBACK = Prepared(text("COMMIT")), Prepared(text("ROLLBACK"))
_SAVEPOINT, _RELEASE = Prepared(text("SAVEPOINT unit")), Prepared(text("RELEASE SAVEPOINT unit"))
_BACK = Prepared(text("ROLLBACK TO SAVEPOINT unit"))


def _run_one(connection: Connection, make_unit: Callable[[Connection], Any], job: _Job[Any]) -> Answer:
    """Run one unit inside its savepoint; the answer to give once the group has been committed."""
    _SAVEPOINT.change(connection)
    try:
        unit = make_unit(connection)
        result = job.context.run(job.work, unit, *job.args)
        _RELEASE.change(connection)  # PostgreSQL refuses after an error that the unit swallowed
    except Exception as error:  # noqa: BLE001  # whatever a unit raises goes to its waiter
        _BACK.change(connection)
        _RELEASE.change(connection)
        return _failing(job, error)
    return lambda: _settle(job, unit, result)


def _settle(job: _Job[Any], unit: Any, result: Any) -> None:
    """After the commit: those who listen hear what happened, then the waiter gets its answer."""
    try:
        job.context.run(unit.committed)
    finally:  # a listener's bug goes to the log; what was committed is answered all the same
        job.settle(result, None)


def _failing(job: _Job[Any], error: BaseException) -> Answer:
    return lambda: job.settle(None, error)


def _at_ease() -> None:
    """Nothing happens before a commit."""


def run_group(
    connection: Connection,
    make_unit: Callable[[Connection], Any],
    jobs: Sequence[_Job[Any]],
    before_commit: Callable[[], None] = _at_ease,
) -> list[Answer]:
    """All `jobs` in one durable commit. If BEGIN or COMMIT fails, every waiter fails: nothing was promised."""
    try:
        _BEGIN[connection.dialect.name].change(connection)
        make_unit(connection).lock([job.locks for job in jobs])
        answers = [_run_one(connection, make_unit, job) for job in jobs]
        before_commit()
        _COMMIT.change(connection)
    except Exception as error:  # noqa: BLE001  # whatever a unit raises goes to its waiter
        _abandon(connection)
        return [_failing(job, error) for job in jobs]
    return answers


def _abandon(connection: Connection) -> None:
    """Leave whatever transaction is open; a lost connection is thrown away, and the next group gets a new one."""
    try:
        _ROLLBACK.change(connection)
    except Exception:  # noqa: BLE001  # the connection is lost, whatever the reason
        connection.invalidate()
        connection.rollback()  # SQLAlchemy connects again only after this


def read_group(connection: Connection, make_unit: Callable[[Connection], Any], jobs: Sequence[_Job[Any]]) -> list[Answer]:
    """Questions that decide nothing: one snapshot for all, nothing written, nothing kept."""
    try:
        _ASK[connection.dialect.name].change(connection)
        answers = [_ask_one(connection, make_unit, job) for job in jobs]
        _ROLLBACK.change(connection)
    except Exception as error:  # noqa: BLE001  # whatever a unit raises goes to its waiter
        _abandon(connection)
        return [_failing(job, error) for job in jobs]
    return answers


def _ask_one(connection: Connection, make_unit: Callable[[Connection], Any], job: _Job[Any]) -> Answer:
    _SAVEPOINT.change(connection)
    try:
        result = job.context.run(job.work, make_unit(connection), *job.args)
    except Exception as error:  # noqa: BLE001  # whatever a unit raises goes to its waiter
        _BACK.change(connection)
        return _failing(job, error)
    _BACK.change(connection)
    return lambda: job.settle(result, None)


class Database:
    """The daemon's store: a writer thread with group commit and a reader thread beside it.

    `make_unit` wraps a connection; `in_reactor` is the reactor's callFromThread. `batch=1` is one commit each, for the
    benchmark. `run` and `read` answer a Deferred that fires in the reactor's thread.
    """

    def __init__(
        self,
        engine: Engine,
        make_unit: Callable[[Connection], Any],
        in_reactor: Callable[[Callable[[], None]], Any],
        batch: int = BATCH_UNITS,
    ) -> None:
        def writes(connection: Connection, jobs: Sequence[_Job[Any]]) -> list[Answer]:
            return run_group(connection, make_unit, jobs)

        def reads(connection: Connection, jobs: Sequence[_Job[Any]]) -> list[Answer]:
            return read_group(connection, make_unit, jobs)

        self._writer = Lane(engine, writes, in_reactor, "writer", batch)
        alone = engine.dialect.name == "sqlite" and isinstance(engine.pool, StaticPool)
        self._reader = self._writer if alone else Lane(engine, reads, in_reactor, "reader", batch)

    def run(self, work: Callable[..., T], *args: Any, locks: Locks = NO_LOCKS) -> Deferred[T]:
        """`work(unit, *args)` in a transaction of its own inside the group; fires after the durable commit."""
        return _put(self._writer, work, args, locks)

    def read(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """`work(unit, *args)` that only asks."""
        return _put(self._reader, work, args, NO_LOCKS)

    def close(self) -> None:
        """Finish what waits and end both threads; callers get their answers in the reactor's next turn."""
        for lane in {id(x): x for x in (self._writer, self._reader)}.values():
            lane.stop()

    @property
    def average_batch(self) -> float:
        return self._writer.units / self._writer.groups if self._writer.groups else 0.0


def _put(lane: Lane[_Job[Any]], work: Callable[..., T], args: tuple[Any, ...], locks: Locks) -> Deferred[T]:
    waiter: Deferred[T] = Deferred()

    def settle(result: T, error: BaseException | None) -> None:
        if waiter.called:  # the waiter gave up; what it asked for is committed all the same
            return
        if error is None:
            waiter.callback(result)
        else:
            waiter.errback(error)

    lane.put(_Job(work, args, locks, settle))
    return waiter


@dataclass(frozen=True, slots=True)
class _Now(Generic[T]):
    """An awaitable that has its value already."""

    value: T | None
    error: BaseException | None

    def __await__(self) -> Generator[Any, Any, T]:
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # no error: the value is a T, which may itself be None
        yield  # makes this function a generator


class Immediate:
    """The same store without a thread: each unit of work is done, and committed, where it is asked for.

    For unit tests, the simulation and the command line. `before_commit` may raise to act a crash at that instant: an
    Exception is a failed commit, any other BaseException the end of the process.
    """

    def __init__(
        self, engine: Engine, make_unit: Callable[[Connection], Any], before_commit: Callable[[], None] = _at_ease
    ) -> None:
        self._connection = engine.connect()
        self._make_unit = make_unit
        self._run_group = partial(run_group, before_commit=before_commit)

    def run(self, work: Callable[..., T], *args: Any, locks: Locks = NO_LOCKS) -> _Now[T]:
        return self._at_once(self._run_group, work, args, locks)

    def read(self, work: Callable[..., T], *args: Any) -> _Now[T]:
        return self._at_once(read_group, work, args, NO_LOCKS)

    def now(self, work: Callable[..., T], *args: Any) -> T:
        """`run` for callers that do not await."""
        return finished(self.run(work, *args))

    def close(self) -> None:
        self._connection.close()

    def _at_once(self, do_group: Any, work: Callable[..., T], args: tuple[Any, ...], locks: Locks) -> _Now[T]:
        kept: list[_Now[T]] = []
        job = _Job(work, args, locks, lambda result, error: kept.append(_Now(result, error)))
        give(do_group(self._connection, self._make_unit, [job]))
        return kept[0]


def finished(awaitable: Awaitable[T]) -> T:
    """The value of something that never has to wait; RuntimeError if it would."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("this would have to wait")
