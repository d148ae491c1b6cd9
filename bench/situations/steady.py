"""Waiting times at an ordinary rate: fifty questions of one kind per second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bench.plan import Plan
from bench.resources import Benchmark
from bench.situations.terminals import running
from bench.tasks import Task

WORKS_ASKED: Final = ("sip2_63", "sip2_11", "lookup_user", "request_item")
CONNECTIONS: Final = 4
"""Fewer connections than one in a hundred questions: all connections send at once at the start, which must not decide p99."""
A_SECOND: Final = 50.0
FEWEST_S: Final = 10.0
"""Shortest run in seconds, so that its 99th percentile is meaningful."""
WARM_S: Final = 1.0


def steady(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Measure p99 in ms of each work after a warm-up, on a fresh copy of the world in every round."""
    seconds = max(FEWEST_S, plan.seconds)
    found: dict[str, list[float]] = {work: [] for work in WORKS_ASKED}
    for _ in range(plan.rounds):
        with running(ground, "gateway") as gateway:
            for work, p99s in found.items():
                gateway.run(Task(work, CONNECTIONS, WARM_S, round(A_SECOND * WARM_S), A_SECOND))
                p99s.append(gateway.run(Task(work, CONNECTIONS, seconds, round(A_SECOND * seconds), A_SECOND)).p99_ms)
    return found
