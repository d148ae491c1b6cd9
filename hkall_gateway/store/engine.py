"""How a database is opened: BEGIN, SAVEPOINT and COMMIT are ours, and a commit is on disk when it returns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool


def open_engine(url: str) -> Engine:
    """An engine that leaves BEGIN, SAVEPOINT and COMMIT to us.

    With the driver's own handling a released savepoint is visible to others and ROLLBACK does not undo it (pysqlite).
    SQLite: WAL and synchronous=FULL, so that a commit is on disk when it returns; busy timeout 5 s for the command line.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    extra: dict[str, Any] = {"poolclass": StaticPool} if _in_memory(url) else {}
    engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"check_same_thread": False, "timeout": 5}, **extra)
    event.listen(engine, "connect", _sqlite_pragmas)
    return engine


def _in_memory(url: str) -> bool:
    return url in {"sqlite://", "sqlite:///:memory:"}


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")
