"""The inbox: recently answered documents and their outcomes."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from sqlalchemy import bindparam, delete, select

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_write_over, update_row
from hkall_gateway.db.tables import INBOX
from hkall_gateway.db.unit_of_work import UnitOfWork


def claim(unit: UnitOfWork, agency: str, digest: str, keep_until: datetime, now: datetime) -> str | None:
    """Claim a document for processing. Return None if it is new or its record has expired, else the recorded outcome."""
    values = {"agency": agency, "digest": digest, "made_at": now, "keep_until": keep_until, "outcome": ""}
    if _claim_statement(unit.dialect).write(unit.connection, now=now, **values):
        return None
    row = _KEPT.first(unit.connection, was_agency=agency, was_digest=digest)
    return str(row["outcome"]) if row else ""


def keep(unit: UnitOfWork, agency: str, digest: str, outcome: str) -> None:
    """Record the outcome of a claimed document. If the outcome is empty, delete the document's record."""
    if outcome:
        update_row(unit.connection, INBOX, {"agency": agency, "digest": digest}, {"outcome": outcome})
    else:
        _FORGET.write(unit.connection, was_agency=agency, was_digest=digest)


_DOCUMENT = (INBOX.c.agency == bindparam("was_agency"), INBOX.c.digest == bindparam("was_digest"))
_KEPT = CompiledStatement(select(INBOX.c.outcome).where(*_DOCUMENT))
_FORGET = CompiledStatement(delete(INBOX).where(*_DOCUMENT))


@cache
def _claim_statement(dialect: str) -> CompiledStatement:
    """Return a statement that inserts a document's row or replaces an expired row. A repeated document writes no row."""
    columns = ("agency", "digest", "made_at", "keep_until", "outcome")
    over = insert_or_write_over(INBOX, dialect, columns, INBOX.c.keep_until < bindparam("now"))
    values = {name: bindparam(name, type_=INBOX.c[name].type) for name in columns}
    return CompiledStatement(over.values(values))
