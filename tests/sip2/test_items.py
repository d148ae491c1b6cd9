"""Item information for a terminal: 18."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import insert

from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.handlers.items import AT_POSITION, ON_SHELF

P = Position
DATE = "20170301    100000"
ASKED = f"17{DATE}AOHKU|ABC1|"
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]


@pytest.mark.parametrize(
    ("position", "facts", "status"),
    [
        (P.IN_TRANSIT, {}, "10"),
        (P.RECEIVED, {}, "08"),
        (P.ON_LOAN, {}, "04"),
        (P.ON_LOAN, {"first_checkout": date(2017, 2, 14)}, "04"),
        (P.ON_LOAN, {"first_checkout": date(2017, 2, 15)}, "05"),
        (P.ON_LOAN, {"first_checkout": date(2017, 2, 28), "recalled_on": date(2017, 3, 1)}, "07"),
        (P.ON_LOAN, {"claimed_on": date(2017, 3, 1)}, "11"),
        (P.ON_LOAN, {"claimed_on": date(2017, 3, 1), "lost_on": date(2017, 3, 1)}, "12"),
        (P.TO_RETURN, {}, "10"),
        (P.RETURN_TRANSIT, {}, "10"),
    ],
)
def test_borrowed_item_has_the_status_of_its_request(
    place: Place, fields: Fields, position: Position, facts: dict[str, Any], status: str
) -> None:
    place(position, **facts)
    assert fields("counter-1", ASKED).get("circulation_status") == status


@pytest.mark.parametrize(
    ("position", "status"), [(P.PAGED, "06"), (P.SHIPPED, "10"), (P.AT_BORROWER, "04"), (P.RETURN_TRANSIT, "10")]
)
def test_lent_copy_has_the_status_of_its_request(place: Place, fields: Fields, position: Position, status: str) -> None:
    place(position, side=Side.LENDING, item_agency="HKU", patron="")
    assert fields("counter-1", ASKED).get("circulation_status") == status


def test_item_on_loan_has_title_owner_and_dates(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 16), recalled_on=date(2017, 3, 1))
    seen = fields("counter-1", ASKED)
    assert {tag: seen.get(tag) for tag in ("AB", "AJ", "AH", "CJ", "BG", "AQ")} == {
        "AB": "C1",
        "AJ": "Dune",
        "AH": "20170316    235959",
        "CJ": "20170301    000000",
        "BG": "CUHK",
        "AQ": "CUHK",
    }


def test_item_on_the_hold_shelf_shows_its_last_day_but_no_patron(place: Place, fields: Fields) -> None:
    place(P.RECEIVED, pickup_last=date(2017, 3, 6))
    seen = fields("staff-1", ASKED)
    assert seen.get("CM") == "20170306    235959"
    assert "P1" not in [value for name in seen.fields for value in seen.all(name)]


@pytest.mark.parametrize(
    ("position", "destination"), [(P.IN_TRANSIT, "HKU-MAIN-LENDING"), (P.TO_RETURN, "CUHK"), (P.ON_LOAN, "")]
)
def test_item_in_transit_shows_its_destination(place: Place, fields: Fields, position: Position, destination: str) -> None:
    place(position)
    assert fields("counter-1", ASKED).get("CT") == destination


def test_unknown_item_gets_status_other_with_the_reason(fields: Fields) -> None:
    seen = fields("counter-1", f"17{DATE}AOHKU|ABC404|")
    assert (seen.get("circulation_status"), seen.get("AB"), seen.get("AJ")) == ("01", "C404", "")
    assert seen.all("AF") == ("This is not an HKALL book",)


def test_barcode_of_two_libraries_is_ambiguous(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN)
    place(P.ON_LOAN, item_agency="HKUST")
    assert fields("counter-1", ASKED).all("AF") == ("More than one book fits. Please ask at the counter",)


@pytest.mark.parametrize(("status", "code"), [*ON_SHELF.items(), ("Not Available", "01"), ("", "01")])
def test_item_without_a_request_has_the_status_of_its_holding(store: SoleStore, fields: Fields, status: str, code: str) -> None:
    store.now(_add_holding, status.title())
    seen = fields("counter-1", ASKED)
    assert (seen.get("circulation_status"), seen.get("AJ"), seen.get("CS")) == (code, "Emma", "PR4034")


def test_every_open_position_has_a_status() -> None:
    assert set(AT_POSITION) == set(Position) - FINAL


def _add_holding(unit: UnitOfWork, status: str) -> None:
    row = {"agency": "HKU", "barcode": "C1", "bib_id": "b2", "title": "Emma", "call_number": "PR4034", "status": status}
    unit.connection.execute(insert(HOLDINGS), row)
