"""The local system as its last export, and a library without any interface."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from hkall_gateway.circulation.ports import LocalIls, Verb
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import HOLDINGS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.snapshot import Manual, Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.simulator.databases import SoleStore
from tests import databases


async def plain(card: str, stored: Sensitive, pin: Sensitive) -> bool:
    return card == "P1" and stored == pin


@pytest.fixture
def tools() -> ConnectorTools:
    engine = databases.empty()
    with engine.connect() as connection:
        connection.execute(insert(PATRONS), {"barcode": "P1", "name": "Chan", "category": "undergraduates", "pin_hash": "1234"})
        connection.execute(insert(PATRONS), {"barcode": "P2", "name": "Lee", "category": "undergraduates"})
        for agency in ("HKU", "CUHK"):
            connection.execute(insert(HOLDINGS), {"agency": agency, "barcode": "B1", "bib_id": "b1", "title": "Dune"})
    return ConnectorTools(store=SoleStore(engine, lambda c: UnitOfWork(c, lambda: "R1")), agency="HKU", verify=plain)


def test_loaded_patron_is_found_with_source_snapshot(tools: ConnectorTools) -> None:
    facts = finished(Snapshot(tools).borrower("P1"))
    assert facts.borrower is not None
    assert (facts.borrower.barcode, facts.source, facts.reachable) == ("P1", "snapshot", True)


def test_unloaded_card_is_unknown(tools: ConnectorTools) -> None:
    assert finished(Snapshot(tools).borrower("P9")).borrower is None


@pytest.mark.parametrize(
    ("card", "pin", "right"), [("P1", "1234", True), ("P1", "4321", False), ("P2", "", False), ("P9", "1234", False)]
)
def test_pin_is_valid_only_if_it_matches_a_loaded_hash(tools: ConnectorTools, card: str, pin: str, right: bool) -> None:
    assert finished(Snapshot(tools).verify_pin(card, Sensitive(pin))) is right


def test_local_availability_lists_own_items(tools: ConnectorTools) -> None:
    copies = finished(Snapshot(tools).copies("b1"))
    assert copies is not None
    assert [c.agency for c in copies] == ["HKU"]


def test_loaded_system_finds_patrons_but_cannot_verify_pins(tools: ConnectorTools) -> None:
    manual: LocalIls = Manual(tools)
    assert manual.supports == {Verb.BORROWER}
    assert finished(manual.borrower("P1")).borrower is not None
    assert finished(manual.verify_pin("P1", Sensitive("1234"))) is False
    assert finished(manual.copies("b1")) is None
