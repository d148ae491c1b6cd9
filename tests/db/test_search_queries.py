"""Two hundred searches with known answers in the titles of the demo: how often the wanted title is first, and among ten."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine

from demo.titles import Inventor
from hkall_gateway.db.loads import catalogue, loading
from hkall_gateway.db.search.searching import PAGE, FoundTitles, search
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Holding
from hkall_gateway.simulator.databases import SoleStore

pytestmark = pytest.mark.sql_differs

QUERIES: Final = Path(__file__).parents[2] / "fixtures" / "search" / "queries.csv"
KINDS: Final = {"exact", "partial", "misspelt", "plural", "variant", "script", "pinyin", "numeral", "run-together"}
SEED: Final = 2026
"""Draws the half of the queries that is not looked at while the search is changed."""
FIRST, AMONG_TEN = 0.85, 0.97


@pytest.fixture
def demo(engine: Engine) -> Iterator[SoleStore]:
    """The titles of the demo, each with one copy."""
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    titles = {title.bib_id: title for title in Inventor().titles()}
    copies = [
        Holding(agency="HKU", barcode=f"K{title.bib_id}", bib_id=title.bib_id, title=title.title, author=title.author)
        for title in titles.values()
    ]
    for start in range(0, len(copies), loading.CHUNK):
        store.now(loading.write_copies, copies[start : start + loading.CHUNK], 1, None, titles)
    store.now(lambda unit: catalogue.settle(unit.connection))
    yield store
    store.close()


def halves() -> dict[str, list[dict[str, str]]]:
    """The queries that may be looked at, and the others."""
    rows = list(csv.DictReader(QUERIES.read_text(encoding="utf-8").splitlines()))
    hidden = set(random.Random(SEED).sample(range(len(rows)), len(rows) // 2))
    return {
        "seen": [row for number, row in enumerate(rows) if number not in hidden],
        "unseen": [row for number, row in enumerate(rows) if number in hidden],
    }


def found(store: SoleStore, typed: str) -> list[str]:
    """The titles on the first page of results."""
    result = store.now(lambda unit: search(unit.connection, typed, lambda *_facts: True))
    assert isinstance(result, FoundTitles), typed
    assert len(result.titles) <= PAGE
    return [title.title for title in result.titles]


def test_queries_are_of_every_kind() -> None:
    assert {row["kind"] for row in halves()["seen"]} == {row["kind"] for row in halves()["unseen"]} == KINDS
    assert sum(map(len, halves().values())) == 200


def test_wanted_title_is_first_or_among_ten(demo: SoleStore) -> None:
    """Prints a table of kinds, without the queries, so that the unseen half stays unseen."""
    for half, rows in halves().items():
        first, among_ten, asked = Counter[str](), Counter[str](), Counter[str]()
        for row in rows:
            titles = found(demo, row["query"])
            asked[row["kind"]] += 1
            first[row["kind"]] += titles[:1] == [row["title"]]
            among_ten[row["kind"]] += row["title"] in titles[:10]
        print(half, *(f"\n{kind:13} {first[kind]:3} {among_ten[kind]:3} of {asked[kind]}" for kind in sorted(asked)))  # noqa: T201
        assert first.total() >= FIRST * len(rows), half
        assert among_ten.total() >= AMONG_TEN * len(rows), half
