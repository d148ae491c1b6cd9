"""The inbox: recently answered documents and their outcomes. A unit of work that uses it locks the document."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_row
from hkall_gateway.db.tables import INBOX
from hkall_gateway.db.unit_of_work import KEPT, UnitOfWork


def find(unit: UnitOfWork, agency: str, digest: str, now: datetime) -> str | None:
    """Return the recorded outcome of a document, or None if it is new or its record has expired."""
    row = _read_record(unit, agency, digest)
    return row[0] if row and row[1] >= now else None


def keep(unit: UnitOfWork, agency: str, digest: str, outcome: str, keep_until: datetime, now: datetime) -> None:
    """Replace the record of a document. If the outcome is empty, the document has no record afterwards."""
    if _read_record(unit, agency, digest):
        _FORGET.write(unit.connection, was_agency=agency, was_digest=digest)
    if outcome:
        _ADD.append(unit.connection, agency=agency, digest=digest, made_at=now, keep_until=keep_until, outcome=outcome)
    unit.transaction.ahead.documents[agency, digest] = (outcome, keep_until) if outcome else None


def _read_record(unit: UnitOfWork, agency: str, digest: str) -> tuple[str, datetime] | None:
    known = unit.transaction.ahead.documents
    if (agency, digest) not in known:
        known[agency, digest] = None
        known |= {(agency, one): (kept, until) for one, kept, until in KEPT.cells(unit.connection, [digest], agency=agency)}
    return known[agency, digest]


_FORGET = CompiledStatement(
    delete(INBOX).where(INBOX.c.agency == bindparam("was_agency"), INBOX.c.digest == bindparam("was_digest"))
)
_ADD = insert_row(INBOX, *INBOX.c.keys())
