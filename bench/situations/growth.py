"""Years of history: whether a million closed requests slow the counter down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import insert

from bench.figures import Run
from bench.gateways import GatewaySubject
from bench.interleaved import Cell, measured
from bench.plan import Plan
from bench.resources import Benchmark
from bench.situations.terminals import running
from bench.world import sync
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.rounds import ROUND
from hkall_gateway.db.tables import JOBS
from tests import bulk

FEW: Final = 10_000
LINES: Final = 10
TOLD: Final = 200_000
CONNECTIONS: Final = 64
WORKS: Final = ("sip2_63", "sip2_11")


def growth(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Measure rates with a long history against a short one, and the memory of both gateways."""
    few, most = FEW, plan.size.closed
    with ExitStack() as ending:
        aged = {closed: ending.enter_context(running(ground, "gateway", _aged(ground, closed))) for closed in {few, most}}
        runs = _runs(aged, plan)
        memory = {closed: gateway.daemon.process.rss_kib() for closed, gateway in aged.items()}
    ratios = {work: [b.rate / a.rate for a, b in zip(runs[work, few], runs[work, most], strict=True)] for work in WORKS}
    return {**ratios, "memory": [memory[most] / memory[few]]}


def _runs(aged: Mapping[int, GatewaySubject], plan: Plan) -> dict[tuple[str, int], list[Run]]:
    """Run each work at each size in all rounds. The sizes take turns, in reverse order in every other round."""
    runs: dict[tuple[str, int], list[Run]] = {(work, closed): [] for work in WORKS for closed in aged}
    for number in range(plan.rounds):
        for work, closed in sorted(runs, reverse=bool(number % 2)):
            cell = Cell(work, CONNECTIONS, "gateway")
            runs[work, closed].append(measured(aged[closed], cell, plan.size.open // plan.rounds, plan.seconds))
    return runs


def _aged(ground: Benchmark, closed: int) -> str:
    """Create a database with the world and `closed` closed requests, and return its URL."""
    url, now = ground.fresh_database("sqlite", ground.fresh(f"closed-{closed}")), ground.means.now()
    engine = open_engine(url)

    def tell(done: int) -> None:
        if done % TOLD == 0:
            ground.means.tell(f"{done:,} of {closed:,} closed requests")

    bulk.fill(engine, bulk.Amounts(requests=closed, lines=LINES), now, tell)
    with engine.connect() as connection:  # otherwise the first start would purge ten years at once, during the measurement
        purged = {"name": f"{ROUND}purge", "last_run": now, "next_run": now + timedelta(days=1), "count": 0}
        connection.execute(insert(JOBS), purged)
    engine.dispose()
    sync(Path(url.removeprefix("sqlite:///")))
    return url
