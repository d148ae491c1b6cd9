"""Waiting times of terminals while `load holdings` reads a large file into the same database, compared with those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.catalogue import write_csv
from bench.figures import quantile
from bench.gateways import GatewaySubject
from bench.plan import Plan
from bench.processes import COMMAND, Broken, Process
from bench.resources import Benchmark
from bench.situations.terminals import running, waits_of_63

TERMINALS, A_SECOND = 16, 740.0
SAMPLE_S: Final = 2.0
"""Seconds for which the terminals are measured at a time."""


def loading(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Measure p99 of 63 at 16 terminals during a whole load, as a ratio to before and in ms, and rows loaded per second.

    It is measured once, since a load of a million rows takes minutes.
    """
    rows = plan.size.loaded
    ground.means.tell(f"writing a file of {rows:,} holdings")
    file = ground.fresh("holdings") / "holdings.csv"
    write_csv(file, range(rows))
    with running(ground, "gateway") as gateway:
        idle = [waits_of_63(ground, gateway, SAMPLE_S, TERMINALS, A_SECOND) for _ in range(plan.rounds)]
        begun = ground.means.seconds()
        during = sorted(_waits_until_loaded(ground, gateway, file))
        took_s = ground.means.seconds() - begun
    p99 = quantile(during, 0.99)
    return {"p99": [p99 / median(quantile(waits, 0.99) for waits in idle)], "p99_ms": [p99 * 1000], "a_second": [rows / took_s]}


def _waits_until_loaded(ground: Benchmark, gateway: GatewaySubject, file: Path) -> Iterator[float]:
    """Yield the waiting times from the start of the command until it ends. Raises Broken if it failed."""
    daemon = gateway.daemon
    words: list[str | Path] = [COMMAND, "load", "holdings", file, "--config", daemon.config]
    load = Process(words, file.with_suffix(".log"), daemon.environ)
    try:
        while (code := load.ended()) is None:
            yield from waits_of_63(ground, gateway, SAMPLE_S, TERMINALS, A_SECOND)
    finally:
        load.kill()
    if code:
        raise Broken(f"load holdings: {load.output_tail()}")
