"""Bulk data for the counter: open requests of both sides in every position, with their items.

Every value is derived from a row's number, as in `tests.bulk`, which adds the years of ended requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, insert

from hkall_gateway.db.loads.loading import with_keys
from hkall_gateway.db.requests import facts_of
from hkall_gateway.db.tables import HOLDINGS, REQUESTS
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import FINAL, HOLDS_ITEM, STAGES
from hkall_gateway.rules.vocabulary import Holding, Position, Request, Side
from tests.bulk import CHUNK, OTHERS, open_store

P = Position
AGENCY: Final = "HKU"
PLACES: Final = ("HKU-MAIN-LENDING", "HKU-LAW", "HKU-MED", "HKU-MUSIC")
MATERIALS: Final = ("book", "book", "book", "dvd", "score")
LENT: Final = frozenset({P.PAGED, P.SHIPPED, P.AT_BORROWER})
POSITIONS: Final = tuple(sorted(set(Position) - FINAL)) + (P.ON_LOAN,) * 5 + (P.RECEIVED, P.AT_BORROWER) * 2
"""Most open requests are loans."""


def requests(count: int, now: datetime) -> Iterator[Request]:
    """Yield open requests, oldest first: every third loan is overdue, every 30th request recalled, every 50th flagged.

    Four of five have moved within two days, the others within a fortnight.
    """
    for number in range(count):
        yield _request(number, civil(now), now - timedelta(days=(count - number) / count))


def _request(number: int, today: date, moved: datetime) -> Request:
    position = POSITIONS[number % len(POSITIONS)]
    lending = position in LENT or (position is P.RETURN_TRANSIT and number % 2 == 0)
    partner = OTHERS[number % len(OTHERS)]
    held = position in HOLDS_ITEM
    due = today + timedelta(days=number % 30 - 10)
    bare = Request(
        id=f"O{number:09d}",
        side=Side.LENDING if lending else Side.BORROWING,
        position=position,
        title=_title(number),
        bib_id=f"o{number // 3}",
    )
    return replace(
        bare,
        patron="" if lending else f"OP{number % 9_000:07d}",
        partner=partner,
        wire_agency=partner if lending else AGENCY,
        wire_id=f"o{number}",
        pickup_location="" if lending else PLACES[number % len(PLACES)],
        placed_at=moved - timedelta(days=number % 20),
        moved_at=moved - timedelta(days=number * 7 % 15 if number % 5 == 0 else number % 2),
        due=due if position is P.ON_LOAN else None,
        lender_due=due if lending else None,
        pickup_last=due if position is P.RECEIVED else None,
        received_on=today - timedelta(days=5) if position in {P.RECEIVED, P.ON_LOAN} else None,
        expired_pickup=position is P.RECEIVED and due < today,
        recalled_on=today if number % 30 == 0 else None,
        flags="offline" if number % 50 == 0 else "",
        item_agency=(AGENCY if lending else partner) if held else "",
        item_barcode=f"OP{number:07d}" if held else "",
    )


def _title(number: int) -> str:
    return f"{'紅樓夢 ' if number % 11 == 0 else ''}Title {number * 7919 % 100_003:06d}"


def _call_number(number: int) -> str:
    letters = ("QA", "PS", "DS", "PL", "KF", "B")[number % 6]
    return f"{letters}{number * 31 % 9_000 + 1}.{number % 100} .{'ABCDK'[number % 5]}{number * 17 % 997} {1950 + number % 70}"


def copies(count: int, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the `holdings` rows of the items of these requests; every hundredth has no call number."""
    for number, request in enumerate(requests(count, now)):
        if request.item:
            copy = Holding(
                agency=request.item.agency,
                barcode=request.item.barcode,
                bib_id=request.bib_id,
                title=request.title,
                material=MATERIALS[number % len(MATERIALS)],
            )
            known = {field.name: getattr(copy, field.name) for field in fields(copy)}
            yield {**known, "call_number": _call_number(number) if number % 100 else ""}


def fill(engine: Engine, count: int, now: datetime) -> None:
    """Write this many open requests, with their items and partners."""
    made = [{**facts_of(one), "stage": STAGES[one.position]} for one in requests(count, now)]
    held = with_keys(copies(count, now))
    partners = [Partner(agency=agency, name=agency, courier_days=number % 4) for number, agency in enumerate(OTHERS)]
    with open_store(engine) as store:
        store.now(lambda unit: unit.partners.write(partners))
        for table, rows in ((REQUESTS, made), (HOLDINGS, held)):
            for first in range(0, len(rows), CHUNK):
                some = rows[first : first + CHUNK]
                store.now(lambda unit: unit.execute(insert(table), some))  # noqa: B023  # it runs at once
