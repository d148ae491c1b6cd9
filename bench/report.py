"""Format measurements as records of plain JSON values, and as tables for the screen."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.figures import Spread, middle
from bench.interleaved import Runs
from bench.plan import Plan
from bench.rows import ROWS, Ratio, Row

Records = Mapping[str, Any]
BUSY: Final = "The machine was busy with other work: these figures show that the rows run, not how fast anything is."
ROW_HEAD: Final = ("row", "demand", "median", "lowest to highest", "by CPU", "", "what")
CELL_HEAD: Final = (
    "work",
    "connections",
    "subject",
    "a second",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "database µs",
    "batch",
    "generator",
)


def records_of(
    plan: Plan, runs: Runs, spreads: Mapping[Row, Spread], missing: Mapping[Row, str], failed: Mapping[Row, str]
) -> Records:
    """Return the plan, the medians of each cell over its runs, and each row with its lowest and highest round.

    It also has the reason for each row that was not measured: `missing` rows cannot be measured here, `failed` rows were tried.
    """
    return {
        "plan": asdict(plan),
        "cells": [{**asdict(cell), **asdict(middle(some))} for cell, some in runs.items()],
        "ratios": {row.key: _ratio(row, spread, runs) for row, spread in spreads.items()},
        "not_measured": {row.key: why for row, why in missing.items()},
        "failed": {row.key: why for row, why in failed.items()},
    }


def _ratio(row: Row, spread: Spread, runs: Runs) -> dict[str, Any]:
    found = {"median": spread.median, "lowest": spread.lowest, "highest": spread.highest, "rounds": len(spread.values)}
    cpu = row.measure.by_cpu(runs) if isinstance(row.measure, Ratio) else None
    return {**found, "by_cpu": cpu, "demand": str(row.demand), "met": row.demand.met(spread.median), "how": row.measure.how}


def short(records: Records) -> list[str]:
    """Return the rows that miss their demand."""
    return [key for key, ratio in records["ratios"].items() if not ratio["met"]]


def machine() -> dict[str, Any]:
    """Describe the machine and its current load."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in facts if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}


def screen(records: Records) -> str:
    """Format the machine, every cell, and the chosen rows as Markdown."""
    on, how = records["machine"], records["plan"]
    ran = f"{how['rounds']} rounds of {how['seconds']:g} s, {how['size']['open']:,} books on the hold shelf."
    busy = f" {BUSY}" if on["load"] > on["cores"] else ""
    machine_line = (
        f"{on['cpu']}, {on['cores']} cores, CPython {on['python']}, load {on['load']:.1f} before it began. {ran}{busy}"
    )
    keys = dict.fromkeys([*records["ratios"], *records["not_measured"], *records["failed"]])
    cells = _table(CELL_HEAD, map(_shown, records["cells"]))
    return "\n".join([machine_line, "", *cells, "", *_table(ROW_HEAD, (_row(key, records) for key in keys))])


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *lines):
        yield f"| {' | '.join(cells)} |"


def _row(key: str, records: Records) -> Sequence[str]:
    found = records["ratios"].get(key)
    if found is None:
        why = records["failed"].get(key) or records["not_measured"][key]
        demand, how = next(((str(row.demand), row.measure.how) for row in ROWS if row.key == key), ("", ""))
        return f"`{key}`", demand, "not measured", "", "", why.replace("\n", " ")[:120], how
    spread = f"{found['lowest']:.3g} to {found['highest']:.3g}"
    cpu = "" if found["by_cpu"] is None else f"{found['by_cpu']:.2g}"
    return f"`{key}`", found["demand"], f"{found['median']:.3g}", spread, cpu, "" if found["met"] else "**short**", found["how"]


def _shown(cell: Mapping[str, Any]) -> Sequence[str]:
    rate = f"{cell['rate']:,.0f}", f"{cell['p50_ms']:.2f}", f"{cell['p99_ms']:.2f}"
    cpu = f"{cell['cpu_us']:,.0f}", f"{cell['database_us']:,.0f}", f"{cell['batch']:.1f}", f"{cell['generator']:.0%}"
    return cell["work"], str(cell["connections"]), cell["subject"], *rate, *cpu
