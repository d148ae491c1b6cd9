"""How a database is opened: BEGIN, SAVEPOINT and COMMIT are ours, and a commit is on disk when it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

# Errors reach the log: they must not carry what stood in the row, which may be a name or an address.
_OURS: Final[Mapping[str, Any]] = {"isolation_level": "AUTOCOMMIT", "hide_parameters": True}


def open_engine(url: str) -> Engine:
    """An engine that leaves BEGIN, SAVEPOINT and COMMIT to us.

    With the driver's own handling a released savepoint is visible to others and ROLLBACK does not undo it (pysqlite).
    SQLite: WAL and synchronous=FULL, so that a commit is on disk when it returns; busy timeout 5 s for the command line.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, **_OURS, pool_pre_ping=True)
    extra: dict[str, Any] = {"poolclass": StaticPool} if _in_memory(url) else {}
    engine = create_engine(url, **_OURS, connect_args={"check_same_thread": False, "timeout": 5}, **extra)
    event.listen(engine, "connect", _sqlite_pragmas)
    return engine


def _in_memory(url: str) -> bool:
    return url in {"sqlite://", "sqlite:///:memory:"}


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
