"""`make demo`: the loan of one book, from the request to the end, narrated step by step with the messages on the wire."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from demo import demo_setup
from demo.demo_setup import DISCOVERY, PASSWORD, Ports, environment
from demo.pages import MailFolder, MailPages, PartnerPages, site
from demo.socket_terminal import SocketTerminal, call
from hkall_gateway.app import logs
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.clock import Clock, now
from hkall_gateway.config import gateway
from hkall_gateway.delivery.letters import plain_text
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.rules import dates
from hkall_gateway.simulator.peers import PartnerLibrary, short
from hkall_gateway.simulator.rehearsal import Mailbox, listen


class DemoPeers:
    """Partners, a mailbox, and a client that acts as the discovery system.

    A partner ships a requested copy after `ships_after_s` seconds. If that is None, it only replies. With the folder `mail`,
    letters are kept in it and shown as pages.
    """

    def __init__(
        self,
        reactor: Clock,
        ports: Ports,
        clock: Callable[[], datetime] = now,
        ships_after_s: float | None = None,
        mail: Path | None = None,
    ) -> None:
        self._reactor, self._ports, self._listening = reactor, ports, list[Any]()
        self._mail = MailFolder(mail) if mail else None
        self.mailbox = Mailbox(self._mail.keep if self._mail else None)
        url, post = f"http://127.0.0.1:{ports.ncip}/ncip", AgentPost(reactor)
        self.partners = {
            agency: PartnerLibrary(agency, "HKU", url, PASSWORD, post, reactor.callLater, clock, ships_after_s)
            for agency in ports.partners
        }
        self.discovery = PartnerLibrary(DISCOVERY, "HKU", url, PASSWORD, post, reactor.callLater, clock)

    async def start(self) -> None:
        """Start listening."""
        home = f"http://127.0.0.1:{self._ports.web}/"
        for agency, port in self._ports.partners.items():
            partner = self.partners[agency]
            page = PartnerPages(agency, home, partner.seen, partner.site().resource)
            self._listening.append(await listen(self._reactor, port, site(page)))
        if self._mail:
            self._listening.append(await listen(self._reactor, self._ports.mail, site(MailPages(self._mail))))
        self._listening.append(await listen(self._reactor, self._ports.smtp, self.mailbox))

    async def stop(self) -> None:
        """Stop listening."""
        for port in self._listening:
            await port.stopListening()


async def start_gateway(path: Path, ports: Ports, reactor: Clock, clock: Callable[[], datetime] = now) -> Daemon:
    """Start the gateway of a configuration in this process."""
    daemon = Daemon(gateway.load(path, environment(ports)), reactor, clock, environment(ports))
    await daemon.start()
    return daemon


T = TypeVar("T")
PORTS = demo_setup.Ports(16001, 18080, 18081, 12525, {"CUHK": 19101, "HKUST": 19102, "LU": 19103})
CARD, BIB, COPY, REQUEST = "P0001", "b9001", "C09001", "demo-1"
TIMEOUT_S = 10
LAST_DAY = ("The last day to collect it", "最後領取日期")


def _chapter(text: str) -> None:
    click.echo(f"\n{click.style('●', fg='green')} {text}")


def _wire(direction: str, line: str) -> None:
    click.echo(f"    {direction} {line}")


class Demo:
    """The demo's clock, people and gateway. The clock is moved forward, so that a loan of days takes seconds."""

    def __init__(self, reactor: Clock, folder: Path) -> None:
        self._reactor, self._ahead = reactor, timedelta()
        self.path = demo_setup.write_config(folder, PORTS)
        self.peers = DemoPeers(reactor, PORTS, self.now)

    def now(self) -> datetime:
        """Return the demo's time."""
        return now() + self._ahead

    def days_pass(self, days: int) -> None:
        """Move the demo's time forward."""
        self._ahead += timedelta(days=days)
        _chapter(f"{days} days later: {dates.civil(self.now()):%A %d %B %Y}")

    async def until(self, happened: Callable[[], T | None], what: str) -> T:
        """Wait until `happened()` is true, and return its value."""
        for _ in range(TIMEOUT_S * 20):
            if found := happened():
                return found
            await deferLater(cast(IReactorTime, self._reactor), 0.05, lambda: None)
        raise TimeoutError(f"{what} did not happen within {TIMEOUT_S} s")

    async def discovery(self, service: str, *words: str) -> NcipMessage:
        """Send a document as the discovery system, and print it with its reply."""
        _wire("NCIP >", f"{service} {' '.join(words)}")
        reply = await self.peers.discovery.say(service, *words)
        _wire("NCIP <", short(reply))
        return reply

    async def await_document(self, partner: PartnerLibrary, service: str, already: int) -> NcipMessage:
        """Wait for the next document of this service that a partner receives."""
        found = await self.until(
            lambda: next((m for m in partner.seen[already:] if m.service == service), None), f"{service} to {partner.agency}"
        )
        _wire(f"NCIP > {partner.agency}", short(found))
        return found


async def play(reactor: Clock) -> None:
    """Play the whole demo. Raises AssertionError if the result of a step differs from the script."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(reactor, Path(folder))
        logs.configure((Path(folder) / "log.jsonl").open("ab"), demo.now, "info", b"demo")
        demo_setup.fill_database(demo.path, environ=demo_setup.environment(PORTS))
        await demo.peers.start()
        gateway = await start_gateway(demo.path, PORTS, reactor, demo.now)
        try:
            cuhk, counter = demo.peers.partners["CUHK"], await call(reactor, PORTS.sip2, _wire)
            await _play_request(demo, counter)
            request = await demo.await_document(cuhk, "RequestItem", 0)
            number = request.text("RequestId/RequestIdentifierValue")
            await _play_arrival(demo, counter, cuhk, number)
            await _play_loan(demo, counter, cuhk)
            await _play_return(demo, counter, cuhk, number)
            await _show_journal(gateway)
        finally:
            await gateway.stop()
            await demo.peers.stop()


async def _play_request(demo: Demo, counter: SocketTerminal) -> None:
    _chapter("The counter logs in, and the patron asks for a book that only CUHK has")
    _expect(await counter.ask(f"9300CNcounter-1|CO{demo_setup.PASSWORD}|"), "941")
    _expect(await counter.ask("9900802.00"), "98Y")
    reply = await demo.discovery(
        "RequestItem", f"user={CARD}", f"bib={BIB}", f"request={REQUEST}", f"pickup={demo_setup.LOCATION}"
    )
    _expect(reply.text("RequestId/RequestIdentifierValue"), REQUEST)


async def _play_arrival(demo: Demo, counter: SocketTerminal, cuhk: PartnerLibrary, number: str) -> None:
    _chapter("CUHK ships its copy; our counter receives it, and the patron gets a letter")
    seen = len(cuhk.seen)
    _wire("NCIP < CUHK", short(await cuhk.ship(number, COPY)))
    _expect(await counter.ask(_fill_line("09N{t}{t}AP{place}|AOHKU|AB{copy}|AC|", demo)), "101")
    await demo.await_document(cuhk, "ItemReceived", seen)
    letter = (await demo.until(lambda: demo.peers.mailbox.messages, "the letter"))[-1]
    click.echo(f"    letter: {letter['Subject']}")
    lines = plain_text(letter).splitlines()
    click.echo(f"            {next(line for line in lines if any(words in line for words in LAST_DAY))}")


async def _play_loan(demo: Demo, counter: SocketTerminal, cuhk: PartnerLibrary) -> None:
    _chapter("The patron borrows it at the counter")
    seen = len(cuhk.seen)
    _expect(await counter.ask(_fill_line("11NN{t}{blank}AOHKU|AA{card}|AB{copy}|AC|", demo)), "121")
    await demo.await_document(cuhk, "ItemCheckedOut", seen)
    _expect(await counter.ask(_fill_line("63001{t}  Y       AOHKU|AA{card}|AC|", demo)), "64")
    demo.days_pass(9)
    _chapter("It may be renewed now: the discovery system asks, and CUHK is told")
    seen = len(cuhk.seen)
    await demo.discovery("RenewItem", f"user={CARD}", f"item=CUHK:{COPY}")
    await demo.await_document(cuhk, "ItemRenewed", seen)


async def _play_return(demo: Demo, counter: SocketTerminal, cuhk: PartnerLibrary, number: str) -> None:
    demo.days_pass(5)
    _chapter("The patron returns it at the counter; it goes home, and CUHK has it again")
    seen = len(cuhk.seen)
    _expect(await counter.ask(_fill_line("09N{t}{t}AP{place}|AOHKU|AB{copy}|AC|", demo)), "101")
    await demo.await_document(cuhk, "ItemShipped", seen)
    _wire("NCIP < CUHK", short(await cuhk.receive(number, COPY)))
    counter.hang_up()


async def _show_journal(gateway: Daemon) -> None:
    _chapter("What stands in the journal")
    lines = await gateway.store.read(lambda unit: unit.journal.history(COPY), is_long=True)
    for line in lines:
        rule = f" ({line['rule']})" if line["rule"] else ""
        at = line["at"].astimezone(dates.HONG_KONG)
        click.echo(
            f"    {at:%Y-%m-%d %H:%M} {line['event']:<10} {line['source']:>14} -> {line['target']:<14} {line['who']}{rule}"
        )
    if lines[-1]["target"] != "CLOSED":
        raise AssertionError(f"the demo ends {lines[-1]['target']}")
    click.echo("\nThe request is closed; nothing waits in the outbox.")


def _fill_line(pattern: str, demo: Demo) -> str:
    """Fill in the pattern of a SIP2 message with the current time, card and copy."""
    local = demo.now().astimezone(dates.HONG_KONG)
    stamp = f"{local:%Y%m%d}    {local:%H%M%S}"
    return pattern.format(t=stamp, blank=" " * 18, card=CARD, copy=COPY, place=demo_setup.LOCATION)


def _expect(answer: str, start: str) -> None:
    if not answer.startswith(start):
        raise AssertionError(f"expected {start}…, got {answer}")
