"""Databases of released versions, from fixtures/databases."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from hkall_gateway.db.engine.connect import open_engine

RELEASES = Path(__file__).parents[2] / "fixtures" / "databases"
VERSIONS = sorted(file.name.removesuffix(".sql") for file in RELEASES.glob("*.sql"))


@contextmanager
def on_postgresql(url: str, programs: Path, version: str) -> Iterator[Engine]:
    """The database of a version, created on the server at `url` and dropped afterwards."""
    server, name = open_engine(url), "released"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    where = make_url(url)
    reached = ["--host", str(where.query["host"]), "--username", str(where.username), "--dbname", name]
    dump = RELEASES / f"{version}.sql"
    command = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", *reached, "--file", str(dump)]
    subprocess.run(command, check=True, capture_output=True)
    engine = open_engine(where.set(database=name).render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    server.dispose()
