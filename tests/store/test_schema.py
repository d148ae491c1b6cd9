"""The shape of the database: the revisions make what tables.py says, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect
from sqlalchemy.engine import make_url

from hkall_gateway.store import schema
from hkall_gateway.store.engine import open_engine
from hkall_gateway.store.tables import METADATA, create_all

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"
OWN_SCHEMA = "migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path / 'bare.db'}")
        yield engine
        engine.dispose()
        return
    yield from _bare_schema(request.getfixturevalue("postgres_url"))


def _bare_schema(url: str) -> Iterator[Engine]:
    server = open_engine(url)
    engine = open_engine(
        make_url(url).update_query_dict({"options": f"-csearch_path={OWN_SCHEMA}"}).render_as_string(hide_password=False)
    )
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {OWN_SCHEMA}")
        yield engine
        engine.dispose()
        connection.exec_driver_sql(f"DROP SCHEMA {OWN_SCHEMA} CASCADE")
    server.dispose()


def test_an_empty_database_has_no_revision(bare: Engine) -> None:
    assert schema.revision(bare) == ""


def test_upgrade_brings_an_empty_database_to_the_revision_that_serve_asks_for(bare: Engine) -> None:
    schema.upgrade(bare)
    assert schema.revision(bare) == schema.head() != ""


def test_the_revisions_make_exactly_the_tables(bare: Engine) -> None:
    schema.upgrade(bare)
    assert schema.drift(bare) == []
    assert set(inspect(bare).get_table_names()) == {t.name for t in METADATA.sorted_tables} | {"alembic_version"}


def test_the_revisions_make_every_index_with_its_condition(bare: Engine) -> None:
    schema.upgrade(bare)
    made_by_revisions = _indexes(bare)
    METADATA.drop_all(bare)
    create_all(bare)
    assert made_by_revisions == _indexes(bare)


def test_upgrade_of_an_upgraded_database_changes_nothing(bare: Engine) -> None:
    schema.upgrade(bare)
    schema.upgrade(bare)
    assert schema.drift(bare) == []


def test_drift_names_a_table_that_is_missing(bare: Engine) -> None:
    schema.upgrade(bare)
    with bare.connect() as connection:
        connection.exec_driver_sql("DROP TABLE fines")
    assert "fines" in {getattr(change[1], "name", "") for change in schema.drift(bare)}


def test_a_revision_that_fails_half_way_leaves_nothing_behind(bare: Engine) -> None:
    with bare.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE requests (in_the_way INTEGER)")
    with pytest.raises(Exception, match="requests"):
        schema.upgrade(bare)
    assert inspect(bare).get_table_names() == ["requests"]


def test_revisions_go_forward_only() -> None:
    sources = [path.read_text(encoding="utf-8") for path in VERSIONS.glob("[0-9]*.py")]
    assert sources
    assert not [text for text in sources if "def downgrade" in text]


def _indexes(engine: Engine) -> dict[str, str]:
    """Name -> definition in the database's own words."""
    question = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    }[engine.dialect.name]
    with engine.connect() as connection:
        found = {name: sql for name, sql in connection.exec_driver_sql(question)}  # noqa: C416  # a Row is no pair to mypy
    return {name: sql for name, sql in found.items() if not name.startswith("alembic_version")}
