"""Lying lenders and brokers: whatever they send, in any order, a later scan of ours stands and a copy has one loan."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.partners.broker_services import BROKER_COMMANDS, BrokerCommand
from hkall_gateway.db.tables import REQUESTS
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position, Side
from tests import databases
from tests.circulation.conftest import NEWS_KINDS, DeskWorld, sent_as
from tests.examples import example_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

P = Position
BROKER = "RESHARE"
PEERS = ("CUHK", "HKUST", BROKER)
BARCODES = ("C1", "C2", "S1", "K9", "T1")
AGENCIES = ("CUHK", "HKUST", "HKU", "")
CARDS = ("UG1", "UG2", "PG1")
DATES = (-400, -9, -3, -1, 0, 0, 1, 3)
DUES = (-5, 3, 30, 90, 40_000)
TITLES = ("dune", "emma", "solaris")
HERE = frozenset({P.RECEIVED, P.ON_LOAN, P.TO_RETURN})
DOCUMENTS = example_count(10_000)
"""Number of documents in all seeds together."""


class Lies:
    """Random documents of all partners, with numbers, copies, cards and dates mixed at will."""

    def __init__(self, library: DeskWorld, seed: int) -> None:
        self.library, self.random = library, Random(seed)
        library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="emma", title="Emma")])

    def one(self, choices: Any) -> Any:
        return self.random.choice(list(choices))

    def number(self) -> tuple[str, str]:
        known = [(row["wire_agency"], row["wire_id"]) for row in open_rows(self.library) if row["wire_id"]]
        return self.random.choice([("", ""), ("HKU", "R1-1"), ("CUHK", "c-1"), ("RESHARE", "b-1"), *known[-12:]])

    def instant(self) -> Any:
        days = self.one([None, *DATES])
        return None if days is None else self.library.now + timedelta(days=days)

    def due(self) -> date | None:
        days = self.one([None, *DUES])
        return None if days is None else self.library.today() + timedelta(days=days)

    def notice(self) -> Any:
        peer, (agency, value) = self.one(PEERS), self.number()
        item = self.one([None, *(ItemKey(self.one(AGENCIES) or peer, code) for code in BARCODES)])
        by = Actor(who=peer, channel="ncip", message="lie")
        said = PartnerNotice(
            by=by, partner=peer, wire_agency=agency, wire_id=value, item=item, at=self.instant(), due=self.due()
        )
        return sent_as(NEWS_KINDS[self.one(NEWS_KINDS)], said)

    def command(self) -> BrokerCommand:
        peer, (agency, value) = BROKER, self.number()
        return BrokerCommand(
            by=Actor(who=peer, channel="ncip", message="lie"),
            partner=peer,
            card=self.one(CARDS),
            wire_agency=agency,
            wire_id=value,
            barcode=self.one(BARCODES),
            agency=self.one(AGENCIES),
            title="A lie",
            at=self.instant(),
            due=self.due(),
            service=self.one(BROKER_COMMANDS),
        )

    def tell(self) -> Any:
        said = self.notice() if self.random.random() < 0.5 else self.command()
        self.library.ask(self.library.circulation.execute(said))
        return said

    def act(self) -> None:
        """Let our readers and staff go on with their work."""
        library, code = self.library, self.one(BARCODES)
        match self.one(["wish", "scan", "lend", "hour", "wait"]):
            case "wish":
                library.wish(self.one(CARDS), self.one(TITLES), f"d-{library.count()}-{self.random.random()}")
            case "scan":
                library.check_in(code)
            case "lend":
                library.check_out(self.one(CARDS), code)
            case "hour":
                library.now += timedelta(hours=self.one([1, 5, 26]))


@pytest.fixture
def world() -> Iterator[DeskWorld]:
    made = DeskWorld(engine=databases.empty())
    yield made
    made.close()


def open_rows(library: DeskWorld) -> list[Mapping[str, Any]]:
    """Return the rows of all open requests."""
    query = select(REQUESTS).where(REQUESTS.c.position.not_in(sorted(FINAL)))
    return library.store.now(lambda unit: [dict(row) for row in unit.execute(query).mappings()])


def held_by_scan(library: DeskWorld) -> set[str]:
    """Return the numbers of the requests whose copy we have by our own scan, apart from those that a broker controls."""
    borrowed = [row for row in open_rows(library) if row["side"] == Side.BORROWING and not row["kind"]]
    here = [row["id"] for row in borrowed if row["position"] in HERE]
    return library.store.now(lambda unit: {number for number in here if unit.journal.last_scan(number)})


def most_loans_of_a_copy(library: DeskWorld) -> int:
    lent = [row for row in open_rows(library) if row["position"] == Position.ON_LOAN]
    return max(Counter((row["item_agency"], row["item_barcode"]) for row in lent).values(), default=0)


@pytest.mark.parametrize("seed", range(4))
def test_lies_move_nothing_that_we_have_and_lend_no_copy_twice(world: DeskWorld, seed: int) -> None:
    lies = Lies(world, seed)
    for turn in range(DOCUMENTS // 4):
        if turn % 4 == 0:
            lies.act()
        before = held_by_scan(world)
        said = lies.tell()
        assert before <= held_by_scan(world), (turn, said)
        assert most_loans_of_a_copy(world) <= 1, (turn, said)
