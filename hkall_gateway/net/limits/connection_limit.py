"""Limits on open connections: for each network before authentication, for each configured client, and in total."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog
from twisted.internet.defer import DeferredLock

from hkall_gateway.net.limits.allow_list import network_of
from hkall_gateway.net.limits.rate_limiter import RateLimiter
from hkall_gateway.observability.metrics import Metrics

T = TypeVar("T")

MOST_WAITING: Final = 1000
"""Maximum number of queued work items per network. All terminals on a campus may reconnect at once without exceeding it."""


class AddressQueue:
    """Runs one work item at a time for each network, so that a busy network delays only its own replies."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._locks: dict[str, DeferredLock] = {}
        self._wanted: Counter[str] = Counter()

    async def run(self, address: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """Run `work` after earlier work for the same network. Return its result, or None if too much work is queued."""
        network = network_of(address)
        if self._wanted[network] >= self._most:
            return None
        self._wanted[network] += 1
        lock = self._locks.setdefault(network, DeferredLock())
        try:
            await lock.acquire()
            try:
                return await work()
            finally:
                lock.release()
        finally:
            self._wanted[network] -= 1
            if not self._wanted[network]:
                del self._wanted[network], self._locks[network]


LOG = structlog.get_logger()

LINES_A_MINUTE: Final = 30
"""Maximum number of log lines per minute about refusals for one protocol and reason. The metrics count every refusal."""

Judge = Callable[[str], str]
"""Takes an address and returns the reason to refuse a connection from it, or "" to admit the connection."""


class Refusals:
    """Counts and logs the refused connections of one protocol (`sip2`, `ncip`, `ops`)."""

    def __init__(self, protocol: str, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._protocol, self._metrics, self._now = protocol, metrics, now
        self._event = f"{protocol}.not_admitted"
        self._rate = RateLimiter()

    def note(self, why: str, peer: str, detail: str = "") -> None:
        """Count and log a refusal. `why` is a label such as address, full, proxy, draining or evicted."""
        self._metrics.connections_refused.labels(self._protocol, why).inc()
        if self._rate.admits(why, LINES_A_MINUTE, self._now()):
            LOG.warning(self._event, channel=self._protocol, peer=peer, why=why, detail=detail)


class AdmissionFactory:
    """Wraps a factory and refuses connections from addresses that `judge` refuses.

    Without a protocol, Twisted closes the socket at once, which is much cheaper than creating a transport and a protocol.
    """

    def __init__(self, inner: Any, judge: Judge, refusals: Refusals) -> None:
        self._inner, self._judge, self._refusals = inner, judge, refusals

    def buildProtocol(self, addr: object) -> object:  # noqa: N802  # Twisted's own name
        """Return the inner factory's protocol, or None to refuse the connection."""
        address = str(getattr(addr, "host", ""))  # the peer of a UNIX socket has no host
        if why := self._judge(address):
            self._refusals.note(why, address)
            return None
        return self._inner.buildProtocol(addr)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def guard_port(port: Any, judge: Judge, refusals: Refusals) -> object:
    """Make a listening port call `judge` with the address of each new connection; return the port."""
    port.factory = AdmissionFactory(port.factory, judge, refusals)
    return port


UNPROVEN: Final = 20
"""Default limit on unauthenticated connections from one network."""


class ConnectionLimit:
    """Counts and limits the connections of one protocol.

    `total` limits all connections, `per_address` the connections from one network (see `network_of`), and `unproven` the
    unauthenticated connections from one network. With `queues`, a connection beyond `unproven` waits instead of being refused,
    since terminals behind one tunnel or NAT connect at the same time. When the total is reached, the oldest unauthenticated
    connection is closed in favour of a new connection, so that idle clients cannot block the port.
    """

    def __init__(self, total: int, per_address: int, unproven: int = UNPROVEN, *, queues: bool = False) -> None:
        self._total, self._per_address, self._unproven, self._queues_on = total, per_address, unproven, queues
        self.inside = 0
        """The number of open connections."""
        self._queues: dict[str, deque[ConnectionSlot]] = {}
        self._networks: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._waiting: OrderedDict[ConnectionSlot, None] = OrderedDict()

    def has_room(self, address: str) -> bool:
        """Check whether one more connection from `address` would be admitted."""
        network = network_of(address)
        crowded = self._strangers[network] >= self._unproven and not self._queues_on
        if crowded or self._networks[network] >= self._per_address:
            return False
        return self.inside < self._total or bool(self._waiting)

    def enter(
        self, address: str, close: Callable[[], object], admit: Callable[[], object] = lambda: None
    ) -> ConnectionSlot | None:
        """Count a new connection. Return its slot, or None if a limit is reached.

        `close` is called if a newer connection displaces this one. If the slot is `queued`, wait until `admit` is called.
        """
        if not self.has_room(address):
            return None
        if self.inside >= self._total:
            next(iter(self._waiting)).give_way()
        seat = ConnectionSlot(self, address, close, admit)
        self.inside += 1
        self._networks[seat.network] += 1
        self._waiting[seat] = None
        if self._strangers[seat.network] >= self._unproven:
            seat.queued = True
            self._queues.setdefault(seat.network, deque()).append(seat)
        else:
            self._strangers[seat.network] += 1
        return seat

    def proven(self, seat: ConnectionSlot, row: str, most: int) -> bool:
        """Count a connection as authenticated under `row`. Return False if `row` already has `most` connections."""
        if self._rows[row] >= most:
            return False
        self._release_unproven(seat)
        self._rows[row] += 1
        return True

    def left(self, seat: ConnectionSlot) -> None:
        """Stop counting a connection."""
        self._release_unproven(seat)
        self.inside -= 1
        _decrement(self._networks, seat.network)

    def _release_unproven(self, seat: ConnectionSlot) -> None:
        """Stop counting a slot. If it was not authenticated yet, admit the next waiting connection from its network."""
        if seat.row:
            _decrement(self._rows, seat.row)
            return
        del self._waiting[seat]
        if seat.queued:
            self._queues[seat.network].remove(seat)
        else:
            _decrement(self._strangers, seat.network)
        queue = self._queues.get(seat.network, deque())
        if not queue:
            self._queues.pop(seat.network, None)
        elif self._strangers[seat.network] < self._unproven:
            following = queue.popleft()
            following.queued = False
            self._strangers[seat.network] += 1
            following.admit()


class ConnectionSlot:
    """One connection, as counted by a ConnectionLimit.

    Attributes:
        row: Name of the configured client that the connection has proven to be; "" before the authentication.
        queued: Whether the connection waits until its network has fewer unauthenticated connections.
    """

    __slots__ = ("_close", "_limit", "_open", "address", "admit", "network", "queued", "row")

    def __init__(self, limit: ConnectionLimit, address: str, close: Callable[[], object], admit: Callable[[], object]) -> None:
        self._limit, self.address, self._close, self.admit = limit, address, close, admit
        self.network = network_of(address)
        self.row, self._open, self.queued = "", True, False

    def prove(self, row: str, most: int) -> bool:
        """Count the connection under `row`. If `row` already has `most` connections, return False and change nothing."""
        if not self._open:
            return False
        if self.row != row and not self._limit.proven(self, row, most):
            return False
        self.row = row
        return True

    def leave(self) -> None:
        """Stop counting the connection, because it is closed. Further calls have no effect."""
        if self._open:
            self._open = False
            self._limit.left(self)

    def give_way(self) -> None:
        """Close the connection in favour of a newer connection."""
        self.leave()
        self._close()


def _decrement(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
