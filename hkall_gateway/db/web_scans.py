"""The latest scans of a session at the scan station: the answers that were shown, numbered from 1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, select

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import WEB_SCANS
from hkall_gateway.db.unit import Unit

W = WEB_SCANS.c
MOST: Final = 20
"""Scans that are kept of a session."""


@dataclass(frozen=True, slots=True)
class WebScan:
    """One scan; `answer` is JSON, in the words that were shown."""

    number: int
    at: datetime
    answer: str


_OF = CompiledStatement(select(W.number, W.at, W.answer).where(W.token_hash == bindparam("token")).order_by(W.number.desc()))


def add(unit: Unit, token_hash: str, answer: str, now: datetime) -> int:
    """Store a scan, delete those beyond MOST, and return its number."""
    last = unit.execute(select(func.max(W.number)).where(W.token_hash == token_hash)).scalar() or 0
    unit.execute(insert(WEB_SCANS).values(token_hash=token_hash, number=last + 1, at=now, answer=answer))
    unit.execute(delete(WEB_SCANS).where(W.token_hash == token_hash, W.number <= last + 1 - MOST))
    return int(last) + 1


def of(unit: Queries, token_hash: str) -> tuple[WebScan, ...]:
    """Return the scans of a session, newest first."""
    return tuple(WebScan(*cells) for cells in _OF.cells(unit.connection, token=token_hash))
