"""Open a database for which the gateway itself sends BEGIN, SAVEPOINT and COMMIT, and in which every commit is durable."""

from __future__ import annotations

import os
import select
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Engine, ExecutionContext, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.pool import StaticPool

from hkall_gateway.db.engine.commit_fate import INCARNATION, incarnation
from hkall_gateway.db.engine.compiled import APPENDED, flush
from hkall_gateway.db.engine.db_errors import Unavailable

OWNER: Final = 0o600
GROUP_READS: Final = 0o640
STEPS_BETWEEN_LOOKS: Final = 10_000
"""Steps of SQLite's virtual machine between two looks at the clock, a fraction of a millisecond."""


def private(path: Path, fresh: int = OWNER) -> None:
    """Create a file with the mode `fresh`, or remove the permissions of other users from an existing file.

    A file created by root is given to the owner of its folder, so that the gateway's user can write it. Errors for files that
    belong to another user or cannot be created are ignored here, because opening such a file raises an error anyway.
    """
    try:
        created = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, fresh)
    except FileExistsError:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~GROUP_READS and path.is_file():
            with suppress(PermissionError):
                path.chmod(mode & GROUP_READS)
        return
    except OSError:
        return
    try:
        if os.geteuid() == 0:
            folder = path.absolute().parent.stat()
            os.fchown(created, folder.st_uid, folder.st_gid)
    finally:
        os.close(created)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits for PostgreSQL, in seconds.

    Attributes:
        statement_s: Maximum duration of a statement.
        lock_s: Maximum wait for rows that another gateway has locked.
        idle_s: Maximum pause of a gateway inside a transaction, during which its rows stay locked.
        connect_s: Maximum time to open a connection.
    """

    statement_s: float = 15.0
    lock_s: float = 2.0
    idle_s: float = 10.0
    connect_s: int = 3


PREPARED: Final = 500
"""Maximum number of prepared statements per connection. It suffices for all compiled statements."""

SILENCE: Final[Mapping[str, int]] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq settings that drop a connection after about ten seconds of silence, because a dead server sends no error."""


ANSWER_S: Final = 1.5
"""Maximum time for a reply to the ping on a connection taken from the pool. A paused server does not reply."""
OWN_CONNECTIONS: Final = 10
"""Maximum number of connections of one gateway for writer, reader, heartbeat and reports, besides the web threads."""
BUSY_MS: Final = 5000
"""Maximum wait for an SQLite file that another process is writing, in milliseconds."""
MAPPED: Final = 2**31 - 2**16
"""Maximum number of bytes of an SQLite file to map into memory. This is SQLite's own limit."""


def open_engine(url: str, limits: Limits = Limits(), readers: int = 0) -> Engine:  # Limits is frozen, so sharing it is safe
    """Return an engine on which the gateway sends BEGIN, SAVEPOINT and COMMIT itself.

    With pysqlite's own transaction handling, other connections would see a released savepoint, and ROLLBACK would keep it.
    SQLite uses WAL and synchronous=FULL, so that a commit is on disk when it returns. Commands wait BUSY_MS for locked files.

    Args:
        url: Database URL in SQLAlchemy's format.
        limits: Time limits, used only for PostgreSQL.
        readers: Number of web threads that read concurrently.
    """
    # Errors are logged, so they must not contain row values, which may be names or addresses.
    ours: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "hide_parameters": True}
    if _in_memory(url):
        ours["poolclass"] = StaticPool
    else:  # connections beyond `pool_size` are closed after use
        ours |= {"pool_size": OWN_CONNECTIONS // 2, "max_overflow": OWN_CONNECTIONS - OWN_CONNECTIONS // 2 + readers}
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000}, **ours)
        event.listen(engine, "do_connect", lambda *_: _make_private(url))
        event.listen(engine, "connect", _sqlite_pragmas)
    else:
        connect = {"connect_timeout": limits.connect_s, "application_name": "hkall-gateway", **SILENCE}
        engine = create_engine(url, connect_args=connect, **ours)
        event.listen(engine, "connect", partial(_postgresql_limits, limits))
        event.listen(engine, "checkout", partial(_check_connection, engine.dialect))
    event.listen(engine, "reset", _discard_appended)
    # SQLAlchemy raises these events for its own statements, but not for a CompiledStatement.
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        event.listen(engine, name, _send_appended_first, named=True)
    return engine


@contextmanager
def ended_after(connection: Connection, seconds: float) -> Iterator[None]:
    """End the statements of a transaction that take longer than this together.

    Raises:
        Unavailable: A statement was ended.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    end_s = monotonic() + seconds
    driver.set_progress_handler(lambda: monotonic() > end_s, STEPS_BETWEEN_LOOKS)
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise Unavailable(f"no answer within {seconds:g} s") from error
        raise
    finally:
        driver.set_progress_handler(None, 0)


def read_as_memory(connection: Connection) -> None:
    """Map an SQLite file into memory, so that a search of hundreds of pages does not need a system call for each page.

    Do not call it for connections that write, because SQLite maps the file again whenever it has grown.
    """
    if connection.dialect.name == "sqlite" and "mapped" not in connection.info:
        connection.exec_driver_sql(f"PRAGMA mmap_size={MAPPED}")
        connection.info["mapped"] = True


def _check_connection(dialect: Dialect, connection: Any, _record: object, _fairy: object) -> None:
    """Replace a broken connection of the pool. SQLAlchemy's own ping would wait forever for an unresponsive server.

    Raises ConnectionTimeout for an unresponsive server, because a new connection would get no reply either.
    """
    from psycopg.errors import ConnectionTimeout  # installed with the extra `postgres`

    try:
        _ping_server(connection.pgconn, ANSWER_S)
    except ConnectionTimeout:
        raise
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _ping_server(libpq: Any, within_s: float) -> None:
    """Send an empty statement and wait for the reply. Raises the driver's error, or ConnectionTimeout after `within_s`."""
    from psycopg.errors import ConnectionTimeout, OperationalError  # installed with the extra `postgres`
    from psycopg.pq import ExecStatus

    until_s, socket = monotonic() + within_s, select.poll()
    socket.register(libpq.socket, select.POLLIN)
    try:
        libpq.send_query(b"")
        libpq.flush()
        while libpq.is_busy():
            if not socket.poll(max(0.0, until_s - monotonic()) * 1000):
                raise ConnectionTimeout("the server does not answer")
            libpq.consume_input()
        while (result := libpq.get_result()) is not None:
            if result.status == ExecStatus.FATAL_ERROR:
                raise OperationalError("the server has ended the connection")
    except BaseException:  # the reply may still come, so the connection is unusable
        libpq.finish()
        raise


def _discard_appended(_connection: Any, record: Any, _state: object) -> None:
    """Discard appended rows when a connection is returned without COMMIT, because its transaction is rolled back."""
    record.info.pop(APPENDED, None)


def _send_appended_first(context: ExecutionContext, **_statement: object) -> None:
    """Send appended rows before a statement that SQLAlchemy executes itself."""
    try:
        appended = APPENDED in context.root_connection.info
    except NotImplementedError:  # SQLAlchemy queries the server's version before the pool has a connection
        return
    if appended:
        flush(context.root_connection)


def _postgresql_limits(limits: Limits, connection: Any, record: Any) -> None:
    """Set the time limits with SQL statements, because a connection pooler may not pass on connection options."""
    values = {
        "statement_timeout": limits.statement_s,
        "lock_timeout": limits.lock_s,
        "idle_in_transaction_session_timeout": limits.idle_s,
    }
    query = ", ".join(f"set_config('{name}', '{seconds * 1000:.0f}', false)" for name, seconds in values.items())
    connection.prepared_max = PREPARED
    connection.execute(f"SELECT {query}")
    record.info[INCARNATION] = incarnation(connection.execute)


def _make_private(url: str) -> None:
    """Make the SQLite file, and the files that SQLite puts beside it, unreadable to other users."""
    file = make_url(url).database
    if file and not _in_memory(url):
        private(Path(file))
        for beside in (Path(f"{file}-wal"), Path(f"{file}-shm")):
            if beside.exists():
                private(beside)


def database_file(url: str) -> Path | None:
    """Return the file of an SQLite database, or None for a database in memory or on a server."""
    file = make_url(url).database
    return Path(file) if url.startswith("sqlite") and file and file != ":memory:" else None


def _in_memory(url: str) -> bool:
    return url in {"sqlite://", "sqlite:///:memory:"}


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
