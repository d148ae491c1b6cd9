"""Faults that the simulation injects into documents, networks, gateways and disks."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Final, Literal, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from twisted.internet.defer import Deferred, fail

from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.expiry import Expired
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.net.http_post import HttpReply, NoReply, NotSent, Post
from hkall_gateway.simulator.databases import SoleStore

LATEST_S: Final = 4 * 3600.0
"""Longest delay of a late message, in seconds."""
BUSY_S: Final = 300
"""Longest Retry-After of a busy peer, in seconds."""

Arrival = Literal["now", "perhaps", "later"]
Reply = Literal["whole", "damaged", "late", "none", "page", "unconnected"]
"""What the sender receives: the peer's reply ("whole", "damaged", or "late", perhaps after the time limit), nothing ("none"), a
proxy's error page ("page"), or no connection ("unconnected").
"""


@dataclass(frozen=True, slots=True)
class ProxyErrorPage:
    """An error page that a proxy returns in place of the peer's reply. With `names_time`, it has a Retry-After header."""

    status: int
    body: bytes
    names_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFault:
    """One kind of fault. `arrives` tells when and how often the message arrives, and `damaged` whether bytes are altered."""

    name: str
    arrives: tuple[Arrival, ...] = ("now",)
    reply: Reply = "whole"
    damaged: bool = False
    page: ProxyErrorPage | None = None


_ERROR = ProxyErrorPage(500, b"<html><body>Internal Server Error</body></html>")
_LOST = ProxyErrorPage(502, b"<html><body>Bad Gateway</body></html>")
_WAITED = ProxyErrorPage(504, b"<html><body>Gateway Time-out</body></html>")
_BUSY = ProxyErrorPage(503, b"busy", names_time=True)

FAULTS: Final[tuple[NetworkFault, ...]] = (
    NetworkFault(name="not_sent", arrives=(), reply="unconnected"),  # no listener: no byte is sent
    NetworkFault(name="cut_before", arrives=(), reply="none"),  # the message is sent and never arrives
    NetworkFault(name="cut_after", arrives=("now",), reply="none"),  # the message takes effect, and the reply is lost
    NetworkFault(name="delayed", arrives=("later",), reply="none"),  # the message arrives after the sender gave up
    NetworkFault(name="slow", arrives=("now",), reply="late"),  # the reply takes up to twice our time limit
    NetworkFault(
        name="duplicated", arrives=("now", "now"), reply="whole"
    ),  # it arrives twice; the sender gets the second reply
    NetworkFault(name="echoed", arrives=("now", "later"), reply="whole"),  # it arrives now, and again much later
    NetworkFault(name="garbled", arrives=("now",), reply="whole", damaged=True),
    NetworkFault(name="garbled_reply", arrives=("now",), reply="damaged"),
    NetworkFault(name="failing", arrives=("perhaps",), reply="page", page=_ERROR),  # the peer may have acted or not
    NetworkFault(name="lost_behind", arrives=("perhaps",), reply="page", page=_LOST),
    NetworkFault(name="timed_out", arrives=("now",), reply="page", page=_WAITED),
    NetworkFault(name="busy", arrives=(), reply="page", page=_BUSY),
)


def damage_bytes(data: bytes) -> bytes:
    """Replace the middle byte by NUL, which no text in our protocols may contain."""
    middle = len(data) // 2
    return data[:middle] + b"\0" + data[middle + 1 :] if data else data


@dataclass(slots=True)
class FaultSource:
    """Draws a fault for each message, with probability `loss`. `met` counts the faults by name."""

    loss: float
    draw: Random
    met: Counter[str] = field(default_factory=Counter)

    def next(self) -> NetworkFault | None:
        """Draw the next fault, or None for a healthy connection."""
        if self.draw.random() >= self.loss:
            return None
        fault = self.draw.choice(FAULTS)
        self.met[fault.name] += 1
        return fault

    def even(self) -> bool:
        """Return True with probability 0.5."""
        return self.draw.random() * 2 > 1

    def latest_s(self) -> float:
        """Draw the delay of a late message, in seconds."""
        return self.draw.random() * LATEST_S

    def busy_s(self, page: ProxyErrorPage) -> int:
        """Draw the Retry-After of a page in seconds; return 0 if the page has no such header."""
        return self.draw.randrange(BUSY_S) if page.names_time else 0


# Network faults on documents: LossyChannel wraps a `Post` and injects faults from FAULTS, driven by a seeded random generator.
# A late delivery is passed to `later`, which schedules it, so that it never overtakes documents sent later.


Later = Callable[[float, Callable[[], Awaitable[None]]], None]
"""Takes a number of seconds and some work, and schedules the work after these seconds."""

NOTHING: Final = HttpReply(status=0, content_type="", body=b"")


class LossyChannel:
    """A `Post` that injects the faults drawn by `trouble`."""

    def __init__(self, post: Post, trouble: FaultSource, later: Later) -> None:
        self._post, self.trouble, self._later = post, trouble, later

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Send a document, perhaps with a fault."""
        fault = self.trouble.next()
        if fault is None:
            return await self._post(url, body, timeout_s)
        return await self.suffer(fault, url, body, timeout_s)

    async def suffer(self, fault: NetworkFault, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Send one document with one fault, and return the last reply to an immediate delivery."""
        lost = f"lossy: {fault.name}"
        if fault.reply == "unconnected":
            raise NotSent(lost)
        sent, posted = damage_bytes(body) if fault.damaged else body, NOTHING

        async def arrive() -> None:
            await self._post(url, sent, timeout_s)

        for when in fault.arrives:
            if when == "later":
                self._later(self.trouble.latest_s(), arrive)
            elif when == "now" or self.trouble.even():
                posted = await self._post(url, sent, timeout_s)
        if fault.reply == "none" or (fault.reply == "late" and self.trouble.even()):
            raise NoReply(lost)
        if fault.page is not None:
            return HttpReply(
                status=fault.page.status,
                content_type="text/html",
                body=fault.page.body,
                retry_after_s=self.trouble.busy_s(fault.page),
            )
        return replace(posted, body=damage_bytes(posted.body)) if fault.reply == "damaged" else posted


T = TypeVar("T")

LATE: Final = 0.01
"""Chance that a command waits at a paused gateway, while both gateways are connected to the database."""
CUT_OFF: Final = 0.5
"""Chance that a command waits while one of the two gateways is disconnected from the database."""
DISK_ERRORS: Final = 0.002
"""Chance that the disk refuses a commit."""


class TwoWayStore(SoleStore):
    """The store of a library with two gateways, where commands at the second gateway may wait for hours.

    The callers were meanwhile told to try again, and have used the first gateway. `waits` draws whether a command waits.
    """

    def __init__(
        self,
        engine: Engine,
        make_unit: Callable[[Connection], UnitOfWork],
        before_commit: Callable[[], None],
        waits: Callable[[], bool],
    ) -> None:
        super().__init__(engine, make_unit, before_commit)
        self.waits = waits
        self._waiting: list[Callable[[], Awaitable[object]]] = []

    def write(
        self,
        work: Callable[[UnitOfWork], T],
        locks: LockSet,
        until: Deadline | None = None,
        *,
        repeatable: bool = False,
    ) -> Deferred[T]:
        """Queue a unit of work, which may wait at the second gateway until the deadline has passed."""
        run = partial(super().write, work, locks, until, repeatable=repeatable)
        if until is None or not self.waits():
            return run()
        self._waiting.append(partial(copy_context().run, run))
        until.drop("late")  # the deadline's timer does the same
        return fail(Expired("it waits at the other gateway"))

    def let_go(self) -> None:
        """Run the units of work that waited at the second gateway, although their callers have given up."""
        while self._waiting:
            try:
                finished(self._waiting.pop(0)())
            except (Unavailable, Undecided):
                continue


def disk_error(engine: Engine) -> OperationalError:
    """Return the error that the database driver raises for a full disk."""
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    cause: Exception = full
    if engine.dialect.name == "postgresql":
        from psycopg import errors  # installed with the extra `postgres`

        cause = errors.DiskFull("could not extend file")
    return OperationalError("COMMIT", None, cause)
