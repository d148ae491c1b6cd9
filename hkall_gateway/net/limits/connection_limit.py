"""Limits of open connections: per network before authentication, per configured row, and in total."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final

from hkall_gateway.net.limits.networks import network_of

UNPROVEN: Final = 20
"""Default limit of the connections of one network that are not authenticated."""


def _nothing() -> None:
    """Admits a connection that did not wait."""


class ConnectionLimit:
    """Counts the connections of one protocol.

    `total` limits all of them, `per_address` those of one network (`network_of` an address), `unproven` those of one network
    that are not authenticated yet; with `queues` a further one of the network waits for its turn, since terminals behind one
    tunnel or NAT connect together. When the total is used up, the oldest unauthenticated connection is closed in favour of a
    new one, so that silent strangers cannot block the port.
    """

    # fmt: off
    __slots__ = (
        "_inside", "_networks", "_per_address", "_queues", "_queues_on", "_rows", "_strangers", "_total", "_unproven",
        "_waiting",
    )
    # fmt: on

    def __init__(self, total: int, per_address: int, unproven: int = UNPROVEN, *, queues: bool = False) -> None:
        self._total, self._per_address, self._unproven, self._queues_on = total, per_address, unproven, queues
        self._inside = 0
        self._queues: dict[str, deque[ConnectionSlot]] = {}
        self._networks: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._waiting: OrderedDict[ConnectionSlot, None] = OrderedDict()

    @property
    def inside(self) -> int:
        """Connections that are open now."""
        return self._inside

    def has_room(self, address: str) -> bool:
        """Whether one more connection from `address` would be admitted."""
        network = network_of(address)
        crowded = self._strangers[network] >= self._unproven and not self._queues_on
        if crowded or self._networks[network] >= self._per_address:
            return False
        return self._inside < self._total or bool(self._waiting)

    def enter(self, address: str, close: Callable[[], object], admit: Callable[[], object] = _nothing) -> ConnectionSlot | None:
        """Counts one more connection; None if there is no room.

        `close` must close it when a newer one takes its place. A slot that is `queued` may do nothing until `admit` is called.
        """
        if not self.has_room(address):
            return None
        if self._inside >= self._total:
            next(iter(self._waiting)).give_way()
        seat = ConnectionSlot(self, address, close, admit)
        self._inside += 1
        self._networks[seat.network] += 1
        self._waiting[seat] = None
        if self._strangers[seat.network] >= self._unproven:
            seat.queued = True
            self._queues.setdefault(seat.network, deque()).append(seat)
        else:
            self._strangers[seat.network] += 1
        return seat

    # ---- called by seats

    def proven(self, seat: ConnectionSlot, row: str, most: int) -> bool:
        if self._rows[row] >= most:
            return False
        self._put_down(seat)
        self._rows[row] += 1
        return True

    def left(self, seat: ConnectionSlot) -> None:
        self._put_down(seat)
        self._inside -= 1
        _less(self._networks, seat.network)

    def _put_down(self, seat: ConnectionSlot) -> None:
        """Stops counting the seat under its row, or among the unauthenticated connections of its network."""
        if seat.row:
            _less(self._rows, seat.row)
            return
        del self._waiting[seat]
        if seat.queued:
            self._queues[seat.network].remove(seat)
        else:
            _less(self._strangers, seat.network)
        self._admit_next(seat.network)

    def _admit_next(self, network: str) -> None:
        queue = self._queues.get(network, deque())
        if not queue:
            self._queues.pop(network, None)
        elif self._strangers[network] < self._unproven:
            seat = queue.popleft()
            seat.queued = False
            self._strangers[network] += 1
            seat.admit()


class ConnectionSlot:
    """The place of one connection. `row` is the configured row as which it is authenticated, "" before.

    `queued`: it waits until fewer connections of its network are unauthenticated.
    """

    __slots__ = ("_close", "_limit", "_open", "address", "admit", "network", "queued", "row")

    def __init__(self, limit: ConnectionLimit, address: str, close: Callable[[], object], admit: Callable[[], object]) -> None:
        self._limit, self.address, self._close, self.admit = limit, address, close, admit
        self.network = network_of(address)
        self.row, self._open, self.queued = "", True, False

    def prove(self, row: str, most: int) -> bool:
        """Counts the connection as one of `row`; returns False, and changes no count, if the row already has `most` of them."""
        if not self._open:
            return False
        if self.row != row and not self._limit.proven(self, row, most):
            return False
        self.row = row
        return True

    def leave(self) -> None:
        """Stops counting the connection, which has ended. Safe to call again."""
        if self._open:
            self._open = False
            self._limit.left(self)

    def give_way(self) -> None:
        """Closes the connection in favour of another one."""
        self.leave()
        self._close()


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
