"""Fixtures for all tests: a fixed clock, and stores on SQLite and PostgreSQL.

PostgreSQL is one throw-away server for the whole session, created if `initdb` is found. Otherwise those tests are skipped with
a message; under CI they fail. Tests marked `sql_differs` run on both databases. With HKALL_TEST_DATABASE=postgresql
(`make test-long`, `make test-postgres`) every test that may run on either database runs on PostgreSQL.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, Dialect, Engine

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import METADATA, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.simulator.databases import Schemas, SoleStore, share_compiled
from hkall_gateway.simulator.scenario import world
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.simulator.scenario.world_file import read_world
from tests import databases, debian, postgres_server, side_by_side, temporary
from tests.examples import register_profiles
from tests.leaks import leaks
from tests.programs import skip_or_fail

DATABASES = ("postgresql",) if databases.ON_POSTGRESQL else ("sqlite", "postgresql")
IN_MEMORY = "sqlite://"
YOUNG = (10_000, 20, 20)
"""Garbage collector thresholds: most objects of a test are freed without it."""
SETTINGS = (
    "listen_addresses=",
    "autovacuum=off",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=400",
)
"""Settings of the throw-away server. A world that its test does not close keeps a connection until the end of the session."""

FOR_PEOPLE = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
"""Plain tracebacks, since structlog's default formats the variables of each frame, which takes a second."""

USED = " UNION ALL ".join(f'(SELECT \'"{name}"\' FROM "{name}" LIMIT 1)' for name in METADATA.tables)  # noqa: S608  # names of our own
"""The names of the tables that may have rows."""
FROM_ONE = """
SELECT setval('public.' || quote_ident(sequencename), 1, false) FROM pg_sequences
WHERE schemaname = 'public' AND last_value IS NOT NULL"""

gc.set_threshold(*YOUNG)
temporary.use_memory()

register_profiles()


@pytest.hookimpl(optionalhook=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "walks_a_table: compares a table with the places that its rows need, in seconds; `make check` runs these"
    )


def pytest_xdist_auto_num_workers() -> int:
    return side_by_side.workers()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    repeated = {*filter(_is_repetition, items)}
    config.hook.pytest_deselected(items=repeated)
    items[:] = [item for item in items if item not in repeated]
    side_by_side.longest_first(items)


def _is_repetition(item: pytest.Item) -> bool:
    """Return whether a test only repeats another run: its SQLite variant, or `make test` when all is on PostgreSQL."""
    if databases.ON_POSTGRESQL:
        return side_by_side.needs_one_database(item.path)
    chosen = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    second = "postgresql" in (chosen.get("engine"), chosen.get("shared_engine"))
    return second and item.get_closest_marker("sql_differs") is None


def pytest_collection_finish() -> None:
    """Exclude the collected tests and imported modules from garbage collection, since they live until the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose log contains a name, an address or a PIN. The summary has one line for each failure."""
    report = yield
    if crash := getattr(report.longrepr, "reprcrash", None):
        crash.message = crash.message.partition("\n")[0]  # CI sees only the last lines, which name the failures
    if report.when == "call" and report.passed and item.fspath.basename not in {"test_logs.py", "test_leaks.py"}:
        shown = leaks(report.capstdout + report.capstderr)
        if shown:
            report.outcome = "failed"
            report.longrepr = "the log shows what it must not:\n" + "\n".join(shown[:5])
    return report


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """Reset logging to structlog's defaults with plain tracebacks, whatever an earlier test configured."""
    structlog.reset_defaults()
    structlog.configure([*structlog.get_config()["processors"][:-1], FOR_PEOPLE])


@pytest.fixture(scope="session")
def reactor() -> Iterator[Any]:
    """Twisted's reactor in its own thread, where partners, terminals and the mail server run."""
    from twisted.internet import reactor as the_reactor  # noqa: TID251  # the tests' own process has one too

    found: Any = the_reactor
    thread = threading.Thread(target=found.run, kwargs={"installSignalHandlers": False}, daemon=True)
    thread.start()
    yield found
    found.callFromThread(found.stop)
    thread.join(20)


@pytest.fixture
def now() -> datetime:
    """Wednesday, 1 March 2017, 10:00 in Hong Kong."""
    return datetime(2017, 3, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def bootable() -> None:
    """Skip tests of Debian machines where none can be created; fail them under CI."""
    if why := debian.why_not():
        skip_or_fail(why)


@pytest.fixture
def make_unit() -> Callable[[Connection], UnitOfWork]:
    """A factory of units of work that number requests R1, R2 …"""
    numbers = count(1)
    return lambda connection: UnitOfWork(connection, lambda: f"R{next(numbers)}")


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database with all tables: SQLite in memory, then PostgreSQL."""
    yield from _empty(request, IN_MEMORY)


@pytest.fixture(params=DATABASES)
def shared_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """The same for tests with several connections: SQLite in a file, then PostgreSQL."""
    yield from _empty(request, f"sqlite:///{tmp_path / 'store.db'}")


@pytest.fixture
def store(engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[SoleStore]:
    """A store without a thread, on each database."""
    opened = SoleStore(engine, make_unit)
    yield opened
    opened.close()


@pytest.fixture(scope="session", autouse=True)
def everything_on_postgresql(request: pytest.FixtureRequest) -> Iterator[None]:
    """Create every world and store without an explicit database on PostgreSQL, if the suite is configured so."""
    if not databases.ON_POSTGRESQL:
        yield
        return
    schemas = Schemas(request.getfixturevalue("postgres_url"))
    usual, World.ground, databases.SCHEMAS = World.ground, schemas, schemas
    yield
    World.ground, databases.SCHEMAS = usual, None
    schemas.close()


@pytest.fixture(scope="session", autouse=True)
def each_world_file_is_read_once() -> Iterator[None]:
    """Cache world files: thousands of worlds are created from a few dozen files."""
    read = cache(lambda path, _changed: read_world(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "read_world", lambda path: read(path, path.exists() and path.stat().st_mtime_ns))
        yield


@pytest.fixture
def postgres_engine(postgres_url: str, postgres_dialect: Dialect) -> Iterator[Engine]:
    """An empty database with all tables, on PostgreSQL only."""
    engine = open_engine(postgres_url)
    share_compiled(engine, postgres_dialect)
    _cleared(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of initdb and postgres."""
    programs = postgres_server.programs()
    if programs is None:
        skip_or_fail("initdb was not found on the PATH or under /usr/lib/postgresql: no PostgreSQL to test with")
    assert programs is not None
    return programs


@pytest.fixture(scope="session")
def postgres_url(postgres_programs: Path) -> Iterator[str]:
    """The throw-away server's database, with all tables."""
    with postgres_server.server(postgres_programs, SETTINGS) as server:
        engine = open_engine(server.url())
        create_all(engine)
        engine.dispose()
        yield server.url()


@pytest.fixture(scope="session")
def postgres_dialect(postgres_url: str) -> Dialect:
    """The dialect shared by all engines on that database."""
    engine = open_engine(postgres_url)
    engine.connect().close()
    engine.dispose()
    return engine.dialect


# ---- an empty database for each test


def _empty(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[Engine]:
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres_engine")
        return
    engine = databases.MEMORY.fresh() if sqlite_url == IN_MEMORY else _with_tables(sqlite_url)
    yield engine
    engine.dispose()


def _with_tables(url: str) -> Engine:
    engine = open_engine(url)
    create_all(engine)
    return engine


def _cleared(engine: Engine) -> None:
    """Empty the tables and restart their numbering; faster than creating new ones. Only used tables are emptied: each costs the
    server half a millisecond.
    """
    with engine.connect() as connection:
        used = connection.exec_driver_sql(USED).scalars().all()
        if used:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(used)}")
        connection.exec_driver_sql(FROM_ONE)
