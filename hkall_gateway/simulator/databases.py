"""Databases for worlds: empty and temporary, in memory or in an existing PostgreSQL database.

In PostgreSQL each one is a schema of its own, so that many libraries fit in one database.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol
from weakref import WeakSet

from sqlalchemy import Dialect, Engine, event, make_url

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import METADATA, create_all

# ---- A throw-away PostgreSQL server on a Unix socket in a temporary folder, for the tests and for the benchmark.
# It needs `initdb` and `postgres` of any installation. It is stopped at the end; the kernel stops it if this process is
# killed.


DEBIAN: Final = Path("/usr/lib/postgresql")
RUNNER: Final = "postgres"
STANDBY: Final = "standby"
"""The name of a standby, for `synchronous_standby_names` of its primary."""
TRIES, TRY_S = 300, 0.1
LEAVING_S: Final = 30.0


class NoServer(Exception):
    """The server did not start; the text holds its own output."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server: the folders of its socket and its programs, and its main process."""

    folder: Path
    programs: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        """Returns the `[database] url` of one of its databases."""
        return f"postgresql+psycopg://{RUNNER}@/{database}?host={self.folder}"


def programs() -> Path | None:
    """The folder with initdb and postgres, the newest where there are several; None where there is none."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(DEBIAN.glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].resolve().parent if found else None


@contextmanager
def server(found: Path, settings: Sequence[str], primary: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """A new server with the programs in `found` and these settings, each `name=value`; a standby of `primary` if it is given.

    Raises NoServer.
    """
    folder = Path(tempfile.mkdtemp(prefix="hkall-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, RUNNER)
        data = str(folder / "data")
        if primary is None:
            _run(found / "initdb", "-D", data, "-U", RUNNER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        else:
            where = f"host={primary.folder} user={RUNNER} application_name={STANDBY}"
            _run(found / "pg_basebackup", "-D", data, "-d", where, "-R", "-X", "stream", "-c", "fast")
        with _started(found, folder, settings) as pid:
            yield PostgresServer(folder, found, pid)
    finally:
        shutil.rmtree(folder)


def ask(found: PostgresServer, statement: str, database: str = "postgres") -> str:
    """Returns the output of psql for a statement outside any transaction, its values alone.

    Raises CalledProcessError if the statement is refused.
    """
    where = ["--host", str(found.folder), "--username", RUNNER, "--dbname", database]
    command: list[str | Path] = [
        found.programs / "psql",
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        *where,
        "--command",
        statement,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def _run(program: Path, *arguments: str) -> None:
    subprocess.run([program, *arguments], check=True, capture_output=True, cwd="/", **_as_runner())  # type: ignore[call-overload]


def _as_runner() -> dict[str, object]:
    """Arguments for subprocess that drop root's rights: initdb and postgres refuse to run as root."""
    return {"user": RUNNER, "group": RUNNER, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _started(found: Path, folder: Path, settings: Sequence[str]) -> Iterator[int]:
    mourning = [setpriv, "--pdeathsig", "INT"] if (setpriv := shutil.which("setpriv")) else []
    options = [part for setting in settings for part in ("-c", setting)]
    command = [*mourning, found / "postgres", "-D", folder / "data", "-k", folder, *options]
    log = folder / "log"
    with log.open("wb") as output:
        running: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            command, stdout=output, stderr=output, cwd="/", **_as_runner()
        )
    try:
        _wait_until_it_answers(running, found, folder, log)
        yield running.pid
    finally:
        running.send_signal(signal.SIGINT)  # fast shutdown: open sessions are ended
        running.wait(LEAVING_S)


def _wait_until_it_answers(running: subprocess.Popen[bytes], found: Path, folder: Path, log: Path) -> None:
    asking: list[str | Path] = [found / "pg_isready", "--quiet", "--host", folder, "--username", RUNNER]
    for _ in range(TRIES):
        if subprocess.run(asking, check=False).returncode == 0:
            return
        if _ended_within(running, TRY_S):
            break
    raise NoServer(f"PostgreSQL does not answer: {log.read_text()}")


def _ended_within(running: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


_NUMBERS: Final = count(1)
"""Numbers of the schemas that this process makes, for all callers."""

_COMPILED: Final[dict[object, object]] = {}
"""Statements that SQLAlchemy has compiled, for all databases of a process: otherwise each of them compiles its own."""


class DatabaseFactory(Protocol):
    """Makes empty databases with all tables, and removes them at the end."""

    def fresh(self) -> Engine: ...

    def close(self) -> None: ...


def ground(url: str = "") -> DatabaseFactory:
    """SQLite in memory, or schemas in the PostgreSQL database of `url`."""
    return Schemas(url) if url else Memory()


class Memory:
    """SQLite databases in memory; each is gone with its engine."""

    def __init__(self) -> None:
        self._made: WeakSet[Engine] = WeakSet()

    def fresh(self) -> Engine:
        """Returns an empty database: a copy of a prepared one, ten times as quick as creating the tables again."""
        image, dialect = _pattern()
        engine = open_engine("sqlite://")
        share_compiled(engine, dialect)
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.deserialize(image)
        self._made.add(engine)
        return engine

    def close(self) -> None:
        for engine in self._made:
            engine.dispose()


def share_compiled(engine: Engine, dialect: Dialect) -> None:
    """Let an engine use the statements that SQLAlchemy has compiled for `dialect`, that of another engine of the same kind."""
    engine.dialect = dialect
    engine.update_execution_options(compiled_cache=_COMPILED)


@cache
def _pattern() -> tuple[bytes, Dialect]:
    """SQLite's serialised image of a database that has only empty tables, and the dialect of all copies."""
    engine = open_engine("sqlite://")
    create_all(engine)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        image: bytes = driver.serialize()
    engine.dispose()
    return image, engine.dialect


class Schemas:
    """Schemas of one PostgreSQL database; the schema of a disposed engine is emptied and used again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._owner = open_engine(url)
        self._free: list[str] = []
        self._all: list[str] = []
        self._engines: list[Engine] = []

    def fresh(self) -> Engine:
        """Returns an empty database."""
        if not self._free:
            return self._opened(self._made())
        name = self._free.pop()
        # Empties a schema; one that holds functions of its own is dropped and created again.
        tables = ", ".join(f'"{name}"."{table.name}"' for table in METADATA.sorted_tables)
        with self._owner.connect() as connection:
            left = connection.exec_driver_sql(f"SELECT 1 FROM pg_proc WHERE pronamespace = '{name}'::regnamespace").first()  # noqa: S608  # a name of our own
            if left:
                connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
                connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')
            else:
                connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
        return self._opened(name)

    def fresh_url(self) -> str:
        """Returns the URL of an empty database without tables, for a process of its own."""
        return self._address(self._made())

    def close(self) -> None:
        """Drops all schemas with their contents."""
        for engine in self._engines:
            engine.dispose()
        with self._owner.connect() as connection:
            for name in self._all:
                connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
        self._owner.dispose()

    def _made(self) -> str:
        name = f"lab_{os.getpid()}_{next(_NUMBERS)}"
        with self._owner.connect() as connection:
            connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')
        self._all.append(name)
        return name

    def _opened(self, name: str) -> Engine:
        engine = open_engine(self._address(name))
        create_all(engine)
        event.listen(engine, "engine_disposed", lambda _engine: self._free.append(name), once=True)
        self._engines.append(engine)
        return engine

    def _address(self, name: str) -> str:
        made = make_url(self._url).update_query_dict({"options": f"-csearch_path={name}"})
        return made.render_as_string(hide_password=False)
