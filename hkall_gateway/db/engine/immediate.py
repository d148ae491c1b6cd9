"""The store without a thread or a reactor: for the command line, the simulation and tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.deadline import Deadline
from hkall_gateway.db.engine.group import no_hook, read_group, run_group
from hkall_gateway.db.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.db.engine.worker import GroupResult, Job, give

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Now(Generic[T]):
    """An awaitable that has its value already."""

    value: T | None
    error: BaseException | None

    def __await__(self) -> Generator[Any, Any, T]:
        if self.error is not None:
            raise self.error
        yield from ()  # makes this function a generator that never waits
        return self.value  # type: ignore[return-value]  # no error: the value is a T, which may itself be None


class Immediate:
    """The same store without a thread: each unit of work is done, and committed, where it is asked for.

    For unit tests, the simulation and the command line. `before_commit` may raise to act a crash at that instant: an
    Exception is a failed commit, any other BaseException the end of the process.
    """

    def __init__(
        self, engine: Engine, make_unit: Callable[[Connection], Any], before_commit: Callable[[], None] = no_hook
    ) -> None:
        self._connection = engine.connect()
        self._make_unit = make_unit
        self._run_group = partial(run_group, before_commit=before_commit)

    def run(
        self,
        work: Callable[..., T],
        *args: Any,
        locks: LockSet = NO_LOCKS,
        repeatable: bool = False,  # noqa: ARG002
        deadline: Deadline | None = None,
    ) -> Now[T]:
        return self._at_once(self._run_group, work, args, locks, deadline)

    def read(self, work: Callable[..., T], *args: Any) -> Now[T]:
        return self._at_once(read_group, work, args, NO_LOCKS)

    def read_inline(self, work: Callable[..., T], *args: Any, patron: str = "") -> Now[T]:
        return self._at_once(read_group, work, args, LockSet(patron))

    def now(self, work: Callable[..., T], *args: Any) -> T:
        """`run` for callers that do not await."""
        return finished(self.run(work, *args))

    def close(self) -> None:
        self._connection.close()

    def _decided(self, in_doubt: Callable[[Connection | None], GroupResult[Job[T]]]) -> GroupResult[Job[T]]:
        try:
            return in_doubt(self._connection)
        except DBAPIError:
            return in_doubt(None)

    def _at_once(
        self,
        do_group: Callable[..., GroupResult[Job[T]]],
        work: Callable[..., T],
        args: tuple[Any, ...],
        locks: LockSet,
        deadline: Deadline | None = None,
    ) -> Now[T]:
        kept: list[Now[T]] = []
        job = Job(work, args, locks, lambda result, error: kept.append(Now(result, error)), deadline=deadline)
        result = do_group(self._connection, self._make_unit, [job])
        while result.again or result.in_doubt:
            result = self._decided(result.in_doubt) if result.in_doubt else do_group(self._connection, self._make_unit, [job])
        give(result.answers)
        return kept[0]


def finished(awaitable: Awaitable[T]) -> T:
    """The value of something that never has to wait; RuntimeError if it would."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("this would have to wait")
