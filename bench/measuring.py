"""A whole benchmark: measure the chosen rows, as far as this machine can run them, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import subjects
from bench.figures import Spread
from bench.interleaved import InterleavedRuns, alternate
from bench.plan import Plan
from bench.processes import FAILURES
from bench.report import Records, machine, records_of
from bench.resources import Benchmark, BenchServices
from bench.rows import Figure, Row, Situation

Found = dict[Situation, Mapping[str, Spread] | str]
"""Figures of each situation, or the reason for its failure."""


def measure(chosen: Sequence[Row], plan: Plan, means: BenchServices) -> Records:
    """Measure the ratios in turns, then each situation once."""
    on = machine()
    missing = {row: why for row in chosen if (why := obstacle(row, plan))}
    wanted = [row for row in chosen if row not in missing]
    with tempfile.TemporaryDirectory(prefix="hkall-bench-") as folder, ExitStack() as closing:
        ground = Benchmark(Path(folder), plan.size, means, closing)
        interleaving = alternate(
            {cell for row in wanted for cell in row.cells}, plan, partial(subjects.start, ground), means.tell
        )
        situations = dict.fromkeys(row.measure.situation for row in wanted if isinstance(row.measure, Figure))
        found: Found = {situation: _measure_situation(situation, ground, plan) for situation in situations}
    results = {row: _summarise(row, interleaving, found) for row in wanted}
    failed = {row: result for row, result in results.items() if isinstance(result, str)}
    spreads = {row: result for row, result in results.items() if not isinstance(result, str)}
    return {"machine": on, **records_of(plan, interleaving.runs, spreads, missing, failed)}


def obstacle(row: Row, plan: Plan) -> str:
    """Return the reason why a row cannot be measured on this machine or with this plan, or "" if it can."""
    if isinstance(row.measure, Figure):
        situation = row.measure.situation
        lacks = [subjects.without(situation.needs)]
        if situation.patient and not plan.soak_s:
            return "only with --soak"
    else:
        lacks = [subjects.lacking(cell.subject) for cell in row.cells]
    return next((f"there is no {name} here" for name in lacks if name), "")


def _measure_situation(situation: Situation, ground: Benchmark, plan: Plan) -> Mapping[str, Spread] | str:
    ground.means.tell(situation.name)
    try:
        return {name: Spread(tuple(values)) for name, values in situation.measure(ground, plan).items()}
    except FAILURES as error:
        ground.means.tell(f"{situation.name} failed: {error}")
        return str(error) or repr(error)


def _summarise(row: Row, interleaving: InterleavedRuns, found: Found) -> Spread | str:
    """Return the spread of a measured row, or the reason for its failure."""
    if isinstance(row.measure, Figure):
        result = found[row.measure.situation]
        return result if isinstance(result, str) else result[row.measure.name]
    failed = [interleaving.failed[cell.subject] for cell in row.cells if cell.subject in interleaving.failed]
    return failed[0] if failed else row.measure.spread(interleaving.runs)
