"""A whole benchmark: the rows that were asked for, as far as this machine can, in one folder that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from hkall_gateway.lab.bench import subjects
from hkall_gateway.lab.bench.figures import Spread
from hkall_gateway.lab.bench.ground import Ground, Means
from hkall_gateway.lab.bench.report import Report
from hkall_gateway.lab.bench.rows import Figure, Ratio, Row
from hkall_gateway.lab.bench.situations import Situation
from hkall_gateway.lab.bench.turns import Plan, Runs, take_turns


def measure(chosen: Sequence[Row], plan: Plan, means: Means) -> Report:
    """The ratios in turns, then each situation once."""
    missing = {row: why for row in chosen if (why := obstacle(row, plan))}
    wanted = [row for row in chosen if row not in missing]
    with tempfile.TemporaryDirectory(prefix="hkall-bench-") as folder, ExitStack() as closing:
        ground = Ground(Path(folder), plan.size, means, closing)
        runs = take_turns({cell for row in wanted for cell in row.cells}, plan, partial(subjects.start, ground), means.tell)
        situations = dict.fromkeys(row.measure.situation for row in wanted if isinstance(row.measure, Figure))
        found = {situation: _measured(situation, ground, plan) for situation in situations}
    spreads = {row: _spread(row, runs, found) for row in wanted}
    return Report(runs, spreads, missing)


def obstacle(row: Row, plan: Plan) -> str:
    """Why a row cannot be measured here and now; "" if it can."""
    if isinstance(row.measure, Figure):
        situation = row.measure.situation
        lacks = [subjects.without(situation.needs)]
        if situation.patient and not plan.soak_s:
            return "only with --soak"
    else:
        lacks = [subjects.lacking(cell.subject) for cell in row.cells]
    return next((f"there is no {name} here" for name in lacks if name), "")


def _measured(situation: Situation, ground: Ground, plan: Plan) -> dict[str, Spread]:
    ground.means.tell(situation.name)
    return {name: Spread(tuple(values)) for name, values in situation.measure(ground, plan).items()}


def _spread(row: Row, runs: Runs, found: dict[Situation, dict[str, Spread]]) -> Spread:
    if isinstance(row.measure, Ratio):
        return row.measure.spread(runs)
    return found[row.measure.situation][row.measure.name]
