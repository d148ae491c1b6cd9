"""Deadlines for commands: a unit of work begins before its deadline or does not run.

A protocol creates a `Deadline` for each message and binds it with `until`, and `execute` passes it to the database with every
unit of the command. The writer checks the deadline inside the transaction, once the locks are held, in every run of the unit.
After the protocol's timer has replied "try again", no unit of the command begins.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock
from typing import Final


class Undecided(Exception):
    """The command has begun, but its outcome is not known in time. The connection is closed without a reply."""


class Deadline:
    """The time until which the units of one command may begin, measured by the monotonic clock `seconds`. Thread-safe."""

    __slots__ = ("_begun", "_lock", "_seconds", "over", "until_s", "why")

    def __init__(self, seconds: Callable[[], float], until_s: float) -> None:
        self._seconds, self.until_s = seconds, until_s
        self._lock = Lock()
        self._begun = 0
        self.over = False
        """Whether the command has expired, so that no further unit may begin."""
        self.why = ""
        """The reason why the command expired ("late" or "gone"), or "" if it has not expired."""

    @property
    def left_s(self) -> float:
        """The number of seconds until the deadline, or 0 if the deadline has passed."""
        return max(0.0, self.until_s - self._seconds())

    def begin(self, *, again: bool, late: bool) -> bool:
        """Record that the writer begins a unit. Return False if the unit may no longer begin.

        Args:
            again: Whether the unit has begun before, in a run that was rolled back.
            late: Whether the deadline has passed by the database's clock.
        """
        with self._lock:
            self._begun -= again
            if self.over or late or self._seconds() >= self.until_s:
                self._expire("late")
                return False
            self._begun += 1
            return True

    def undo(self) -> None:
        """Reverse `begin` for a unit that was rolled back."""
        with self._lock:
            self._begun -= 1

    def drop(self, why: str = "gone") -> bool:
        """Prevent further units from beginning. Return False if a unit has begun, so that "try again" would be wrong."""
        with self._lock:
            if self._begun:
                self.over = True
                return False
            self._expire(why)
            return True

    def _expire(self, why: str) -> None:
        self.over, self.why = True, self.why or why


_CURRENT: Final[ContextVar[Deadline | None]] = ContextVar("deadline", default=None)


def bind_deadline(deadline: Deadline) -> None:
    """Set the deadline for all later commands of the current context."""
    _CURRENT.set(deadline)


class until:  # noqa: N801  # used like a function: with until(deadline):
    """Context manager that sets the deadline for the commands inside it. None means no deadline."""

    __slots__ = ("_deadline", "_token")

    def __init__(self, deadline: Deadline | None) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._deadline)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A discarded coroutine is closed in another context, where the token is invalid. Its own context no longer exists.
        if raised is not GeneratorExit:
            _CURRENT.reset(self._token)


def current() -> Deadline | None:
    """Return the deadline of the command being executed, or None if the command has no deadline."""
    return _CURRENT.get()
