"""Databases for worlds: empty and temporary, in memory or in an existing PostgreSQL database.

In PostgreSQL each one is a schema of its own, so that many libraries fit in one database.
"""

from __future__ import annotations

import os
import sqlite3
from functools import cache
from itertools import count
from typing import Final, Protocol
from weakref import WeakSet

from sqlalchemy import Dialect, Engine, event, make_url

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import METADATA, create_all

_NUMBERS: Final = count(1)
"""Numbers of the schemas that this process makes, for all callers."""

_COMPILED: Final[dict[object, object]] = {}
"""Statements that SQLAlchemy has compiled, for all databases of a process: otherwise each of them compiles its own."""


class DatabaseFactory(Protocol):
    """Makes empty databases with all tables, and removes them at the end."""

    def fresh(self) -> Engine:
        """Return the engine of an empty database."""

    def close(self) -> None:
        """Remove all databases."""


def ground(url: str = "") -> DatabaseFactory:
    """Choose SQLite in memory, or schemas in the PostgreSQL database of `url`."""
    return Schemas(url) if url else Memory()


class Memory:
    """SQLite databases in memory, each deleted with its engine."""

    def __init__(self) -> None:
        self._engines: WeakSet[Engine] = WeakSet()

    def fresh(self) -> Engine:
        """Return an empty database: a copy of a prepared one, ten times as quick as creating the tables again."""
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
        """Dispose of all engines, and so of their databases."""
        for engine in self._engines:
            engine.dispose()


def share_compiled(engine: Engine, dialect: Dialect) -> None:
    """Let an engine use the statements that SQLAlchemy has compiled for `dialect`, that of another engine of the same kind."""
    engine.dialect = dialect
    engine.update_execution_options(compiled_cache=_COMPILED)


@cache
def _empty_image() -> tuple[bytes, Dialect]:
    """SQLite's serialised image of a database that has only empty tables, and the dialect of all copies."""
    engine = open_engine("sqlite://")
    create_all(engine)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        image = driver.serialize()
    engine.dispose()
    return image, engine.dialect


class Schemas:
    """Schemas of one PostgreSQL database. The schema of a disposed engine is emptied and reused."""

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
        # A schema is emptied. If it holds functions of its own, it is dropped and created again.
        tables = ", ".join(f'"{name}"."{table.name}"' for table in METADATA.sorted_tables)
        with self._owner.connect() as connection:
            left = connection.exec_driver_sql(f"SELECT 1 FROM pg_proc WHERE pronamespace = '{name}'::regnamespace").first()  # noqa: S608  # a name of our own
            if left:
                connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
                connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')
            else:
                connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
        return self._open_schema(name)

    def fresh_url(self) -> str:
        """Return the URL of an empty database without tables, for a process of its own."""
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
