"""What was measured, for people and for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hkall_gateway.lab.bench.figures import Run, Spread, middle
from hkall_gateway.lab.bench.rows import Row
from hkall_gateway.lab.bench.turns import Cell


@dataclass(frozen=True, slots=True)
class Report:
    """The runs of every cell, and the spread of every row."""

    runs: Mapping[Cell, Sequence[Run]]
    spreads: Mapping[Row, Spread]

    @property
    def short(self) -> list[str]:
        """The rows that fall short of what is demanded of them."""
        return [row.key for row, spread in self.spreads.items() if not row.met(spread)]


def as_json(report: Report) -> dict[str, Any]:
    """Everything: the machine, each cell's medians, each row's ratio with its lowest and highest round."""
    cells = [{**asdict(cell), **asdict(middle(runs))} for cell, runs in report.runs.items()]
    return {"machine": machine(), "cells": cells, "ratios": {row.key: _ratio(row, s) for row, s in report.spreads.items()}}


def _ratio(row: Row, spread: Spread) -> dict[str, Any]:
    found = {"median": spread.median, "lowest": spread.lowest, "highest": spread.highest}
    return {**found, "demand": row.demand, "met": row.met(spread)}


def table(report: Report) -> str:
    """The cells, then the rows, as Markdown."""
    return "\n".join([*_cells(report.runs), "", *_rows(report.spreads)])


def _cells(runs: Mapping[Cell, Sequence[Run]]) -> Iterator[str]:
    yield "| work | connections | subject | a second | p50 ms | p99 ms | CPU µs each | generator's CPU |"
    yield "|---|---|---|---|---|---|---|---|"
    for cell, some in runs.items():
        run = middle(some)
        figures = f"{run.rate:,.0f} | {run.p50_ms:.2f} | {run.p99_ms:.2f} | {run.cpu_us:,.0f} | {run.generator:.0%}"
        yield f"| {cell.work} | {cell.connections} | {cell.subject} | {figures} |"


def _rows(spreads: Mapping[Row, Spread]) -> Iterator[str]:
    yield "| row | median | lowest to highest | demand | |"
    yield "|---|---|---|---|---|"
    for row, spread in spreads.items():
        demand = "reported" if row.demand is None else f"≥ {row.demand:g}"
        said = "" if row.met(spread) else "**short**"
        yield f"| {row.key} | {spread.median:.3g} | {spread.lowest:.3g} to {spread.highest:.3g} | {demand} | {said} |"


def machine() -> dict[str, Any]:
    """What it ran on."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in facts if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
