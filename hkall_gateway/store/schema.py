"""The shape of the database: alembic revisions, forward only. `serve` refuses to start on another revision.

A revision only adds: while gateways are upgraded one after another, those of the version before work on beside the new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from hkall_gateway.store.tables import METADATA

_HERE = Path(__file__).parent / "migrations"
_UPGRADE = 4_255_111_001  # any number, as long as nothing else here locks it


def head() -> str:
    """The revision that this version of the program needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision(engine: Engine) -> str:
    """The revision that the database is at; "" for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def knows(revision: str) -> bool:
    """Whether this version of the program has that revision; a newer one has made it otherwise."""
    return not revision or any(found.revision == revision for found in ScriptDirectory.from_config(_config()).walk_revisions())


def bring_to(connection: Connection, revision: str) -> None:
    """Make or upgrade the tables inside the caller's transaction, to a revision or to "head"."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def remaking(engine: Engine) -> Iterator[Connection]:
    """One transaction in which tables are made or filled anew; if it raises, all is as it was, where the database can.

    An index on many rows takes as long as it takes; a table that is in use is waited for as for anything else.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE})")
        yield connection
        connection.exec_driver_sql("COMMIT")


def upgrade(engine: Engine) -> None:
    """Bring the database to `head()`; of two at once one waits, and does nothing."""
    with remaking(engine) as connection:
        bring_to(connection, "head")


def drift(engine: Engine) -> list[Any]:
    """What alembic would still change to make the database equal to tables.py; empty when they agree."""
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))


def new_revision(engine: Engine, message: str) -> None:
    """Write the next revision file by comparing the database with tables.py; for developers."""
    config = _config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.revision(config, message=message, autogenerate=True, rev_id=f"{len(list(_versions())) + 1:04d}")


def _versions() -> list[Path]:
    return sorted((_HERE / "versions").glob("[0-9]*.py"))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    return config
