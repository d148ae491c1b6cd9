"""Data retention: after the policy's days, anonymise ended requests, and later move them into the archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from hkall_gateway.circulation.command import Context, long_question
from hkall_gateway.db import quarantine
from hkall_gateway.db.privacy import archive
from hkall_gateway.db.privacy import retention as kept
from hkall_gateway.db.privacy.retention import Place
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import after, civil, start_of
from hkall_gateway.rules.settings import Retention
from hkall_gateway.rules.vocabulary import Request

Done = tuple[str | None, int]
"""(cursor of the stage's next batch or None if the stage is complete, number of rows in this batch)."""
Work = Callable[[Context, datetime, str, int], Done]
"""(context, before, place, limit) -> one batch of rows older than `before`, beginning at the cursor `place` ("" = start)."""

MORE: Final = "more"


def last_instant(now: datetime, days: int) -> datetime:
    """Return the time before which an event is at least `days` days old.

    Days count from the midnight in Hong Kong that ends the day of the event. `days` is at least 1.
    """
    return start_of(after(civil(now), 1 - days))


@long_question
def count_ended(context: Context, days: int) -> Mapping[str, int]:
    """Count the requests that ended `days` days ago or earlier: `personal`, `closed`, and `held` by money or a message."""
    return kept.counts(context.unit, last_instant(context.now, days))


def purge(context: Context, cursor: str, limit: int) -> Done:
    """Run one batch of one stage. `cursor` contains the stage and a cursor within the stage. "" starts the first stage."""
    name, _, place = cursor.partition(" ")
    name = name or next(iter(STAGES))
    days_of, work = STAGES[name]
    days, begin, count = days_of(context.library.policy.retention), None, 0
    if days:
        begin, count = work(context, last_instant(context.now, days), place, limit)
    names = list(STAGES)
    return (f"{name} {begin}" if begin else next(iter(names[names.index(name) + 1 :]), None)), count


def _anonymise_requests(context: Context, before: datetime, place: str, limit: int) -> Done:
    found = kept.personal(context.unit, before, _parse_cursor(place), limit)
    if found:
        kept.anonymise(context.unit, found)
    return _next_cursor(found, limit), len(found)


def _by_age(forget: Callable[[UnitOfWork, datetime, int], int]) -> Work:
    """Create a stage that processes rows by age. It needs no cursor, because processed rows are not found again."""

    def work(context: Context, before: datetime, _place: str, limit: int) -> Done:
        count = forget(context.unit, before, limit)
        return (MORE if count == limit else None), count

    return work


def _archive_requests(context: Context, before: datetime, place: str, limit: int) -> Done:
    context.unit.lock([kept.MOVING])
    found = kept.closed(context.unit, before, _parse_cursor(place), limit)
    if found:
        _to_the_archive(context, kept.records(context.unit, found))
        kept.remove(context.unit, found)
    return _next_cursor(found, limit), len(found)


def _archive_lines(context: Context, before: datetime, _place: str, limit: int) -> Done:
    context.unit.lock([kept.MOVING])
    found = kept.lines(context.unit, before, limit)
    if found:
        _to_the_archive(context, found)
        kept.remove_lines(context.unit, found)
    return (MORE if len(found) == limit else None), len(found)


def _to_the_archive(context: Context, found: Sequence[Mapping[str, object]]) -> None:
    """Write rows to the archive before the deleting transaction commits: a crash may duplicate rows but never lose any."""
    path = Path(context.library.policy.retention.archive_file)
    archive.append(path, found)
    kept.note_archive(context.unit, str(path.absolute()), context.now)


def _forget_messages(context: Context, before: datetime, place: str, limit: int) -> Done:
    begin, count = kept.forget_messages(context.unit, before, int(place or 0), limit)
    return (None if begin is None else str(begin)), count


def _next_cursor(found: tuple[Request, ...], limit: int) -> str | None:
    """Return the cursor after a full batch, or None after the last batch."""
    last = found[-1] if len(found) == limit else None
    return f"{last.moved_at.isoformat()} {last.id}" if last and last.moved_at else None


def _parse_cursor(place: str) -> Place | None:
    moved_at, _, number = place.partition(" ")
    return (datetime.fromisoformat(moved_at), number) if number else None


def _anonymise_days(terms: Retention) -> int:
    return terms.anonymise_days


def _archive_days(terms: Retention) -> int:
    return terms.archive_days if terms.archive_file else 0


def _messages_days(terms: Retention) -> int:
    return terms.messages_days


# fmt: off
STAGES: Final[Mapping[str, tuple[Callable[[Retention], int], Work]]] = {
    "requests":      (_anonymise_days, _anonymise_requests),
    "refusals":      (_anonymise_days, _by_age(kept.anonymise_lines)),
    "payments":      (_anonymise_days, _by_age(kept.anonymise_payments)),
    "outcomes":      (_anonymise_days, _by_age(kept.forget_outcomes)),
    "archive":       (_archive_days,   _archive_requests),
    "archive_lines": (_archive_days,   _archive_lines),
    "messages":      (_messages_days,  _forget_messages),
    "quarantine":    (_messages_days,  _by_age(quarantine.forget)),
}
# fmt: on
