"""Query PostgreSQL for the outcome of a transaction, by the transaction's number, if the reply to COMMIT was lost.

Each transaction queries its number once its locks are held. After a crash or failover the server may reuse the number of a
transaction that left no trace. Therefore the status "committed" is trusted only if the same server has run without a restart.
The status "aborted" is always trusted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.compiled import CompiledStatement

INCARNATION: Final = "incarnation"
"""Key in `Connection.info` that stores the server's Incarnation (PostgreSQL only)."""
XACT: Final = "xact"
"""Key in `Connection.info` that stores the open transaction's row of NUMBER."""
NUMBER: Final = CompiledStatement(
    text(
        "SELECT EXTRACT(EPOCH FROM clock_timestamp())::DOUBLE PRECISION AS at, pg_current_xact_id()::TEXT AS number, "
        "pg_backend_pid() AS backend"
    )
)
"""Returns the server's time in seconds, the transaction's number, and the process id of its backend."""

_SERVER: Final = "SELECT pg_postmaster_start_time()::TEXT, ARRAY(SELECT pid FROM pg_stat_activity WHERE datid IS NULL)"
_STATUS: Final = text("SELECT pg_is_in_recovery(), pg_xact_status(CAST(:number AS xid8))")
# Exclude a backend that waits for a synchronous standby: if it were ended, only this server would have the commit.
_END: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :backend "
    "AND backend_xid = CAST(CAST(:number AS xid8) AS xid) AND wait_event IS DISTINCT FROM 'SyncRep'"
).bindparams(bindparam("backend"))
_FUTURE: Final = "22023"
"""SQLSTATE for a number that the server has never assigned, so that no committed transaction has it."""
QUERIES, PAUSE_S = 100, 0.05


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One run of a server, identified by its start time and its background processes, which change after a crash."""

    started: str
    processes: frozenset[int]

    def goes_on_in(self, later: Incarnation) -> bool:
        """Check whether the server has run without a restart from this incarnation to `later`."""
        return self.started == later.started and bool(self.processes & later.processes)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A PostgreSQL transaction: its number, the process id of its backend, and its server."""

    number: str
    backend: int
    server: Incarnation | None


class Fate(StrEnum):
    """The outcome of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


def incarnation(execute: Callable[[str], Any]) -> Incarnation:
    """Query the incarnation of a server. `execute` runs a statement and returns a cursor."""
    started, processes = execute(_SERVER).fetchone()
    return Incarnation(started, frozenset(processes))


def this_transaction(connection: Connection) -> Transaction:
    """Return the open transaction, and remove its row of NUMBER from `info[XACT]`, where the caller has stored it."""
    _, number, backend = connection.info.pop(XACT)
    return Transaction(number, backend, connection.info.get(INCARNATION))


def fate_of(connection: Connection, transaction: Transaction) -> Fate:
    """Query a transaction's outcome on another connection, within seconds. End the transaction if it is still running.

    Raises DBAPIError if this connection breaks, too.
    """
    server = connection.info.get(INCARNATION)
    same = server is not None and transaction.server is not None and transaction.server.goes_on_in(server)
    for _ in range(QUERIES):
        is_standby, status = _query_status(connection, transaction)
        if status == "aborted" or (status == "in progress" and not same and not is_standby):
            return Fate.ABORTED
        if status == "committed" and not is_standby:
            return Fate.COMMITTED if same else Fate.UNKNOWN
        if status is None:
            return Fate.UNKNOWN
        if status == "in progress":
            connection.execute(_END, {"backend": transaction.backend, "number": transaction.number})
        threading.Event().wait(PAUSE_S)
    return Fate.UNKNOWN


def _query_status(connection: Connection, transaction: Transaction) -> tuple[bool, str | None]:
    try:
        is_standby, status = connection.execute(_STATUS, {"number": transaction.number}).one()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != _FUTURE:
            raise
        return False, "aborted"
    return bool(is_standby), status
