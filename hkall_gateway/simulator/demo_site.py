"""A gateway, its partners, a mailbox and its users, all on real sockets of this machine in one process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString

from hkall_gateway.app.daemon import Daemon
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.ncip.http_post import AgentPost
from hkall_gateway.simulator.demo_setup import DISCOVERY, PASSWORD, Ports, environment
from hkall_gateway.simulator.mailbox import Mailbox
from hkall_gateway.simulator.partner import PartnerLibrary

_endpoint: Any = serverFromString  # it has no types


class DemoPeers:
    """Partners, a mailbox, and a client that acts as the discovery system.

    A partner ships a requested copy after `ships_after_s` seconds; None = it only replies.
    """

    def __init__(
        self,
        reactor: Any,
        ports: Ports,
        clock: Callable[[], datetime] = now,
        ships_after_s: float | None = None,
    ) -> None:
        self._reactor, self._ports, self._listening = reactor, ports, list[Any]()
        self.mailbox = Mailbox()
        url, post = f"http://127.0.0.1:{ports.ncip}/ncip", AgentPost(reactor)
        self.partners = {
            agency: PartnerLibrary(agency, "HKU", url, PASSWORD, post, reactor.callLater, clock, ships_after_s)
            for agency in ports.partners
        }
        self.discovery = PartnerLibrary(DISCOVERY, "HKU", url, PASSWORD, post, reactor.callLater, clock)

    async def start(self) -> None:
        """Starts listening."""
        for agency, port in self._ports.partners.items():
            await self._listen(port, self.partners[agency].site())
        await self._listen(self._ports.smtp, self.mailbox)

    async def stop(self) -> None:
        """Stops listening."""
        for port in self._listening:
            await port.stopListening()

    async def _listen(self, port: int, factory: Any) -> None:
        self._listening.append(await _endpoint(self._reactor, f"tcp:{port}:interface=127.0.0.1").listen(factory))


async def start_gateway(path: Path, ports: Ports, reactor: Any, clock: Callable[[], datetime] = now) -> Daemon:
    """Starts the daemon of a configuration in this process."""
    daemon = Daemon(gateway.load(path, environment(ports)), reactor, clock, environment(ports))
    await daemon.start()
    return daemon
