"""The listening ports for terminals: their connections, shared services and clock, and the graceful shutdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from hkall_gateway.circulation.ports import Clock, ScheduledCall, cancel
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, Refusals
from hkall_gateway.sip2.dispatch import Sip2Services
from hkall_gateway.sip2.listeners import PLAIN, Listener
from hkall_gateway.sip2.terminal_connection import MOST_WAITING, TerminalConnection

__all__ = ["DRAIN_S", "LOGIN_S", "MOST_WAITING", "TerminalConnection", "TerminalFactory"]

LOGIN_S: Final = 60.0
"""Time to log in. Source: Koha's sample configuration."""
DRAIN_S: Final = 4.0
"""Seconds that `drain` waits for messages in progress, and for peers that do not read their answers."""


class TerminalFactory(Factory):
    """Makes the connections of one port and counts them.

    `services` returns the current services, so that a reload applies from the next message; `limit` may be shared by several
    ports; `idle_s` is the idle timeout of a logged-in terminal in seconds, `login_s` the time to log in, in seconds.
    """

    noisy = False

    def __init__(
        self,
        services: Callable[[], Sip2Services],
        limit: ConnectionLimit,
        refusals: Refusals,
        clock: Clock,
        idle_s: float,
        login_s: float = LOGIN_S,
        listener: Listener = PLAIN,
    ) -> None:
        self.services, self.limit, self.refusals, self.clock = services, limit, refusals, clock
        self.idle_s, self.login_s, self.listener = idle_s, login_s, listener
        self.lines: set[TerminalConnection] = set()
        self._drained: Deferred[None] | None = None
        self._timeout: ScheduledCall | None = None
        services().metrics.before_collection(self._tally)

    @property
    def draining(self) -> bool:
        return self._drained is not None

    def buildProtocol(self, addr: IAddress | None) -> TerminalConnection:  # noqa: ARG002, N802
        return TerminalConnection(self)

    def drain(self) -> Deferred[None]:
        """Stop reading, answer the messages in progress, close. Fires when the last connection is closed; call it once.

        Connections that are still open after DRAIN_S seconds are aborted.
        """
        self._drained = Deferred()
        self._timeout = self.clock.callLater(DRAIN_S, self._cut)
        for line in tuple(self.lines):
            line.finish()
        self._look_if_drained()
        return self._drained

    def opened(self, line: TerminalConnection) -> None:
        self.lines.add(line)

    def closed(self, line: TerminalConnection) -> None:
        self.lines.discard(line)
        self.count()
        self._look_if_drained()

    def count(self) -> None:
        """Set the metric of connected terminals."""
        self.services().metrics.sip2_sessions.set(self.limit.inside)

    def _tally(self) -> None:
        for line in self.lines:
            line.tally()

    def _cut(self) -> None:
        for line in tuple(self.lines):
            line.hang("cut", at_once=True)

    def _look_if_drained(self) -> None:
        if self._drained is None or self.lines or self._drained.called:
            return
        cancel(self._timeout)
        self._drained.callback(None)
