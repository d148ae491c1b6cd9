"""A terminal's waiting times while expensive documents are posted without pause, against those before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from bench.figures import quantile
from bench.gateways import GatewaySubject
from bench.generator import LoadOrder
from bench.plan import Plan
from bench.processes import TIMEOUT_S, Broken
from bench.questions import line, login
from bench.resources import Benchmark
from bench.situations.crowds import running
from bench.situations.nights import lag

EXPENSIVE: Final = (sys.executable, "-m", "hkall_gateway.lab.expensive_documents")
POSTERS, TERMINALS, A_SECOND = 4, 4, 400.0
FEWEST_S: Final = 2.0
"""Shortest run in seconds, so that its 99th percentile is meaningful."""
QUESTIONS: Final = [(line("9900802.00", number), b"") for number in range(10)]


def attacked(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """p99 of message 99 at four terminals under attack against before, and the reactor's longest lag in ms."""
    seconds, ratios, lags = max(FEWEST_S, plan.seconds), list[float](), list[float]()
    with running(ground, "gateway") as gateway:
        for _ in range(plan.rounds):
            idle = _p99(ground, gateway, seconds)
            before = gateway.daemons[0].metrics()
            words = [*EXPENSIVE, str(gateway.daemons[0].ports.ncip), str(POSTERS), str(seconds + 1)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as poster:
                ratios.append(_p99(ground, gateway, seconds) / idle)
                if not int(poster.communicate(timeout=TIMEOUT_S)[0]):
                    raise Broken("no monster was answered")
            lags.append(1000 * lag(before, gateway.daemons[0].metrics(), 1.0))
    return {"p99": ratios, "lag_ms": lags}


def _p99(ground: Benchmark, gateway: GatewaySubject, seconds: float) -> float:
    ports = [gateway.daemons[0].ports.sip2]
    order = LoadOrder(ports, TERMINALS, seconds, "line", (b"98",), QUESTIONS, login(), again=True, rate=A_SECOND)
    return quantile(sorted(ground.drive(order)[1]), 0.99)
