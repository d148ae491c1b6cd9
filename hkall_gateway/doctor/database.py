"""The database, opened to read: is it there, at which revision, which gateways work on it, how many patrons were loaded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from hkall_gateway.config.gateway import DatabaseConfig
from hkall_gateway.doctor.findings import Sheet
from hkall_gateway.doctor.tools import ExaminationTools, TooLong, within
from hkall_gateway.store import revisions
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.instances import Instance
from hkall_gateway.store.tables import INSTANCES, PATRONS

UPGRADE: Final = "Run `hkall-gateway db upgrade`."
NEWER: Final = "Install the newer version of the program here too; gateways that run already may go on until then."


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The contents of a database; at another revision than `head` only `revision` is read."""

    revision: str
    head: str
    instances: tuple[Instance, ...] = ()
    patrons: int = 0


def file_of(database: DatabaseConfig) -> Path | None:
    """The file of an SQLite database; None for one in memory and for a server."""
    url = make_url(database.url)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:") else None


async def seen(sheet: Sheet, tools: ExaminationTools) -> DatabaseState | None:
    """Returns the database's contents; None if it cannot be opened. Adds the findings `database` and `revision`."""
    found = await _looked(tools, sheet.left_s())
    if isinstance(found, str):
        sheet.fail("database", found)
        return None
    sheet.ok("database", _called(tools.means.config().database))
    if found.revision == found.head:
        sheet.ok("revision", found.head)
    elif revisions.knows(found.revision):
        sheet.fail("revision", f"at {found.revision or 'none'}, and this program needs {found.head}", UPGRADE)
    else:
        sheet.fail("revision", f"at {found.revision}, which this program does not know: it needs {found.head}", NEWER)
    return found


async def loaded(sheet: Sheet, tools: ExaminationTools) -> None:
    """The finding about the patrons that were loaded, for a connector that knows no others."""
    found = await _looked(tools, sheet.left_s())
    if isinstance(found, str):
        sheet.fail("loaded", found, "See the check `database` of the gateway.")
    elif found.patrons:
        sheet.ok("loaded", f"patrons: {found.patrons:,}")
    else:
        sheet.warn("loaded", "no patrons: nobody can borrow")


async def _looked(tools: ExaminationTools, seconds: float) -> DatabaseState | str:
    """Returns the database's contents, or the reason why it cannot be opened, as text."""
    database = tools.means.config().database
    file = file_of(database)
    if file is not None and not file.is_file():
        return f"{file}: there is no such file"
    try:
        found: DatabaseState = await within(tools.reactor, seconds, tools.in_thread(lambda: _read(database)))
    except TooLong as late:
        return str(late)
    except ModuleNotFoundError as missing:
        return f"{_called(database)}: {missing}: pip install 'hkall-gateway[postgres]'"
    except SQLAlchemyError as bad:
        return f"{_called(database)}: {' '.join(str(getattr(bad, 'orig', None) or bad).split())}"[:300]
    return found


def _read(database: DatabaseConfig) -> DatabaseState:
    engine = _engine(database)
    try:
        revision, head = revisions.revision(engine), revisions.head()
        if revision != head:
            return DatabaseState(revision, head)
        with engine.connect() as connection:
            return DatabaseState(revision, head, _instances(connection), connection.execute(_COUNT).scalar_one())
    finally:
        engine.dispose()


_COUNT: Final = select(func.count()).select_from(PATRONS)


def _instances(connection: Connection) -> tuple[Instance, ...]:
    return tuple(Instance(**row) for row in connection.execute(select(INSTANCES)).mappings())


def _engine(database: DatabaseConfig) -> Engine:
    """SQLite read-only: the way in which the gateway opens a file would make it and change its mode."""
    file = file_of(database)
    if file is None:
        return open_engine(database.url, database.limits())
    connect: Callable[[], object] = _read_only(file)
    return create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True)


def _read_only(file: Path) -> Callable[[], object]:
    """Returns a function that opens a SQLite file read-only.

    If the -wal and -shm files are not both present, no process has the database open; it is then opened as immutable,
    because SQLite would otherwise create them and leave them behind.
    """
    helpers = all(Path(f"{file}{end}").exists() for end in ("-wal", "-shm"))
    uri = f"{file.absolute().as_uri()}?mode=ro{'' if helpers else '&immutable=1'}"
    return lambda: sqlite3.connect(uri, uri=True, timeout=2, check_same_thread=False)


def _called(database: DatabaseConfig) -> str:
    """Returns the database's place for display: a file, or a PostgreSQL name and host; never a URL's login or password."""
    file, url = file_of(database), make_url(database.url)
    return str(file) if file else f"PostgreSQL {url.database or ''} at {url.host or url.query.get('host', 'this machine')}"
