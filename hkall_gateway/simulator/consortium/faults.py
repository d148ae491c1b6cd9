"""Faults that the simulation injects: at documents, connections, networks and machines."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from hkall_gateway.circulation.ports import Clock
from hkall_gateway.db.database import Immediate, finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.deadline import Deadline, Expired, Undecided
from hkall_gateway.db.engine.group import no_hook
from hkall_gateway.db.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ncip.http_post import HttpReply, NoReply, NotSent, Post
from hkall_gateway.simulator.consortium.in_memory_transport import HERE, End

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


# ---- Network faults on documents: wraps a `Post`, and injects the faults of FAULTS, driven by a seeded random generator.
# A late delivery is handed to `later`, which schedules it, so that it never overtakes documents sent after it.


Later = Callable[[float, Callable[[], Awaitable[None]]], None]
"""(seconds, the work to do then)."""

NOTHING: Final = HttpReply(0, "", b"")


class LossyChannel:
    """A `Post` that injects the faults of `trouble`."""

    def __init__(self, post: Post, trouble: FaultSource, later: Later) -> None:
        self._post, self.trouble, self._later = post, trouble, later

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        fault = self.trouble.next()
        if fault is None:
            return await self._post(url, body, timeout_s)
        return await self.suffer(fault, url, body, timeout_s)

    async def suffer(self, fault: NetworkFault, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Sends one document with one fault."""
        if fault.reply == "unconnected":
            raise NotSent(f"lossy: {fault.name}")
        posted = await self._arrive(fault, url, damaged(body) if fault.damaged else body, timeout_s)
        return _REPLIES[fault.reply](self, fault, posted)

    async def _arrive(self, fault: NetworkFault, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Delivers the document as often as the fault demands; returns the last reply to an immediate delivery."""
        posted = NOTHING
        for when in fault.arrives:
            if when == "later":

                async def arrive() -> None:
                    await self._post(url, body, timeout_s)

                self._later(self.trouble.latest_s(), arrive)
            elif when == "now" or self.trouble.even():
                posted = await self._post(url, body, timeout_s)
        return posted

    # ---- replies

    def _whole(self, _fault: NetworkFault, posted: HttpReply) -> HttpReply:
        return posted

    def _damaged(self, _fault: NetworkFault, posted: HttpReply) -> HttpReply:
        return HttpReply(posted.status, posted.content_type, damaged(posted.body))

    def _late(self, fault: NetworkFault, posted: HttpReply) -> HttpReply:
        if self.trouble.even():
            raise NoReply(f"lossy: {fault.name}")
        return posted

    def _none(self, fault: NetworkFault, _posted: HttpReply) -> HttpReply:
        raise NoReply(f"lossy: {fault.name}")

    def _page(self, fault: NetworkFault, _posted: HttpReply) -> HttpReply:
        assert fault.page is not None
        return HttpReply(fault.page.status, "text/html", fault.page.body, self.trouble.busy_s(fault.page))


_REPLIES: Final[Mapping[Reply, Callable[[LossyChannel, NetworkFault, HttpReply], HttpReply]]] = {
    "whole": LossyChannel._whole,
    "damaged": LossyChannel._damaged,
    "late": LossyChannel._late,
    "none": LossyChannel._none,
    "page": LossyChannel._page,
}


# ---- Network faults on connections: wraps a client's endpoint, and injects the faults of FAULTS, driven by a given clock.
# It handles bytes and knows no protocol, except for the error pages that a proxy returns in place of a web server.


TIMEOUT_S: Final = 20.0
"""Seconds that a client waits for a reply; a slow one takes up to twice as long."""

_connect: Any = connectProtocol  # it has no types
_refused: Any = error.ConnectionRefusedError  # nor has this


@implementer(IStreamClientEndpoint)
class LossyEndpoint:
    """Connects as `endpoint` does, with the faults of `trouble`; late replies arrive by `clock`."""

    def __init__(self, endpoint: Any, trouble: FaultSource, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint: Any = endpoint
        self._trouble, self._clock, self._timeout_s = trouble, clock, timeout_s

    def connect(self, factory: Any) -> Deferred[Any]:
        """Returns a connection that may meet a fault."""
        fault = self._trouble.next()
        return self._endpoint.connect(factory) if fault is None else self.suffer(fault, factory)

    def suffer(self, fault: NetworkFault, factory: Any) -> Deferred[Any]:
        """Returns a connection that meets one fault."""
        if fault.reply == "unconnected":
            return fail(_refused(fault.name))
        client = factory.buildProtocol(HERE)
        wait_s = self._trouble.draw.random() * 2 * self._timeout_s if fault.reply == "late" else 0
        line = _Line(fault, self._trouble, self._endpoint, self._clock, client, wait_s)
        client.makeConnection(line)
        return succeed(client)


class _Line(End):
    """The client's transport. It has several far ends or none: one `_Leg` for each immediate delivery of the client's bytes."""

    def __init__(
        self, fault: NetworkFault, trouble: FaultSource, endpoint: Any, clock: Clock, client: Any, wait_s: float
    ) -> None:
        super().__init__(clock, client)
        self._fault, self._trouble, self._endpoint, self._wait_s = fault, trouble, endpoint, wait_s
        self._said: list[bytes] = []
        self._legs = [self._leg() for when in fault.arrives if when == "now" or (when == "perhaps" and trouble.even())]
        if self._legs:
            self._legs[-1].line = self
        if "later" in fault.arrives:
            clock.callLater(trouble.latest_s(), self._arrive_late)

    def write(self, data: bytes) -> None:
        """Sends the data on every leg; where no leg will answer, the first write triggers the fault's reply."""
        if not self._said and (self._fault.page or not self._fault.arrives):
            self._clock.callLater(0, self._answer)
        said = damaged(data) if self._fault.damaged and self._said else data  # its head arrives, so that the rest is read
        self._said.append(said)
        for leg in self._legs:
            leg.say(said)

    def close(self, reason: BaseException | None = None) -> None:
        """Closes the client's side and all connections to the server."""
        super().close(reason)
        for leg in self._legs:
            leg.hang_up()

    def heard(self, data: bytes) -> None:
        """Called with data from the server."""
        if self._fault.reply == "none":
            self.close(ConnectionLost(self._fault.name))
        elif self._fault.reply != "page":
            said = damaged(data) if self._fault.reply == "damaged" else data
            self._clock.callLater(self._wait_s, partial(self.hear, said))

    def ended(self) -> None:
        """Called when the server has closed."""
        if self._fault.reply != "page":
            self._clock.callLater(self._wait_s, self.close)

    def _answer(self) -> None:
        if self._fault.page is None:
            self.close(ConnectionLost(self._fault.name))
        else:
            self.hear(_written(self._fault.page, self._trouble.busy_s(self._fault.page)))
            self.close()

    def _arrive_late(self) -> None:
        self._leg().say(b"".join(self._said))

    def _leg(self) -> _Leg:
        leg = _Leg()
        _connect(self._endpoint, leg).addErrback(lambda _: self.ended())
        return leg


class _Leg(Protocol):
    """One connection to the server. Without a `line` its replies are dropped."""

    transport: Any

    def __init__(self) -> None:
        self.line: _Line | None = None
        self._waiting: list[bytes] = []

    def say(self, data: bytes) -> None:
        """Sends the data now, or as soon as it is connected."""
        if self.transport is None:
            self._waiting.append(data)
        else:
            self.transport.write(data)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's own name
        while self._waiting:
            self.transport.write(self._waiting.pop(0))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.line is not None:
            self.line.heard(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802, ARG002
        if self.line is not None:
            self.line.ended()


def _written(page: ProxyErrorPage, wait_s: int) -> bytes:
    """A page as an HTTP response."""
    wait = f"Retry-After: {wait_s}\r\n" if page.names_time else ""
    head = f"HTTP/1.1 {page.status} No\r\nContent-Type: text/html\r\n{wait}Content-Length: {len(page.body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + page.body


# ---- Faults of the machines of a simulated library: a second gateway that is paused or cut off, a disk that refuses a commit.


T = TypeVar("T")

LATE: Final = 0.01
"""The chance that a command waits at a gateway that is paused; while one is cut off from the database, CUT_OFF."""
CUT_OFF: Final = 0.5
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
        self, engine: Engine, make_unit: Callable[[Connection], UnitOfWork], before_commit: Callable[[], None] = no_hook
    ) -> None:
        super().__init__(engine, make_unit, before_commit)
        self.waits: Callable[[], bool] = never
        self._waiting: list[Callable[[], object]] = []

    def write(
        self,
        work: Callable[[UnitOfWork], T],
        locks: LockSet = NO_LOCKS,
        until: Deadline | None = None,
        *,
        repeatable: bool = False,
    ) -> Deferred[T]:
        run = partial(super().write, work, locks, until, repeatable=repeatable)
        if until is None or not self.waits():
            return run()
        self._waiting.append(partial(copy_context().run, run))
        until.drop("late")  # as its timer does
        return fail(Expired("it waits at the other gateway"))

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
