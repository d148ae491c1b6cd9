"""Opening a database: we control transactions, so that a savepoint is neither visible early nor kept by mistake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine

from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.connect import Limits, open_engine
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.partners import Partner
from hkall_gateway.simulator.databases import SoleStore


def _script(connection: Connection, look: Callable[[], int]) -> tuple[int, int]:
    """Run a unit inside a savepoint and let its group fail: (rows visible to others before, rows left afterwards)."""
    connection.exec_driver_sql("SAVEPOINT unit")
    connection.exec_driver_sql("INSERT INTO loans VALUES (1)")
    connection.exec_driver_sql("RELEASE SAVEPOINT unit")
    seen = look()
    connection.rollback()
    return seen, look()


@pytest.fixture
def file(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'loans.db'}"
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE loans (id INTEGER)")
    engine.dispose()
    return url


_COUNT_TO = """INSERT INTO loans WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT {})
    SELECT n FROM numbers"""
_SHRINK = """import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in ("DELETE FROM loans WHERE id > 10", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
    other.execute(statement).fetchall()
"""


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _rows(url: str) -> Callable[[], int]:
    """The rows visible to a second connection."""

    def look() -> int:
        engine = open_engine(url)
        with engine.connect() as other:
            found: int = other.exec_driver_sql("SELECT count(*) FROM loans").scalar_one()
        engine.dispose()
        return found

    return look


def _played(engine: Engine, begin: Callable[[Connection], object], url: str) -> tuple[int, int]:
    with engine.connect() as connection:
        begin(connection)
        outcome = _script(connection, _rows(url))
    engine.dispose()
    return outcome


def test_driver_transactions_expose_a_savepoint_and_keep_it_after_a_rollback(file: str) -> None:
    assert _played(create_engine(file), Connection.begin, file) == (1, 1)


def test_gateway_transactions_hide_a_savepoint_and_roll_it_back(file: str) -> None:
    assert _played(open_engine(file), lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"), file) == (0, 0)


def test_group_is_rolled_back_when_it_does_not_commit(
    shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork]
) -> None:
    def crash() -> None:
        raise OSError("no space left on device")

    store = SoleStore(shared_engine, make_unit, before_commit=crash)
    with pytest.raises(OSError, match="no space"):
        store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK")]))
    assert finished(store.read(lambda unit: unit.partners.find("CUHK"), is_long=True)) is None
    store.close()


def test_memory_mapped_reader_survives_a_shrinking_file(file: str) -> None:
    engine = open_engine(file)
    with engine.connect() as reader:
        reader.exec_driver_sql(_COUNT_TO.format(200_000))
        reader.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        assert reader.exec_driver_sql("SELECT count(*) FROM loans").scalar() == 200_000
        size = Path(_path(file)).stat().st_size
        subprocess.run([sys.executable, "-c", _SHRINK, _path(file)], check=True)
        assert Path(_path(file)).stat().st_size < size / 10
        assert reader.exec_driver_sql("SELECT count(*), sum(id) FROM loans").one() == (10, 55)
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 5000), ("foreign_keys", 1), ("secure_delete", 1)],
)
def test_sqlite_commit_is_on_disk_when_it_returns(file: str, pragma: str, value: object) -> None:
    engine = open_engine(file)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statement_timeout", "1500ms"),
        ("lock_timeout", "250ms"),
        ("idle_in_transaction_session_timeout", "3s"),
        ("application_name", "hkall-gateway"),
    ],
)
def test_every_postgresql_connection_has_its_timeouts(postgres_url: str, name: str, value: str) -> None:
    engine = open_engine(postgres_url, Limits(statement_s=1.5, lock_s=0.25, idle_s=3.0))
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"SHOW {name}").scalar() == value
    engine.dispose()


def test_pool_has_a_connection_for_every_page_thread_plus_the_gateway(file: str) -> None:
    engine = open_engine(file, readers=16)
    with ExitStack() as stack:
        for _ in range(10 + 16):
            stack.enter_context(engine.connect())
        assert engine.pool.checkedout() == 10 + 16  # type: ignore[attr-defined]  # of a QueuePool
    engine.dispose()
