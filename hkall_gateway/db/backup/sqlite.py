"""Back up an SQLite file beside a running gateway, and restore it in one step.

A backup is a plain SQLite file, made with SQLite's online backup. A restore creates a new file beside the old file, checks and
upgrades it, repeats later erasures, and renames it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine

from hkall_gateway.db import schema
from hkall_gateway.db.backup.restoring import (
    Counts,
    NotRestored,
    new_file_beside,
    remove_log,
    require_known,
)
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.privacy.archive import replace_target
from hkall_gateway.db.privacy.forgetting import vacuum
from hkall_gateway.db.tables import METADATA

T = TypeVar("T")


def save(engine: Engine, target: Path) -> None:
    """Copy the database to `target` while gateways use it, and sync the file to disk. Raises OSError, sqlite3.Error."""
    with new_file_beside(target, ".new") as new:
        with closing(engine.raw_connection()) as source, closing(sqlite3.connect(new)) as copy:
            driver: Any = source.driver_connection
            driver.backup(copy)
            _in_one_file(copy)
            _check_integrity(copy, new)
        replace_target(new, target)


def restore(source: Path, target: Path, work: Callable[[Engine, Counts], T], *, damaged: bool) -> T:
    """Replace `target` with a backup. Raises NotRestored, OSError.

    Args:
        source: The backup file.
        target: The database file.
        work: Called before the new file replaces `target`, with its engine and row counts. `restore` returns its result.
        damaged: Whether to replace a target that is no longer a database.
    """
    with _exclusive(target, damaged=damaged):
        pass  # refuse a file that is in use before the work begins
    with new_file_beside(target, ".restoring") as new:
        rows = _copy_backup(source, new)
        engine = open_engine(f"sqlite:///{new}")
        try:
            require_known(schema.revision(engine), source)
            schema.upgrade(engine)
            done = work(engine, rows)
            vacuum(engine)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(new)) as connection:
            _in_one_file(connection)
        with _exclusive(target, damaged=damaged):
            replace_target(new, target)
    return done


def _in_one_file(connection: sqlite3.Connection) -> None:
    """Turn off the write-ahead log, which would be left behind when the file is renamed."""
    (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    if mode != "delete":
        raise NotRestored(f"the copy is not in one file: {mode}")


def _copy_backup(source: Path, new: Path) -> Counts:
    """Copy a backup, and return the number of rows by table."""
    try:
        with closing(_open_backup(source)) as old, closing(sqlite3.connect(new)) as copy:
            old.backup(copy)
            _check_integrity(copy, source)
            there = {str(name) for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            names = [table.name for table in METADATA.sorted_tables if table.name in there]
            return {name: int(old.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for name in names}  # noqa: S608  # names of our tables
    except sqlite3.Error as error:
        raise NotRestored(f"{source}: {error}") from None


def _open_backup(source: Path) -> sqlite3.Connection:
    """Open a backup with its write-ahead log, if any. This also works in a read-only folder."""
    uri = source.absolute().as_uri()
    try:
        found = sqlite3.connect(f"{uri}?mode=rw", uri=True)
        found.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True)
    return found


def _check_integrity(copy: sqlite3.Connection, named: Path) -> None:
    found = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise NotRestored(f"{named}: {'; '.join(found)}")


@contextmanager
def _exclusive(target: Path, *, damaged: bool) -> Iterator[None]:
    """Lock the file exclusively and merge its write-ahead log. Raises NotRestored if another process has the file open."""
    if not target.exists():
        yield
        return
    with closing(sqlite3.connect(target, timeout=0, isolation_level=None)) as connection:
        try:
            # A log left beside the new database would be applied to it.
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise NotRestored(f"{target}: a gateway or a command uses it: stop that first ({error})") from None
        except sqlite3.DatabaseError as error:
            if not damaged:
                raise NotRestored(f"{target}: {error}; --force replaces it") from None
            remove_log(target)
        yield
