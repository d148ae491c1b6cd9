"""Limits of open connections: per network before authentication, per configured row, and in total."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from hkall_gateway.edge.limits.networks import network_of

UNPROVEN: Final = 20
"""Default limit of the connections of one network that are not authenticated."""


class ConnectionLimit:
    """Counts the connections of one protocol.

    `total` limits all of them, `per_address` those of one network (`network_of` an address), `unproven` those of one network
    that are not authenticated yet. When the total is used up, the oldest unauthenticated connection is closed in favour of a
    new one, so that silent strangers cannot block the port.
    """

    __slots__ = ("_inside", "_networks", "_per_address", "_rows", "_strangers", "_total", "_unproven", "_waiting")

    def __init__(self, total: int, per_address: int, unproven: int = UNPROVEN) -> None:
        self._total, self._per_address, self._unproven = total, per_address, unproven
        self._inside = 0
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
        if self._strangers[network] >= self._unproven or self._networks[network] >= self._per_address:
            return False
        return self._inside < self._total or bool(self._waiting)

    def enter(self, address: str, close: Callable[[], object]) -> ConnectionSlot | None:
        """Counts one more connection; None if there is no room. `close` must close it when a newer one takes its place."""
        if not self.has_room(address):
            return None
        if self._inside >= self._total:
            next(iter(self._waiting)).give_way()
        seat = ConnectionSlot(self, address, close)
        self._inside += 1
        self._networks[seat.network] += 1
        self._strangers[seat.network] += 1
        self._waiting[seat] = None
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
        else:
            del self._waiting[seat]
            _less(self._strangers, seat.network)


class ConnectionSlot:
    """The place of one connection. `row` is the configured row as which it is authenticated, "" before."""

    __slots__ = ("_close", "_limit", "_open", "address", "network", "row")

    def __init__(self, limit: ConnectionLimit, address: str, close: Callable[[], object]) -> None:
        self._limit, self.address, self._close = limit, address, close
        self.network = network_of(address)
        self.row, self._open = "", True

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
