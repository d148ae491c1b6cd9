"""Hours of ordinary load: growth of memory, files and waiting times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.figures import quantile
from bench.gateways import GatewaySubject
from bench.generator import LoadOrder, Question
from bench.plan import Plan
from bench.questions import WORKS
from bench.resources import Benchmark
from bench.situations.terminals import running
from bench.tasks import Task

POLL_S: Final = 1.0
MIXED: Final = ("sip2_63", "sip2_11", "sip2_09")
BOOKS: Final = 100
MOST_S: Final = 2.0
HALF: Final = 0.5
TERMINALS, PARTNERS = 32, 8
MIB: Final = 2**20
LAG: Final = "hkall_reactor_lag_seconds_bucket"


@dataclass(slots=True)
class Watch:
    """Samples of the gateway process, one each second."""

    cpu_s: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    wal_mib: list[float] = field(default_factory=list)

    def look(self, gateway: GatewaySubject) -> None:
        """Record the process's CPU time, memory, descriptors and write-ahead log."""
        process = gateway.daemon.process
        wal = Path(gateway.url.removeprefix("sqlite:///") + "-wal")
        self.cpu_s.append(process.cpu_s())
        self.memory.append(process.rss_kib())
        self.descriptors.append(process.descriptors())
        self.wal_mib.append(wal.stat().st_size / MIB if wal.exists() else 0.0)


def soak(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Run mixed load at half of the maximum rate for `plan.soak_s` seconds. Return growth and waiting times.

    Terminals and partners ask at the same time. Growth compares the last tenth of the run with the second tenth. The reactor's
    lag is the gateway's own measurement, rounded up to the bound of a histogram bucket.
    """
    with running(ground, "gateway") as gateway, ThreadPoolExecutor(2) as pool:
        orders = _orders(ground, gateway)
        most = [future.result() for future in [pool.submit(_driven, ground, order) for order in orders]]
        halves = [replace(order, seconds=plan.soak_s, rate=HALF * rate) for order, (rate, _) in zip(orders, most, strict=True)]
        before = gateway.daemon.metrics()
        futures = [pool.submit(_driven, ground, order) for order in halves]
        watch = _watched(gateway, futures)
        lag_s = lag(before, gateway.daemon.metrics(), 0.99)
        (rate, waits_s), (lookups, _) = (future.result() for future in futures)
    return {
        "cpu": [growth([after - before for before, after in pairwise(watch.cpu_s)])],
        "memory": [growth(watch.memory)],
        "descriptors": [growth(watch.descriptors)],
        "wal": [growth(watch.wal_mib)],
        "waits": [growth(waits_s)],
        "wal_mib": [max(watch.wal_mib)],
        "p99_ms": [quantile(sorted(waits_s), 0.99) * 1000],
        "lag_ms": [lag_s * 1000],
        "a_second": [rate + lookups],
    }


def _orders(ground: Benchmark, gateway: GatewaySubject) -> tuple[LoadOrder, LoadOrder]:
    """Return the orders for the terminals and for the partners, at the maximum rate."""
    terminals = gateway.order(Task("sip2_63", TERMINALS, MOST_S, 0), mixture(ground))
    partners = gateway.order(Task("lookup_user", PARTNERS, MOST_S, 0), ground.questions("lookup_user"))
    return replace(terminals, yes=tuple(WORKS[work].yes for work in MIXED)), partners


def _driven(ground: Benchmark, order: LoadOrder) -> tuple[float, list[float]]:
    """Run an order. Return answers per second, and each answer's waiting time."""
    result, waits_s = ground.drive(order)
    return len(waits_s) / result["took_s"], waits_s


def lag(before: Mapping[str, float], after: Mapping[str, float], share: float) -> float:
    """Return the smallest bucket bound in seconds that `share` of the lag samples between two readings did not exceed."""
    beats = {name: after[name] - before.get(name, 0.0) for name in after if name.startswith(LAG)}
    bounds = {float(name.partition('le="')[2].partition('"')[0]): count for name, count in beats.items()}
    return min(bound for bound, count in bounds.items() if count >= share * bounds[math.inf])


def _watched(gateway: GatewaySubject, futures: Sequence[Future[Any]]) -> Watch:
    watch = Watch()
    watch.look(gateway)
    while not all(future.done() for future in futures):
        wait(futures, POLL_S)
        watch.look(gateway)
    return watch


def growth(seen: Sequence[float]) -> float:
    """Return the median of the last tenth divided by that of the second tenth. The first tenth is warm-up."""
    tenth = max(1, len(seen) // 10)
    early, late = seen[tenth : 2 * tenth] or seen[:1], seen[-tenth:]
    return median(late) / median(early)


def mixture(ground: Benchmark) -> list[Question]:
    """Mix questions: mostly patrons' records, some checkouts and, much later, their cancellations (09 with BI)."""
    seen, lent, undone = (ground.questions(work) for work in MIXED)
    books = min(BOOKS, len(lent))
    return [*lent[:books], *seen[: 3 * books], *undone[:books], *seen[3 * books : 6 * books]]
