"""The table of benchmark rows, and its agreement with docs/performance.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.figures import Run
from bench.interleaved import Cell
from bench.questions import WORKS
from bench.rows import KEYS, ROWS, STEADY, Demand, Figure, Rate, Ratio, rows
from bench.situations.steady import A_SECOND, CONNECTIONS, FEWEST_S, WORKS_ASKED
from bench.subjects import NEEDS, SUBJECTS

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_row_keys_are_unique() -> None:
    assert len(KEYS) == len(ROWS)


def test_every_row_names_existing_workloads_and_subjects() -> None:
    cells = {cell for row in ROWS for cell in row.cells}
    assert {cell.work for cell in cells} <= WORKS.keys()
    assert {cell.subject for cell in cells} == SUBJECTS.keys()
    assert {kind.needs for kind in SUBJECTS.values()} - {""} <= NEEDS.keys()


def test_every_ratio_compares_the_same_workload_over_the_same_connections() -> None:
    for row in ROWS:
        if isinstance(row.measure, Ratio):
            ours, theirs = row.cells
            assert (ours.work, ours.connections) == (theirs.work, theirs.connections)
            assert str(ours.connections) in row.measure.how


@pytest.mark.parametrize(
    ("demand", "value", "met"),
    [
        (Demand(least=2.0), 2.0, True),
        (Demand(least=2.0), 1.99, False),
        (Demand(most=2.0), 2.0, True),
        (Demand(most=2.0), 2.01, False),
        (Demand(), 0.0, True),
    ],
)
def test_target_is_met_at_its_bound_and_missed_beyond(demand: Demand, value: float, met: bool) -> None:
    assert demand.met(value) is met


def test_ratio_is_computed_per_round_and_inverted_for_cpu() -> None:
    ours, theirs = Cell("sip2_63", 1, "gateway"), Cell("sip2_63", 1, "echo")
    runs = {ours: [Run(1, 10.0, 1, 1, cpu_us=300, database_us=100), Run(1, 30.0, 1, 1, cpu_us=300, database_us=100)]}
    runs[theirs] = [Run(1, 20.0, 1, 1, cpu_us=100)] * 2
    assert Ratio(ours, theirs).spread(runs).values == (0.5, 1.5)
    assert Ratio(ours, theirs).by_cpu(runs) == 0.25


def test_rate_is_read_from_its_cell() -> None:
    cell = Cell("sip2_63", 32, "gateway")
    assert Rate(cell).spread({cell: [Run(1, 10.0, 1, 1), Run(1, 30.0, 1, 1)]}).values == (10.0, 30.0)


def test_key_prefix_selects_all_matching_rows() -> None:
    assert {row.key for row in rows(["soak"])} == {key for key in KEYS if key.startswith("soak")}
    assert [row.key for row in rows(["sip2_63_vs_pysip2"])] == ["sip2_63_vs_pysip2"]


@pytest.mark.parametrize("work", WORKS_ASKED)
def test_workload_of_fifty_per_second_has_a_target(work: str) -> None:
    figures = {row.measure.name: row for row in ROWS if isinstance(row.measure, Figure) and row.measure.situation == STEADY}
    assert str(figures[work].demand).startswith("≤ ")


def test_start_of_a_fifty_per_second_workload_does_not_affect_its_percentile() -> None:
    assert CONNECTIONS <= FEWEST_S * A_SECOND / 100


def test_documentation_names_only_existing_rows() -> None:
    named = re.findall(r"--only (\w+)", PAGE.read_text(encoding="utf-8"))
    assert named
    assert [word for word in named if not any(key.startswith(word) for key in KEYS)] == []
