"""Find the request that another system's message is about, by that system's number or by the barcode of a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from sqlalchemy import bindparam, select, text

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import CANDIDATES, HOLDINGS, IS_OPEN, REQUESTS, Condition
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import COUNTED_AS_UNFILLED, FINAL, WITHOUT_COPY
from hkall_gateway.rules.vocabulary import Candidate, Holding, ItemKey, Request, Side

R, C = REQUESTS.c, CANDIDATES.c
WAS_ASKED = text("candidates.wire_id <> ''")  # the literal condition of the partial index, which a bound value would not match

UNFILLED = tuple(sorted(COUNTED_AS_UNFILLED))

Asked = tuple[Request, Candidate]


def copies_with(unit: UnitOfWork, barcode: str) -> tuple[Holding, ...]:
    """Return the copies with this barcode at all libraries."""
    columns = [HOLDINGS.c[field.name] for field in fields(Holding)]
    rows = unit.execute(select(*columns).where(HOLDINGS.c.barcode == barcode)).mappings()
    return tuple(Holding(**row) for row in rows)


def awaiting_barcode(unit: UnitOfWork, barcode: str) -> tuple[Asked, ...]:
    """Return the requests that wait for a lender's copy with this barcode, each with the lender's candidate row."""
    return tuple(_find_awaiting(unit, C.barcode == barcode))


def asked_for(unit: UnitOfWork, item: ItemKey) -> Asked | None:
    """Return the newest request, in any position, that was sent to this copy's library for this copy."""
    named = (C.barcode == item.barcode, C.agency == item.agency, WAS_ASKED, C.request == R.id)
    newest = select(C.wire_id).where(*named).order_by(R.placed_at.desc(), R.id.desc(), C.rank.desc()).limit(1)
    wire_id = unit.execute(newest).scalar()
    return unit.requests.find_by_wire_id(wire_id) if wire_id else None


def find_unfilled(unit: UnitOfWork, barcode: str, agency: str = "") -> Asked | None:
    """Return the newest request that ended unfilled although this copy was asked for. `agency` is "" if it is unknown."""
    named: list[Condition] = [C.barcode == barcode, WAS_ASKED, C.request == R.id, R.position.in_(UNFILLED)]
    named += [C.agency == agency] if agency else []
    newest = select(C.wire_id).where(*named).order_by(R.placed_at.desc(), R.id.desc(), C.rank.desc()).limit(1)
    wire_id = unit.execute(newest).scalar()
    return unit.requests.find_by_wire_id(wire_id) if wire_id else None


def asked_for_title(unit: UnitOfWork, copy: Holding) -> tuple[Asked, ...]:
    """Return the requests that wait for the title and volume of this copy from the copy's library."""
    here = (R.side == Side.BORROWING, R.partner == copy.agency, C.agency == copy.agency, C.wire_id == R.wire_id)
    return tuple(_find_awaiting(unit, *here, R.bib_id == copy.bib_id, R.volume.in_(["", copy.volume])))


def _find_awaiting(unit: UnitOfWork, *where: Condition) -> Iterator[Asked]:
    waits = (R.position.in_(sorted(WITHOUT_COPY)), WAS_ASKED, C.request == R.id, IS_OPEN)
    query = select(C.request, C.rank).select_from(REQUESTS.join(CANDIDATES, C.request == R.id)).where(*waits, *where)
    for row in unit.execute(query.order_by(R.placed_at, R.id)).mappings().all():
        number, rank = row["request"], row["rank"]
        request = unit.requests.find(number)
        lender = next(c for c in unit.candidates.of_request(number) if c.rank == rank)
        if request is not None:
            yield request, lender


STRAY = "stray"
"""Request kind that represents an orphan copy."""


def strays_under(unit: UnitOfWork, wire_agency: str, wire_id: str) -> list[Request]:
    """Return the orphan copies that arrived under this RequestId after its request had ended, oldest first."""
    return _find_requests(unit, _STRAYS, wire_agency=wire_agency, wire_id=wire_id)


def borrowed_under(unit: UnitOfWork, partner: str, wire_id: str) -> Request | None:
    """Return our borrowing request with the partner's own number: an open request, else the newest ended request."""
    return _open_first(_find_requests(unit, _BORROWED, partner=partner, wire_id=wire_id)) if wire_id else None


def held_with(unit: UnitOfWork, partner: str, barcode: str, agency: str = "") -> Request | None:
    """Return the request that holds, or held last, a partner's copy. Return None if several open requests match."""
    query, of = (_OURS_WITH, {"agency": agency}) if agency else (_WITH, {})
    found = _find_requests(unit, query, barcode=barcode, partner=partner, **of) if barcode else []
    held = [r for r in found if r.position not in FINAL]
    return None if len(held) > 1 else _open_first(found)


def _find_requests(unit: UnitOfWork, query: CompiledStatement, **named: str) -> list[Request]:
    found = (unit.requests.find(number) for (number,) in query.cells(unit.connection, **named))
    return [request for request in found if request is not None]


def _open_first(found: list[Request]) -> Request | None:
    held = [r for r in found if r.position not in FINAL]
    return next(reversed(held or found), None)


def _number_query(*where: Condition) -> CompiledStatement:
    return CompiledStatement(select(R.id).where(*where).order_by(R.placed_at, R.id))


_UNDER = R.wire_id == bindparam("wire_id")
_THEIRS, _THIS = R.partner == bindparam("partner"), R.item_barcode == bindparam("barcode")
_STRAYS = _number_query(R.wire_agency == bindparam("wire_agency"), _UNDER, R.kind == STRAY)
_BORROWED = _number_query(R.wire_agency == bindparam("partner"), _UNDER, _THEIRS, R.side == Side.BORROWING)
_WITH, _OURS_WITH = _number_query(_THIS, _THEIRS), _number_query(_THIS, _THEIRS, R.item_agency == bindparam("agency"))
