"""Refuses connections at accept, before a protocol is made and a byte is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import structlog

from hkall_gateway.net.limits.rate_limiter import RateLimiter
from hkall_gateway.observability.metrics import Metrics

LOG = structlog.get_logger()

LINES_A_MINUTE: Final = 30
"""Log lines a minute about refused connections, for one protocol and one reason; the metrics count all of them."""

Judge = Callable[[str], str]
"""(address) -> the reason to refuse a connection from there, "" to admit it."""


class Refusals:
    """Counts and logs the refused connections of one protocol (`sip2`, `ncip`, `ops`)."""

    def __init__(self, protocol: str, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._protocol, self._metrics, self._now = protocol, metrics, now
        self._event = f"{protocol}.not_admitted"
        self._rate = RateLimiter()

    def note(self, why: str, peer: str, detail: str = "") -> None:
        """Counts one more: `why` is address, full, proxy, draining or evicted."""
        self._metrics.connections_refused.labels(self._protocol, why).inc()
        if self._rate.admits(why, LINES_A_MINUTE, self._now()):
            LOG.warning(self._event, channel=self._protocol, peer=peer, why=why, detail=detail)


class AdmissionFactory:
    """Wraps a factory: makes no protocol for an address that `judge` refuses, and leaves all else to the inner factory.

    Twisted closes the socket at once when there is no protocol. That costs a fraction of a transport and a protocol.
    """

    def __init__(self, inner: Any, judge: Judge, refusals: Refusals) -> None:
        self._inner, self._judge, self._refusals = inner, judge, refusals

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802  # Twisted's own name
        """The inner factory's protocol, or None."""
        address = str(getattr(addr, "host", ""))  # a UNIX socket's peer has none
        if why := self._judge(address):
            self._refusals.note(why, address)
            return None
        return self._inner.buildProtocol(addr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def guarded(port: Any, judge: Judge, refusals: Refusals) -> Any:
    """Returns the same listening port; `judge` is called with the address of each new connection before it is accepted."""
    port.factory = AdmissionFactory(port.factory, judge, refusals)
    return port
