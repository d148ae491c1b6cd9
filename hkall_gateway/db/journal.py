"""Repository of the journal, which records every change of a request and every refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, union

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_row
from hkall_gateway.db.tables import IS_CLOSED_OF, IS_OPEN, JOURNAL, NAMES_ALONE, REQUESTS
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.evidence import OUR_CHANNELS, SCANS
from hkall_gateway.rules.messages.json_records import from_json
from hkall_gateway.rules.vocabulary import Actor, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A journal line, passed to the log and the metrics after the commit, with the request before and after the change."""

    request: str
    event: str
    source: str
    target: str
    rule: str
    outcome: str
    partner: str
    patron: str
    by: Actor
    before: Request | None = None
    after: Request | None = None


def nobody_listens(_moves: Sequence[JournalEntry]) -> None:
    """Ignore the journal lines of a unit. This is the default listener."""


class JournalRepository(Repository):
    """Adds and queries journal lines."""

    def add(self, entry: JournalEntry, now: datetime, detail: str) -> None:
        """Queue a line. All lines of the transaction are written together."""
        by = entry.by
        _ADD.append(
            self._connection,
            at=now,
            request=entry.request,
            patron=entry.patron,
            who=by.who,
            channel=by.channel,
            message=by.message,
            corr=by.corr,
            event=entry.event,
            source=entry.source,
            target=entry.target,
            rule=entry.rule,
            outcome=entry.outcome,
            detail=detail,
        )

    def last_noted(self, request: str, event: str) -> datetime | None:
        """Return the time of a request's last journal line with this event, or None if there is no such line."""
        found: list[list[datetime | None]] = _LAST_NOTED.cells(self._connection, of=request, event=event)
        return found[0][0]

    def last_event(self, request: str) -> str:
        """Return the event of a request's last journal line that is no refusal, or "" if it has none."""
        return next((event for (event,) in _LAST_EVENT.cells(self._connection, of=request)), "")

    def noted(self, request: str, event: str) -> tuple[tuple[datetime, Mapping[str, Any]], ...]:
        """Return the time and the facts of a request's journal lines with this event. Anonymised lines have no facts."""
        lines = _NOTED.cells(self._connection, of=request, event=event)
        return tuple((at, from_json(detail)) for at, detail in lines if detail)

    def last_scan(self, request: str) -> datetime | None:
        """Return when our staff last handled or looked for the request's copy, or None if they never did."""
        found: list[list[datetime | None]] = _LAST_SCAN.cells(self._connection, of=request)
        return found[0][0]

    def history(self, what: str) -> tuple[dict[str, Any], ...]:
        """Return all journal lines about a request number, a copy's barcode or a patron's card, oldest first."""
        return tuple(_HISTORY.rows(self._connection, what=what))


_WHAT: ColumnElement[str] = bindparam("what")
_R, _LINE = REQUESTS.c, JOURNAL.c
_NAMED = ((_R.item_barcode == _WHAT,), (_R.patron == _WHAT, IS_OPEN), (_R.patron == _WHAT, IS_CLOSED_OF))
_ABOUT = (
    *(_LINE.request.in_(select(_R.id).where(*names)) for names in _NAMED),
    _LINE.request == _WHAT,
    and_(_LINE.patron == _WHAT, NAMES_ALONE),
)
_LINES = union(*(select(JOURNAL).where(about) for about in _ABOUT)).subquery()
_HISTORY = CompiledStatement(select(_LINES).order_by(_LINES.c.id))
_ADD = insert_row(JOURNAL, *(column.name for column in JOURNAL.c if column.name != "id"))
_LAST_NOTED = CompiledStatement(
    select(func.max(JOURNAL.c.at)).where(JOURNAL.c.request == bindparam("of"), JOURNAL.c.event == bindparam("event"))
)
_LAST_EVENT = CompiledStatement(
    # With plain `id`, PostgreSQL would scan the primary key backwards.
    select(JOURNAL.c.event)
    .where(JOURNAL.c.request == bindparam("of"), JOURNAL.c.outcome == "ok")
    .order_by((JOURNAL.c.id + 0).desc())
    .limit(1)
)
_NOTED = CompiledStatement(
    select(JOURNAL.c.at, JOURNAL.c.detail).where(JOURNAL.c.request == bindparam("of"), JOURNAL.c.event == bindparam("event"))
)
_LAST_SCAN = CompiledStatement(
    select(func.max(JOURNAL.c.at)).where(
        JOURNAL.c.request == bindparam("of"),
        or_(*(JOURNAL.c.event == step.name for step in sorted(SCANS))),
        or_(*(JOURNAL.c.channel == channel for channel in sorted(OUR_CHANNELS))),
    )
)
