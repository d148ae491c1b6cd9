"""Commands of staff and commands of partners and terminals about the same rows, at once, on one PostgreSQL database.

The gateway's command is held before its commit, until the command line waits for it or has ended. The end must be the one
that both come to in turn. Each race is also run with what protects it removed, and must then end differently: otherwise it
would prove nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import click
import pytest
from sqlalchemy import Connection, Table, insert, select, text

from demo import demo_setup
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.loans import CheckOut
from hkall_gateway.circulation.partner_notice import (
    ItemShipped,
    PartnerNotice,
    RequestCancelled,
)
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, Delivered
from hkall_gateway.circulation.partners.unsent import MarkReplayed
from hkall_gateway.circulation.recalls import ItemRecalled
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.circulation.returning import CheckIn
from hkall_gateway.cli import main
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db import quarantine
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.compiled import flush
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.loads.loading import add_closure
from hkall_gateway.db.tables import (
    CANDIDATES,
    CLOSURES,
    FINES,
    HOLDINGS,
    JOURNAL,
    NOTICES,
    OUTBOX,
    PAYMENTS,
    QUARANTINE,
    REQUESTS,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.local_system import ConnectedSystem, reject_pin
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules import dates
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.stored_words import DeliveryKind, StaffFlag
from hkall_gateway.rules.vocabulary import Actor, Candidate, ItemKey, Position, Request, RequestChange, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.cli.command_lines import CommandLine

P = Position
SCHEMA: Final = "staff_races"
PORTS: Final = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
WORLD: Final = Actor(who="test", channel="world")
TERMINAL: Final = Actor(who="counter-1", channel="sip2", message="09")
PARTNER: Final = Actor(who="CUHK", channel="ncip", message="Item")
DISCOVERY: Final = Actor(who="HKU-DISCOVERY", channel="ncip", message="RequestItem")
CARD: Final = "P0001"
NUMBER: Final = "R-1"
WIRE_ID: Final = "R-1-1"
BORROWED: Final = ItemKey("CUHK", "C-1")
OURS: Final = ItemKey("HKU", "H-1")
LENDERS: Final = ("CUHK", "HKUST", "LU")
COUNTER: Final = Place(role="counter", location=demo_setup.LOCATION)
PATIENCE_S: Final = 20
COPY: Final = {"bib_id": "b1", "title": "Dune", "status": "Available On Shelf", "lendable": True, "material": "book"}
COPIES: Final = (("HKU", "H-1"), ("HKU", "H-2"), ("HKUST", "X-9"))
OF_TITLE: Final = HOLDINGS.c.bib_id == "b1"
TABLES: Final = (REQUESTS, CANDIDATES, JOURNAL, OUTBOX, FINES, PAYMENTS, NOTICES, QUARANTINE)


def today() -> date:
    return dates.civil(now())


def in_days(days: int) -> date:
    return today() + timedelta(days=days)


# ---- what is there before


def borrow(unit: UnitOfWork, position: Position, **facts: Any) -> None:
    """Open a request of ours whose copy CUHK has sent."""
    request = Request(
        id=NUMBER,
        side=Side.BORROWING,
        position=position,
        title="Dune",
        bib_id="b1",
        patron=CARD,
        partner="CUHK",
        item_agency="CUHK",
        item_barcode="C-1",
        pickup_location=demo_setup.LOCATION,
        wire_agency="HKU",
        wire_id=WIRE_ID,
        **facts,
    )
    unit.open(request, now(), WORLD)


def ask_first_lender(unit: UnitOfWork) -> None:
    """Place a request that CUHK was asked for, with two other possible lenders."""
    new = Request(
        id=NUMBER,
        side=Side.BORROWING,
        position=P.NEW,
        title="Dune",
        bib_id="b1",
        patron=CARD,
        pickup_location=demo_setup.LOCATION,
    )
    request = unit.open(new, now(), WORLD)
    candidates = [
        Candidate(
            request=NUMBER,
            rank=rank,
            agency=agency,
            barcode=f"{agency}-1",
            wire_id=WIRE_ID if rank == 0 else "",
        )
        for rank, agency in enumerate(LENDERS)
    ]
    unit.candidates.add(candidates)
    lender: RequestChange = {"partner": "CUHK", "wire_agency": "HKU", "wire_id": WIRE_ID, "attempt": 1}
    unit.advance(request, Event.ASK, now(), WORLD, chosen=candidates[0], **lender)


def on_loan(unit: UnitOfWork) -> None:
    borrow(unit, P.ON_LOAN, first_checkout=today(), loan_days=60, due=in_days(60))


def on_the_shelf(unit: UnitOfWork) -> None:
    borrow(unit, P.RECEIVED, received_on=today(), pickup_last=in_days(7), loan_days=60)


def returned(unit: UnitOfWork) -> None:
    borrow(unit, P.TO_RETURN, first_checkout=today(), loan_days=60, due=in_days(60), returned_on=today(), used=True)


def lost(unit: UnitOfWork) -> None:
    borrow(unit, P.ON_LOAN, first_checkout=today(), loan_days=60, due=in_days(60), lost_on=today())


def lend(unit: UnitOfWork, position: Position, **facts: Any) -> None:
    """Open a request of CUHK for our copy."""
    request = Request(
        id=NUMBER,
        side=Side.LENDING,
        position=position,
        title="Dune",
        bib_id="b1",
        partner="CUHK",
        item_agency="HKU",
        item_barcode="H-1",
        wire_agency="CUHK",
        wire_id="cuhk-7",
        **facts,
    )
    unit.open(request, now(), WORLD)


def paged(unit: UnitOfWork) -> None:
    lend(unit, P.PAGED)


def lent(unit: UnitOfWork) -> None:
    lend(unit, P.AT_BORROWER, lender_due=in_days(30), loan_days=30)


def lent_and_recalled(unit: UnitOfWork) -> None:
    lend(unit, P.AT_BORROWER, lender_due=in_days(10), loan_days=30, recalled_on=today())


def flagged_loan(unit: UnitOfWork) -> None:
    borrow(unit, P.ON_LOAN, first_checkout=today(), loan_days=60, due=in_days(60), flags=StaffFlag.ANOTHER_BOOK)


def message_waits(unit: UnitOfWork) -> None:
    on_loan(unit)
    unit.enqueue(Notification.ASK_LENDER_TO_RENEW, _request(unit), now(), WORLD)


def due_on_a_closed_day(unit: UnitOfWork) -> None:
    on_loan(unit)
    add_closure(unit, "HKU", in_days(60), "typhoon")


def unfilled(unit: UnitOfWork) -> None:
    unit.execute(HOLDINGS.delete().where(OF_TITLE, HOLDINGS.c.agency == "HKU"))
    ended = Request(
        id=NUMBER,
        side=Side.BORROWING,
        position=P.UNFILLED,
        title="Dune",
        bib_id="b1",
        patron=CARD,
        pickup_location=demo_setup.LOCATION,
    )
    unit.open(ended, now(), WORLD)


def document_waits(unit: UnitOfWork) -> None:
    quarantine.keep(unit, "CUHK", "digest", "ItemShipped", "<x/>", "unknown_request", now())


def _request(unit: UnitOfWork) -> Request:
    request = unit.requests.find(NUMBER)
    assert request is not None
    return request


# ---- what the gateway is told meanwhile


def notice(kind: type[PartnerNotice], **facts: Any) -> PartnerNotice:
    return kind(by=PARTNER, partner="CUHK", at=now(), **facts)


def lender_declines(_unit: UnitOfWork) -> PartnerNotice:
    return notice(RequestCancelled, wire_agency="HKU", wire_id=WIRE_ID)


def owner_recalls(_unit: UnitOfWork) -> PartnerNotice:
    return notice(ItemRecalled, item=BORROWED)


def borrower_withdraws(_unit: UnitOfWork) -> PartnerNotice:
    return notice(RequestCancelled, wire_agency="CUHK", wire_id="cuhk-7", item=OURS)


def borrower_returns(_unit: UnitOfWork) -> PartnerNotice:
    return notice(ItemShipped, wire_agency="CUHK", wire_id="cuhk-7", item=OURS)


def patron_returns(_unit: UnitOfWork) -> CheckIn:
    return CheckIn(by=TERMINAL, place=COUNTER, barcode="C-1")


def terminal_takes_return_back(_unit: UnitOfWork) -> CheckIn:
    return CheckIn(by=TERMINAL, place=COUNTER, barcode="C-1", undo=True)


def patron_borrows(_unit: UnitOfWork) -> CheckOut:
    return CheckOut(by=TERMINAL, place=COUNTER, card=CARD, barcode="C-1")


def patron_requests_title(_unit: UnitOfWork) -> RequestTitle:
    return RequestTitle(by=DISCOVERY, patron=CARD, bib_id="b1", pickup_location=demo_setup.LOCATION)


def message_is_delivered(unit: UnitOfWork) -> Delivered:
    (row,) = unit.outbox.rows()
    answer = DeliveryResult(kind=DeliveryKind.ACCEPTED)
    return Delivered(row=row, answer=answer, retry_at=None, circuit_settings=CIRCUIT_SETTINGS)


def document_is_replayed(unit: UnitOfWork) -> MarkReplayed:
    (document,) = quarantine.listed(unit)
    return MarkReplayed(by=TERMINAL, number=document.id, reason="replayed")


# ---- the races


@dataclass(frozen=True, slots=True)
class Race:
    """A command line beside a command of the gateway.

    Attributes:
        before: Opens the request.
        beside: Makes the gateway's command.
        words: Options of the command line.
        needs: Keys of PLANTED, what must be missing for the race to end wrongly: the locks alone, or also the condition that
            the request has not moved, or that the message or document has not been settled, since it was read.
    """

    before: Callable[[UnitOfWork], None]
    beside: Callable[[UnitOfWork], Any]
    words: str = ""
    needs: tuple[str, ...] = ("locks",)


STEP: Final = ("locks", "guard")
SETTLED: Final = ("locks", "condition")
TODO: Final = "--reason why"
# fmt: off
RACES: Final[dict[str, Race]] = {
    "request receive":       Race(ask_first_lender,  lender_declines,    TODO),
    "request lend":          Race(on_the_shelf,      owner_recalls),
    "request return":        Race(on_loan,           patron_returns,     "", STEP),
    "request renew":         Race(on_loan,           owner_recalls),
    "request return-unused": Race(on_the_shelf,      patron_borrows,     "", STEP),
    "request dispatch":      Race(returned,          terminal_takes_return_back, "", STEP),
    "request cancel":        Race(ask_first_lender,  lender_declines),
    "request decline":       Race(paged,             borrower_withdraws, "--reason not_on_shelf", STEP),
    "request ship":          Race(paged,             borrower_withdraws, "", STEP),
    "request substitute":    Race(paged,             borrower_withdraws, "--item HKU/H-2 --reason not_suitable", STEP),
    "request recall":        Race(lent,              borrower_returns, "", STEP),
    "request cancel-recall": Race(lent_and_recalled, borrower_returns, "", STEP),
    "request lost":          Race(on_loan,           patron_returns,     "--cents 100", STEP),
    "request damaged":       Race(on_loan,           patron_returns,     "--cents 100", STEP),
    "request claim":         Race(on_loan,           patron_returns,     "", STEP),
    "request seen":          Race(flagged_loan, patron_returns, TODO, STEP),
    "request settle":        Race(lost,              patron_returns,     TODO, STEP),
    "request overseas":      Race(on_loan,           patron_returns,     f"--on {in_days(50)} {TODO}", STEP),
    "request extend":        Race(on_loan,           owner_recalls,      f"--on {in_days(50)} {TODO}"),
    "request force":         Race(on_loan,           patron_returns,     f"--to ON_LOAN {TODO}"),
    "request pin":           Race(ask_first_lender,  lender_declines,    f"CUHK {TODO}"),
    "request skip":          Race(ask_first_lender,  lender_declines,    f"CUHK {TODO}"),
    "request insert":        Race(ask_first_lender,  lender_declines,    f"HKUST/X-9 {TODO}"),
    "request reopen": Race(unfilled, patron_requests_title, TODO),
    "outbox drop":     Race(message_waits, message_is_delivered, TODO, SETTLED),
    "outbox done":     Race(message_waits, message_is_delivered, TODO, SETTLED),
    "outbox retry":    Race(message_waits, message_is_delivered, "", SETTLED),
    "closures move":  Race(due_on_a_closed_day, owner_recalls, TODO, ("batch",)),
    "quarantine drop": Race(document_waits, document_is_replayed, TODO, SETTLED),
}
"""Command -> its race."""
# fmt: on


NOT_ABOUT_ONE: Final = {"place"}
"""Commands that name no request. The quota of `place` is raced in test_beside_terminals.py."""


class Doors:
    """A gateway's circulation in this process, whose commit may be held, and command lines in others, on one database."""

    def __init__(self, config: Any, environ: dict[str, str]) -> None:
        configuration = gateway.load(config, environ)
        library = library_of(configuration)
        self._config, self._environ = config, environ
        self._engine = open_engine(configuration.database.url)
        self._before_commit: Callable[[], None] | None = None
        self._connection: Connection | None = None
        make = make_unit(library)

        def make_here(connection: Connection) -> UnitOfWork:
            self._connection = connection
            return make(connection)

        self.store = SoleStore(self._engine, make_here, self._hold)
        snapshot = Snapshot(ConnectorTools(store=self.store, agency=library.agency, verify=reject_pin))
        local = ConnectedSystem(self.store, snapshot, lambda: library, now)
        self._circulation = Circulation(self.store, local, lambda: library, now)
        self._counters: dict[tuple[str, ...], CommandLine] = {}
        self._pid = self.store.now(lambda unit: unit.execute(text("SELECT pg_backend_pid()")).scalar())
        self._watch = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def _hold(self) -> None:
        if self._before_commit is not None:
            hold, self._before_commit = self._before_commit, None
            assert self._connection is not None
            flush(self._connection)
            hold()

    def _counter(self, without: tuple[str, ...] = ()) -> CommandLine:
        """A command line, without what protects it if so told."""
        if without not in self._counters:
            self._counters[without] = CommandLine(self._config, self._environ, without)
        return self._counters[without]

    def _arrange(self, before: Callable[[UnitOfWork], None]) -> None:
        """Empty the tables, and open the request."""

        def work(unit: UnitOfWork) -> None:
            for table in (*TABLES, CLOSURES):
                unit.execute(table.delete())
            unit.execute(HOLDINGS.delete().where(OF_TITLE))
            copies = [{**COPY, "agency": agency, "barcode": barcode} for agency, barcode in COPIES]
            unit.execute(insert(HOLDINGS), copies)
            unit.partners.write([Partner(agency=agency, name=agency) for agency in LENDERS])
            before(unit)

        self.store.now(work)

    def in_turn(self, command: str) -> object:
        """Run the gateway's command, then the command line. Return the end."""
        race = RACES[command]
        self._arrange(race.before)
        words = self._words(command)
        told = finished(self._circulation.execute(self.store.now(race.beside)))
        assert not isinstance(told, Refused), told
        counter = self._counter()
        counter.begin(*words)
        return counter.exit_code(), self._rows()

    def at_once(self, command: str, without: tuple[str, ...] = ()) -> object:
        """Run the command line while the gateway has decided, but not committed. Return the end."""
        race = RACES[command]
        self._arrange(race.before)
        words = self._words(command)
        counter = self._counter(without)

        def begin() -> None:
            counter.begin(*words)
            until = time.monotonic() + PATIENCE_S
            while not (counter.has_answered(0.01) or self._is_waited_for()):
                assert time.monotonic() < until, "the command line neither waits nor ends"

        meanwhile = self.store.now(race.beside)
        self._before_commit = begin
        finished(self._circulation.execute(meanwhile))
        assert self._before_commit is None, "the gateway's command has not committed"
        return counter.exit_code(), self._rows()

    def _words(self, command: str) -> list[str]:
        """Return the command line about the request, the message or the document."""
        if command == "closures move":
            return [*command.split(), *RACES[command].words.split()]
        table = {"outbox": OUTBOX, "quarantine": QUARANTINE}.get(command.split()[0], REQUESTS)
        number = self.store.now(lambda unit: unit.execute(select(table.c.id)).scalars().first())
        return [*command.split(), str(number), *RACES[command].words.split()]

    def _is_waited_for(self) -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE :ours = ANY(pg_blocking_pids(pid))"
        return bool(self._watch.execute(text(waiting), {"ours": self._pid}).scalar())

    def _rows(self) -> dict[str, list[str]]:
        """Return all rows, without times and numbers of rows."""
        tables: tuple[Table, ...] = (*TABLES, HOLDINGS)
        return {table.name: self.store.now(_rows_of, table) for table in tables}

    def close(self) -> None:
        for counter in self._counters.values():
            counter.close()
        self._watch.close()
        self.store.close()
        self._engine.dispose()


def _rows_of(unit: UnitOfWork, table: Table) -> list[str]:
    query = select(table).order_by(*table.primary_key)
    if table is HOLDINGS:
        query = query.where(OF_TITLE)
    rows = [_without_chance(dict(row)) for row in unit.execute(query).mappings()]
    return sorted(rows) if table in {REQUESTS, CANDIDATES} else rows  # a new request has a random number


def _without_chance(row: dict[str, Any]) -> str:
    """A row without its number, times of day, and numbers of new requests."""
    row.pop("id") if isinstance(row.get("id"), int) else None
    shown = repr(row)
    shown = re.sub(r"datetime\.datetime\([^)]*\)(, tzinfo=[^)]*\))?", "TIME", shown)
    shown = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", "TIME", shown)
    shown = re.sub(r"\bR-[0-9A-Z]{6,}", "R-NEW", shown)
    return re.sub(r"\"(notice|fine|outbox)\": ?\d+", r"\1", shown)


@pytest.fixture(scope="module")
def doors(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    server = open_engine(postgres_url)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        keys = {"database": {"url": f"{postgres_url}&options=-csearch_path%3D{SCHEMA}"}}
        config = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS, "", keys=keys)
        environ = {**os.environ, **demo_setup.environment(PORTS)}
        databases.fill(config, environ)
        both = Doors(config, environ)
        yield both
        both.close()
        connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
    server.dispose()


@pytest.mark.parametrize("command", RACES)
def test_command_beside_the_gateways_ends_as_after_it(doors: Doors, command: str) -> None:
    assert doors.at_once(command) == doors.in_turn(command)


@pytest.mark.parametrize("command", RACES)
def test_race_ends_wrongly_without_what_protects_it(doors: Doors, command: str) -> None:
    assert doors.at_once(command, without=RACES[command].needs) != doors.in_turn(command)


def test_every_command_about_a_request_has_a_race() -> None:
    group = main.get_command(click.Context(main), "request")
    assert isinstance(group, click.Group)
    commands = set(group.list_commands(click.Context(group)))
    assert {f"request {command}" for command in commands - NOT_ABOUT_ONE} <= RACES.keys()
