"""Quarantine for partner messages that match no request. Each is stored once, without secrets, until staff judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import QUARANTINE
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.stored_words import QuarantineState
from hkall_gateway.rules.vocabulary import Candidate, Request

Q = QUARANTINE.c
MOST: Final = 1_000
"""Maximum number of unjudged documents per partner. Further documents would add no information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedDocument:
    """A quarantined document. `why` is the reason for refusing it, and `times` counts its arrivals."""

    id: int
    agency: str
    digest: str
    service: str
    document: str
    why: str
    state: QuarantineState
    times: int
    first_at: datetime
    last_at: datetime
    settled_by: str = ""
    reason: str = ""


_COLUMNS = tuple(Q[field.name] for field in fields(QuarantinedDocument))


def keep(unit: UnitOfWork, agency: str, digest: str, service: str, document: str, why: str, now: datetime) -> bool:
    """Store a document, or count its repeated arrival. Return False if this partner has MOST unjudged documents."""
    again = update(QUARANTINE).where(Q.agency == agency, Q.digest == digest)
    if unit.execute(again.values(times=Q.times + 1, last_at=now, state=QuarantineState.KEPT, why=why)).rowcount:
        return True
    waiting = select(func.count()).select_from(QUARANTINE).where(Q.agency == agency, Q.state == QuarantineState.KEPT)
    if unit.execute(waiting).scalar_one() >= MOST:
        return False
    values = {"agency": agency, "digest": digest, "service": service, "document": document, "why": why}
    unit.execute(insert(QUARANTINE).values(**values, state=QuarantineState.KEPT, times=1, first_at=now, last_at=now))
    return True


def listed(
    unit: UnitOfWork, agency: str = "", *, settled: bool = False, after: int = 0, most: int | None = None
) -> tuple[QuarantinedDocument, ...]:
    """Return the unjudged documents, oldest first, at most `most` with a number above `after`.

    `agency` limits the result to one partner, and `settled` includes judged documents.
    """
    where = [Q.id > after, *([Q.agency == agency] if agency else []), *([] if settled else [Q.state == QuarantineState.KEPT])]
    found = unit.execute(select(*_COLUMNS).where(*where).order_by(Q.id).limit(most)).mappings()
    return tuple(map(_make_document, found))


def depths(unit: UnitOfWork) -> tuple[tuple[str, int, datetime], ...]:
    """Return (partner, number of unjudged documents, first arrival) by partner."""
    counted = select(Q.agency, func.count(), func.min(Q.first_at)).where(Q.state == QuarantineState.KEPT)
    found = unit.execute(counted.group_by(Q.agency).order_by(Q.agency))
    return tuple((agency, count, oldest) for agency, count, oldest in found)


def unplaced(unit: UnitOfWork, request: Request, candidates: Sequence[Candidate]) -> tuple[QuarantinedDocument, ...]:
    """Return quarantined documents that name this request or its copy and come from one of its libraries."""
    agencies = {request.partner, *(one.agency for one in candidates if one.wire_id)}
    words = {request.id, request.wire_id, request.item_barcode, *(one.wire_id for one in candidates)}
    words |= {one.their_number.partition(":")[2] for one in candidates}
    # An identifier is the whole text of an element of XML, or a whole string of JSON.
    texts = [text for word in sorted(words) if word for text in (f">{word}<", f'"{word}"')]
    names = [Q.document.contains(text, autoescape=True) for text in texts]
    found = unit.execute(select(*_COLUMNS).where(Q.agency.in_(sorted(agencies)), or_(*names)).order_by(Q.id)).mappings()
    return tuple(map(_make_document, found))


def one(unit: UnitOfWork, number: int) -> QuarantinedDocument | None:
    """Return the document with this number, or None if it does not exist."""
    row = unit.execute(select(*_COLUMNS).where(Q.id == number)).mappings().first()
    return _make_document(row) if row else None


def _make_document(row: Mapping[Any, Any]) -> QuarantinedDocument:
    return QuarantinedDocument(**{**row, "state": QuarantineState(row["state"])})


def settle(unit: UnitOfWork, number: int, state: QuarantineState, who: str, reason: str) -> bool:
    """Record that staff replayed or dropped a document. Return False if the document was already judged."""
    waits = update(QUARANTINE).where(Q.id == number, Q.state == QuarantineState.KEPT)
    return unit.execute(waits.values(state=state, settled_by=who, reason=reason)).rowcount == 1


def forget(unit: UnitOfWork, before: datetime, limit: int) -> int:
    """Delete at most `limit` documents that last arrived before `before`, and return the count."""
    return _FORGET.change(unit.connection, before=before, most=limit)


_OLD = select(Q.id).where(Q.last_at < bindparam("before")).order_by(Q.last_at).limit(bindparam("most"))
_FORGET = CompiledStatement(delete(QUARANTINE).where(Q.id.in_(_OLD)))
