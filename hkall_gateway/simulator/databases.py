"""Temporary empty databases for worlds, in memory or in an existing PostgreSQL database.

In PostgreSQL each world gets its own schema, so that many libraries fit in one database.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar, overload
from weakref import WeakSet

from sqlalchemy import Dialect, Engine, event, make_url

from hkall_gateway.db import bind
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.locks import unlocked
from hkall_gateway.db.tables import METADATA, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork

P = ParamSpec("P")
T = TypeVar("T")

_NUMBERS: Final = count(1)
"""Numbers for schema names, shared by the whole process."""

_COMPILED: Final[dict[object, object]] = {}
"""Compiled SQLAlchemy statements, shared by all databases of the process, which would otherwise each compile them again."""


class SoleStore(Immediate):
    """The store of a test or of a simulated library. Nothing else writes to its database, so that units need no locks."""

    @overload
    def now(self, work: Callable[[UnitOfWork], T]) -> T: ...

    @overload
    def now(self, work: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> T: ...

    def now(self, work: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> T:
        """Run `work(unit, *args)` and return its result after the commit."""
        return self.write_now(bind(work, *args, **named), unlocked("nothing else writes to this database"))


class DatabaseFactory(Protocol):
    """Creates empty databases with all tables, and removes them at the end."""

    def fresh(self) -> Engine:
        """Return the engine of an empty database."""

    def close(self) -> None:
        """Remove all databases."""


def ground(url: str = "") -> DatabaseFactory:
    """Return a factory for SQLite databases in memory, or for schemas in the PostgreSQL database at `url`."""
    return Schemas(url) if url else Memory()


class Memory:
    """SQLite databases in memory, each deleted with its engine."""

    def __init__(self) -> None:
        self._engines: WeakSet[Engine] = WeakSet()

    def fresh(self) -> Engine:
        """Return a copy of a prepared empty database, which is ten times as fast as creating the tables again."""
        image, dialect = _empty_image()
        engine = open_engine("sqlite://")
        share_compiled(engine, dialect)
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.deserialize(image)
        self._engines.add(engine)
        return engine

    def close(self) -> None:
        """Dispose of all engines, which deletes their databases."""
        for engine in self._engines:
            engine.dispose()


def share_compiled(engine: Engine, dialect: Dialect) -> None:
    """Let an engine use statements compiled for `dialect`, the dialect of another engine of the same kind."""
    engine.dialect = dialect
    engine.update_execution_options(compiled_cache=_COMPILED)


@cache
def _empty_image() -> tuple[bytes, Dialect]:
    """Return the serialised image of an SQLite database with empty tables, and the dialect that all copies share."""
    engine = open_engine("sqlite://")
    create_all(engine)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        image = driver.serialize()
    engine.dispose()
    return image, engine.dialect


class Schemas:
    """Schemas in one PostgreSQL database. The schema of a disposed engine is emptied and reused."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._owner = open_engine(url)
        self._free: list[str] = []
        self._all: list[str] = []
        self._engines: list[Engine] = []

    def fresh(self) -> Engine:
        """Return an empty database."""
        if not self._free:
            return self._open_schema(self._create_schema())
        name = self._free.pop()
        # Empty the schema. If a test has created functions in it, drop and create it again.
        tables = ", ".join(f'"{name}"."{table.name}"' for table in METADATA.sorted_tables)
        with self._owner.connect() as connection:
            left = connection.exec_driver_sql(f"SELECT 1 FROM pg_proc WHERE pronamespace = '{name}'::regnamespace").first()  # noqa: S608  # the name is ours
            if left:
                connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
                connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')
            else:
                connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
        return self._open_schema(name)

    def fresh_url(self) -> str:
        """Return the URL of an empty database without tables, for a separate process."""
        return self._schema_url(self._create_schema())

    def close(self) -> None:
        """Drop all schemas with their contents."""
        for engine in self._engines:
            engine.dispose()
        with self._owner.connect() as connection:
            for name in self._all:
                connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
        self._owner.dispose()

    def _create_schema(self) -> str:
        name = f"lab_{os.getpid()}_{next(_NUMBERS)}"
        with self._owner.connect() as connection:
            connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')
        self._all.append(name)
        return name

    def _open_schema(self, name: str) -> Engine:
        engine = open_engine(self._schema_url(name))
        create_all(engine)
        event.listen(engine, "engine_disposed", lambda _engine: self._free.append(name), once=True)
        self._engines.append(engine)
        return engine

    def _schema_url(self, name: str) -> str:
        made = make_url(self._url).update_query_dict({"options": f"-csearch_path={name}"})
        return made.render_as_string(hide_password=False)
