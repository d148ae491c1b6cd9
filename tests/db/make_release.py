"""Write the pair of databases of a release into fixtures/databases: python -m tests.db.make_release 0.2.0

The events are those of the earlier files (see their README): three weeks of March 2017 in the demo world, each message over the
gateway's own ports, the last ones while partners and mail server are unavailable. PostgreSQL's programs must be installed.
"""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import make_url
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react

from demo import demo_setup
from demo.demo_script import DemoPeers, start_gateway
from demo.socket_terminal import SocketTerminal, call
from hkall_gateway.app import logs
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.clock import now
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules import dates
from tests import postgres_server
from tests.company import COMMAND, gateway_ports
from tests.db.releases import RELEASES

BEGIN = datetime(2017, 3, 1, 2, tzinfo=UTC)
LOANS = ("b0001", "b0009", "b0010", "b0012", "b0013", "b0015")
"""The items that P0001 to P0006 borrow on 1 March."""
RENEWED, RECALLED, HALF_PAID, BACK_LATE, _OVERDUE, BACK = (f"C{bib[1:].zfill(5)}" for bib in LOANS)
PAUSE_S, TRIES = 0.1, 300
RESTRICTED = re.compile(r"^(\\(un)?restrict .*|SET transaction_timeout = 0;)\n", re.MULTILINE)
"""Lines of a newer pg_dump that an older server does not accept."""


class Story:
    """The gateway of the demo world in March 2017, and the people around it."""

    def __init__(self, reactor: Any, folder: Path, url: str) -> None:
        self._reactor, self._ahead = reactor, BEGIN - now()
        self.ports = gateway_ports()
        self.environ = demo_setup.environment(self.ports)
        once = {"first_wait_s": 600, "longest_wait_s": 600}  # a message is tried once while its partner is away
        self.config = demo_setup.write_config(folder, self.ports, courier=once, keys={"database": {"url": url}})
        self.peers = DemoPeers(reactor, self.ports, self.now)
        self.gateway: Daemon
        self.counter: SocketTerminal

    def now(self) -> datetime:
        return now() + self._ahead

    def go_to(self, day: int) -> None:
        """Continue at ten o'clock on this day of March."""
        self._ahead = BEGIN.replace(day=day) - now()

    async def begin(self) -> None:
        """Start the gateway at the current time of the story."""
        self.gateway = await start_gateway(self.config, self.ports, self._reactor, self.now)
        self.counter = await call(self._reactor, self.ports.sip2)
        await self.scan(f"9300CNcounter-1|CO{demo_setup.PASSWORD}|", "941")

    async def end(self) -> None:
        self.counter.hang_up()
        await self.gateway.stop()

    def command(self, *words: str) -> None:
        """Run a command of the release on this database."""
        environ = {**os.environ, **self.environ}
        subprocess.run([COMMAND, *words, "--config", self.config], env=environ, check=True, stdout=subprocess.DEVNULL)

    async def scan(self, line: str, start: str) -> None:
        """Send a message at the counter and check the start of its reply; {t} is the time, {b} a blank time."""
        local = self.now().astimezone(dates.HONG_KONG)
        answer = await self.counter.ask(line.format(t=f"{local:%Y%m%d}    {local:%H%M%S}", b=" " * 18))
        if not answer.startswith(start):
            raise AssertionError(f"{line}: {answer}")

    async def check_in(self, copy: str) -> None:
        await self.scan(f"09N{{t}}{{t}}AP{demo_setup.LOCATION}|AOHKU|AB{copy}|AC|", "101")

    async def lend(self, card: str, copy: str) -> None:
        await self.scan(f"11NN{{t}}{{b}}AOHKU|AA{card}|AB{copy}|AC|", "121")

    async def request(self, card: str, bib: str) -> None:
        """Place a request in the discovery system."""
        words = (f"user={card}", f"bib={bib}", f"request=d-{bib}", f"pickup={demo_setup.LOCATION}")
        accepted(await self.peers.discovery.say("RequestItem", *words))

    async def ship(self, bib: str) -> str:
        """CUHK ships the copy that the latest document asks it for; return its barcode."""
        copy = f"C{bib[1:].zfill(5)}"
        cuhk = self.peers.partners["CUHK"]

        def asked() -> NcipMessage | None:
            found = (m for m in cuhk.seen if m.service == "RequestItem" and m.text("ItemId/ItemIdentifierValue") == copy)
            return next(found, None)

        number = (await self.until(asked)).text("RequestId/RequestIdentifierValue")
        accepted(await cuhk.ship(number, copy))
        return copy

    async def arrive(self, card: str, bib: str) -> str:
        """Request, ship and receive an item; return its barcode."""
        await self.request(card, bib)
        copy = await self.ship(bib)
        await self.check_in(copy)
        return copy

    async def quiet(self) -> None:
        """Wait until all messages are delivered."""
        for _ in range(TRIES):
            depths = await self.gateway.store.read(_depths, is_long=True)
            if not depths:
                return
            await self.pause()
        raise TimeoutError(f"these wait: {depths}")

    async def until(self, happened: Any) -> Any:
        for _ in range(TRIES):
            if found := happened():
                return found
            await self.pause()
        raise TimeoutError("nothing happened")

    async def pause(self) -> None:
        await deferLater(self._reactor, PAUSE_S, lambda: None)


def _depths(unit: UnitOfWork) -> tuple[object, ...]:
    return unit.outbox.depths()


def accepted(reply: NcipMessage) -> None:
    if reply.has("Problem"):
        raise AssertionError(reply)


async def first_day(story: Story) -> None:
    """Six items arrive and are lent."""
    for number, bib in enumerate(LOANS, 1):
        copy = await story.arrive(f"P000{number}", bib)
        await story.quiet()  # the letter of arrival is not needed once the book is lent
        await story.lend(f"P000{number}", copy)
    await story.quiet()


async def tenth_day(story: Story) -> None:
    """One loan is renewed, one recalled, one returned."""
    accepted(await story.peers.discovery.say("RenewItem", "user=P0001", f"item=CUHK:{RENEWED}"))
    accepted(await story.peers.partners["CUHK"].say("RecallItem", f"item=CUHK:{RECALLED}"))
    await story.check_in(BACK)
    await story.quiet()


async def twentieth_day(story: Story) -> None:
    """Late items are returned, a fine is half paid, our own items are requested; then the partners are unavailable."""
    await story.check_in(HALF_PAID)
    await story.scan("37{t}0400HKDBV2.00|AOHKU|AAP0003|AC|BKtx-1|", "38Y")
    await story.arrive("P0007", "b0016")
    await story.request("P0009", "b0020")
    on_its_way = await story.ship("b0020")
    await story.request("P0010", "b0024")
    await story.request("P0011", "b0025")
    await story.scan("01N{t}AOHKU|ALlost card|AAP0012|AC|", "24")
    await _lending(story)
    await story.quiet()
    await story.peers.stop()
    await story.request("P0013", "b0026")
    await story.check_in(BACK_LATE)
    await story.check_in(on_its_way)
    await story.pause()


async def _lending(story: Story) -> None:
    """LU requests three of our items and gets one; HKUST sends a notification about an unknown request."""
    lu, hkust = story.peers.partners["LU"], story.peers.partners["HKUST"]
    for number, bib in enumerate(("b0003", "b0004", "b0007")):
        accepted(await lu.say("RequestItem", "user=HKU:LU-INST", f"bib={bib}", f"request=LU:l-{number}"))
    await story.lend("LU-INST", "X0000003")
    accepted(await lu.say("ItemReceived", "request=LU:l-0", "item=HKU:X0000003"))
    await hkust.say("ItemShipped", "request=HKU:R-NOBODY-1", "item=HKUST:H00099", "due=2017-05-09")


async def played(reactor: Any, folder: Path, url: str) -> None:
    """Write the database at `url`; `folder` gets the configuration and the log."""
    story = Story(reactor, folder, url)
    logs.configure((folder / "log.jsonl").open("ab"), story.now, "info", b"release")
    demo_setup.fill_database(story.config, story.environ)
    _prepare(story, folder)
    await story.peers.start()
    for day, scenes in ((1, first_day), (10, tenth_day), (20, twentieth_day)):
        story.go_to(day)
        await story.begin()
        await scenes(story)
        await story.end()


def _prepare(story: Story, folder: Path) -> None:
    """Run commands: closed days, a replaced card, an erased patron, an API token."""
    (folder / "closures.csv").write_text("agency,from,to,reason\nHKU,2017-04-14,2017-04-17,Easter\n", encoding="utf-8")
    (folder / "patrons.csv").write_text(
        "barcode,name,category,former_barcode\nP9014,Wong Lai Ying,centennial_college,P0014\n", encoding="utf-8"
    )
    story.command("load", "closures", str(folder / "closures.csv"))
    story.command("load", "patrons", str(folder / "patrons.csv"))
    story.command("patron", "erase", "P0120", "--reason", "asked for it", "--yes")
    story.command("token", "make", "reports", "--role", "viewer")


async def both(reactor: Any, version: str) -> None:
    found = postgres_server.programs()
    assert found, "PostgreSQL's programs are needed"
    with tempfile.TemporaryDirectory() as name, postgres_server.server(found, ["listen_addresses="]) as server:
        for kind, url in (("sqlite", f"sqlite:///{name}/hkall.db"), ("postgresql", server.url())):
            folder = Path(name) / kind
            folder.mkdir()
            await played(reactor, folder, url)
        _keep_sqlite(Path(name) / "hkall.db", version)
        _keep_postgresql(found, server.url(), version)


def _keep_sqlite(file: Path, version: str) -> None:
    """Store the database file after a checkpoint, without free pages."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
    (RELEASES / f"{version}.db.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))


def _keep_postgresql(programs: Path, url: str, version: str) -> None:
    where = make_url(url)
    reached = ["--host", str(where.query["host"]), "--username", str(where.username), str(where.database)]
    words = [str(programs / "pg_dump"), "--no-owner", "--no-privileges", *reached]
    dump = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    (RELEASES / f"{version}.sql").write_text(RESTRICTED.sub("", dump), encoding="utf-8")


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(both(reactor, sys.argv[1])))
