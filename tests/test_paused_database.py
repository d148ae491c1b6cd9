"""The pages while PostgreSQL is paused: its connections stay open without replies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from hkall_gateway.db.engine.connect import ANSWER_S, open_engine
from tests import postgres_server
from tests.company import Gateway, until
from tests.test_daemon_web import Curl

pytestmark = pytest.mark.long

SETTINGS: Final = ("listen_addresses=", "max_connections=60")
SPARE_S: Final = 1.5
"""Allowance for curl's start and a busy machine."""
PATHS: Final = ("/staff/", "/search?q=history", "/api/v1/requests")


@pytest.fixture(scope="module")
def server(postgres_programs: Path) -> Iterator[postgres_server.PostgresServer]:
    with postgres_server.server(postgres_programs, SETTINGS) as running:
        yield running


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path, server: postgres_server.PostgresServer) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path, database=server.url(), pages=True)
    made.start()
    yield made
    made.end()


@contextmanager
def paused(server: postgres_server.PostgresServer) -> Iterator[None]:
    """Stop every process of the server, and continue them at the end."""
    every = [server.pid, *_children(server.pid)]
    try:
        for pid in every:
            _tell(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(every):
            _tell(pid, signal.SIGCONT)


def _tell(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # a worker process of the server may have ended meanwhile
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _threads(gateway: Gateway) -> int:
    """Return the number of threads of its pages process."""
    return len(list(Path(f"/proc/{gateway.children()[0]}/task").iterdir()))


def _timed(curl: Curl, path: str) -> tuple[int, float]:
    began = time.monotonic()
    return curl(path)[0], time.monotonic() - began


def _all_at_once(curl: Curl, paths: Sequence[str]) -> list[tuple[int, float]]:
    with ThreadPoolExecutor(len(paths)) as threads:
        return list(threads.map(lambda path: _timed(curl, path), paths))


def test_every_page_answers_503_within_two_seconds_while_the_database_is_paused(
    gateway: Gateway, server: postgres_server.PostgresServer, tmp_path: Path
) -> None:
    staff, stranger = Curl(gateway.ports.web, tmp_path), Curl(gateway.ports.web, tmp_path / "none")
    assert staff.log_in()[0] == 303
    assert [code for code, _ in _all_at_once(staff, ["/staff/"] * 6)] == [200] * 6
    threads = _threads(gateway)
    with paused(server):
        for curl in (staff, stranger):
            first = _all_at_once(curl, PATHS * 4)
            assert {code for code, _ in first} == {503}
            assert max(took for _, took in first) < ANSWER_S + SPARE_S
        later = [_timed(staff, "/staff/")[1] for _ in range(3)]
        assert min(later) < ANSWER_S / 2  # later requests fail without waiting
        assert _threads(gateway) <= threads
    until(lambda: staff("/staff/")[0] == 200, "the pages are back")
    assert stranger("/search?q=history")[0] == 200


def _scraped(gateway: Gateway) -> tuple[str, float]:
    began = time.monotonic()
    page = gateway.metrics()
    return page, time.monotonic() - began


def test_metrics_answer_without_the_gauges_of_the_database_while_it_is_paused(
    gateway: Gateway, server: postgres_server.PostgresServer
) -> None:
    assert "hkall_database_up 1.0" in gateway.metrics()
    with paused(server):
        scraped = [_scraped(gateway) for _ in range(3)]
    for page, took_s in scraped:
        assert took_s < 2 + SPARE_S
        assert "hkall_database_up 0.0" in page
        assert "hkall_reactor_lag_seconds_count" in page
        assert "hkall_timer_lag_seconds" not in page
    until(lambda: "hkall_timer_lag_seconds{" in gateway.metrics(), "the gauges are back")


def test_pooled_connection_that_does_not_respond_is_dropped(server: postgres_server.PostgresServer) -> None:
    engine = open_engine(server.url())
    engine.connect().close()
    with paused(server):
        began = time.monotonic()
        with pytest.raises(OperationalError) as refused:
            engine.connect()
        assert ANSWER_S <= time.monotonic() - began < ANSWER_S + SPARE_S
        assert isinstance(refused.value.orig, psycopg.errors.ConnectionTimeout)
    engine.connect().close()
    engine.dispose()


def test_closed_pooled_connection_is_replaced(server: postgres_server.PostgresServer) -> None:
    engine = open_engine(server.url())
    engine.connect().close()
    postgres_server.ask(
        server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hkall-gateway'"
    )
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()
