"""Who is turned away before anything is read: at accept, before a protocol is made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import structlog

from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.edge.rate import Rate

LOG = structlog.get_logger()

LINES_A_MINUTE: Final = 30
"""Log lines about connections that were turned away, for one protocol and one reason; all are counted in the metrics."""

Judge = Callable[[str], str]
"""(address) -> why a connection from there is turned away, "" for one that is let in."""


class Refusals:
    """Counts and logs the connections of one protocol (`sip2`, `ncip`, `ops`) that were turned away."""

    def __init__(self, protocol: str, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._protocol, self._metrics, self._now = protocol, metrics, now
        self._event = f"{protocol}.not_admitted"
        self._rate = Rate()

    def note(self, why: str, peer: str, detail: str = "") -> None:
        """One more: `why` is address, full, proxy, draining or evicted."""
        self._metrics.connections_refused.labels(self._protocol, why).inc()
        if self._rate.admits(why, LINES_A_MINUTE, self._now()):
            LOG.warning(self._event, channel=self._protocol, peer=peer, why=why, detail=detail)


class AdmissionFactory:
    """A factory that makes no protocol for a caller whom `judge` turns away; everything else is the inner factory's.

    Twisted then closes the socket at once, which costs a fraction of a transport and a protocol.
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
    """The same listening port, on which `judge` is asked about each caller first."""
    port.factory = AdmissionFactory(port.factory, judge, refusals)
    return port
