"""The report that the benchmark prints from its records."""

from __future__ import annotations

from typing import Any

from bench.report import BUSY, screen, short

SIZE = {"patrons": 1000, "holdings": 2000, "open": 3000, "closed": 4000}
RATIO = {"lowest": 0.2, "highest": 0.4, "rounds": 3, "demand": "≥ 0.15", "how": "so", "by_cpu": 0.25}
CELL = {"work": "sip2_63", "connections": 64, "subject": "gateway", "answered": 9, "rate": 1234.5, "p50_ms": 1.0}
FIGURES = {"p99_ms": 2.0, "cpu_us": 50.0, "database_us": 0.0, "batch": 12.3, "generator": 0.5}


def records(key: str = "sip2_63_vs_echo", median: float = 0.3, met: bool = True) -> dict[str, Any]:
    return {
        "machine": {"cpu": "A machine", "cores": 2, "python": "3.11", "load": 0.1},
        "plan": {"rounds": 3, "seconds": 1.0, "size": SIZE, "soak_s": 0.0},
        "cells": [{**CELL, **FIGURES}],
        "ratios": {key: {**RATIO, "median": median, "met": met}},
        "not_measured": {"soak_memory": "only with --soak"},
        "failed": {"attacked_p99": "it fell\nover"},
    }


def test_screen_shows_measured_skipped_and_failed_rows() -> None:
    shown = screen(records())
    assert "| `sip2_63_vs_echo` | ≥ 0.15 | 0.3 | 0.2 to 0.4 | 0.25 |  | " in shown
    assert "| `soak_memory` | ≤ 1.1 | not measured |  |  | only with --soak | " in shown
    assert "| `attacked_p99` | ≤ 5 | not measured |  |  | it fell over | " in shown
    assert "| sip2_63 | 64 | gateway | 1,234 | 1.00 | 2.00 | 50 | 0 | 12.3 | 50% |" in shown
    assert "growth_63" not in shown


def test_busy_machine_is_reported() -> None:
    quiet, busy = records(), records() | {"machine": {**records()["machine"], "load": 9.0}}
    assert (BUSY in screen(quiet), BUSY in screen(busy)) == (False, True)


def test_row_missing_its_target_is_marked_and_named() -> None:
    said = records(median=0.1, met=False)
    assert short(said) == ["sip2_63_vs_echo"]
    assert "| 0.25 | **short** |" in screen(said)


def test_rows_that_exist_only_in_a_comparison_are_shown() -> None:
    said = records()
    said["ratios"]["sip2_63_64_gateway_vs_main"] = {**RATIO, "demand": "reported", "median": 0.9, "met": True}
    said["not_measured"]["postgres_11_rate@main"] = "there is no PostgreSQL here"
    assert "| `sip2_63_64_gateway_vs_main` | reported | 0.9 | 0.2 to 0.4 | 0.25 |  | so |" in screen(said)
    assert "| `postgres_11_rate@main` |  | not measured |  |  | there is no PostgreSQL here |  |" in screen(said)
