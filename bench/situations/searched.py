"""Waiting times of readers who search a large catalogue without pause, beside terminals; and those of the terminals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

from bench.catalogue import fill_catalogue
from bench.figures import quantile
from bench.gateways import GatewaySubject
from bench.plan import Plan
from bench.processes import TIMEOUT_S, Broken
from bench.resources import Benchmark, Engine
from bench.situations.crowds import running, waits_of_63
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.engine.immediate import Immediate
from hkall_gateway.store.loads import loading
from hkall_gateway.store.unit import Unit

READERS, TERMINALS, A_SECOND = 8, 4, 100.0
FEWEST_S: Final = 3.0
"""Shortest run in seconds, so that its 99th percentile is meaningful."""
STARTED_S: Final = 2.0
"""Time in which the readers' process starts."""
TOLD: Final = 100_000
"""Titles between two lines of progress."""


def on_sqlite(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """p99 in ms of READERS' searches beside TERMINALS, searches a second, and p99 of 63 at the terminals against before."""
    return _searched(ground, plan, "gateway", "sqlite")


def on_postgresql(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The same on PostgreSQL."""
    return _searched(ground, plan, "postgres", "postgresql")


def _searched(ground: Benchmark, plan: Plan, variant: str, kind: Engine) -> Mapping[str, Sequence[float]]:
    seconds, titles = max(FEWEST_S, plan.seconds), plan.size.catalogue
    found: dict[str, list[float]] = {"p50_ms": [], "p99_ms": [], "a_second": [], "terminals": []}
    url = ground.once(f"catalogue on {kind}", lambda: _catalogue(ground, kind, titles))
    with running(ground, variant, url) as gateway:
        for _ in range(plan.rounds):
            before = _p99(ground, gateway, seconds)
            waits, meanwhile = _round(ground, gateway, url, seconds, titles)
            found["p50_ms"].append(quantile(waits, 0.5) * 1000)
            found["p99_ms"].append(quantile(waits, 0.99) * 1000)
            found["a_second"].append(READERS * len(waits) / sum(waits))
            found["terminals"].append(meanwhile / before)
    return found


def _round(ground: Benchmark, gateway: GatewaySubject, url: str, seconds: float, titles: int) -> tuple[list[float], float]:
    """Return the readers' waiting times, sorted, and the terminals' p99 in the middle of them."""
    reading = STARTED_S + seconds + 1
    words = [sys.executable, "-m", "bench.readers", url, str(READERS), str(reading), str(titles)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as readers:
        try:
            readers.wait(STARTED_S)
        except subprocess.TimeoutExpired:
            meanwhile = _p99(ground, gateway, seconds)
        printed = readers.communicate(timeout=TIMEOUT_S)[0]
    if readers.returncode or not printed:
        raise Broken("the readers failed")
    return sorted(json.loads(printed)), meanwhile


def _catalogue(ground: Benchmark, kind: Engine, titles: int) -> str:
    """Make the world with a catalogue; return its URL."""
    url = ground.fresh_database(kind, ground.fresh(f"catalogue-{kind}"))
    engine, numbers = open_engine(url), count(1)
    store = Immediate(engine, lambda connection: Unit(connection, lambda: f"R{next(numbers)}"))
    for first in range(0, titles, TOLD):
        fill_catalogue(store, range(first, min(titles, first + TOLD)))
        ground.means.tell(f"{min(titles, first + TOLD):,} of {titles:,} titles on {kind}")
    store.now(loading.settle_copies)
    store.close()
    engine.dispose()
    return url


def _p99(ground: Benchmark, gateway: GatewaySubject, seconds: float) -> float:
    return quantile(waits_of_63(ground, gateway, seconds, TERMINALS, A_SECOND), 0.99)
