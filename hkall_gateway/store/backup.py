"""A backup of an SQLite file beside a running gateway, and the way back: the old database or the new one, never half.

The copy is made by SQLite's online backup, and is a plain SQLite file. A restore makes the new file beside the old one,
checks it, upgrades it, erases the erased again, and renames it. What is common to both databases is here too: when a backup
was made (a row of `jobs` that travels in it), and who is erased again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import DatabaseError

from hkall_gateway.rules.vocabulary import By
from hkall_gateway.store import erased, forgetting, persons, schema
from hkall_gateway.store.archive import sync_folder
from hkall_gateway.store.engine import open_engine
from hkall_gateway.store.erased import Mark
from hkall_gateway.store.facts import BLANK
from hkall_gateway.store.forgetting import Done
from hkall_gateway.store.leftovers import vacuum
from hkall_gateway.store.overview import Overview
from hkall_gateway.store.tables import JOBS, JOURNAL, METADATA, PATRONS, REQUESTS
from hkall_gateway.store.unit import Unit
from hkall_gateway.store.upsert import insert_or_write_over

T = TypeVar("T")
JOB: Final = "backup"
Counts = Mapping[str, int]
"""Rows by table."""


class NotRestored(Exception):
    """The backup cannot take the database's place, and why; the database is as it was."""


@dataclass(frozen=True, slots=True)
class Marks:
    """All marks of the erased that are known, and the key that they were made with."""

    known: Sequence[Mark]
    key: bytes

    def after(self, instant: datetime | None) -> list[Mark]:
        """Those that a backup of that instant does not know; all of them where the instant is not known."""
        return [mark for mark in self.known if instant is None or mark.at > instant]


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: when the backup was made, how many rows, and what was erased again."""

    made_at: datetime | None
    rows: int
    again: tuple[Done, ...]


# ---- of both databases


def begun(unit: Unit, now: datetime) -> datetime | None:
    """Write down that a backup is made now, so that it knows how old it is; when the last one was made."""
    last = made_at(unit)
    made(unit, now)
    return last


def made(unit: Unit, when: datetime | None) -> None:
    """Write down when the last backup was made."""
    values = {"last_run": when, "count": 0}
    unit.execute(insert_or_write_over(JOBS, unit.dialect, values), {"name": JOB, **values})


def made_at(unit: Overview) -> datetime | None:
    """When the backup that this database comes from was made, or the last one of this database."""
    found: datetime | None = unit.execute(select(JOBS.c.last_run).where(JOBS.c.name == JOB)).scalar()
    return found


def holds_something(unit: Overview) -> bool:
    """Whether there is work in this database that a restore would take away."""
    return any(unit.execute(select(table).limit(1)).first() for table in (REQUESTS, PATRONS, JOURNAL))


def counts(unit: Overview) -> Counts:
    """How many rows each table has."""
    return {t.name: int(unit.execute(select(func.count()).select_from(t)).scalar_one()) for t in METADATA.sorted_tables}


def brought_back(unit: Unit, rows: Counts, marks: Marks, now: datetime, by: By) -> Restored:
    """The restored rows are here: check their number, erase those again whom the backup did not know as erased.

    Raises NotRestored, erased.OtherKey.
    """
    lost = [name for name, count in rows.items() if count != counts(unit)[name]]
    if lost:
        raise NotRestored(f"not every row came back: {', '.join(lost)}")
    when = made_at(unit)
    again = tuple(_again(unit, marks.after(when), marks.key, now, by))
    erased.keep(unit, marks.known)
    facts = {"made_at": when.isoformat() if when else "", "erased_again": len(again)}
    unit.note(BLANK, "RESTORED", facts, now, by)
    return Restored(when, sum(rows.values()), again)


def _again(unit: Unit, newer: Sequence[Mark], key: bytes, now: datetime, by: By) -> Iterator[Done]:
    for card, mark in list(erased.matching(persons.cards(unit) if newer else (), newer, key)):
        who = persons.person(unit, card)
        yield forgetting.forget(
            unit, who, forgetting.find(unit, who), [mark], "erased before this backup was restored", now, by
        )


# ---- SQLite


def save(engine: Engine, target: Path) -> None:
    """Copy the database into `target`, whole and on disk, while others work with it. Raises OSError, sqlite3.Error."""
    new = _fresh(target, ".new")
    with closing(engine.raw_connection()) as source, closing(sqlite3.connect(new)) as copy:
        driver: Any = source.driver_connection
        driver.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        _check(copy, new)
    _put(new, target)


def restore(source: Path, target: Path, work: Callable[[Engine, Counts], T], *, damaged: bool) -> T:
    """Put a backup in the place of `target`, once `work(engine of the new file, its rows)` is done; what that answered.

    `damaged`: a target that is no database any more is replaced too. Raises NotRestored, OSError.
    """
    with _alone(target, damaged=damaged):
        pass  # refused at once, and not after the work
    new = _fresh(target, ".restoring")
    rows = _copy(source, new)
    engine = open_engine(f"sqlite:///{new}")
    try:
        done = _made_ready(engine, source, partial(work, engine, rows))
    finally:
        engine.dispose()
    with _alone(target, damaged=damaged):
        _put(new, target)
    return done


def _made_ready(engine: Engine, source: Path, work: Callable[[], T]) -> T:
    require_known(schema.revision(engine), source)
    schema.upgrade(engine)
    done = work()
    vacuum(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
    return done


def require_known(revision: str, source: Path) -> None:
    """Raises NotRestored for a backup without our tables, or one of a newer version."""
    if not revision:
        raise NotRestored(f"{source}: is no backup of this program")
    if not schema.knows(revision):
        raise NotRestored(
            f"{source}: is at revision {revision} and this program knows none after {schema.head()}: use that one"
        )


def _copy(source: Path, new: Path) -> Counts:
    """Copy a backup; how many rows each of our tables has in it."""
    try:
        with closing(_opened(source)) as old, closing(sqlite3.connect(new)) as copy:
            old.backup(copy)
            _check(copy, source)
            return _rows(old)
    except sqlite3.Error as error:
        raise NotRestored(f"{source}: {error}") from None


def _opened(source: Path) -> sqlite3.Connection:
    """A backup, with its log where it has one; also in a folder into which nothing can be written."""
    uri = source.absolute().as_uri()
    try:
        found = sqlite3.connect(f"{uri}?mode=rw", uri=True)
        found.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True)
    return found


def _rows(old: sqlite3.Connection) -> Counts:
    there = {str(name) for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    names = [table.name for table in METADATA.sorted_tables if table.name in there]
    return {name: int(old.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for name in names}  # noqa: S608  # our names


def _check(copy: sqlite3.Connection, named: Path) -> None:
    found = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise NotRestored(f"{named}: {'; '.join(found)}")


@contextmanager
def _alone(target: Path, *, damaged: bool) -> Iterator[None]:
    """Nobody else has the file open, and all of it is in one file. Raises NotRestored."""
    if not target.exists():
        yield
        return
    with closing(sqlite3.connect(target, timeout=0, isolation_level=None)) as connection:
        try:
            # A log that is left beside another database would be taken for that one's own.
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise NotRestored(f"{target}: a gateway or a command uses it: stop that first ({error})") from None
        except sqlite3.DatabaseError as error:
            if not damaged:
                raise NotRestored(f"{target}: {error}; --force replaces it") from None
            _without_log(target)
        yield


def _without_log(target: Path) -> None:
    for end in ("-wal", "-shm", "-journal"):
        target.with_name(target.name + end).unlink(missing_ok=True)


def _fresh(target: Path, end: str) -> Path:
    """An empty file beside the target that only we may read."""
    new = target.with_name(target.name + end)
    _without_log(new)
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return new


def _put(new: Path, target: Path) -> None:
    """The new file has the target's name, and stays so."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(target)
    sync_folder(target.parent)


def readable_marks(engine: Engine, make_unit: Callable[[Any], Unit]) -> tuple[Mark, ...]:
    """The marks of a database that may be empty, old or damaged."""
    try:
        with engine.connect() as connection:
            return erased.kept(make_unit(connection)) if inspect(engine).has_table("erased") else ()
    except DatabaseError:
        return ()
