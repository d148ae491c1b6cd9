"""The servers that the gateway is compared with, each in a separate process: `python -m bench.peers NAME PORT`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from bench.figures import Run
from bench.generator import LoadOrder
from bench.processes import HOST, Process
from bench.questions import WORKS
from bench.resources import Benchmark
from bench.tasks import Task

SERVING: Final = (sys.executable, "-m", "bench.peers")


class PeerServer:
    """One of SERVERS as a subject. Answers of `echo` begin like the questions."""

    def __init__(self, ground: Benchmark, name: str) -> None:
        self._ground, self._name, self._port = ground, name, next(ground.ports)
        self.process = Process([*SERVING, name, str(self._port)], ground.fresh(name) / "log")
        try:
            self.process.until_it_listens(self._port)
        except BaseException:
            self.process.kill()
            raise

    def run(self, task: Task) -> Run:
        """Run a task and return its figures."""
        kind, given = WORKS[task.work], self._ground.questions(task.work)
        yes = b"" if self._name == "echo" else kind.yes
        order = LoadOrder([self._port], task.connections, task.seconds, kind.framing, (yes,), given, again=True)
        return self._ground.watch(order, self.process.cpu_s)

    def close(self) -> None:
        """Stop the peer."""
        self.process.stop()

    def abandon(self) -> None:
        """Kill the peer."""
        self.process.kill()


def echo(port: int) -> None:
    """Run a bare Twisted LineReceiver that sends every line back: the upper limit for any server on Twisted."""
    from twisted.internet import protocol
    from twisted.protocols.basic import LineReceiver

    from hkall_gateway.app.daemon import the_reactor

    class Echo(LineReceiver):
        delimiter = b"\r"

        def lineReceived(self, line: bytes) -> None:  # noqa: N802
            self.sendLine(line)  # type: ignore[no-untyped-call]  # it is untyped

    factory: Any = protocol.Factory.forProtocol(Echo)
    reactor = the_reactor()
    reactor.listenTCP(port, factory, 512, HOST)
    reactor.run()


def pysip2(port: int) -> None:
    """Run pysip2's own server, which returns the same patron for every card and stores nothing."""
    from anyio import run
    from pysip2.models import PatronInformationRequest, PatronInformationResponse
    from pysip2.routes import PATRON_INFORMATION
    from pysip2.server import SIP2Server

    app = SIP2Server(error_detection="required", encoding="utf-8")
    logging.getLogger("pysip2").setLevel(logging.WARNING)

    @app.route(PATRON_INFORMATION)
    async def information(request: PatronInformationRequest, _context: Any) -> PatronInformationResponse:
        return PatronInformationResponse(
            patron_status=" " * 14,
            language="001",
            transaction_date="20170301    120000",
            hold_items_count="0002",
            overdue_items_count="0000",
            charged_items_count="0000",
            fine_items_count="0000",
            recall_items_count="0000",
            unavailable_holds_count="0000",
            institution_id="HKU",
            patron_identifier=request.patron_identifier,
            personal_name="Reader",
            valid_patron="Y",
            currency_type="HKD",
            fee_amount="0.00",
            hold_items=("C0000002", "C0000003"),
        )

    run(app.serve, HOST, port)


SERVERS: Final[Mapping[str, Callable[[int], None]]] = {"echo": echo, "pysip2": pysip2}
"""Servers by the names of their subjects."""


if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
