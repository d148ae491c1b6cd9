"""The benchmark itself: it counts what is in the file, fails when something was lost, and says what it measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import delete

from hkall_gateway.lab.bench import grouping as bench
from hkall_gateway.lab.bench.grouping import Line, Run
from hkall_gateway.store.engine import open_engine
from hkall_gateway.store.tables import OUTBOX

CHECKOUTS = 24
FAST, SLOW = Run(5000.0, 1.0, 2.0, 16.0), Run(1000.0, 5.0, 9.0, 1.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A library with CHECKOUTS books on its hold shelf."""
    bench.furnish(tmp_path / "library.db", CHECKOUTS)
    return tmp_path / "library.db"


def _ticks() -> Iterator[float]:
    """A clock on which every look takes a millisecond."""
    return (n / 1000 for n in count())


def test_every_checkout_of_a_run_stands_in_the_file(file: Path) -> None:
    bench.measure(file, 256, 8, CHECKOUTS, _ticks().__next__)
    bench.check(file, CHECKOUTS)


def test_a_checkout_that_was_lost_is_noticed(file: Path) -> None:
    bench.measure(file, 256, 8, CHECKOUTS, _ticks().__next__)
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        connection.execute(delete(OUTBOX).where(OUTBOX.c.id == 1))
    engine.dispose()
    with pytest.raises(AssertionError, match=f"'outbox': {CHECKOUTS - 1}"):
        bench.check(file, CHECKOUTS)


def test_a_checkout_that_fails_ends_the_run(file: Path) -> None:
    with pytest.raises(IndexError):
        bench.measure(file, 256, 2, CHECKOUTS + 1, _ticks().__next__)


def test_one_commit_each_has_groups_of_one(file: Path) -> None:
    assert bench.measure(file, 1, 8, CHECKOUTS, _ticks().__next__).batch == 1


def test_more_clients_than_one_are_answered_in_groups(file: Path) -> None:
    assert bench.measure(file, 256, 8, CHECKOUTS, _ticks().__next__).batch > 1


def test_the_designs_take_turns_on_fresh_copies(tmp_path: Path) -> None:
    line = bench.compare(tmp_path, 4, CHECKOUTS, 2, _ticks().__next__)
    assert (line.clients, len(line.ratios)) == (4, 2)
    assert [left.name for left in tmp_path.glob("run-*")] == []


@pytest.mark.parametrize(("clients", "ratio", "met"), [(64, 2.5, True), (64, 2.4, False), (16, 1.0, True)])
def test_the_demand_is_made_where_many_wait(clients: int, ratio: float, met: bool) -> None:
    assert bench.met([Line(clients, FAST, SLOW, (ratio,))]) is met


def test_the_table_shows_the_median_ratio_and_its_bounds() -> None:
    shown = bench.table([Line(64, FAST, SLOW, (3.0, 5.0, 4.0))]).splitlines()[1]
    assert shown.split() == ["64", "5,000", "1.0", "2.0", "16.0", "1,000", "5.0", "9.0", "4.00", "(3.00", "to", "5.00)"]


def test_the_command_prints_records_for_programs() -> None:
    done = CliRunner().invoke(bench.main, ["--checkouts", "16", "--rounds", "1", "--clients", "2", "--json"])
    assert done.exit_code == 0
    (line,) = json.loads(done.output)
    assert (line["clients"], line["single"]["batch"]) == (2, 1.0)
    assert line["ratio"] == pytest.approx(line["grouped"]["rate"] / line["single"]["rate"])
