"""The history of one request: its journal, and the documents and letters about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, Table, or_, select

from hkall_gateway.db.outbox import Attempt
from hkall_gateway.db.tables import ATTEMPTS, INBOX, JOURNAL, NOTICES, OUTBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.stored_words import DeliveryKind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MOST: Final = 1_000
"""Maximum number of journal lines shown for one request. Older lines are omitted."""
NCIP: Final = "ncip"
"""Channel of journal lines about documents of partners and discovery systems."""
COURIER: Final = "courier"
"""Channel of journal lines about deliveries."""

J = JOURNAL.c


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One line of the journal: the actor, its channel and message, the change, and the rule. `detail` is JSON."""

    id: int
    at: datetime
    who: str
    channel: str
    message: str
    corr: str
    event: str
    source: str
    target: str
    rule: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The stored reply to a document, which is sent again if the document is repeated. `outcome` is a JSON record."""

    agency: str
    outcome: str
    made_at: datetime
    keep_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """One letter to the patron, with its state: queued, sent, unsure, undeliverable, not_needed or dropped."""

    id: int
    kind: str
    about: str
    state: str
    made_at: datetime
    sent_at: datetime | None
    error: str


def journal(unit: UnitOfWork, request: str) -> tuple[JournalRow, ...]:
    """Return the newest MOST journal lines about a request, oldest first."""
    newest = select(*_columns(JOURNAL, JournalRow)).where(J.request == request).order_by(J.id.desc()).limit(MOST)
    return tuple(JournalRow(**row) for row in reversed(unit.execute(newest).mappings().all()))


def changes_since(unit: UnitOfWork, request: str, seen: int) -> tuple[JournalRow, ...]:
    """Return the changes of a request after the journal line `seen`, oldest first, without refusals and courier notes."""
    moved = or_(J.channel != COURIER, J.source != J.target)
    newer = select(*_columns(JOURNAL, JournalRow)).where(J.request == request, J.id > seen, J.outcome == "ok", moved)
    return tuple(JournalRow(**row) for row in unit.execute(newer.order_by(J.id)).mappings())


def sent_at(unit: UnitOfWork, request: str) -> Mapping[int, datetime]:
    """Return when each message about a request was sent, by outbox number. Unsent messages are omitted."""
    query = select(OUTBOX.c.id, OUTBOX.c.sent_at).where(OUTBOX.c.request == request, OUTBOX.c.sent_at.is_not(None))
    return {number: at for number, at in unit.execute(query)}  # noqa: C416  # a Row is not a pair


def tries(unit: UnitOfWork, messages: Collection[int]) -> Mapping[int, tuple[Attempt, ...]]:
    """Return the tries to send these messages, oldest first, by outbox number."""
    a = ATTEMPTS.c
    query = select(a.row, a.at, a.kind, a.problem, a.detail).where(a.row.in_(messages)).order_by(a.id)
    found: dict[int, tuple[Attempt, ...]] = {}
    for number, at, kind, problem, detail in unit.execute(query):
        found[number] = (*found.get(number, ()), Attempt(at=at, kind=DeliveryKind(kind), problem=problem, detail=detail))
    return found


def answered(unit: UnitOfWork, request: str, lines: Sequence[JournalRow]) -> Mapping[tuple[str, datetime], KeptAnswer]:
    """Return the stored replies to the documents of these journal lines, by (agency, time).

    One unit of work writes a document and its journal lines with the same timestamp.
    """
    instants = {line.at for line in lines if line.channel == NCIP}
    if not instants:
        return {}
    query = select(*_columns(INBOX, KeptAnswer)).where(INBOX.c.made_at.in_(instants), INBOX.c.outcome.contains(f'"{request}"'))
    answers = [KeptAnswer(**row) for row in unit.execute(query).mappings()]
    return {(answer.agency, answer.made_at): answer for answer in answers}


def notices(unit: UnitOfWork, request: str) -> tuple[NoticeRow, ...]:
    """Return the letters about a request, oldest first, without addresses."""
    query = select(*_columns(NOTICES, NoticeRow)).where(NOTICES.c.request == request).order_by(NOTICES.c.id)
    return tuple(NoticeRow(**row) for row in unit.execute(query).mappings())


def _columns(table: Table, record: type[DataclassInstance]) -> list[Column[Any]]:
    return [table.c[field.name] for field in fields(record)]
