"""What a line can do to something that is sent over it: one row a fault, for documents (lossy) and for connections (cuts).

A fault says what arrives at the other side, and when, and what comes back. `later` is after the sender has given up, perhaps
after what it says next: that is how things arrive in another order than they left.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal

LATEST_S: Final = 4 * 3600.0
"""What arrives later arrives within so many seconds."""
BUSY_S: Final = 300
"""A busy peer says that it is free again within so many seconds."""

Arrival = Literal["now", "perhaps", "later"]
Reply = Literal["whole", "damaged", "late", "none", "page", "unconnected"]
"""What comes back: the peer's own reply, that damaged, perhaps too late, none at all, a page of something in front of the peer;
or there was no connection in the first place."""


@dataclass(frozen=True, slots=True)
class Page:
    """What something in front of the peer answers in its place. `names_time`: it says when to come again."""

    status: int
    body: bytes
    names_time: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One row. `arrives`: how often, and when, it reaches the peer; `damaged`: not as it was sent."""

    name: str
    arrives: tuple[Arrival, ...] = ("now",)
    reply: Reply = "whole"
    damaged: bool = False
    page: Page | None = None


_ERROR = Page(500, b"<html><body>Internal Server Error</body></html>")
_LOST = Page(502, b"<html><body>Bad Gateway</body></html>")
_WAITED = Page(504, b"<html><body>Gateway Time-out</body></html>")
_BUSY = Page(503, b"busy", names_time=True)

# fmt: off
FAULTS: Final[tuple[Fault, ...]] = (
    Fault("not_sent",      (),               "unconnected"),        # nobody listens: nothing leaves
    Fault("cut_before",    (),               "none"),               # it leaves and never arrives
    Fault("cut_after",     ("now",),         "none"),               # it takes effect there, and the reply is lost
    Fault("delayed",       ("later",),       "none"),               # we give up waiting; then it arrives
    Fault("slow",          ("now",),         "late"),               # the reply takes up to twice the time that we wait for it
    Fault("duplicated",    ("now", "now"),   "whole"),              # it arrives twice at once; the second reply is what we see
    Fault("echoed",        ("now", "later"), "whole"),              # it arrives, and once more much later
    Fault("garbled",       ("now",),         "whole", damaged=True),
    Fault("garbled_reply", ("now",),         "damaged"),
    Fault("failing",       ("perhaps",),     "page", page=_ERROR),  # an error page after the peer has acted, or instead
    Fault("lost_behind",   ("perhaps",),     "page", page=_LOST),
    Fault("timed_out",     ("now",),         "page", page=_WAITED),
    Fault("busy",          (),               "page", page=_BUSY),
)
# fmt: on


def damaged(data: bytes) -> bytes:
    """The same number of bytes, one of them a NUL, which no text that we speak may hold."""
    middle = len(data) // 2
    return data[:middle] + b"\0" + data[middle + 1 :] if data else data


@dataclass(slots=True)
class Trouble:
    """What goes wrong with the next thing that is sent: something with probability `loss`. `met` counts it by name."""

    loss: float
    draw: Random
    met: Counter[str] = field(default_factory=Counter)

    def next(self) -> Fault | None:
        """The fault that it meets; None where all goes well."""
        if self.draw.random() >= self.loss:
            return None
        fault = self.draw.choice(FAULTS)
        self.met[fault.name] += 1
        return fault

    def even(self) -> bool:
        """As when a coin is thrown."""
        return self.draw.random() * 2 > 1

    def latest_s(self) -> float:
        """How much later something arrives, in seconds."""
        return self.draw.random() * LATEST_S

    def busy_s(self, page: Page) -> int:
        """When a page says to come again, in seconds; 0 where it does not say."""
        return self.draw.randrange(BUSY_S) if page.names_time else 0
