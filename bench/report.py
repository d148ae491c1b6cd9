"""Measurements as records: plain JSON values. Records of several runs can be merged."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.figures import Spread, middle
from bench.interleaved import Runs
from bench.plan import Plan
from bench.rows import Ratio, Row

Records = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The runs of every cell, the spread of every row, and all figures of every situation.

    The reason for each row that was not measured: `missing` cannot be measured here, `failed` was tried.
    """

    machine: Mapping[str, Any]
    plan: Plan
    runs: Runs
    spreads: Mapping[Row, Spread]
    missing: Mapping[Row, str]
    failed: Mapping[Row, str]
    figures: Mapping[str, Mapping[str, Spread]]


def as_records(report: BenchReport) -> dict[str, Any]:
    """All records: the machine, each cell's medians, each row with its lowest and highest round."""
    return {
        "machine": dict(report.machine),
        "plan": asdict(report.plan),
        "cells": [{**asdict(cell), **asdict(middle(runs))} for cell, runs in report.runs.items()],
        "ratios": {row.key: _ratio(row, spread, report.runs) for row, spread in report.spreads.items()},
        "figures": {name: {what: asdict(spread) for what, spread in found.items()} for name, found in report.figures.items()},
        "not_measured": {row.key: why for row, why in report.missing.items()},
        "failed": {row.key: why for row, why in report.failed.items()},
    }


def _ratio(row: Row, spread: Spread, runs: Runs) -> dict[str, Any]:
    found = {"median": spread.median, "lowest": spread.lowest, "highest": spread.highest, "rounds": len(spread.values)}
    cpu = row.measure.by_cpu(runs) if isinstance(row.measure, Ratio) else None
    return {**found, "by_cpu": cpu, "demand": str(row.demand), "met": row.demand.met(spread.median), "how": row.measure.how}


def short(records: Records) -> list[str]:
    """The rows that miss their demand."""
    return [key for key, ratio in records["ratios"].items() if not ratio["met"]]


def together(some: Iterable[Records]) -> dict[str, Any]:
    """Merges records: a row measured twice has its last result. The machine and the plan are those of the last records."""
    whole: dict[str, Any] = {"cells": []}
    for records in some:
        mine = {_cell(cell): cell for cell in records["cells"]}
        cells = {**{_cell(cell): cell for cell in whole["cells"]}, **mine}
        merged = {part: {**whole.get(part, {}), **records[part]} for part in PARTS}
        whole = {**records, **merged, "cells": list(cells.values())}
    measured = whole["ratios"].keys()
    return {
        **whole,
        **{part: {k: v for k, v in whole[part].items() if k not in measured} for part in ("not_measured", "failed")},
    }


PARTS: Final = ("ratios", "figures", "not_measured", "failed")
ALL_PARTS: Final = ("machine", "plan", "cells", *PARTS)


def _cell(cell: Mapping[str, Any]) -> tuple[str, int, str]:
    return cell["work"], cell["connections"], cell["subject"]


def machine() -> dict[str, Any]:
    """Describes the machine, and its present load."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in facts if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
