"""Finds the request that another system means, by the number that it uses or by the barcode of a copy."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import REQUESTS, Condition
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.vocabulary import Request, Side

C = REQUESTS.c
STRAY = "stray"
"""The kind of request that stands for an orphan copy."""


def strays_under(unit: Unit, wire_agency: str, wire_id: str) -> list[Request]:
    """Return the orphan copies under this RequestId, which came after its request had ended, on their way or home, oldest
    first.
    """
    return _each(unit, _STRAYS, wire_agency=wire_agency, wire_id=wire_id)


def borrowed_under(unit: Unit, partner: str, wire_id: str) -> Request | None:
    """Return the request that we borrow under a number of the partner's own: the open one, else the newest that has ended."""
    return _open_first(_each(unit, _BORROWED, partner=partner, wire_id=wire_id)) if wire_id else None


def held_with(unit: Unit, partner: str, barcode: str, agency: str = "") -> Request | None:
    """Return the request with this partner that holds the copy, or held it last; None if the barcode fits two open ones."""
    question, of = (_OURS_WITH, {"agency": agency}) if agency else (_WITH, {})
    found = _each(unit, question, barcode=barcode, partner=partner, **of) if barcode else []
    held = [r for r in found if r.position not in FINAL]
    return None if len(held) > 1 else _open_first(found)


def _each(unit: Unit, question: CompiledStatement, **named: str) -> list[Request]:
    found = (unit.request(number) for (number,) in question.cells(unit.connection, **named))
    return [request for request in found if request is not None]


def _open_first(found: list[Request]) -> Request | None:
    held = [r for r in found if r.position not in FINAL]
    return next(reversed(held or found), None)


def _numbers(*where: Condition) -> CompiledStatement:
    return CompiledStatement(select(C.id).where(*where).order_by(C.placed_at, C.id))


_UNDER = C.wire_id == bindparam("wire_id")
_THEIRS, _THIS = C.partner == bindparam("partner"), C.item_barcode == bindparam("barcode")
_STRAYS = _numbers(C.wire_agency == bindparam("wire_agency"), _UNDER, C.kind == STRAY)
_BORROWED = _numbers(C.wire_agency == bindparam("partner"), _UNDER, _THEIRS, C.side == Side.BORROWING)
_WITH, _OURS_WITH = _numbers(_THIS, _THEIRS), _numbers(_THIS, _THEIRS, C.item_agency == bindparam("agency"))
