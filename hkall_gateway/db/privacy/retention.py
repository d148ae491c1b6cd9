"""Retention of ended records: anonymise requests, move them to the archive, delete sent messages.

Every query reads at most `limit` rows by an index on ended records, and continues where the previous batch ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, exists, func, literal, or_, select, tuple_, update

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_write_over
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.outbox import UNSETTLED
from hkall_gateway.db.privacy.archive import Record
from hkall_gateway.db.requests import NO_PERSON
from hkall_gateway.db.tables import (
    ARCHIVES,
    ATTEMPTS,
    CANDIDATES,
    FINES,
    HAS_PATRON,
    INBOX,
    IS_CLOSED,
    IS_OPEN,
    IS_PERSONAL,
    JOURNAL,
    NAMES_ALONE,
    NOTICES,
    OUTBOX,
    PATRON_CHOICES,
    PAYMENTS,
    REQUESTS,
    STANDS_ALONE,
    Condition,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Request

R = REQUESTS.c
Place = tuple[datetime, str]
"""The end of a batch, as (moved_at, number) of the batch's last request."""

NO_PERSON_IN: Final[Mapping[Table, Mapping[str, str]]] = {
    JOURNAL: {"patron": "", "detail": ""},
    CANDIDATES: {"skip": ""},
    NOTICES: {"patron": "", "error": "", "text": ""},
    FINES: {"patron": ""},
}
"""Columns of other tables that identify the patron of a request, with their anonymised values. Messages are deleted."""

NO_PAYER: Final[Mapping[str, str]] = {"patron": "", "transaction_id": "", "outcome": ""}
"""The columns of a payment that identify the patron, with their anonymised values."""

MOVING: Final = LockSet(document=("", "archives"))
"""Lock held while rows are archived and while a person is erased, so that the erasure does not miss rows being archived."""

PARTS: Final[tuple[Table, ...]] = (JOURNAL, CANDIDATES, NOTICES, FINES, OUTBOX)
"""Tables with rows that belong to a request, and are archived and deleted with it."""

# A request must keep its patron while a claimed return has not arrived, money is open, or a message is not settled; and while
# the patron wants to see it.
_UNPAID = and_(FINES.c.request == R.id, FINES.c.cents != FINES.c.paid_cents + FINES.c.waived_cents)
_UNTOLD = and_(OUTBOX.c.request == R.id, OUTBOX.c.state.in_(UNSETTLED))
_CLAIMED = and_(R.claimed_on.is_not(None), R.returned_on.is_(None))
_WANTED = PATRON_CHOICES.c.patron == R.patron
_HELD: ColumnElement[bool] = or_(_CLAIMED, exists().where(_UNPAID), exists().where(_UNTOLD), exists().where(_WANTED))
_HOLDS: Final[Mapping[str, Condition]] = {
    "it has not ended": IS_OPEN,
    "money is open": exists().where(_UNPAID),
    "the patron claims to have returned it": _CLAIMED,
    "a message about it is not sent yet": exists().where(_UNTOLD),
}


def closed(unit: UnitOfWork, before: datetime, after: Place | None, limit: int) -> tuple[Request, ...]:
    """Return the next `limit` requests that ended before `before` and no longer need their patron, oldest first."""
    return unit.requests.batch(IS_CLOSED, *_ended_before(before, after), order=(R.moved_at, R.id), limit=limit)


def personal(unit: UnitOfWork, before: datetime, after: Place | None, limit: int) -> tuple[Request, ...]:
    """Return requests that ended before `before` and still have a patron that they no longer need, oldest first."""
    return unit.requests.batch(IS_PERSONAL, *_ended_before(before, after), order=(R.moved_at, R.id), limit=limit)


def counts(unit: UnitOfWork, before: datetime) -> dict[str, int]:
    """Count the requests that ended before `before`: `personal`, `closed`, and `held` by money, a claim or a message."""

    def count(*where: Condition) -> int:
        return int(unit.execute(select(func.count()).select_from(REQUESTS).where(*where)).scalar_one())

    old = R.moved_at < before
    return {
        "personal": count(IS_PERSONAL, old, ~_HELD),
        "closed": count(IS_CLOSED, old, ~_HELD),
        "held": count(IS_CLOSED, old, _HELD),
    }


def anonymise(unit: UnitOfWork, requests: Sequence[Request]) -> None:
    """Remove the patron from requests, and delete their messages. Library, dates, title, positions and rules stay."""
    ids = [request.id for request in requests]
    unit.requests.forget_people(ids)
    for part, blank in NO_PERSON_IN.items():
        unit.execute(update(part).where(part.c.request.in_(ids)).values(**blank))
    delete_messages(unit, OUTBOX.c.request.in_(ids))


def anonymous(record: Record) -> Record:
    """Return an archived record, or a journal line without a request, in its anonymised form."""
    if PARTS[0].name not in record:
        return {**record, **NO_PERSON_IN[JOURNAL]}
    parts = {part.name: [{**row, **blank} for row in record[part.name]] for part, blank in NO_PERSON_IN.items()}
    return {**record, **NO_PERSON, **parts, OUTBOX.name: []}


def held(unit: UnitOfWork, requests: Sequence[Request]) -> dict[str, str]:
    """Return the reason, as text for staff, for each of these requests that must keep its patron."""
    ids = [request.id for request in requests]
    found: dict[str, str] = {}
    for why, condition in _HOLDS.items():
        query = select(R.id).where(R.id.in_(ids), condition)
        found = dict.fromkeys(unit.execute(query).scalars(), why) | found
    return found


def note_archive(unit: UnitOfWork, path: str, now: datetime) -> None:
    """Record that a file contains archived requests, so that an erasure searches it too."""
    values = {"path": path, "written_at": now}
    unit.execute(insert_or_write_over(ARCHIVES, unit.dialect, values), values)


def archives(unit: UnitOfWork) -> tuple[str, ...]:
    """Return the paths of all files that have ever received archived requests."""
    return tuple(unit.execute(select(ARCHIVES.c.path).order_by(ARCHIVES.c.path)).scalars())


def records(unit: UnitOfWork, requests: Sequence[Request]) -> list[Record]:
    """Return an archive record for each request: its columns, and a list of rows for each table of PARTS."""
    ids = [request.id for request in requests]
    found = {row["id"]: dict(row) for row in unit.execute(select(REQUESTS).where(R.id.in_(ids))).mappings()}
    for part in PARTS:
        for whole in found.values():
            whole[part.name] = []
        for row in unit.execute(select(part).where(part.c.request.in_(ids)).order_by(*part.primary_key)).mappings():
            found[row["request"]][part.name].append(dict(row))
    return [found[number] for number in ids]


def remove(unit: UnitOfWork, requests: Sequence[Request]) -> None:
    """Delete requests and all rows that belong to them."""
    ids = [request.id for request in requests]
    delete_messages(unit, OUTBOX.c.request.in_(ids))
    for part in PARTS:
        unit.execute(delete(part).where(part.c.request.in_(ids)))
    unit.requests.erase(ids)


def anonymise_lines(unit: UnitOfWork, before: datetime, limit: int) -> int:
    """Remove patron and details from old journal lines without a request, and return the number of changed lines."""
    old = select(JOURNAL.c.id).where(NAMES_ALONE, JOURNAL.c.at < before).order_by(JOURNAL.c.at).limit(limit)
    numbers = unit.execute(old).scalars().all()
    return unit.execute(update(JOURNAL).where(JOURNAL.c.id.in_(numbers)).values(patron="", detail="")).rowcount


def lines(unit: UnitOfWork, before: datetime, limit: int) -> list[Record]:
    """Return the oldest journal lines from before `before` that do not belong to a request."""
    old = select(JOURNAL).where(STANDS_ALONE, JOURNAL.c.at < before).order_by(JOURNAL.c.at).limit(limit)
    return [dict(row) for row in unit.execute(old).mappings()]


def remove_lines(unit: UnitOfWork, found: Sequence[Record]) -> None:
    """Delete these lines of the journal."""
    unit.execute(delete(JOURNAL).where(JOURNAL.c.id.in_([line["id"] for line in found])))


def anonymise_payments(unit: UnitOfWork, before: datetime, limit: int) -> int:
    """Remove patron, transaction number and outcome from payments before `before`, and return the count."""
    old = select(PAYMENTS.c.id).where(HAS_PATRON, PAYMENTS.c.at < before).order_by(PAYMENTS.c.at).limit(limit)
    numbers = unit.execute(old).scalars().all()
    return unit.execute(update(PAYMENTS).where(PAYMENTS.c.id.in_(numbers)).values(**NO_PAYER)).rowcount


def forget_outcomes(unit: UnitOfWork, before: datetime, limit: int) -> int:
    """Delete inbox documents that arrived before `before`, even unexpired ones, and return the number of documents."""
    old = select(INBOX.c.agency, INBOX.c.digest).where(INBOX.c.made_at < before).order_by(INBOX.c.made_at).limit(limit)
    return unit.execute(delete(INBOX).where(tuple_(INBOX.c.agency, INBOX.c.digest).in_(old))).rowcount


def forget_messages(unit: UnitOfWork, before: datetime, after: int, limit: int) -> tuple[int | None, int]:
    """Delete settled messages created before `before`, among the next `limit` rows after the row `after`.

    Returns:
        The row after which the next batch begins (None at the end), and the number of deleted messages.
    """
    rows = _NEXT_MESSAGES.cells(unit.connection, after=after, most=limit)
    old = [(number, state) for number, made_at, state in rows if made_at < before]
    settled = [number for number, state in old if state not in UNSETTLED]
    if settled:
        delete_messages(unit, OUTBOX.c.id.in_(settled))
    return (old[-1][0] if len(old) == limit else None), len(settled)


_O = OUTBOX.c
_NEXT_MESSAGES = CompiledStatement(
    select(_O.id, _O.made_at, _O.state).where(_O.id > bindparam("after")).order_by(_O.id).limit(bindparam("most"))
)


def _ended_before(before: datetime, after: Place | None) -> list[ColumnElement[bool]]:
    # The literal needs the column's type, because timestamps are stored as text.
    begun = [tuple_(R.moved_at, R.id) > tuple_(literal(after[0], R.moved_at.type), after[1])] if after else []
    return [R.moved_at < before, *begun, ~_HELD]


def delete_messages(unit: UnitOfWork, which: ColumnElement[bool]) -> None:
    """Delete messages, with the results of their tries."""
    unit.execute(delete(ATTEMPTS).where(ATTEMPTS.c.row.in_(select(OUTBOX.c.id).where(which))))
    unit.execute(delete(OUTBOX).where(which))
