"""Deadlines of commands: a unit of work begins before its deadline, or never.

A protocol makes a `Deadline` for each message and binds it with `until`, and `execute` passes it to the database with every
unit of the command. The writer checks it inside the transaction, once the locks are held, in every run of the unit. Either the
writer takes a unit or the protocol's timer does: after the timer has replied "try again", no unit of the command begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Final

from hkall_gateway.db.engine.db_errors import Unavailable


class Expired(Unavailable):
    """The command did not begin before its deadline, or its caller is gone. It has no effect, now or later."""


class Undecided(Exception):
    """The command has begun and its outcome is not known in time. Its caller gets no answer: the connection is closed."""


class Deadline:
    """The second of `seconds`, a monotonic clock, until which the units of one command may begin. Safe from any thread."""

    __slots__ = ("_begun", "_lock", "_seconds", "over", "until_s", "why")

    def __init__(self, seconds: Callable[[], float], until_s: float) -> None:
        self._seconds, self.until_s = seconds, until_s
        self._lock = Lock()
        self._begun = 0
        self.over = False
        """Whether no unit may begin any more."""
        self.why = ""
        """Why the command expired: "late" or "gone"; "" if it did not."""

    @property
    def left_s(self) -> float:
        """The seconds until the deadline, 0 after it."""
        return max(0.0, self.until_s - self._seconds())

    def begin(self, *, again: bool, late: bool) -> bool:
        """Take a unit for the writer. Return False if it may not begin any more.

        Args:
            again: The unit has begun before, in a run that was rolled back.
            late: The deadline has passed by the database's clock.
        """
        with self._lock:
            self._begun -= again
            if self.over or late or self._seconds() >= self.until_s:
                self._expire("late")
                return False
            self._begun += 1
            return True

    def undo(self) -> None:
        """Take back `begin`: the unit was rolled back."""
        with self._lock:
            self._begun -= 1

    def drop(self, why: str = "gone") -> bool:
        """Let no further unit begin. Return False if one has begun, so that "try again" would be wrong."""
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
    """Bind the deadline of the commands that the running context gives from now on."""
    _CURRENT.set(deadline)


class until:  # noqa: N801  # it is used as a word: with until(deadline):
    """Bind the deadline of the commands inside: `with until(deadline):`, with None for work without a deadline."""

    __slots__ = ("_deadline", "_token")

    def __init__(self, deadline: Deadline | None) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._deadline)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A discarded coroutine is closed in another context, where the token is invalid; its own context is gone with it.
        if raised is not GeneratorExit:
            _CURRENT.reset(self._token)


def current() -> Deadline | None:
    """Return the deadline of the command that is being executed, or None without one."""
    return _CURRENT.get()


@contextmanager
def without() -> Iterator[None]:
    """Run the units inside without a deadline, such as those of a bulk change, once the first one may begin.

    Raises Expired if the deadline has passed already.
    """
    deadline = current()
    if deadline is not None and not deadline.begin(again=False, late=False):
        raise Expired
    with until(None):
        try:
            yield
        finally:
            if deadline is not None:
                deadline.undo()


class DatabaseClock:
    """The offset of the database's clock, as the last transaction measured it.

    It shows that this machine was paused as a whole, which its own clocks do not.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._ahead_s: float | None = None

    def measured(self, there_s: float) -> None:
        """Take note of the database's present time, in seconds."""
        self._ahead_s = there_s - self._seconds()

    def there(self, here_s: float) -> float | None:
        """Convert seconds of our clock to the database's. Return None before the first measurement."""
        return None if self._ahead_s is None else here_s + self._ahead_s
