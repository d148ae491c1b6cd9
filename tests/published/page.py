"""A running gateway with patrons, staff and partners, and a clock that the test sets, for walking through the published page.

The gateway is the daemon's own wiring on real sockets, in this process: terminals by SIP2, the discovery system and seven
lenders by NCIP over HTTP, letters by SMTP, staff by the commands of `hkall-gateway`. Only the time of day is the test's.
"""

from __future__ import annotations

import csv
import shlex
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from click.testing import CliRunner
from sqlalchemy import Engine
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread

from demo import demo_setup
from demo.demo_script import DemoPeers, start_gateway
from hkall_gateway.app import logs
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.cli import main
from hkall_gateway.cli.options import NcipAgreements, Site
from hkall_gateway.config.library import make_unit
from hkall_gateway.config.mapping import agreed_secrets
from hkall_gateway.db import bind
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.exports import read_patrons
from hkall_gateway.ils.local_system import ConnectedSystem, reject_pin
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.net.http_post import HttpReply, post
from hkall_gateway.rules import dates
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import Borrower
from hkall_gateway.simulator.databases import SoleStore
from tests.leaks import leaks
from tests.published.partners import Catalogue, Lender
from tests.published.premises import HOLDINGS, LENDERS, PATRONS, Premises
from tests.published.records import Copy, Letter, Reader, Title
from tests.published.terminals import PATIENCE_S, Terminal

T = TypeVar("T")

OPENING: Final = "2017-03-01 10:00:00"
"""A Wednesday."""
SHELF: Final = "Available On Shelf"
AUTHOR: Final = "Cao Xueqin"
PEOPLE: Final = read_patrons(demo_setup.DEMO_FILES / "patrons.csv")
"""Patrons of the demo, from whom names and PIN are taken."""


class Page:
    """One library with its patrons and items. Names are those of the published page."""

    def __init__(self, reactor: Any, premises: Premises, folder: Path) -> None:
        self._reactor, self._folder, self._numbers = reactor, folder, count(1)
        self._config = premises.copy(folder)
        self._now, self._begun = _hong_kong(OPENING), False
        self._log = BytesIO()
        logs.configure(self._log, self.now, "info", b"a key of the tests", titles=False)
        self._peers = DemoPeers(reactor, premises.ports, self.now)
        self._do(self._peers.start)
        self._daemon = self._do(lambda: start_gateway(self._config, premises.ports, reactor, self.now))
        self._engine, self._site = _staff(self._daemon, premises, self.now)
        self.counter, self.selfcheck, self.bookdrop = (
            Terminal(login, premises.ports.sip2, self.now) for login in demo_setup.TERMINALS
        )
        self.catalogue = Catalogue(self._peers.discovery, self._do)
        self.lenders = {agency: Lender(self._peers.partners[agency], self._do, self.settle) for agency in LENDERS}

    def close(self) -> None:
        """Close all connections and check that the log contains no personal data."""
        for terminal in (self.counter, self.selfcheck, self.bookdrop):
            terminal.close()
        self._do(self._daemon.stop)
        self._do(self._peers.stop)
        self._engine.dispose()
        assert leaks(self._log.getvalue().decode()) == []

    # ---- time

    def now(self) -> datetime:
        """The current time for the gateway and all its partners."""
        return self._now

    def clock(self, when: str) -> None:
        """Advance the time to `when` in Hong Kong and run the daily work at every midnight in between.

        Before the first patron and title exist, there is no daily work.
        """
        until = _hong_kong(when)
        assert until >= self._now, "time does not run backwards"
        self.settle()
        for midnight in _midnights(self._now, until) if self._begun else ():
            self._at(midnight)
        self._at(until)

    def settle(self) -> None:
        """Wait until all messages due now have been delivered to lenders and patrons."""
        self._do(self._told)

    def _at(self, when: datetime) -> None:
        self._now = when
        self._do(self._daemon.rounds.run_due)
        self.settle()

    async def _told(self) -> None:
        self._daemon.courier.nudge()
        end = time.monotonic() + PATIENCE_S
        while await self._daemon.store.read(bind(_something_is_due, self._now), is_long=True):
            assert time.monotonic() < end, "the courier does not finish"
            await deferLater(self._reactor, 0.002)

    # ---- people and books

    def reader(self, category: str = "undergraduates", **facts: object) -> Reader:
        """A new user of this category. `facts` are further columns of patrons.csv."""
        number = next(self._numbers)
        reader = Reader(f"P{number:04}", f"p{number:04}@connect.example.hk")
        person: Borrower = PEOPLE[number % len(PEOPLE)]
        row = {
            "barcode": reader.card,
            "name": person.name.reveal(),
            "name_zh": person.name_zh.reveal(),
            "category": category,
            "email": reader.email,
            "language": "en",
            "local_loans": 0,
            "total_quota": 60,
            "pin_hash": person.pin_hash.reveal(),
        }
        self._load("patrons", PATRONS, [row | facts])
        return reader

    def change(self, reader: Reader, category: str = "undergraduates", **facts: object) -> None:
        """Change a patron's data in the local system."""
        row = {"barcode": reader.card, "name": "Reader", "category": category, "email": reader.email, "total_quota": 60}
        self._load("patrons", PATRONS, [row | facts])

    def title(self, material: str = "book", **statuses: str) -> Title:
        """A new title. `statuses` are those of its items by library; by default, Chinese University has it on the shelf."""
        return self._titles(1, material, statuses)[0]

    def titles(self, number: int) -> list[Title]:
        """This many titles that Chinese University has on the shelf."""
        return self._titles(number, "book", {})

    def _titles(self, number: int, material: str, statuses: Mapping[str, str]) -> list[Title]:
        where = statuses or {"CUHK": SHELF}
        made = [_title(next(self._numbers), where) for _ in range(number)]
        rows = [
            _holding(t, copy) | {"material": material, "status": where[copy.library]}
            for t in made
            for copy in t.copies.values()
        ]
        self._load("holdings", HOLDINGS, rows)
        return made

    def _load(self, kind: str, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
        self._begun = True
        path = self._folder / f"{kind}-{next(self._numbers)}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        self.staff(f"load {kind} {path}")

    def close_library(self, first: str, last: str) -> None:
        """Close HKU's library on these days, both inclusive."""
        self._load("closures", ("agency", "from", "to", "reason"), [{"agency": "HKU", "from": first, "to": last, "reason": ""}])

    # ---- letters, and what staff do by hand

    def letters_to(self, reader: Reader) -> list[Letter]:
        """The letters to a patron since the mailbox was last read."""
        self.settle()
        box = self._peers.mailbox.messages
        theirs = [message for message in box if message["To"] == reader.email]
        for message in theirs:
            box.remove(message)
        return [Letter.of(message) for message in theirs]

    def staff(self, command: str) -> str:
        """The output of an `hkall-gateway` command, which must succeed."""
        done = CliRunner().invoke(main, shlex.split(command), obj=self._site)
        assert done.exit_code == 0, done.output
        self.settle()
        return done.output

    # ---- the way of a book, told at once

    def requested(self, reader: Reader, title: Title | None = None) -> Title:
        """A title requested just now."""
        wanted = title or self.title()
        answer = self.catalogue.request(reader, wanted)
        assert answer.ok, answer.says
        return wanted

    def coming(self, reader: Reader, title: Title | None = None, **said: str) -> Copy:
        """An item that was requested and has just been shipped. `said`: further data of the shipment, `due="2017-04-15"`."""
        copy = self.requested(reader, title).elsewhere
        self.lenders[copy.library].sends(copy, **said)
        return copy

    def arrived(self, reader: Reader, title: Title | None = None, **said: str) -> Copy:
        """An item just placed on the hold shelf, with its letter in the patron's mailbox."""
        copy = self.coming(reader, title, **said)
        assert self.counter.check_in(copy).ok
        self.settle()
        return copy

    def lent(self, reader: Reader, title: Title | None = None, **said: str) -> Copy:
        """An item just checked out to the patron, whose letter has been read."""
        copy = self.arrived(reader, title, **said)
        screen = self.counter.check_out(reader, copy)
        assert screen.ok, screen.says
        self.letters_to(reader)
        return copy

    def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine in the reactor's thread."""
        made: Any = lambda: ensureDeferred(work())  # type: ignore[arg-type]  # noqa: E731
        found: T = blockingCallFromThread(self._reactor, made)
        return found


STAGES: Final[Mapping[str, Callable[[Page, Reader, Title], object]]] = {
    "HKALL REQUESTD": Page.requested,
    "TRANSFERRED": Page.coming,
    "HKALL RECVD": Page.arrived,
    "ON LOAN": Page.lent,
}
"""How a title gets each status of the circulation record."""
WITH_US: Final = ("TRANSFERRED", "HKALL RECVD", "ON LOAN")
"""Stages in which a partner item has left its shelf: in transit, on our hold shelf, on loan."""


def _staff(daemon: Daemon, premises: Premises, now: Callable[[], datetime]) -> tuple[Engine, Site]:
    """The library as commands see it, with the gateway running, at the time of the test."""
    engine = open_engine(daemon.config.database.url)
    library, secrets = daemon.library, agreed_secrets(daemon.config, premises.environ)
    store = SoleStore(engine, make_unit(library))
    snapshot = Snapshot(ConnectorTools(store=store, agency=library.agency, verify=reject_pin))
    local = ConnectedSystem(store, snapshot, lambda: library, now)
    circulation = Circulation(store, local, lambda: library, now)
    site = Site(
        library=library,
        open_circulation=lambda: circulation,
        store=store,
        now=now,
        partners=tuple(partner.plain() for partner in daemon.config.partners),
        agreed=lambda: NcipAgreements(secrets),
        post=_post,
    )
    return engine, site


async def _post(url: str, body: bytes, timeout_s: float) -> HttpReply:
    return post(url, body, timeout_s)


def _hong_kong(when: str) -> datetime:
    return datetime.fromisoformat(when).replace(tzinfo=HONG_KONG).astimezone(UTC)


def _midnights(since: datetime, until: datetime) -> Iterator[datetime]:
    """Every midnight in Hong Kong after `since` and before `until`."""
    midnight = dates.start_of(dates.after(dates.civil(since), 1))
    while midnight < until:
        yield midnight
        midnight += timedelta(days=1)


def _something_is_due(unit: UnitOfWork, now: datetime) -> bool:
    due = unit.outbox.next_due()
    return (due is not None and due <= now) or bool(unit.outbox.under_way(now))


def _title(number: int, libraries: Iterable[str]) -> Title:
    name = f"The Story of the Stone, part {number}"
    return Title(f"b{number}", name, {library: Copy(library, f"{library}{number:05}", name) for library in libraries})


def _holding(title: Title, copy: Copy) -> dict[str, object]:
    book = {"bib_id": title.number, "title": title.name, "author": AUTHOR}
    return {**book, "agency": copy.library, "barcode": copy.barcode, "lendable": "yes"}
