"""The database schema: alembic revisions, forward only. `serve` refuses to start on another revision.

A revision may only add to the schema, because gateways of the previous version use it during a rolling upgrade. Alembic takes
long to load, so only functions that change or compare tables import it, and the revisions are read as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import CheckConstraint, Connection, Engine, inspect

from hkall_gateway.db.loads import catalogue, loading
from hkall_gateway.db.tables import METADATA

Place = TypeVar("Place")
VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
_ABOUT: Final = re.compile(r'^"""(.+?)(?:"""|$)', re.MULTILINE)
_LINE: Final = re.compile(r"^(revision|down_revision)\b[^=]*= *[\"']?(\w+)", re.MULTILINE)


@cache
def known() -> dict[str, str]:
    """Return each revision of this program with its predecessor, which is "None" for the first revision."""
    found = [dict(_LINE.findall(file.read_text(encoding="utf-8"))) for file in VERSIONS.glob("*.py")]
    return {one["revision"]: one["down_revision"] for one in found if "revision" in one}


def head() -> str:
    """Return the revision that this version of the program needs."""
    (last,) = known().keys() - set(known().values())
    return last


def knows(revision: str) -> bool:
    """Check whether this version of the program knows the revision. The revision "" of an empty database counts as known."""
    return not revision or revision in known()


def pending(found: str) -> list[tuple[str, str]]:
    """Return (revision, description) for each revision after `found`, in the order in which an upgrade applies them."""
    texts = [file.read_text(encoding="utf-8") for file in VERSIONS.glob("*.py")]
    about = {dict(_LINE.findall(text)).get("revision", ""): "".join(_ABOUT.findall(text)[:1]) for text in texts}
    missing, at = [], head()
    while at not in (found, "None"):
        missing.append((at, about[at]))
        at = known()[at]
    return missing[::-1]


def revision(engine: Engine) -> str:
    """Return the revision of the database, or "" for an empty database."""
    if not inspect(engine).has_table("alembic_version"):
        return ""
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or "")


_UPGRADE = 4_255_111_001  # any number that is not used for another lock


def bring_to(connection: Connection, revision: str) -> None:
    """Create or upgrade the tables inside the caller's transaction, to a revision or to "head"."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def remaking(engine: Engine) -> Iterator[Connection]:
    """Open a transaction for creating or refilling tables. An exception rolls it back.

    Statements have no time limit, because an index on many rows takes long. The time limit for locks still applies.
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
    """Upgrade the database to `head()`. Of two concurrent upgrades, the second waits and then has nothing to do."""
    with remaking(engine) as connection:
        bring_to(connection, "head")
    with engine.connect() as connection:
        _fill_in_steps(connection, loading.fill_keys, loading.START)
        if not catalogue.is_filled(connection):
            _fill_in_steps(connection, catalogue.fill, "")
            catalogue.settle(connection)


def _fill_in_steps(connection: Connection, fill: Callable[[Connection, Place], Place | None], place: Place | None) -> None:
    """Fill columns that an earlier release left empty, in short transactions, so that gateways can keep working."""
    # An SQLite transaction that begins with a read cannot write after another process has written.
    begin = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "BEGIN"
    while place is not None:
        connection.exec_driver_sql(begin)
        place = fill(connection, place)
        connection.exec_driver_sql("COMMIT")


def drift(engine: Engine) -> list[tuple[object, ...]]:
    """Return the changes that would make the database match tables.py.

    Alembic compares tables, columns and indexes. CHECK constraints and generated columns are compared here.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        index = ("title_words", "title_facet", "ix_titles_words")  # alembic cannot compare the search index
        options = {"include_name": lambda name, *_: not (name or "").startswith(index)}
        changes: list[tuple[object, ...]] = list(
            compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
        )
        return changes + _differing_expressions(connection)


def _differing_expressions(connection: Connection) -> list[tuple[object, ...]]:
    """Return (kind, table, name) for each CHECK and each generated column that differs from tables.py."""
    there, ours = set[tuple[str, ...]](), set[tuple[str, ...]]()
    inspector = inspect(connection)
    for table in METADATA.sorted_tables:
        if not inspector.has_table(table.name):
            continue  # alembic reports it
        for check in inspector.get_check_constraints(table.name):
            there.add(("check", table.name, str(check["name"]), _plain_sql(check["sqltext"])))
        for column in inspector.get_columns(table.name):
            if "computed" in column:
                there.add(("generated", table.name, column["name"], _plain_sql(column["computed"]["sqltext"])))
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint):
                ours.add(("check", table.name, str(constraint.name), _plain_sql(str(constraint.sqltext))))
        for own in table.columns:
            if own.computed is not None:
                ours.add(("generated", table.name, own.name, _plain_sql(str(own.computed.sqltext))))
    return sorted({difference[:3] for difference in there ^ ours})


def _plain_sql(expression: str) -> str:
    """Return an expression without what PostgreSQL adds when it stores one: types, brackets and quotes."""
    without_types = re.sub(r"::\w+", "", expression)
    return " ".join(re.sub(r'[()"]', " ", without_types).split())


def replace_check(connection: Connection, table: str, name: str, condition: str) -> None:
    """Replace the condition of a CHECK, for a revision that allows more than before, such as another position.

    SQLite cannot alter a CHECK. It documents this change of the stored definition for changes that leave the rows alone.
    """
    (former,) = [one for one in inspect(connection).get_check_constraints(table) if one["name"] == name]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition})")
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = ?",
        (former["sqltext"], condition, table),
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")  # other connections read the definition again
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
