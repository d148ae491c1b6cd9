"""The command line beside terminals and partners on one PostgreSQL database: a command of each decides about the same rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from demo import demo_setup
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.fines import Pay
from hkall_gateway.circulation.results import Refused
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.fines import charge, charge_numbered
from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.local_system import ConnectedSystem, reject_pin
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules.eligibility import category_of
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import TAKES_QUOTA
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.cli.command_lines import CommandLine

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
SCHEMA = "two_doors"
TERMINAL = Actor(who="counter-1", channel="sip2", message="37")
WORLD = Actor(who="test", channel="world")
CARD = "P0001"


class TwoDoors:
    """A gateway's circulation in this process, and a command line in another, on one database."""

    def __init__(self, config: Path, environ: dict[str, str]) -> None:
        found = gateway.load(config, environ)
        library = library_of(found)
        self._engine = open_engine(found.database.url)
        self.store = SoleStore(self._engine, make_unit(library))
        snapshot = Snapshot(ConnectorTools(store=self.store, agency=library.agency, verify=reject_pin))
        local = ConnectedSystem(self.store, snapshot, lambda: library, now)
        self._circulation = Circulation(self.store, local, lambda: library, now)
        self.library = library
        self.counter = CommandLine(config, environ)

    def execute(self, command: Any) -> Any:
        """Execute a command as the gateway does."""
        return finished(self._circulation.execute(command))

    def close(self) -> None:
        self.counter.close()
        self.store.close()
        self._engine.dispose()


@pytest.fixture
def doors(postgres_url: str, tmp_path: Path) -> Iterator[TwoDoors]:
    server = open_engine(postgres_url)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        keys = {"database": {"url": f"{postgres_url}&options=-csearch_path%3D{SCHEMA}"}}
        config = demo_setup.write_config(tmp_path / "site", PORTS, "", keys=keys)
        environ = {**os.environ, **demo_setup.environment(PORTS)}
        databases.fill(config, environ)
        both = TwoDoors(config, environ)
        yield both
        both.close()
        connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
    server.dispose()


def _loan(unit: UnitOfWork, number: str = "R-LOAN") -> Request:
    loan = Request(
        id=number, side=Side.BORROWING, position=Position.ON_LOAN, title="Dune", bib_id="b9", patron=CARD, partner="CUHK"
    )
    return unit.open(loan, now(), WORLD)


def _charge(unit: UnitOfWork, cents: int) -> int:
    return charge(unit, _loan(unit), "replacement", cents, "R45", now(), WORLD)


BESIDE_ONE = 10
"""Payments of which one is made at the command line, and the others at a terminal while that command runs."""
PAYMENTS = [300, pytest.param(2000, marks=pytest.mark.long)]


@pytest.mark.parametrize("payments", PAYMENTS)
def test_every_cent_taken_at_two_doors_is_in_the_charge(doors: TwoDoors, payments: int) -> None:
    fine = doors.store.now(_charge, 100_000)
    terminal_transactions = iter(range(payments))
    taken_cents = 0
    for number in range(payments // BESIDE_ONE):
        doors.counter.begin("fines", "pay", CARD, "10", "--transaction", f"counter-{number}")
        for transaction in islice(terminal_transactions, BESIDE_ONE - 1):
            paid = doors.execute(Pay(by=TERMINAL, card=CARD, cents=3, transaction_id=f"terminal-{transaction}"))
            assert not isinstance(paid, Refused)
            taken_cents += 3
        assert doors.counter.exit_code() == 0
        taken_cents += 10

    charged = doors.store.now(charge_numbered, fine)

    assert charged is not None
    assert charged.paid_cents == taken_cents


def test_waiver_beside_payments_never_gives_away_more_than_was_charged(doors: TwoDoors) -> None:
    fine = doors.store.now(_charge, 400)
    taken_cents, waived_cents = 0, 0
    for number in range(15):
        doors.counter.begin("fines", "waive", str(fine), "--reason", "typhoon", "--cents", "20")
        for again in range(5):
            payment = Pay(by=TERMINAL, card=CARD, cents=10, transaction_id=f"terminal-{number}-{again}")
            taken_cents += 0 if isinstance(doors.execute(payment), Refused) else 10
        waived_cents += 20 if doors.counter.exit_code() == 0 else 0

    charged = doors.store.now(charge_numbered, fine)

    assert charged is not None
    assert (charged.paid_cents, charged.waived_cents) == (taken_cents, waived_cents)
    assert charged.left_cents == 0


def _quotas(unit: UnitOfWork, policy: Policy) -> dict[str, int]:
    """Return the quota of each of eight patrons, by card."""
    quotas = {}
    for number in range(2, 10):
        patron = unit.patrons.find(f"P{number:04}")
        category = category_of(patron, policy) if patron else None
        if patron and category:
            quotas[patron.barcode] = category.quota
    return quotas


def _fill_quota(unit: UnitOfWork, card: str, count: int) -> None:
    for number in range(count):
        request = Request(
            id=f"R-{card}-{number}",
            side=Side.BORROWING,
            position=Position.REQUESTED,
            title="Dune",
            bib_id=f"x{number}",
            patron=card,
            partner="CUHK",
        )
        unit.open(request, now(), WORLD)


def _open_of(unit: UnitOfWork, card: str) -> int:
    return unit.requests.quota_used(card, TAKES_QUOTA)


def test_quota_holds_while_the_counter_and_a_discovery_system_request_for_one_patron(doors: TwoDoors) -> None:
    quotas = doors.store.now(_quotas, doors.library.policy)
    cards = list(quotas)
    for card in cards:
        doors.store.now(_fill_quota, card, quotas[card] - 1)
    titles = iter(doors.store.now(_lendable_titles))
    doors.counter.begin("requests", "list")  # the process is up
    doors.counter.exit_code()
    discovery = Actor(who="HKU-DISCOVERY", channel="ncip", message="RequestItem")
    for card in cards:
        doors.counter.begin("request", "place", "--patron", card, "--bib", next(titles))
        doors.execute(RequestTitle(by=discovery, patron=card, bib_id=next(titles)))
        doors.counter.exit_code()

    assert [doors.store.now(_open_of, card) for card in cards] == list(quotas.values())


def _lendable_titles(unit: UnitOfWork) -> list[str]:
    """Give another library a copy of each of sixteen titles, and return their numbers."""
    titles = [f"t{number}" for number in range(16)]
    copies = [
        {"agency": "CUHK", "barcode": f"C-{title}", "bib_id": title, "title": "Dune", "status": "Available On Shelf"}
        for title in titles
    ]
    unit.execute(insert(HOLDINGS), [{**copy, "lendable": True, "material": "book"} for copy in copies])
    unit.partners.write([Partner(agency="CUHK", name="CUHK")])
    return titles
