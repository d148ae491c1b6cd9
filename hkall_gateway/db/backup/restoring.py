"""Steps of backup and restore that are the same for both databases.

A backup contains the time at which it was made, in a row of `jobs`, and the marks of the patrons erased until then. A restore
repeats the erasures whose marks the backup lacks, revokes tokens again, and ends all sessions, since nobody knows which of them
ended after the backup.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import DatabaseError

from hkall_gateway.db import api_tokens, instances, schema, web_sessions
from hkall_gateway.db.api_tokens import ApiToken
from hkall_gateway.db.privacy import erased, forgetting, persons
from hkall_gateway.db.privacy.erased import Mark, Watch, unwatched
from hkall_gateway.db.privacy.forgetting import ErasureResult, file_of
from hkall_gateway.db.requests import BLANK
from hkall_gateway.db.tables import API_TOKENS, ERASED, JOBS, JOURNAL, METADATA, PATRONS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor

REASON: Final = "erased after this backup was made"
Counts = Mapping[str, int]
"""Number of rows by table."""


class NotRestored(Exception):
    """The backup cannot replace the database, which stays unchanged. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class Marks:
    """All known marks of erased patrons and revoked tokens, the site's key, and a callback that shows a long comparison."""

    known: Sequence[Mark]
    key: bytes
    watch: Watch = unwatched

    def unknown_to(self, backup: Iterable[Mark]) -> list[Mark]:
        """Return the erasure marks that are missing from the backup, or that the backup has with an earlier time."""
        there = {mark.mark: mark.at for mark in backup}
        known = erased.of_cards(self.known)
        return [mark for mark in known if mark.mark not in there or there[mark.mark] < mark.at]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The result of a restore.

    Attributes:
        made_at: When the backup was made.
        rows: Number of rows in the backup.
        again: The repeated erasures.
        sessions: Number of sessions of staff and patrons in the backup, all of which have ended.
        revoked_again: Names of the tokens that were revoked after the backup.
        tokens: The tokens that are in force now.
    """

    made_at: datetime | None
    rows: int
    again: tuple[ErasureResult, ...]
    sessions: int
    revoked_again: tuple[str, ...]
    tokens: tuple[ApiToken, ...]


def record_backup(unit: UnitOfWork, now: datetime) -> datetime | None:
    """Record the start of a backup, so that the backup contains it, and return the time of the previous backup."""
    last = made_at(unit)
    instances.record(unit, instances.BACKUP, now)
    return last


def forget_backup(unit: UnitOfWork, started: datetime, last: datetime | None) -> None:
    """Record the time of the previous backup again, unless another backup has started since.

    Args:
        unit: The unit of work.
        started: When the backup started that has failed.
        last: What `record_backup` returned for it.
    """
    if made_at(unit) == started:
        instances.record(unit, instances.BACKUP, last)


def made_at(unit: UnitOfWork) -> datetime | None:
    """Return the time of this database's last backup, or of the backup from which it was restored."""
    found: datetime | None = unit.execute(select(JOBS.c.last_run).where(JOBS.c.name == instances.BACKUP)).scalar()
    return found


def holds_something(unit: UnitOfWork) -> bool:
    """Check whether this database contains data that a restore would delete."""
    return any(unit.execute(select(table).limit(1)).first() for table in (REQUESTS, PATRONS, JOURNAL))


def counts(unit: UnitOfWork) -> Counts:
    """Return the number of rows of each table."""
    return {t.name: int(unit.execute(select(func.count()).select_from(t)).scalar_one()) for t in METADATA.sorted_tables}


def finish_restore(unit: UnitOfWork, rows: Counts, marks: Marks, now: datetime, by: Actor) -> Restored:
    """Check the number of rows, and repeat the erasures that followed the backup. Raises NotRestored, erased.OtherKey."""
    here = counts(unit)
    lost = [name for name, count in rows.items() if count != here[name]]
    if lost:
        raise NotRestored(f"not every row came back: {', '.join(lost)}")
    when = made_at(unit)
    again = tuple(_erase_again(unit, marks.unknown_to(erased.stored_marks(unit)), marks, now, by))
    erased.store_marks(unit, marks.known)
    sessions = web_sessions.end_all(unit)
    revoked_at = {mark.mark: mark.at for mark in erased.of_tokens(marks.known)}
    revoked_again = tuple(
        token.name
        for token in api_tokens.listed(unit)
        if token.token_hash in revoked_at and api_tokens.revoke(unit, token.name, revoked_at[token.token_hash])
    )
    tokens = tuple(token for token in api_tokens.listed(unit) if token.in_force(now))
    facts = {"made_at": when.isoformat() if when else "", "erased_again": len(again)}
    unit.note(BLANK, "RESTORED", facts, now, by)
    return Restored(
        made_at=when,
        rows=sum(rows.values()),
        again=again,
        sessions=sessions,
        revoked_again=revoked_again,
        tokens=tokens,
    )


def _erase_again(unit: UnitOfWork, newer: Sequence[Mark], marks: Marks, now: datetime, by: Actor) -> Iterator[ErasureResult]:
    """Erase every patron with one of these marks. Erase a patron with several cards only once."""
    gone: set[str] = set()
    for card, _mark in list(erased.match_cards(persons.cards(unit) if newer else (), newer, marks.key, marks.watch)):
        if card not in gone:
            who = persons.person(unit, card)
            gone.update(who.cards)
            yield forgetting.forget(unit, who, forgetting.find(unit, who), (), REASON, now, by)


def require_known(revision: str, source: Path) -> None:
    """Raise NotRestored for a backup that lacks our tables or is from a newer version of this program."""
    if not revision:
        raise NotRestored(f"{source}: is no backup of this program")
    if not schema.knows(revision):
        raise NotRestored(
            f"{source}: is at revision {revision} and this program knows none after {schema.head()}: use that one"
        )


def readable_marks(engine: Engine, make_unit: Callable[[Any], UnitOfWork]) -> tuple[Mark, ...]:
    """Return the marks of a database and of its revoked tokens, or () if it is missing, empty, outdated or damaged.

    Never create the file.
    """
    file = file_of(engine)
    if file is not None and not file.exists():
        return ()
    try:
        with engine.connect() as connection:
            unit, tables = make_unit(connection), inspect(engine).get_table_names()
            marks = erased.stored_marks(unit) if ERASED.name in tables else ()
            revoked = erased.token_marks(unit) if API_TOKENS.name in tables else ()
            return (*marks, *revoked)
    except DatabaseError:
        return ()


def remove_log(target: Path) -> None:
    """Remove the files that SQLite keeps beside a database."""
    for end in ("-wal", "-shm", "-journal"):
        target.with_name(target.name + end).unlink(missing_ok=True)


@contextmanager
def new_file_beside(target: Path, end: str) -> Iterator[Path]:
    """Create a private, empty file beside the target. Delete it at the end unless it has replaced the target."""
    new = target.with_name(target.name + end)
    _remove_file(new)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield new
    finally:
        _remove_file(new)


def _remove_file(file: Path) -> None:
    remove_log(file)
    file.unlink(missing_ok=True)
