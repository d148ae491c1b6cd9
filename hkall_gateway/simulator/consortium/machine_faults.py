"""Faults of the machines of a simulated library: a second gateway that is paused or cut off, a disk that refuses a commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.deadline import Deadline, Expired, Undecided
from hkall_gateway.db.engine.group import no_hook
from hkall_gateway.db.engine.immediate import Immediate, Now, finished
from hkall_gateway.db.engine.locks import NO_LOCKS, LockSet

T = TypeVar("T")

LATE: Final = 0.01
"""The chance that a command waits at a gateway that is paused; while one is cut off from the database, CUT_OFF."""
CUT_OFF: Final = 0.5
LATEST_S: Final = 4 * 3600.0
"""The longest time for which a command waits there, in seconds."""
DISK_ERRORS: Final = 0.002
"""The chance that the disk refuses a commit."""


def never() -> bool:
    """Let no fault happen."""
    return False


class TwoWayStore(Immediate):
    """The store of a library with two gateways: commands that reach the second one may wait there for hours.

    Their callers were told to try again by then, and have come to the first one. `waits` draws which commands wait.
    """

    def __init__(
        self, engine: Engine, make_unit: Callable[[Connection], Any], before_commit: Callable[[], None] = no_hook
    ) -> None:
        super().__init__(engine, make_unit, before_commit)
        self.waits: Callable[[], bool] = never
        self._waiting: list[Callable[[], object]] = []

    def run(
        self,
        work: Callable[..., T],
        *args: Any,
        locks: LockSet = NO_LOCKS,
        repeatable: bool = False,
        deadline: Deadline | None = None,
    ) -> Now[T]:
        run = partial(super().run, work, *args, locks=locks, repeatable=repeatable, deadline=deadline)
        if deadline is None or not self.waits():
            return run()
        self._waiting.append(partial(copy_context().run, run))
        deadline.drop("late")  # as its timer does
        return Now(None, Expired("it waits at the other gateway"))

    def let_go(self) -> None:
        """Run what waits at the second gateway, which is on its feet again. The answers reach nobody."""
        while self._waiting:
            run: Any = self._waiting.pop(0)
            try:
                finished(run())
            except (Unavailable, Undecided):
                continue


def disk_error(engine: Engine) -> OperationalError:
    """Return the error of a full disk, as the driver raises it."""
    cause: Any = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL
    if engine.dialect.name == "postgresql":
        from psycopg import errors  # installed with the extra `postgres`

        cause = errors.DiskFull("could not extend file")
    return OperationalError("COMMIT", None, cause)
