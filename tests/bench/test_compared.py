"""The rows of a benchmark run that compares builds."""

from __future__ import annotations

import pytest

from bench.compared import compared
from bench.interleaved import Cell
from bench.questions import WORKS
from bench.rows import REPORTED, ROWS, Rate, Ratio, Row
from bench.subjects import about, lacking

BY_KEY = {row.key: row for row in ROWS}


def of(*keys: str, builds: tuple[str, ...] = ("main", "fast"), unknown: str = "") -> dict[str, Row]:
    works = {"main": WORKS.keys() - {unknown}, "fast": WORKS.keys()}
    return {row.key: row for row in compared([BY_KEY[key] for key in keys], {build: works[build] for build in builds})}


def test_rows_are_the_selected_ones_without_other_builds() -> None:
    assert of("sip2_63_vs_echo", "growth_63", builds=()).keys() == {"sip2_63_vs_echo", "growth_63"}


def test_each_row_is_measured_for_each_build_and_compared_with_the_first() -> None:
    assert list(of("sip2_63_vs_echo")) == [
        "sip2_63_vs_echo",
        "sip2_63_vs_echo@main",
        "sip2_63_vs_echo@fast",
        "sip2_63_64_gateway_vs_main",
        "sip2_63_64_gateway@fast_vs_main",
    ]


def test_workload_unknown_to_a_build_is_measured_for_the_other_builds() -> None:
    rows = of("sip2_63_vs_echo", "request_item_rate", unknown="request_item")
    assert {key for key in rows if "request" in key} == {"request_item_rate", "request_item_rate@fast"}
    assert {"sip2_63_vs_echo@main", "sip2_63_64_gateway@fast_vs_main"} <= rows.keys()


def test_peer_is_shared_by_all_builds() -> None:
    ours, echo = Cell("sip2_63", 64, "gateway@fast"), Cell("sip2_63", 64, "echo")
    assert of("sip2_63_vs_echo")["sip2_63_vs_echo@fast"].measure == Ratio(ours, echo)


def test_rate_is_measured_for_each_build_and_compared_without_a_target() -> None:
    rows = of("request_item_rate")
    ours, before = Cell("request_item", 32, "gateway"), Cell("request_item", 32, "gateway@main")
    assert rows["request_item_rate@main"].measure == Rate(before)
    assert rows["request_item_32_gateway_vs_main"].measure == Ratio(ours, before)
    assert rows["request_item_32_gateway_vs_main"].demand == REPORTED


def test_situation_figures_are_measured_only_for_this_build() -> None:
    assert of("growth_63").keys() == {"growth_63"}


def test_subject_of_a_build_keeps_description_and_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.subjects.NEEDS", {"PostgreSQL": lambda: False})
    assert about("postgres@main") == "the gateway on PostgreSQL of main"
    assert lacking("postgres@main") == "PostgreSQL"
