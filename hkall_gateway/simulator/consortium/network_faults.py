"""Network faults: one row each, for documents (document_faults.py) and for connections (connection_faults.py).

A fault tells whether and when a message arrives at the other side, and the reply that comes back. `later` is after the sender
has given up, perhaps after its next message: that is how messages arrive out of order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal

LATEST_S: Final = 4 * 3600.0
"""Longest delay of a late message, in seconds."""
BUSY_S: Final = 300
"""Longest Retry-After of a busy peer, in seconds."""

Arrival = Literal["now", "perhaps", "later"]
Reply = Literal["whole", "damaged", "late", "none", "page", "unconnected"]
"""The reply: the peer's own, the same damaged or perhaps too late, none, or an error page of a proxy; "unconnected": no
connection at all."""


@dataclass(frozen=True, slots=True)
class ProxyErrorPage:
    """An error page that a proxy returns in place of the peer. `names_time`: it has a Retry-After time."""

    status: int
    body: bytes
    names_time: bool = False


@dataclass(frozen=True, slots=True)
class NetworkFault:
    """One row. `arrives`: how often, and when, the message reaches the peer; `damaged`: it is altered on the way."""

    name: str
    arrives: tuple[Arrival, ...] = ("now",)
    reply: Reply = "whole"
    damaged: bool = False
    page: ProxyErrorPage | None = None


_ERROR = ProxyErrorPage(500, b"<html><body>Internal Server Error</body></html>")
_LOST = ProxyErrorPage(502, b"<html><body>Bad Gateway</body></html>")
_WAITED = ProxyErrorPage(504, b"<html><body>Gateway Time-out</body></html>")
_BUSY = ProxyErrorPage(503, b"busy", names_time=True)

# fmt: off
FAULTS: Final[tuple[NetworkFault, ...]] = (
    NetworkFault("not_sent",      (),               "unconnected"),        # no listener: no byte is sent
    NetworkFault("cut_before",    (),               "none"),               # it leaves and never arrives
    NetworkFault("cut_after",     ("now",),         "none"),               # it takes effect there, and the reply is lost
    NetworkFault("delayed",       ("later",),       "none"),               # we give up waiting; then it arrives
    NetworkFault("slow",          ("now",),         "late"),               # the reply takes up to twice our time limit
    NetworkFault("duplicated",    ("now", "now"),   "whole"),              # it arrives twice; the sender sees the second reply
    NetworkFault("echoed",        ("now", "later"), "whole"),              # it arrives, and once more much later
    NetworkFault("garbled",       ("now",),         "whole", damaged=True),
    NetworkFault("garbled_reply", ("now",),         "damaged"),
    NetworkFault("failing",       ("perhaps",),     "page", page=_ERROR),  # an error page after the peer has acted, or instead
    NetworkFault("lost_behind",   ("perhaps",),     "page", page=_LOST),
    NetworkFault("timed_out",     ("now",),         "page", page=_WAITED),
    NetworkFault("busy",          (),               "page", page=_BUSY),
)
# fmt: on


def damaged(data: bytes) -> bytes:
    """The same number of bytes, one of them a NUL, which no text of our protocols may contain."""
    middle = len(data) // 2
    return data[:middle] + b"\0" + data[middle + 1 :] if data else data


@dataclass(slots=True)
class FaultSource:
    """Draws the fault of each message, with probability `loss`. `met` counts the faults by name."""

    loss: float
    draw: Random
    met: Counter[str] = field(default_factory=Counter)

    def next(self) -> NetworkFault | None:
        """Draws the next fault; None for a healthy connection."""
        if self.draw.random() >= self.loss:
            return None
        fault = self.draw.choice(FAULTS)
        self.met[fault.name] += 1
        return fault

    def even(self) -> bool:
        """Tosses a coin."""
        return self.draw.random() * 2 > 1

    def latest_s(self) -> float:
        """Draws the delay of a late message, in seconds."""
        return self.draw.random() * LATEST_S

    def busy_s(self, page: ProxyErrorPage) -> int:
        """The Retry-After of a page in seconds; 0 if it has none."""
        return self.draw.randrange(BUSY_S) if page.names_time else 0
