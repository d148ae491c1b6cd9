"""Finds, by the copy alone, the requests that an unannounced copy may be for, and the one it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from sqlalchemy import select, text

from hkall_gateway.db.tables import CANDIDATES, HOLDINGS, IS_OPEN, REQUESTS, Condition
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.vocabulary import Candidate, Holding, ItemKey, Position, Request, Side

R, C = REQUESTS.c, CANDIDATES.c
WAS_ASKED = text("candidates.wire_id <> ''")  # the literal condition of the partial index, which a bound value would not match
WAITING = (Position.NEW, Position.REQUESTED, Position.CANCELLING)

Asked = tuple[Request, Candidate]


def copies_with(unit: Unit, barcode: str) -> tuple[Holding, ...]:
    """Return every library's copy with this barcode, as the catalogue knows it."""
    columns = [HOLDINGS.c[field.name] for field in fields(Holding)]
    rows = unit.execute(select(*columns).where(HOLDINGS.c.barcode == barcode)).mappings()
    return tuple(Holding(**row) for row in rows)


def asked_by_barcode(unit: Unit, barcode: str) -> tuple[Asked, ...]:
    """Return requests for which a lender was asked for the copy with this barcode, and that have no copy yet."""
    return tuple(_each(unit, C.barcode == barcode))


def asked_for(unit: Unit, item: ItemKey) -> Asked | None:
    """Return the newest request for which this copy was asked of its library, in any position."""
    named = (C.barcode == item.barcode, C.agency == item.agency, WAS_ASKED, C.request == R.id)
    newest = select(C.wire_id).where(*named).order_by(R.placed_at.desc(), R.id.desc(), C.rank.desc()).limit(1)
    wire_id = unit.execute(newest).scalar()
    return unit.request_asked(wire_id) if wire_id else None


def asked_for_title(unit: Unit, copy: Holding) -> tuple[Asked, ...]:
    """Return requests for which the library of this copy is being asked for the same title and volume."""
    here = (R.side == Side.BORROWING, R.partner == copy.agency, C.agency == copy.agency, C.wire_id == R.wire_id)
    return tuple(_each(unit, *here, R.bib_id == copy.bib_id, R.volume.in_(["", copy.volume])))


def _each(unit: Unit, *where: Condition) -> Iterator[Asked]:
    waits = (R.position.in_(WAITING), WAS_ASKED, C.request == R.id, IS_OPEN)
    question = select(C.request, C.rank).select_from(REQUESTS.join(CANDIDATES, C.request == R.id)).where(*waits, *where)
    for row in unit.execute(question.order_by(R.placed_at, R.id)).mappings().all():
        number, rank = row["request"], row["rank"]
        request = unit.request(number)
        lender = next(c for c in unit.candidates(number) if c.rank == rank)
        if request is not None:
            yield request, lender
