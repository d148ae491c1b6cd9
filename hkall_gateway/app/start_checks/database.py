"""Checks the access to the database, its revision, and the gateways that use it. Opens the database read-only."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from hkall_gateway.app.heartbeat import OTHER_NAME, describe_rival, find_clock_fault, only_one, serves_protocols
from hkall_gateway.app.machine import host
from hkall_gateway.app.start_checks.faults import Effect, Start, StartFault
from hkall_gateway.app.start_checks.files import database_file, effective_access
from hkall_gateway.config.gateway import DatabaseConfig
from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.db_errors import is_disk_error
from hkall_gateway.db.instances import Instance
from hkall_gateway.db.tables import INSTANCES, PATRONS

DISK: Final = "free space on its disk, or look at why it fails (dmesg)"
SERVER: Final = "start the server that [database] url names, or correct the URL"
SERVER_REMEDIES: Final = {
    "password authentication failed": "correct the password in PGPASSWORD or ~/.pgpass of the gateway's user, or at the server",
    "no password supplied": "give the password in PGPASSWORD or ~/.pgpass of the gateway's user",
    "Peer authentication failed": "name the role of the gateway's user, or a host, in the URL",
    "no pg_hba.conf entry": "let this machine and role in by a line of the server's pg_hba.conf",
    "role": "make the role: runuser -u postgres -- createuser ROLE",
    "database": "make the database: runuser -u postgres -- createdb --owner=ROLE --encoding=UTF8 --template=template0 NAME",
    "resolve": "correct the host in the URL",
}
"""Words in a message of PostgreSQL's client -> remedy, the first that fits. `role` and `database` go with "does not exist"."""
UTF8: Final = "UTF8"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """What the checks read from the database. If `revision` is not `head`, all other fields are empty."""

    revision: str
    head: str
    instances: tuple[Instance, ...] = ()
    patrons: int = 0
    encoding: str = UTF8


@dataclass(frozen=True, slots=True)
class Unopened:
    """The reason why a database cannot be read. `disk_fails` is true if the disk is full, faulty or read-only."""

    why: str
    disk_fails: bool = False


def read_state(database: DatabaseConfig) -> DatabaseState | Unopened:
    """Return the database's state, or the reason why it cannot be opened. Neither create nor change the database."""
    file = database_file(database)
    if file is not None and not os.path.isfile(file):
        return Unopened(f"{file}: there is no such file")
    try:
        return _read_state(database)
    except ModuleNotFoundError as missing:
        return Unopened(f"{display_name(database)}: {missing}: pip install 'hkall-gateway[postgres]'")
    except SQLAlchemyError as bad:
        why = f"{display_name(database)}: {' '.join(str(getattr(bad, 'orig', None) or bad).split())}"[:300]
        return Unopened(why, is_disk_error(bad))


def check_database(start: Start) -> Iterator[StartFault]:
    """Check that the database can be opened and has this program's revision, and that this gateway may use it."""
    found = read_state(start.config.database)
    if isinstance(found, DatabaseState):
        yield from _check_encoding(found)
        yield from _check_revision(start, found)
        yield from _check_gateways(start, found.instances)
        return
    file = database_file(start.config.database)
    if file is None:
        yield StartFault(check="database", where="database.url", what=found.why, remedy=server_remedy(found.why))
    elif not os.path.exists(file) and effective_access(file.absolute().parent, os.X_OK):
        yield StartFault(
            check="database",
            where="database.url",
            what=found.why,
            remedy=f"run `{_upgrade_fault(start)}`",
            effect=Effect.PENDING,
        )
    elif effective_access(file, os.R_OK):
        remedy = "name an SQLite file of this program, or restore the last backup (hkall-gateway restore)"
        yield StartFault(check="database", where="database.url", what=found.why, remedy=DISK if found.disk_fails else remedy)


def server_remedy(why: str) -> str:
    """Return the remedy for a message of PostgreSQL's client."""
    for words, remedy in SERVER_REMEDIES.items():
        if words in why and (words not in ("role", "database") or (f'{words} "' in why and "does not exist" in why)):
            return remedy
    return SERVER


def running_here(start: Start) -> Sequence[Instance] | None:
    """Return the gateways that run on this machine, web processes included, or None if the database does not tell."""
    found = read_state(start.config.database)
    if not isinstance(found, DatabaseState) or found.revision != found.head:
        return None
    return [row for row in found.instances if row.host == host() and start.pid_runs(row.pid) and row.left_at is None]


def _check_revision(start: Start, found: DatabaseState) -> Iterator[StartFault]:
    if found.revision == found.head:
        return
    if schema.knows(found.revision):
        state = f"at revision {found.revision}" if found.revision else "empty"
        what, effect = f"the database is {state}, this program needs {found.head}", Effect.PENDING
        yield StartFault(
            check="revision", where="database.url", what=what, remedy=f"run `{_upgrade_fault(start)}`", effect=effect
        )
        return
    what = f"the database is at revision {found.revision}, and this program knows none after {found.head}"
    remedy = "install the newer version here too; gateways that run already may go on until then"
    yield StartFault(check="revision", where="database.url", what=what, remedy=remedy)


def _check_encoding(found: DatabaseState) -> Iterator[StartFault]:
    if found.encoding != UTF8:
        yield StartFault(
            check="database",
            where="database.url",
            what=f"the database is encoded in {found.encoding}, which lacks Chinese letters",
            remedy="make a new one: createdb --owner=ROLE --encoding=UTF8 --template=template0 NAME, and load the files there",
        )


def _upgrade_fault(start: Start) -> str:
    return f"hkall-gateway db upgrade --config {start.path}"


def _check_gateways(start: Start, others: Sequence[Instance]) -> Iterator[StartFault]:
    """Check the clock and the other gateways on the database, as the heartbeat does at the start."""
    if not start.trust_clock and (fault := find_clock_fault(others, start.now)):
        what, remedy = fault
        yield StartFault(check="gateways", where="clock", what=what, remedy=remedy)
        return
    up = [one for one in others if one.state(start.now) == "up" and (one.host != host() or start.pid_runs(one.pid))]
    # Several gateways that serve terminals would need row locks, which SQLite does not have.
    alone = start.serving.protocols and database_file(start.config.database) is not None
    mine = start.instance if start.serving.protocols else f"{start.instance}-web"
    for one in up:
        if one.name == mine and not (start.running and one.host == host()):
            yield StartFault(check="gateways", where="HKALL_INSTANCE", what=describe_rival(one), remedy=OTHER_NAME)
        elif one.name != mine and alone and serves_protocols(one.name):
            yield StartFault(check="gateways", where="database.url", what=describe_rival(one), remedy=only_one(one))


def _read_state(database: DatabaseConfig) -> DatabaseState:
    engine = open_to_read(database)
    try:
        revision, head = schema.revision(engine), schema.head()
        if revision != head:
            return DatabaseState(revision=revision, head=head)
        with engine.connect() as connection:
            instances = tuple(Instance(**row) for row in connection.execute(select(INSTANCES)).mappings())
            patrons = connection.execute(select(func.count()).select_from(PATRONS)).scalar_one()
            encoding = UTF8
            if engine.dialect.name == "postgresql":
                encoding = str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())
            return DatabaseState(revision=revision, head=head, instances=instances, patrons=patrons, encoding=encoding)
    finally:
        engine.dispose()


def open_to_read(database: DatabaseConfig) -> Engine:
    """Return an engine that neither creates an SQLite file nor changes its mode, as `open_engine` would."""
    file = database_file(database)
    if file is None:
        return open_engine(database.url, database.limits())
    return create_engine(
        "sqlite://", creator=read_only(file), poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )


def read_only(file: Path) -> Callable[[], sqlite3.Connection]:
    """Return a function that opens an SQLite file read-only.

    Unless both the -wal and the -shm file exist, no process has the database open. Open the file as immutable in that case,
    because SQLite would otherwise create these files and leave them behind.
    """
    helpers = all(Path(f"{file}{end}").exists() for end in ("-wal", "-shm"))
    uri = f"{file.absolute().as_uri()}?mode=ro{'' if helpers else '&immutable=1'}"
    return lambda: sqlite3.connect(uri, uri=True, timeout=2, check_same_thread=False)


def display_name(database: DatabaseConfig) -> str:
    """Return the database's file, or the PostgreSQL database name and host, without login and password."""
    file, url = database_file(database), make_url(database.url)
    return str(file) if file else f"PostgreSQL {url.database or ''} at {url.host or url.query.get('host', 'this machine')}"
