"""Waiting times of terminals while expensive documents are posted without pause, compared with those before."""

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
from bench.situations.soaking import lag
from bench.situations.terminals import running, waits_of_63

EXPENSIVE: Final = (sys.executable, "-m", "tests.attacks.expensive_documents")
POSTERS, TERMINALS, A_SECOND = 4, 4, 400.0
FEWEST_S: Final = 2.0
"""Shortest run in seconds, so that its 99th percentile is meaningful."""
QUESTIONS: Final = [(line("9900802.00", number), b"") for number in range(10)]


SEEN_TERMINALS, SEEN_A_SECOND = 16, 740.0
"""Number of terminals that ask for patrons' records, and their questions per second."""


def attacked(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Measure p99 of 99 and of 63 under attack, as ratios to before, and the reactor's longest lag in ms."""
    seconds = max(FEWEST_S, plan.seconds)
    found: dict[str, list[float]] = {"p99": [], "p99_of_63": [], "lag_ms": []}
    with running(ground, "gateway") as gateway:
        for _ in range(plan.rounds):
            idle = _p99s(ground, gateway, seconds)
            before = gateway.daemon.metrics()
            words = [*EXPENSIVE, str(gateway.daemon.ports.ncip), str(POSTERS), str(2 * seconds + 1)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as poster:
                during = _p99s(ground, gateway, seconds)
                if not int(poster.communicate(timeout=TIMEOUT_S)[0]):
                    raise Broken("no expensive document was answered")
            found["p99"].append(during[0] / idle[0])
            found["p99_of_63"].append(during[1] / idle[1])
            found["lag_ms"].append(1000 * lag(before, gateway.daemon.metrics(), 1.0))
    return found


def _p99s(ground: Benchmark, gateway: GatewaySubject, seconds: float) -> tuple[float, float]:
    """Return p99 of 99 and p99 of 63."""
    ports = [gateway.daemon.ports.sip2]
    order = LoadOrder(ports, TERMINALS, seconds, "line", (b"98",), QUESTIONS, login(), again=True, rate=A_SECOND)
    seen = waits_of_63(ground, gateway, seconds, SEEN_TERMINALS, SEEN_A_SECOND)
    return quantile(sorted(ground.drive(order)[1]), 0.99), quantile(seen, 0.99)
