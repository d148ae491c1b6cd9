"""A terminal's waiting times while twenty browsers of staff or of readers draw pages without pause, against those without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from bench.figures import quantile
from bench.gateways import GatewaySubject
from bench.plan import Plan
from bench.processes import TIMEOUT_S, Broken
from bench.resources import Benchmark
from bench.situations.crowds import running, waits_of_63
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.engine.immediate import Immediate
from hkall_gateway.store.loads import catalogue
from hkall_gateway.store.unit import Unit

BROWSERS, TERMINALS, A_SECOND = 20, 16, 740.0
FEWEST_S: Final = 4.0
"""Shortest run in seconds: of 2,960 waiting times, 29 are longer than the 99th percentile."""
LOGINS_S: Final = 4.0
"""Time for all logins: a password's hash is dear, and none of it belongs to the measurement."""


def in_one_process(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """p99 of 63 at 16 terminals beside the browsers, against before and after them, and pages a second.

    The pages are the daemon's own.
    """
    return _browsed(ground, plan, "web", "staff")


def in_two_processes(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The same with the pages in a process of their own on the same database."""
    return _browsed(ground, plan, "web_2", "staff")


def searched_in_one_process(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The same beside readers who search and open titles; the pages are the daemon's own."""
    return _browsed(ground, plan, "web", "readers")


def searched_on_postgresql(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The same beside readers in one process, on PostgreSQL."""
    return _browsed(ground, plan, "web_postgres", "readers")


def searched_in_two_processes(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The same beside readers, with the pages in a process of their own."""
    return _browsed(ground, plan, "web_2", "readers")


def _browsed(ground: Benchmark, plan: Plan, variant: str, kind: str) -> Mapping[str, Sequence[float]]:
    seconds, ratios, pages = max(FEWEST_S, plan.seconds), list[float](), list[float]()
    with running(ground, variant) as gateway:
        if kind == "readers":
            _make_titles(gateway.url)
        for _ in range(plan.rounds):
            before = _waits(ground, gateway, seconds)
            drawing = seconds + LOGINS_S + 1
            words = [sys.executable, "-m", "bench.browsers", str(gateway.web_port), str(BROWSERS), str(drawing), kind]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as browsers:
                try:
                    browsers.wait(LOGINS_S)
                except subprocess.TimeoutExpired:
                    meanwhile = _waits(ground, gateway, seconds)
                drawn = browsers.communicate(timeout=TIMEOUT_S)[0]
            if browsers.returncode or not drawn:
                raise Broken("the browsers failed")
            pages.append(int(drawn) / drawing)
            without = sorted(before + _waits(ground, gateway, seconds))  # what else the machine does may change meanwhile
            ratios.append(quantile(meanwhile, 0.99) / quantile(without, 0.99))
    return {"p99": ratios, "pages": pages}


def _make_titles(url: str) -> None:
    """Write the titles of all copies with their search words, which the benchmark's own filling leaves out."""
    engine, last = open_engine(url), ""
    store = Immediate(engine, lambda connection: Unit(connection, str))
    while more := store.now(lambda unit, after: catalogue.fill(unit.connection, after), last):
        last = more
    store.close()
    engine.dispose()


def _waits(ground: Benchmark, gateway: GatewaySubject, seconds: float) -> list[float]:
    return waits_of_63(ground, gateway, seconds, TERMINALS, A_SECOND)
