"""What was measured, for people and for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hkall_gateway.lab.bench.figures import Spread, middle
from hkall_gateway.lab.bench.rows import Row
from hkall_gateway.lab.bench.turns import Runs


@dataclass(frozen=True, slots=True)
class Report:
    """The runs of every cell and the spread of every row; of a row that was not measured, why."""

    runs: Runs
    spreads: Mapping[Row, Spread]
    missing: Mapping[Row, str]

    @property
    def short(self) -> list[str]:
        """The rows that fall short of what is demanded of them."""
        return [row.key for row, spread in self.spreads.items() if not row.demand.met(spread.median)]


def as_records(report: Report) -> dict[str, Any]:
    """Everything: the machine, each cell's medians, each row with its lowest and highest round."""
    cells = [{**asdict(cell), **asdict(middle(runs))} for cell, runs in report.runs.items()]
    ratios = {row.key: _ratio(row, spread) for row, spread in report.spreads.items()}
    missing = {row.key: why for row, why in report.missing.items()}
    return {"machine": machine(), "cells": cells, "ratios": ratios, "not_measured": missing}


def _ratio(row: Row, spread: Spread) -> dict[str, Any]:
    found = {"median": spread.median, "lowest": spread.lowest, "highest": spread.highest, "rounds": len(spread.values)}
    return {**found, "demand": str(row.demand), "met": row.demand.met(spread.median), "how": row.measure.how}


def table(report: Report) -> str:
    """The machine, the cells and the rows, as Markdown."""
    seen = machine()
    head = f"{seen['cpu']}, {seen['cores']} cores, CPython {seen['python']}, load {seen['load']:.1f}"
    return "\n".join([head, "", *_cells(report.runs), "", *_rows(report)])


def _cells(runs: Runs) -> Iterator[str]:
    yield "| work | connections | subject | a second | p50 ms | p99 ms | CPU µs each | database µs each | generator's CPU |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for cell, some in runs.items():
        run = middle(some)
        figures = f"{run.rate:,.0f} | {run.p50_ms:.2f} | {run.p99_ms:.2f}"
        cpu = f"{run.cpu_us:,.0f} | {run.database_us:,.0f} | {run.generator:.0%}"
        yield f"| {cell.work} | {cell.connections} | {cell.subject} | {figures} | {cpu} |"


def _rows(report: Report) -> Iterator[str]:
    yield "| row | median | lowest to highest | demand | | what |"
    yield "|---|---|---|---|---|---|"
    for row, spread in report.spreads.items():
        said = "" if row.demand.met(spread.median) else "**short**"
        figures = f"{spread.median:.3g} | {spread.lowest:.3g} to {spread.highest:.3g}"
        yield f"| {row.key} | {figures} | {row.demand} | {said} | {row.measure.how} |"
    for row, why in report.missing.items():
        yield f"| {row.key} | not measured | | {row.demand} | {why} | {row.measure.how} |"


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in facts if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
