"""Forgets ended requests after the policy's days: first the patron, then the request itself, which moves into the archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from hkall_gateway.circulation.command import Context
from hkall_gateway.db import quarantine
from hkall_gateway.db.privacy import archive
from hkall_gateway.db.privacy import retention as kept
from hkall_gateway.db.privacy.retention import Place
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import after, civil, start_of
from hkall_gateway.rules.settings import Retention
from hkall_gateway.rules.vocabulary import Request

Done = tuple[str | None, int]
"""(cursor of the next batch in the stage, None = the stage is complete; count of this batch)."""
Stage = Callable[[UnitOfWork, Retention, datetime, str, int], Done]
"""(unit, retention, now, place, limit): one batch of a stage from `place` on, "" = its beginning."""

NOTHING: Final[Done] = (None, 0)
MORE: Final = "more"


def last_instant(now: datetime, days: int) -> datetime:
    """The instant before which events are `days` days old: a day counts from its end in Hong Kong, `days` is at least 1."""
    return start_of(after(civil(now), 1 - days))


def purge(context: Context, cursor: str, limit: int) -> Done:
    """One batch of one stage; `cursor` names both, "" = the first."""
    name, _, place = cursor.partition(" ")
    name = name or next(iter(STAGES))
    begin, count = STAGES[name](context.unit, context.library.policy.retention, context.now, place, limit)
    names = list(STAGES)
    return (f"{name} {begin}" if begin else next(iter(names[names.index(name) + 1 :]), None)), count


def _requests(unit: UnitOfWork, terms: Retention, now: datetime, place: str, limit: int) -> Done:
    if not terms.anonymise_days:
        return NOTHING
    found = kept.personal(unit, last_instant(now, terms.anonymise_days), _read(place), limit)
    if found:
        kept.anonymise(unit, found)
    return _begin(found, limit), len(found)


def _by_days(forget: Callable[[UnitOfWork, datetime, int], int]) -> Stage:
    """A stage for rows that are deleted by their own age; it needs no cursor, since deleted rows are not found again."""

    def stage(unit: UnitOfWork, terms: Retention, now: datetime, _place: str, limit: int) -> Done:
        if not terms.anonymise_days:
            return NOTHING
        count = forget(unit, last_instant(now, terms.anonymise_days), limit)
        return (MORE if count == limit else None), count

    return stage


def _archive(unit: UnitOfWork, terms: Retention, now: datetime, place: str, limit: int) -> Done:
    if not (terms.archive_days and terms.archive_file):
        return NOTHING
    unit.lock([kept.MOVING])
    found = kept.closed(unit, last_instant(now, terms.archive_days), _read(place), limit)
    if found:
        _to_the_archive(unit, terms, now, kept.records(unit, found))
        kept.remove(unit, found)
    return _begin(found, limit), len(found)


def _archive_lines(unit: UnitOfWork, terms: Retention, now: datetime, _place: str, limit: int) -> Done:
    if not (terms.archive_days and terms.archive_file):
        return NOTHING
    unit.lock([kept.MOVING])
    found = kept.lines(unit, last_instant(now, terms.archive_days), limit)
    if found:
        _to_the_archive(unit, terms, now, found)
        kept.remove_lines(unit, found)
    return (MORE if len(found) == limit else None), len(found)


def _to_the_archive(unit: UnitOfWork, terms: Retention, now: datetime, found: Sequence[Mapping[str, object]]) -> None:
    path = Path(terms.archive_file)
    archive.append(path, found)
    kept.note_archive(unit, str(path.absolute()), now)


def _messages(unit: UnitOfWork, terms: Retention, now: datetime, place: str, limit: int) -> Done:
    if not terms.messages_days:
        return NOTHING
    begin, count = kept.forget_messages(unit, last_instant(now, terms.messages_days), int(place or 0), limit)
    return (None if begin is None else str(begin)), count


def _quarantine(unit: UnitOfWork, terms: Retention, now: datetime, _place: str, limit: int) -> Done:
    if not terms.messages_days:
        return NOTHING
    count = quarantine.forget(unit, last_instant(now, terms.messages_days), limit)
    return (MORE if count == limit else None), count


def _begin(found: tuple[Request, ...], limit: int) -> str | None:
    """The cursor after a full batch; None after the last one."""
    last = found[-1] if len(found) == limit else None
    return f"{last.moved_at.isoformat()} {last.id}" if last and last.moved_at else None


def _read(place: str) -> Place | None:
    moved_at, _, number = place.partition(" ")
    return (datetime.fromisoformat(moved_at), number) if number else None


# fmt: off
STAGES: Final[Mapping[str, Stage]] = {
    "requests":      _requests,
    "refusals":      _by_days(kept.anonymise_lines),
    "payments":      _by_days(kept.anonymise_payments),
    "outcomes":      _by_days(kept.forget_outcomes),
    "archive":       _archive,
    "archive_lines": _archive_lines,
    "messages":      _messages,
    "quarantine":    _quarantine,
}
# fmt: on
