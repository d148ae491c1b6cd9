"""The benchmark itself: it counts what is in the file, fails when something was lost, and says what it measured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import delete

from bench.situations import grouping
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.tables import OUTBOX

CHECKOUTS = 24


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A library with CHECKOUTS books on its hold shelf."""
    grouping.fill(tmp_path / "library.db", CHECKOUTS)
    return tmp_path / "library.db"


def _ticks() -> Iterator[float]:
    """A clock on which every look takes a millisecond."""
    return (n / 1000 for n in count())


def test_every_checkout_of_a_run_stands_in_the_file(file: Path) -> None:
    grouping.measure(file, 256, 8, CHECKOUTS, _ticks().__next__)
    grouping.check(file, CHECKOUTS)


def test_a_checkout_that_was_lost_is_noticed(file: Path) -> None:
    grouping.measure(file, 256, 8, CHECKOUTS, _ticks().__next__)
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        connection.execute(delete(OUTBOX).where(OUTBOX.c.id == 1))
    engine.dispose()
    with pytest.raises(AssertionError, match=f"'outbox': {CHECKOUTS - 1}"):
        grouping.check(file, CHECKOUTS)


def test_a_checkout_that_fails_ends_the_run(file: Path) -> None:
    with pytest.raises(IndexError):
        grouping.measure(file, 256, 2, CHECKOUTS + 1, _ticks().__next__)


def test_one_commit_each_has_groups_of_one(file: Path) -> None:
    assert grouping.measure(file, 1, 8, CHECKOUTS, _ticks().__next__).batch == 1


def test_more_clients_than_one_are_answered_in_groups(file: Path) -> None:
    assert grouping.measure(file, 256, 8, CHECKOUTS, _ticks().__next__).batch > 1


def test_the_designs_take_turns_on_fresh_copies(tmp_path: Path) -> None:
    line = grouping.compare(tmp_path, 4, CHECKOUTS, 2, _ticks().__next__)
    assert (line.clients, len(line.ratios)) == (4, 2)
    assert [left.name for left in tmp_path.glob("run-*")] == []
