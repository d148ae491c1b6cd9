"""What an error of the database means for those who wait: tried again at once, asked again later, or a bug of ours."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hkall_gateway.rules.vocabulary import LostRace


class Unavailable(Exception):
    """The database is away, or too busy: nothing was promised, and the same ask may come again later."""


class Fault(StrEnum):
    """CONFLICT: another gateway was in the way, and a second try sees what it did. LOST: the connection is gone, or its
    server takes no writes any more. BUSY: the server cannot now. BUG: anything else.
    """

    CONFLICT = "conflict"
    LOST = "lost"
    BUSY = "busy"
    BUG = "bug"


# fmt: off
STATES: Final[Mapping[str, Fault]] = {
    "08":    Fault.LOST,       # connection exceptions
    "23505": Fault.CONFLICT,   # unique_violation: it had committed first
    "25006": Fault.LOST,       # read_only_sql_transaction: the server has become a standby
    "25P03": Fault.LOST,       # idle_in_transaction_session_timeout: we stood still, and were thrown out
    "26000": Fault.LOST,       # invalid_sql_statement_name: somebody in between has given us another session
    "40001": Fault.CONFLICT,   # serialization_failure
    "40P01": Fault.CONFLICT,   # deadlock_detected
    "53":    Fault.BUSY,       # insufficient resources
    "55P03": Fault.CONFLICT,   # lock_not_available: lock_timeout
    "57":    Fault.LOST,       # operator intervention: shutdown, crash, starting up
    "57014": Fault.BUSY,       # query_canceled: statement_timeout
    "58":    Fault.BUSY,       # system errors
}
"""By SQLSTATE, or by its class where that has no row of its own. Source: PostgreSQL, appendix A."""
# fmt: on

CERTAIN: Final = frozenset({"25P03"})
"""Said only to a session that is silent inside its transaction: a COMMIT that follows is not read any more."""

SQLITE_BUSY: Final = 5
_PRIMARY: Final = 0xFF
"""The bits of SQLite's code that tell the kind of error; the others tell it more closely, as when another process recovers."""


def fault_of(connection: Connection, error: BaseException) -> Fault:
    """What `error`, raised while `connection` was used, means."""
    if isinstance(error, LostRace):
        return Fault.CONFLICT
    if _is_gone(connection):
        return Fault.LOST
    cause = error.orig if isinstance(error, DBAPIError) else error
    if getattr(cause, "sqlite_errorcode", 0) & _PRIMARY == SQLITE_BUSY:
        return Fault.BUSY
    state = _state(error)
    return STATES.get(state) or STATES.get(state[:2], Fault.BUG)


def certainly_undone(error: BaseException) -> bool:
    """Whether an error that answered a COMMIT says that nothing of it was done."""
    return _state(error) in CERTAIN


def _state(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(cause, "sqlstate", None) or "")


def told(error: BaseException) -> BaseException:
    """What the waiter hears when its tries are used up: a row that is there already stays the bug that it is."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    broken_rule = isinstance(error, LostRace) or getattr(cause, "sqlstate", "") == "23505"
    return error if broken_rule else unavailable(error)


def unavailable(error: BaseException) -> Unavailable:
    """`error` as the polite refusal that it is for those who wait; its text names kinds only, no row's contents."""
    made = Unavailable(name_of(error))
    made.__cause__ = error
    return made


def name_of(error: BaseException) -> str:
    """The kind of an error, for the log: never what stood in a row."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__} {getattr(cause, 'sqlstate', None) or ''}".strip()


def _is_gone(connection: Connection) -> bool:
    if connection.closed or connection.invalidated:
        return True
    return bool(getattr(connection.connection.dbapi_connection, "closed", False))
