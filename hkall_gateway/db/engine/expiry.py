"""What the database does about deadlines: refusing late units, and knowing its own clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.deadline import current, until


class Expired(Unavailable):
    """The command did not begin before its deadline, or its caller is gone. It has no effect, now or later."""


@contextmanager
def without() -> Iterator[None]:
    """Run the block, such as a bulk change, without a deadline. Raises Expired if the deadline has already passed."""
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
    """Tracks the offset of the database's clock, which reveals pauses of this machine that its own clocks do not show."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._ahead_s: float | None = None

    def measured(self, there_s: float) -> None:
        """Record the database's current time in seconds."""
        self._ahead_s = there_s - self._seconds()

    def there(self, here_s: float) -> float | None:
        """Convert seconds of our clock to seconds of the database's clock. Return None before the first measurement."""
        return None if self._ahead_s is None else here_s + self._ahead_s
