"""The rows of a run that compares builds."""

from __future__ import annotations

import pytest

from bench.compared import compared
from bench.interleaved import Cell
from bench.questions import WORKS
from bench.rows import REPORTED, ROWS, Ratio, Row
from bench.subjects import about, lacking

BY_KEY = {row.key: row for row in ROWS}


def of(*keys: str, builds: tuple[str, ...] = ("main", "fast"), unknown: str = "") -> dict[str, Row]:
    works = {"main": WORKS.keys() - {unknown}, "fast": WORKS.keys()}
    return {row.key: row for row in compared([BY_KEY[key] for key in keys], {build: works[build] for build in builds})}


def test_without_other_builds_the_rows_are_the_chosen_ones() -> None:
    assert of("sip2_63_vs_echo", "codec_vs_pysip2", builds=()).keys() == {"sip2_63_vs_echo", "codec_vs_pysip2"}


def test_each_row_is_measured_at_each_build_and_each_build_against_the_first() -> None:
    assert list(of("sip2_63_vs_echo")) == [
        "sip2_63_vs_echo",
        "sip2_63_vs_echo@main",
        "sip2_63_vs_echo@fast",
        "sip2_63_64_gateway_vs_main",
        "sip2_63_64_gateway@fast_vs_main",
    ]


def test_a_work_that_a_build_does_not_know_is_measured_at_the_others_only() -> None:
    rows = of("sip2_63_vs_echo", "sip2_visit_vs_pysip2", unknown="sip2_visit")
    assert {key for key in rows if "visit" in key} == {"sip2_visit_vs_pysip2", "sip2_visit_vs_pysip2@fast"}
    assert {"sip2_63_vs_echo@main", "sip2_63_64_gateway@fast_vs_main"} <= rows.keys()


def test_a_peer_is_the_same_for_all_builds_and_two_gateways_of_a_ratio_are_of_one_build() -> None:
    rows = of("sip2_63_vs_echo", "two_processes")
    ours, echo = Cell("sip2_63", 64, "gateway@fast"), Cell("sip2_63", 64, "echo")
    assert rows["sip2_63_vs_echo@fast"].measure == Ratio(ours, echo)
    assert {cell.subject for cell in rows["two_processes@fast"].cells} == {"postgres_2@fast", "postgres@fast"}
    assert rows["two_processes@fast"].demand == BY_KEY["two_processes"].demand
    assert rows["sip2_63_64_gateway_vs_main"].demand == REPORTED


def test_rows_of_one_situation_share_it_at_a_build_too() -> None:
    rows = of("growth_63", "growth_11")
    there, other = (rows[f"growth_63@{build}"].measure for build in ("main", "fast"))
    assert not isinstance(there, Ratio)
    assert not isinstance(other, Ratio)
    assert there.situation == rows["growth_11@main"].measure.situation  # type: ignore[union-attr]  # a figure too
    assert there.situation != other.situation


def test_a_subject_of_a_build_is_described_and_needs_what_the_subject_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.subjects.NEEDS", {"PostgreSQL": lambda: False})
    assert about("postgres@main") == "the gateway on PostgreSQL of main"
    assert lacking("postgres@main") == "PostgreSQL"
