"""What the benchmark says of its records: on the screen, on a page, in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.pages import BEGIN, BUSY, END, page, screen, write
from bench.report import short, together

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
    assert (BUSY in page(quiet), BUSY in page(busy)) == (False, True)


def test_a_row_that_falls_short_is_marked_and_named() -> None:
    said = records(median=0.1, met=False)
    assert short(said) == ["sip2_63_vs_echo"]
    assert "| 0.25 | **short** |" in screen(said)


def test_a_page_has_also_the_rows_that_were_not_measured() -> None:
    assert "| `growth_63` | ≥ 0.8 | not measured |" in page(records())
    assert "| sip2_63 | gateway | 1,234 (1.0 / 2.0) |" in page(records())


def test_a_page_keeps_what_stands_around_its_tables(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write(records(), file)
    write(records(), file)
    said = file.read_text(encoding="utf-8")
    assert said == f"before\n{BEGIN}\n\n{page(records())}\n\n{END}\nafter\n"


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
