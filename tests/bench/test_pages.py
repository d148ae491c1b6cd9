"""What the benchmark says of its records: on the screen, on a page, in a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.aims import AIMS
from bench.capacity import CASES, OVER
from bench.pages import BEGIN, BEGIN_FULL, BUSY, END, full, screen, summary, write
from bench.report import short, together
from bench.rows import KEYS, ROWS

SIZE = {"patrons": 1000, "holdings": 2000, "open": 3000, "closed": 4000}
RATIO = {"lowest": 0.2, "highest": 0.4, "rounds": 3, "demand": "≥ 0.15", "how": "so", "by_cpu": 0.25}
CELL = {"work": "sip2_63", "connections": 64, "subject": "gateway", "answered": 9, "rate": 1234.5, "p50_ms": 1.0}
FIGURES = {"p99_ms": 2.0, "cpu_us": 50.0, "database_us": 0.0, "batch": 12.3, "generator": 0.5}


def records(key: str = "sip2_63_vs_echo", median: float = 0.3, met: bool = True) -> dict[str, Any]:
    return {
        "machine": {"cpu": "A machine", "cores": 2, "python": "3.11", "load": 0.1},
        "plan": {"rounds": 3, "seconds": 1.0, "size": SIZE, "idle_s": 1.0, "soak_s": 0.0},
        "cells": [{**CELL, **FIGURES}],
        "ratios": {key: {**RATIO, "median": median, "met": met}},
        "figures": {"growth": {"sip2_63 with 10000": {"values": [5.0]}, "sip2_63 with 20000": {"values": [4.0]}}},
        "not_measured": {"soak_memory": "only with --soak"},
        "failed": {"midnight": "it fell\nover"},
    }


def test_the_screen_shows_what_was_measured_what_was_not_and_what_failed() -> None:
    shown = screen(records())
    assert "| `sip2_63_vs_echo` | ≥ 0.15 | 0.3 | 0.2 to 0.4 | 0.25 |  | " in shown
    assert "| `soak_memory` | ≤ 1.1 | not measured |  |  | only with --soak | " in shown
    assert "| `midnight` | ≤ 5 | not measured |  |  | it fell over | " in shown
    assert "| sip2_63 | 64 | gateway | 1,234 | 1.00 | 2.00 | 50 | 0 | 12.3 | 50% |" in shown
    assert "growth_63" not in shown


def test_a_machine_that_was_busy_with_other_work_is_told() -> None:
    quiet, busy = records(), records() | {"machine": {**records()["machine"], "load": 9.0}}
    assert (BUSY in full(quiet), BUSY in full(busy)) == (False, True)
    assert (BUSY in summary(quiet), BUSY in summary(busy)) == (False, True)


def test_a_row_that_falls_short_is_marked_and_named() -> None:
    said = records(median=0.1, met=False)
    assert short(said) == ["sip2_63_vs_echo"]
    assert "| 0.25 | **short** |" in screen(said)


def test_a_page_has_also_the_rows_that_were_not_measured() -> None:
    assert "| `growth_63` | ≥ 0.8 | not measured |" in full(records())
    assert "| `growth_63` | ≥ 0.8 | not measured |" in summary(records())
    assert "| sip2_63 | gateway | 1,234 (1.0 / 2.0) |" in full(records())


def test_rows_that_only_a_comparison_of_builds_has_are_on_the_screen_and_on_the_full_page() -> None:
    said = records()
    said["ratios"]["sip2_63_64_gateway_vs_main"] = {**RATIO, "demand": "reported", "median": 0.9, "met": True}
    said["not_measured"]["two_processes@main"] = "there is no PostgreSQL here"
    for shown in (screen(said), full(said)):
        assert "| `sip2_63_64_gateway_vs_main` | reported | 0.9 | 0.2 to 0.4 | 0.25 |  | so |" in shown
    assert "| `two_processes@main` |  | not measured |  |  | there is no PostgreSQL here |  |" in screen(said)


def compiled(**medians: float) -> dict[str, Any]:
    said = records()
    found = {key.replace("__", "@"): {**RATIO, "median": value, "met": value >= 0.15} for key, value in medians.items()}
    return {**said, "ratios": {**said["ratios"], **found}}


def test_the_compiled_build_stands_beside_plain_python_and_either_may_be_short() -> None:
    row = "| `sip2_63_vs_echo` | ≥ 0.15 | 0.3 | 0.2 to 0.4 |"
    assert f"{row}  |  | patron" in summary(records())
    assert f"{row} 0.5 |  | patron" in summary(compiled(sip2_63_vs_echo__compiled=0.5))
    assert f"{row} 0.1 | **short** | patron" in summary(compiled(sip2_63_vs_echo__compiled=0.1))


def test_an_aim_is_judged_by_the_compiled_build_if_that_was_measured() -> None:
    assert "| 0.22 | `sip2_63_vs_echo` | 0.3 | not measured | reached |" in summary(records())
    said = compiled(sip2_63_vs_echo__compiled=0.21)
    assert "| 0.22 | `sip2_63_vs_echo` | 0.3 | 0.21 | **not reached** |" in summary(said)
    assert "| 6 | `codec_vs_pysip2` | not measured | not measured |  |" in summary(said)


def test_the_bar_is_the_lowest_row_of_terminals_against_the_version_before() -> None:
    said = compiled(
        sip2_63_64_gateway_vs_main=0.9,
        sip2_11_1_gateway_vs_main=0.79,
        sip2_11_64_single_vs_main=0.2,
        sip2_11_64_postgres_vs_compiled=0.3,
        request_item_16_gateway_vs_main=0.1,
        sip2_63_vs_echo__main=0.2,
        sip2_63_64_gateway__compiled_vs_main=1.16,
        sip2_11_1_gateway__compiled_vs_main=1.01,
    )
    shown = summary(said)
    assert "| 0.8 | plain: the lowest row of terminals against the version before | 0.79 |  | **not reached** |" in shown
    assert "| 1 | compiled: the lowest of these rows |  | 1.01 | reached |" in shown
    assert "| 1.15 | compiled: a 63 over 64 connections against the version before |  | 1.16 | reached |" in shown


def test_every_aim_is_a_row_and_every_case_of_capacity_is_made_of_works_that_rows_measure() -> None:
    cells = {(cell.work, cell.connections) for row in ROWS for cell in row.cells if cell.subject == "gateway"}
    assert AIMS.keys() <= KEYS
    assert {work for case in CASES for work in case.a_second} <= OVER.keys()
    assert set(OVER.items()) <= cells


def works(subject: str, times: float) -> list[dict[str, Any]]:
    rates = {"request_item": 100.0, "sip2_11": 200.0, "sip2_63": 400.0}
    common = {**CELL, **FIGURES, "subject": subject}
    return [{**common, "work": work, "connections": OVER[work], "rate": times * rate} for work, rate in rates.items()]


def test_capacity_is_the_rate_of_the_mixture_beside_what_is_needed() -> None:
    # Ten, five and five messages: 20 / (10 / 100 + 5 / 200 + 5 / 400) a second; 170,000 a year are 1.574 messages a second.
    shown = summary({**records(), "cells": works("gateway", 1)})
    assert (
        "| HKALL, all of it at one gateway | 170,000 requests a year, in 250 days | 1.57 | 145 | not measured | 92 |" in shown
    )
    assert "with five books | 50 | not measured | not measured |  |" in shown
    assert "answers a second: 400 patrons' records (63), 200 checkouts (11), 100 RequestItem." in shown
    both = summary({**records(), "cells": [*works("gateway", 1), *works("gateway@compiled", 2)]})
    assert "| 1.57 | 145 | 291 | 185 |" in both
    assert "in brackets compiled: 400 (800) patrons' records" in both


@pytest.mark.parametrize(("begin", "tables"), [(BEGIN, summary), (BEGIN_FULL, full)])
def test_a_page_keeps_what_stands_around_its_tables(tmp_path: Path, begin: str, tables: Callable[..., str]) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{begin}\nold\n{END}\nafter\n", encoding="utf-8")
    write(records(), file)
    write(records(), file)
    said = file.read_text(encoding="utf-8")
    assert said == f"before\n{begin}\n\n{tables(records())}\n\n{END}\nafter\n"


def test_a_page_without_a_place_for_tables_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("only words\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no place"):
        write(records(), file)
    assert file.read_text(encoding="utf-8") == "only words\n"


def test_of_several_runs_the_last_that_has_a_row_counts_and_what_was_made_up_for_has_not_failed() -> None:
    whole = together([records(), records("midnight", 2.0), records("sip2_63_vs_echo", 0.9)])
    assert {key: ratio["median"] for key, ratio in whole["ratios"].items()} == {"sip2_63_vs_echo": 0.9, "midnight": 2.0}
    assert (whole["failed"], whole["not_measured"], len(whole["cells"])) == ({}, {"soak_memory": "only with --soak"}, 1)


def test_the_picture_has_every_part(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawn only where the extra `bench` is installed")
    from bench.plot import LAYOUT, draw

    draw(records(), str(tmp_path / "picture.svg"))
    said = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    for part in {name for line in LAYOUT for name in line} - {"growth", "rows"}:
        assert f"<!-- {part} -->" in said
    assert "<!-- closed requests in the database -->" in said
    assert "<!-- sip2_63_vs_echo -->" in said
