"""Care for the system under test. Everything that is sent passes here first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

MESSAGES_PER_S = 10
MOST_CONNECTIONS = 2


class Refused(Exception):
    """The kit would have done what nobody allowed: a bug of the catalogue, never of a peer."""


@dataclass(frozen=True)
class Permissions:
    """What the person who runs the kit allows.

    Attributes:
        transactions: loans, returns, renewals, holds and payments of the given items and patron.
        wrong_pin: a wrong PIN or password, which may lock a card.
        load: more than two connections and ten messages a second.
    """

    transactions: bool = False
    wrong_pin: bool = False
    load: bool = False

    def names(self) -> set[str]:
        """Name what is allowed, as clauses name their needs."""
        names = {
            "transactions": self.transactions,
            "wrong-pin": self.wrong_pin,
            "load": self.load,
        }
        return {name for name, is_allowed in names.items() if is_allowed}


@dataclass
class Throttle:
    """Wait before a message that would be the eleventh within a second."""

    is_on: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _sent_at: deque[float] = field(default_factory=deque)

    def wait(self) -> None:
        """Return when the next message may go out."""
        if not self.is_on:
            return
        now = self.clock()
        if len(self._sent_at) == MESSAGES_PER_S:
            # A little more than a second, since the other side counts with another clock.
            pause_s = self._sent_at.popleft() + 1.05 - now
            if pause_s > 0:
                self.sleep(pause_s)
        self._sent_at.append(self.clock())


@dataclass
class Connections:
    """Count open connections, and refuse one too many."""

    may_be_many: bool = False
    open_now: int = 0

    def add(self) -> None:
        """Count a connection that is about to be opened.

        Raises:
            Refused: if two are open, unless load is allowed.
        """
        if self.open_now >= MOST_CONNECTIONS and not self.may_be_many:
            raise Refused(f"more than {MOST_CONNECTIONS} connections need --load")
        self.open_now += 1

    def remove(self) -> None:
        """Count a connection that was closed."""
        self.open_now -= 1
