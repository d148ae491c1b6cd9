"""Limits the CPU time of unauthenticated connections, and of clients that use too much CPU time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.tcp import Port, Server
from twisted.python.failure import Failure

from hkall_gateway.clock import Clock, ScheduledCall

FREE: Final = 65_536
"""Number of bytes at the start of each body that are not counted, so that an ordinary document is always accepted."""


class BodyBudget:
    """Limits the total size of unfinished bodies by giving up the oldest bodies. The first FREE bytes of each do not count."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0
        """The current number of counted bytes."""
        self._held: dict[object, tuple[int, Callable[[], object]]] = {}

    def reserve(self, body: object, size: int, give_up: Callable[[], object]) -> None:
        """Record the current `size` of `body`. If the limit is exceeded, release the oldest bodies and call `give_up`."""
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
        """Stop counting `body`, because it is complete or discarded. Safe for a body that was never counted."""
        counted, _ = self._held.pop(body, (0, None))
        self.used -= counted


SHARE: Final = 0.2
"""Share of the CPU time that all unauthenticated connections together may use. Since the process then sleeps most of the time,
the kernel's scheduler treats it as interactive and runs it without delay on a busy machine."""
HEAVY_S: Final = 0.005
"""CPU seconds above which a read, including the replies to the data, counts as heavy."""
DEBT: Final = 20.0
"""After a heavy read, the client's connections count as unauthenticated for this multiple of the read's CPU time."""
FRESH_S: Final = HEAVY_S / 10
"""Seconds within which the CPU time at the start of an earlier read is used again, since reading it takes a system call."""
MOST_ROWS: Final = 1000


class ReadingConnection(Protocol):
    """A connection whose reading can be resumed."""

    def startReading(self) -> object:  # noqa: N802  # Twisted's own name
        """Make the reactor watch the socket again."""


class WritableConnection(Protocol):
    """A connection for writing, plain TCP or TLS."""

    def write(self, data: bytes) -> object:
        """Write data without blocking."""


class FairReads:
    """Decides which connection may read now.

    Authenticated connections may always read. All other connections take turns, with one read each; after a read that took one
    millisecond, they all pause for four milliseconds. `spent` returns the CPU seconds that this thread has used, which, unlike
    wall time, do not depend on the machine's load.
    """

    def __init__(self, clock: Clock, spent: Callable[[], float]) -> None:
        self._clock, self._spent = clock, spent
        self._began_s = self._fresh_s = self._spent_s = 0.0
        self._waiting: OrderedDict[ReadingConnection, None] = OrderedDict()
        self._next: ReadingConnection | None = None
        self._free_s = 0.0
        self._timer: ScheduledCall | None = None
        self._debts: dict[str, float] = {}
        self.held: list[FairTransport] | None = None
        """Connections with replies to send at the end of `together`, or None outside it."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold the replies sent in the block, and send them one after the other at its end.

        A receiver on this machine, such as a load balancer, then wakes once for all of them. If it woke for each reply, the
        gateway would spend a tenth more CPU time per message (bench row `sip2_63_rate`).
        """
        held = self.held = []
        try:
            yield
        finally:
            self.held = None
            for transport in held:
                transport.send(b"")

    def trusts(self, row: str) -> bool:
        """Check whether connections of the client `row` read without waiting. `row` is "" for unauthenticated connections."""
        return bool(row) and (row not in self._debts or self._debts[row] <= self._clock.seconds())

    def admits(self, connection: ReadingConnection, *, trusted: bool) -> bool:
        """Check whether a connection may read now. If not, it must stop reading, and `startReading` is called at its turn."""
        if trusted:
            self.forget(connection)  # the connection may have been queued before it was trusted
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
        """Remove a connection from the queue, because it has stopped reading or reads without waiting."""
        self._waiting.pop(connection, None)
        if connection is self._next:
            self._next = None
            self._schedule_next()

    def begin(self, *, trusted: bool) -> None:
        """Note the time and the CPU time at the start of a read."""
        self._began_s = self._clock.seconds()
        if not trusted or not 0 <= self._began_s - self._fresh_s < FRESH_S:
            self._fresh_s, self._spent_s = self._began_s, self._spent()

    def end(self, row: str, *, trusted: bool) -> None:
        """Record the CPU time of the read that ends now. A trusted read that took little wall time was not heavy."""
        if not trusted or self._clock.seconds() - self._began_s > HEAVY_S:
            self.used(row, self._spent() - self._spent_s, trusted=trusted)

    def used(self, row: str, took_s: float, *, trusted: bool) -> None:
        """Record the CPU time of a read."""
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
    """Make a TCP port's connections take turns to read until they are authenticated; return the port."""
    if isinstance(port, Port):
        port.transport = cast(Any, type)("Fair", (FairTransport,), {"fair": fair})  # Twisted's own hook
    return port


def mark_authenticated(transport: object, row: str) -> None:
    """Mark the FairTransport below a transport, if any, as authenticated as the client `row`."""
    while transport is not None and not isinstance(transport, FairTransport):
        transport = getattr(transport, "transport", None)  # below TLS or the PROXY protocol
    if transport is not None:
        transport.mark_authenticated(row)


def send_at_once(transport: WritableConnection, data: bytes) -> None:
    """Write data, sending as much as the socket takes immediately.

    `write` alone would wait until the reactor reports the socket as writable, which costs a quarter of the CPU time for a short
    message (bench row `sip2_63_rate`, and patron information against SIPServer at one connection).
    """
    if isinstance(transport, FairTransport):
        transport.send(data)
    else:
        transport.write(data)


STRANGER_READ: Final = 4_096
KNOWN_READ: Final = 16_384
"""Maximum number of bytes per read from an unauthenticated (STRANGER_READ) or authenticated (KNOWN_READ) connection."""


class FairTransport(Server):
    """A TCP connection that reads only when `fair` admits it."""

    fair: FairReads
    row = ""
    _parked = False
    _held = b""

    def doRead(self) -> ConnectionLost | ConnectionDone | None:  # type: ignore[override]  # noqa: N802
        """Read some of the received bytes if `fair` admits this connection now; otherwise stop reading."""
        fair = self.fair
        trusted = fair.trusts(self.row)
        if (self._parked or not trusted) and not fair.admits(self, trusted=trusted):
            super().stopReading()  # type: ignore[no-untyped-call]  # it has no types
            self._parked = True
            return None
        self._parked = False
        self.bufferSize = KNOWN_READ if trusted else STRANGER_READ
        fair.begin(trusted=trusted)
        try:
            return super().doRead()
        finally:
            fair.end(self.row, trusted=trusted)

    def stopReading(self) -> None:  # noqa: N802
        """Leave the queue and stop reading."""
        self.fair.forget(self)
        self._parked = False
        super().stopReading()  # type: ignore[no-untyped-call]  # it has no types

    def send(self, data: bytes) -> None:
        """Send held data and `data`, as much as the socket takes, now or at the end of `FairReads.together`. Write the rest."""
        if not self.connected or self.disconnecting or self.dataBuffer or self._tempDataBuffer:
            self.write(data)
        elif self.fair.held is not None:
            if not self._held:
                self.fair.held.append(self)
            self._held += data
        else:
            data, self._held = self._held + data, b""
            try:
                sent = self.socket.send(data)
            except OSError:  # a full buffer, or a lost connection, which `write` handles
                sent = 0
            if sent < len(data):
                self.write(data[sent:])

    def write(self, data: bytes) -> None:
        """Write data after the held data."""
        held, self._held = self._held, b""
        super().write(held + data)  # type: ignore[no-untyped-call]  # it has no types

    def writeSequence(self, iovec: Sequence[bytes]) -> None:  # type: ignore[override]  # noqa: N802
        """Write several pieces after the held data."""
        self.write(b"".join(iovec))

    def mark_authenticated(self, row: str) -> None:
        """Mark the connection as authenticated as `row`. If it waits for its turn to read, resume reading at once."""
        self.row = row
        if self._parked:
            self.startReading()  # type: ignore[no-untyped-call]  # it has no types

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Leave the queue."""
        self.fair.forget(self)
        super().connectionLost(reason)
