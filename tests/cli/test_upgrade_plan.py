"""db upgrade --plan: the changes an upgrade would make, for databases of released versions and for a missing one."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.db import schema
from tests.db.releases import RELEASES, VERSIONS

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return demo_setup.write_config(tmp_path, PORTS)


def upgrade(config: Path, *words: str) -> list[str]:
    done = CliRunner().invoke(main, ["db", "upgrade", *words, "--config", str(config)], env=demo_setup.environment(PORTS))
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def content(file: Path) -> list[str]:
    """Return all tables with their rows, as SQL statements."""
    with closing(sqlite3.connect(file)) as opened:
        return list(opened.iterdump())


@pytest.mark.parametrize("version", VERSIONS)
def test_plan_lists_missing_revisions_without_a_change(config: Path, version: str) -> None:
    file = config.with_name("hkall.db")
    file.write_bytes(gzip.decompress((RELEASES / f"{version}.db.gz").read_bytes()))
    before = content(file)
    with closing(sqlite3.connect(file)) as opened:
        ((at,),) = opened.execute("SELECT version_num FROM alembic_version")
    missing = [revision for revision in sorted(schema.known()) if revision > at]

    *named, last = upgrade(config, "--plan")

    assert content(file) == before
    assert [line.split()[0] for line in named] == missing
    assert all(len(line.split()) > 2 for line in named)
    assert last.startswith(f"revision {at} -> {schema.head()}: " if missing else f"revision {at}: nothing to do")
    assert upgrade(config)[-1].startswith(f"revision {at} -> {schema.head()}" if missing else f"revision {at}")
    assert upgrade(config, "--plan") == [f"revision {schema.head()}: nothing to do"]


def test_plan_does_not_create_a_missing_database(config: Path) -> None:
    assert upgrade(config, "--plan")[-1].startswith(f"revision none -> {schema.head()}")
    assert not config.with_name("hkall.db").exists()
