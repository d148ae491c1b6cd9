"""Requests at a given position, for the staff pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hkall_gateway.db.fines import charge
from hkall_gateway.db.loads import loading
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Request, Side
from tests.web.conftest import Site

WORLD = Actor(who="test", channel="world")
LENT = frozenset({Position.PAGED, Position.SHIPPED, Position.AT_BORROWER})


def given(site: Site, position: Position, number: str, **facts: Any) -> Request:
    """Insert a request at a position: borrowed by UG1 from CUHK, or lent to CUHK. Its item is B- plus the number."""
    lent = position in LENT or facts.pop("lent", False)
    bare = Request(
        id=number,
        side=Side.LENDING if lent else Side.BORROWING,
        position=position,
        title=f"Title of {number}",
        bib_id=f"b-{number}",
        patron="" if lent else "UG1",
        partner="CUHK",
        wire_agency="CUHK" if lent else "HKU",
        wire_id=f"w-{number}",
        item_agency="HKU" if lent else "CUHK",
        item_barcode=f"B-{number}",
        pickup_location="" if lent else "HKU-MAIN-LENDING",
        placed_at=site.world.now,
        moved_at=site.world.now,
    )
    made = replace(bare, **facts)
    site.world.store.now(lambda unit: unit.open(made, site.world.now, WORLD))
    return made


def with_copy(site: Site, request: Request, call_number: str = "", author: str = "", material: str = "book") -> None:
    """Add the request's item to the catalogue."""
    copy = Holding(
        agency=request.item_agency, barcode=request.item_barcode, bib_id=request.bib_id, title=request.title, author=author
    )
    copy = replace(copy, call_number=call_number, material=material)

    def load(unit: Any) -> None:
        number = loading.begin(unit, "holdings")
        loading.write(unit, "holdings", [copy], number)

    site.world.store.now(load)


def owe_refund(site: Site, card: str, cents: int) -> None:
    """Give a patron a refund that the library owes, of a book that was paid for and found again."""
    loan = Request(id="R-FOUND", side=Side.BORROWING, position=Position.CLOSED, title="", bib_id="", patron=card)
    site.world.store.now(lambda unit: charge(unit, loan, "refund", -cents, "R45", site.world.now, WORLD))


def position_of(site: Site, number: str) -> str:
    """The current position of a request."""
    return str(site.world.request(number).position)
