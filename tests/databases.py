"""The database for tests that may run on either: SQLite, or PostgreSQL with HKALL_TEST_DATABASE=postgresql.

A demo site's SQLite file is built once per process, since the revisions and the demo's files take longer than most tests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, make_url

from demo import demo_setup
from hkall_gateway.config import gateway
from hkall_gateway.db.engine.connect import private
from hkall_gateway.simulator.databases import Memory, Schemas
from tests.side_by_side import needs_one_database

ON_POSTGRESQL = os.environ.get("HKALL_TEST_DATABASE") == "postgresql"
SCHEMAS: Schemas | None = None
"""Schemas of the throw-away server, once it runs; None on SQLite."""
MEMORY = Memory()


def empty() -> Engine:
    """Return an empty database with all tables."""
    return (SCHEMAS or MEMORY).fresh()


def url(otherwise: str) -> str:
    """Return the URL of an empty database without tables; `otherwise` for SQLite."""
    asking = Path(os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0])
    assert not needs_one_database(asking.absolute()), "a file in side_by_side.ONE_DATABASE would run on SQLite only"
    return SCHEMAS.fresh_url() if SCHEMAS else otherwise


def fill(config: Path, environ: Mapping[str, str]) -> None:
    """Upgrade the database of a configuration to the current revision and load the demo's patrons and holdings."""
    place = make_url(gateway.load(config, environ).database.url)
    if place.drivername != "sqlite" or place.database is None:
        demo_setup.fill_database(config, environ)
        return
    private(Path(place.database))
    Path(place.database).write_bytes(_demo_file())


@cache
def _demo_file() -> bytes:
    with TemporaryDirectory() as folder:
        ports = demo_setup.Ports()
        demo_setup.fill_database(demo_setup.write_config(Path(folder), ports), demo_setup.environment(ports))
        return (Path(folder) / "hkall.db").read_bytes()
