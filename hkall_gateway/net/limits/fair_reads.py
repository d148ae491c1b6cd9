"""Limits the processor time of connections that are not authenticated, and of those that use too much."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.tcp import Port, Server
from twisted.python.failure import Failure

from hkall_gateway.clock import Clock, ScheduledCall

FREE: Final = 65_536
"""Bytes of each body that are not counted, so that an ordinary document is always accepted."""


class BodyBudget:
    """Counts the bytes of unfinished bodies beyond their first FREE bytes. Over the limit, the oldest body is given up."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0
        """The bytes counted now."""
        self._held: dict[object, tuple[int, Callable[[], object]]] = {}

    def reserve(self, body: object, size: int, give_up: Callable[[], object]) -> None:
        """Record that `body` has `size` bytes now.

        Over the limit, the oldest bodies are released and their `give_up` is called.
        """
        counted = size - FREE
        if counted <= 0:
            return
        before, _ = self._held.get(body, (0, None))
        self._held[body] = (counted, give_up)
        self.used += counted - before
        while self.used > self._most:
            oldest = next(iter(self._held))
            _, end = self._held[oldest]
            self.release(oldest)
            end()

    def release(self, body: object) -> None:
        """Free the bytes of `body`, which is complete or gone. Safe for a body without counted bytes."""
        counted, _ = self._held.pop(body, (0, None))
        self.used -= counted


SHARE: Final = 0.2
"""Share of the CPU time that all unauthenticated connections together may use. With the rest idle, the kernel's scheduler
still treats the process as interactive and runs it at once on a busy machine."""
HEAVY_S: Final = 0.005
"""Seconds from which a read, with all replies to its data, counts as heavy."""
DEBT: Final = 20.0
"""After a heavy read its row counts as unauthenticated for so many times the length of the read."""
MOST_ROWS: Final = 1000


class ReadingConnection(Protocol):
    """A connection; `startReading` makes the reactor watch its socket again."""

    def startReading(self) -> object:  # noqa: N802  # Twisted's own name
        """Read again."""


class WritableConnection(Protocol):
    """A connection that data is written to, plain TCP or TLS."""

    def write(self, data: bytes) -> object:
        """Write data, without waiting."""


class FairReads:
    """Decides which connection may read now.

    Authenticated connections always may. The others take turns in the order of their arrival, one read each; after a read that
    took a millisecond all of them pause for four. `spent` returns the CPU seconds of this thread so far, since wall time
    depends on the machine's other load.
    """

    def __init__(self, clock: Clock, spent: Callable[[], float]) -> None:
        self._clock, self.spent = clock, spent
        self._waiting: OrderedDict[ReadingConnection, None] = OrderedDict()
        self._next: ReadingConnection | None = None
        self._free_s = 0.0
        self._timer: ScheduledCall | None = None
        self._debts: dict[str, float] = {}

    def trusts(self, row: str) -> bool:
        """Return whether connections of this row are read without waiting; "" is an unauthenticated one."""
        return bool(row) and (row not in self._debts or self._debts[row] <= self._clock.seconds())

    def admits(self, connection: ReadingConnection, *, trusted: bool) -> bool:
        """Return whether this connection may read now. If not, it must stop, and is started again at its turn."""
        if trusted:
            self.forget(connection)  # it may have been queued before it was trusted
            return True
        if connection is self._next:
            self._next = None
            return True
        if self._next is None and not self._waiting and self._clock.seconds() >= self._free_s:
            return True
        self._waiting.setdefault(connection)
        self._schedule_next()
        return False

    def forget(self, connection: ReadingConnection) -> None:
        """Remove this connection from the queue: it has stopped reading, or reads without waiting."""
        self._waiting.pop(connection, None)
        if connection is self._next:
            self._next = None
            self._schedule_next()

    def used(self, row: str, took_s: float, *, trusted: bool) -> None:
        """Record the duration of a read."""
        if took_s > HEAVY_S and row:
            now_s = self._clock.seconds()
            if len(self._debts) >= MOST_ROWS:
                self._debts = {one: until for one, until in self._debts.items() if until > now_s}
            self._debts[row] = max(self._debts.get(row, 0.0), now_s) + DEBT * took_s
        if not trusted:
            self._free_s = max(self._clock.seconds(), self._free_s) + took_s * (1 / SHARE - 1)
            self._schedule_next()

    def _schedule_next(self) -> None:
        if self._waiting and self._next is None and self._timer is None:
            self._timer = self._clock.callLater(max(0.0, self._free_s - self._clock.seconds()), self._admit_next)

    def _admit_next(self) -> None:
        self._timer = None
        if self._waiting and self._next is None:
            self._next, _ = self._waiting.popitem(last=False)
            self._next.startReading()


def use_fair_reads(port: object, fair: FairReads) -> object:
    """Make the connections of a port take turns to read, until `mark_authenticated`; return the port.

    A UNIX socket is unchanged.
    """
    if isinstance(port, Port):
        port.transport = cast(Any, type)("Fair", (FairTransport,), {"fair": fair})  # Twisted's own hook
    return port


def mark_authenticated(transport: object, row: str) -> None:
    """Mark the connection below a transport as authenticated as `row`. Other transports are unchanged."""
    while transport is not None and not isinstance(transport, FairTransport):
        transport = getattr(transport, "transport", None)  # of TLS, or of a balancer's header
    if transport is not None:
        transport.mark_authenticated(row)


def send_at_once(transport: WritableConnection, data: bytes) -> None:
    """Write data, and send at once what the socket takes.

    Otherwise the reactor polls once more until the socket is writable, which is a quarter of the CPU time of a short message
    (bench row `sip2_63_rate`, and patron information against SIPServer at one connection).
    """
    if isinstance(transport, FairTransport) and transport.has_sent_all:
        sent = transport.writeSomeData(data)
        if isinstance(sent, int):
            data = data[sent:]
    if data:
        transport.write(data)


STRANGER_READ: Final = 4_096
KNOWN_READ: Final = 16_384
"""Bytes read at a time, from an unauthenticated and from an authenticated connection."""


class FairTransport(Server):
    """A connection that reads when its turn comes."""

    fair: FairReads
    row = ""
    _parked = False

    def doRead(self) -> ConnectionLost | ConnectionDone | None:  # type: ignore[override]  # noqa: N802
        """Read some of the received bytes, if `fair` admits this connection now."""
        fair = self.fair
        trusted = fair.trusts(self.row)
        if (self._parked or not trusted) and not fair.admits(self, trusted=trusted):
            super().stopReading()  # type: ignore[no-untyped-call]  # it has no types
            self._parked = True
            return None
        self._parked = False
        self.bufferSize = KNOWN_READ if trusted else STRANGER_READ
        before_s = fair.spent()
        try:
            return super().doRead()
        finally:
            fair.used(self.row, fair.spent() - before_s, trusted=trusted)

    def stopReading(self) -> None:  # noqa: N802
        """Leave the queue and stop reading."""
        self.fair.forget(self)
        self._parked = False
        super().stopReading()  # type: ignore[no-untyped-call]  # it has no types

    @property
    def has_sent_all(self) -> bool:
        """Return whether the connection is open and none of the written data waits to be sent."""
        return bool(self.connected) and not (self.disconnecting or self.dataBuffer or self._tempDataBuffer)

    def mark_authenticated(self, row: str) -> None:
        """Mark the connection as `row`'s; if it waits for its turn to read, it resumes at once."""
        self.row = row
        if self._parked:
            self.startReading()  # type: ignore[no-untyped-call]  # it has no types

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Leave the queue."""
        self.fair.forget(self)
        super().connectionLost(reason)
