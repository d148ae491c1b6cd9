"""Work lists beside a million ended and 20,000 open requests: a first page takes at most a tenth of a second."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.queries import request_search, statistics, work_lists
from hkall_gateway.db.queries.statistics import Period
from hkall_gateway.db.queries.work_lists import ListName, Moment, PageOrder, SortKey
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.settings import Waits
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk, open_work

pytestmark = pytest.mark.attack

NOW = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
ENDED, OPEN = 1_000_000, 20_000
PAGE_S = 0.1


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def counter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoleStore]:
    """Years of ended requests, and the open requests of a large consortium."""
    file: Path = tmp_path_factory.mktemp("lists") / "big.db"
    engine = open_engine(f"sqlite:///{file}" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    if request.param == "sqlite":
        schema.upgrade(engine)
    bulk.fill(engine, bulk.Amounts(ENDED, lines=3), NOW)
    open_work.fill(engine, OPEN, NOW)
    if request.param == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")  # autovacuum would do this within a minute
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    yield store
    store.close()
    engine.dispose()


def best_s(store: SoleStore, work: Callable[..., Any], *args: Any) -> float:
    """Return the shortest of three durations in seconds, to exclude other load of the machine."""
    times = []
    for _ in range(3):
        began = perf_counter()
        store.now(work, *args)
        times.append(perf_counter() - began)
    return min(times)


def test_first_and_next_page_take_at_most_a_tenth_of_a_second(counter: SoleStore) -> None:
    at, slow = Moment(NOW, Waits()), {}
    for name, key in itertools.product(ListName, SortKey):
        place = counter.now(work_lists.page, name, at, PageOrder(key=key)).next
        for after in ("", place):
            took_s = best_s(counter, work_lists.page, name, at, PageOrder(key=key, after=after))
            if took_s > PAGE_S:
                slow[name, key, after] = took_s
    assert slow == {}


def test_counts_of_all_lists_take_at_most_a_tenth_of_a_second(counter: SoleStore) -> None:
    assert best_s(counter, work_lists.counts, Moment(NOW, Waits())) <= PAGE_S


@pytest.mark.parametrize("words", ["O000000017", "BC00000005", "OP0000001", "Title", "no such words"])
def test_search_takes_at_most_half_a_second(counter: SoleStore, words: str) -> None:
    assert best_s(counter, request_search.search, words, (words,), "HKU") <= 5 * PAGE_S


def test_statistics_of_a_year_take_at_most_five_seconds(counter: SoleStore) -> None:
    year = Period(first=date(2025, 1, 1), last=date(2025, 12, 31))
    assert best_s(counter, statistics.statistics, year, "HKU") <= 5
