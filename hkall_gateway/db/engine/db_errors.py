"""Classify database errors: conflicts to retry at once, a temporarily unavailable database, and bugs of the gateway."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hkall_gateway.rules.vocabulary import LostRace


class Unavailable(Exception):
    """The database is unreachable or too busy. Nothing was changed, and the caller may try again later."""


class NearlyFull(Unavailable):
    """The database's disk is nearly full. The remaining space is reserved for work in progress."""


class DbErrorClass(StrEnum):
    """Classes of database errors.

    Attributes:
        CONFLICT: Another gateway made a change first. A retry sees that change.
        LOST: The connection broke, or the server no longer accepts writes.
        BUSY: The database is locked or overloaded, or its disk is full or failing.
        BUG: Any other error.
    """

    CONFLICT = "conflict"
    LOST = "lost"
    BUSY = "busy"
    BUG = "bug"


# fmt: off
STATES: Final[Mapping[str, DbErrorClass]] = {
    "08":    DbErrorClass.LOST,       # connection exceptions
    "23505": DbErrorClass.CONFLICT,   # unique_violation: another gateway had committed first
    "25006": DbErrorClass.LOST,       # read_only_sql_transaction: the server has become a standby
    "25P03": DbErrorClass.LOST,       # idle_in_transaction_session_timeout: the gateway was silent for too long
    "26000": DbErrorClass.LOST,       # invalid_sql_statement_name: a connection pooler has switched to another session
    "40001": DbErrorClass.CONFLICT,   # serialization_failure
    "40P01": DbErrorClass.CONFLICT,   # deadlock_detected
    "53":    DbErrorClass.BUSY,       # insufficient resources
    "55P03": DbErrorClass.CONFLICT,   # lock_not_available: lock_timeout
    "57":    DbErrorClass.LOST,       # operator intervention: shutdown, crash, starting up
    "57014": DbErrorClass.BUSY,       # query_canceled: statement_timeout
    "58":    DbErrorClass.BUSY,       # system errors
}
"""Error class by SQLSTATE, or by the first two characters of an unlisted SQLSTATE. Source: PostgreSQL, appendix A."""
# fmt: on

# fmt: off
SQLITE: Final[Mapping[int, DbErrorClass]] = {
    sqlite3.SQLITE_BUSY:     DbErrorClass.BUSY,   # another process has the file locked
    sqlite3.SQLITE_READONLY: DbErrorClass.BUSY,   # the file system was mounted again, read-only, after an error
    sqlite3.SQLITE_IOERR:    DbErrorClass.BUSY,   # the disk fails, or is full when a file must grow
    sqlite3.SQLITE_FULL:     DbErrorClass.BUSY,   # the disk is full
    sqlite3.SQLITE_CANTOPEN: DbErrorClass.BUSY,   # a file beside the database cannot be created: disk missing or full
}
"""Error class by SQLite's primary result code. Unlisted codes are bugs. Source: sqlite.org/rescode.html."""
# fmt: on

CERTAIN: Final = frozenset({"25P03"})
"""SQLSTATEs that prove a rollback. After 25P03 (session idle inside a transaction) the server does not read a COMMIT."""

_PRIMARY: Final = 0xFF
"""Mask for the primary part of an SQLite result code. The higher bits hold the extended code."""


def classify(connection: Connection, error: BaseException) -> DbErrorClass:
    """Classify `error`, which was raised while `connection` was used."""
    if isinstance(error, LostRace):
        return DbErrorClass.CONFLICT
    gone = connection.closed or connection.invalidated
    if gone or getattr(connection.connection.dbapi_connection, "closed", False):
        return DbErrorClass.LOST
    if (code := _sqlite_code(error)) in SQLITE:
        return SQLITE[code]
    state = _state(error)
    return STATES.get(state) or STATES.get(state[:2], DbErrorClass.BUG)


def is_file_locked(error: BaseException) -> bool:
    """Return whether another process has the SQLite file locked."""
    return _sqlite_code(error) == sqlite3.SQLITE_BUSY


def is_disk_error(error: BaseException) -> bool:
    """Return whether the disk of an SQLite file is full, failing or read-only."""
    return _sqlite_code(error) in SQLITE.keys() - {sqlite3.SQLITE_BUSY}


def certainly_undone(error: BaseException) -> bool:
    """Return whether an error in reply to COMMIT proves that the transaction was not committed."""
    return _state(error) in CERTAIN


def _sqlite_code(error: BaseException) -> int:
    """Return SQLite's primary result code, or 0 if the error is not from SQLite."""
    return int(getattr(_cause(error), "sqlite_errorcode", 0)) & _PRIMARY


def _cause(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _state(error: BaseException) -> str:
    return str(getattr(_cause(error), "sqlstate", None) or "")


def error_for_caller(error: BaseException) -> BaseException:
    """Return the error to raise once the retries are exhausted: LostRace and duplicate rows as they are, else Unavailable."""
    broken_rule = isinstance(error, LostRace) or _state(error) == "23505"
    return error if broken_rule else unavailable(error)


def unavailable(error: BaseException) -> Unavailable:
    """Wrap `error` in an Unavailable whose text names the error type but contains no row values."""
    made = Unavailable(name_of(error))
    made.__cause__ = error
    return made


def name_of(error: BaseException) -> str:
    """Return the error's type and code for the log, without row values."""
    return f"{type(_cause(error)).__name__} {_state(error) or getattr(_cause(error), 'sqlite_errorname', '')}".strip()
