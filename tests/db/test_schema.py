"""The schema: the revisions create what tables.py defines, on both databases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, inspect, text
from sqlalchemy.engine import make_url

from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import METADATA, OUTBOX, REQUESTS, create_all, stage_condition
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.positions import STAGES, Stage
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"
OWN_SCHEMA = "migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without tables."""
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


def test_empty_database_has_no_revision(bare: Engine) -> None:
    assert schema.revision(bare) == ""


def test_upgrade_brings_an_empty_database_to_the_required_revision(bare: Engine) -> None:
    schema.upgrade(bare)
    assert schema.revision(bare) == schema.head() != ""


@pytest.mark.walks_a_table
def test_revisions_create_exactly_the_tables(bare: Engine) -> None:
    schema.upgrade(bare)
    assert schema.drift(bare) == []
    made = {name for name in inspect(bare).get_table_names() if not name.startswith(("title_words", "title_facet"))}
    assert made == {t.name for t in METADATA.sorted_tables} | {"alembic_version"}


def test_revisions_create_every_index_with_its_condition(bare: Engine) -> None:
    schema.upgrade(bare)
    made_by_revisions = _indexes(bare)
    METADATA.drop_all(bare)
    create_all(bare)
    assert made_by_revisions == _indexes(bare)


def test_upgrade_of_an_upgraded_database_changes_nothing(bare: Engine) -> None:
    schema.upgrade(bare)
    schema.upgrade(bare)
    assert schema.drift(bare) == []


def test_drift_reports_a_missing_table(bare: Engine) -> None:
    schema.upgrade(bare)
    with bare.connect() as connection:
        connection.exec_driver_sql("DROP TABLE fines")
    assert "fines" in {getattr(change[1], "name", "") for change in schema.drift(bare)}


def test_drift_reports_a_changed_check(bare: Engine) -> None:
    schema.upgrade(bare)
    with bare.begin() as connection:
        schema.replace_check(connection, "requests", "ck_requests_stage", "stage <> ''")
    assert schema.drift(bare) == [("check", "requests", "ck_requests_stage")]


def test_drift_reports_a_position_without_a_revision(bare: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    schema.upgrade(bare)
    (check,) = [one for one in REQUESTS.constraints if isinstance(one, CheckConstraint)]
    monkeypatch.setattr(check, "sqltext", text(stage_condition([*STAGES.items(), ("PARKED", Stage.IN_HAND)])))
    assert schema.drift(bare) == [("check", "requests", "ck_requests_stage")]


def test_drift_reports_a_changed_generated_column(bare: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    schema.upgrade(bare)
    monkeypatch.setattr(OUTBOX.c.line.computed, "sqltext", text("recipient"))
    assert schema.drift(bare) == [("generated", "outbox", "line")]


def test_failed_revision_is_rolled_back(bare: Engine) -> None:
    with bare.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE requests (in_the_way INTEGER)")
    with pytest.raises(Exception, match="requests"):
        schema.upgrade(bare)
    assert inspect(bare).get_table_names() == ["requests"]


def test_revisions_cannot_be_downgraded() -> None:
    sources = [path.read_text(encoding="utf-8") for path in VERSIONS.glob("[0-9]*.py")]
    assert sources
    assert not [text for text in sources if "def downgrade" in text]


# ---- old and new gateways together

ADDS = {"f", "create_table", "create_index", "add_column", "batch_alter_table", "execute", "get_bind"}


def _operations(source: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="op" | "batch_op"), attr=name)):
                yield name, node


def _takes_away(source: str) -> list[str]:
    """The operations of a revision that a gateway of the previous version would not survive."""
    done = list(_operations(source))
    columns = [call.args[-1] for name, call in done if name == "add_column"]
    needed = [ast.unparse(column) for column in columns if not _may_be_left_out(column)]
    return [name for name, _ in done if name not in ADDS] + needed


def _may_be_left_out(column: ast.expr) -> bool:
    """Whether an INSERT without this column is accepted."""
    given = {word.arg: ast.unparse(word.value) for word in getattr(column, "keywords", [])}
    return "server_default" in given or given.get("nullable") != "False"


@pytest.mark.parametrize("file", sorted(VERSIONS.glob("[0-9]*.py")), ids=lambda file: file.stem)
def test_revision_only_adds_so_that_the_previous_version_keeps_working(file: Path) -> None:
    assert _takes_away(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('op.add_column("requests", sa.Column("wing", sa.Text(), server_default="", nullable=False))', 0),
        ('batch_op.add_column(sa.Column("wing", sa.Text(), nullable=True))', 0),
        ('batch_op.add_column(sa.Column("wing", sa.Text(), nullable=False))', 1),
        ('op.drop_column("requests", "title")', 1),
        ('batch_op.alter_column("title", new_column_name="name")', 1),
        ('op.drop_index("ix_outbox_waiting")', 1),
    ],
)
def test_incompatible_change_is_detected(line: str, found: int) -> None:
    assert len(_takes_away(line)) == found


def test_previous_version_works_with_a_newer_database(bare: Engine, now: datetime) -> None:
    schema.upgrade(bare)
    with bare.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE requests ADD COLUMN wing TEXT NOT NULL DEFAULT ''")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store = SoleStore(bare, lambda connection: UnitOfWork(connection, lambda: "R1"))
    by = Actor(who="test", channel="world")
    asked = store.now(
        UnitOfWork.open,
        Request(id="", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", partner="CUHK"),
        now,
        by,
    )
    store.now(UnitOfWork.advance, asked, Event.ASK, now, by)
    assert [request.position for request in store.now(lambda unit: unit.requests.open_list())] == [Position.REQUESTED]
    store.close()
    assert not schema.knows(schema.revision(bare))
    assert schema.knows(schema.head())


def _indexes(engine: Engine) -> dict[str, str]:
    """The database's definition of each index, by name."""
    question = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    }[engine.dialect.name]
    with engine.connect() as connection:
        found = {name: sql for name, sql in connection.exec_driver_sql(question)}  # noqa: C416  # a Row is no pair to mypy
    return {name: sql for name, sql in found.items() if not name.startswith("alembic_version")}


def test_last_revision_is_the_alembic_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert schema.head() == script.get_current_head()
    assert schema.known().keys() == {one.revision for one in script.walk_revisions()}
