"""Waiting times of terminals while browsers of staff or patrons load pages without pause, compared with those without."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, count
from time import perf_counter
from typing import Final

from bench.catalogue import fill_catalogue, typed
from bench.figures import quantile
from bench.gateways import VARIANTS, GatewaySubject
from bench.plan import Plan
from bench.processes import TIMEOUT_S, Broken
from bench.resources import Benchmark, Engine
from bench.situations.terminals import running, waits_of_63
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.loads import catalogue
from hkall_gateway.db.search.searching import search
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.simulator.databases import SoleStore

TERMINALS, A_SECOND = 16, 740.0
READERS, SEARCHES = 8, 500
FEWEST_S: Final = 4.0  # shortest run: it gives 2,960 waiting times, of which 29 exceed the 99th percentile
LOGINS_S: Final = 4.0  # for all logins: hashing a password is expensive, and must not be part of the measurement
TOLD: Final = 100_000  # titles between two progress messages


@dataclass(frozen=True, slots=True)
class Audience:
    """A number of browsers of "staff" or "readers", and the variant of the gateway that they use."""

    variant: str
    kind: str
    browsers: int = 20

    def browsed(self, ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
        """Measure p99 of 63 while pages are loaded, in ms and as a ratio to before and after, and the times of the pages."""
        seconds, titles = max(FEWEST_S, plan.seconds), plan.size.catalogue if self.kind == "readers" else 0
        found: dict[str, list[float]] = {"p99": [], "p99_ms": [], "pages": []}
        database = VARIANTS[self.variant].database
        url = ground.once(f"titles on {database}", lambda: _catalogue(ground, database, titles)) if titles else ""
        with running(ground, self.variant, url) as gateway:
            for _ in range(plan.rounds):
                before = waits_of_63(ground, gateway, seconds, TERMINALS, A_SECOND)
                drawn_s, meanwhile = self._round(ground, gateway, seconds, titles)
                before += waits_of_63(ground, gateway, seconds, TERMINALS, A_SECOND)  # other load may change meanwhile
                found["p99"].append(quantile(meanwhile, 0.99) / quantile(sorted(before), 0.99))
                found["p99_ms"].append(quantile(meanwhile, 0.99) * 1000)
                found["pages"].append(self.browsers * len(drawn_s) / sum(drawn_s))
        return found

    def _round(
        self, ground: Benchmark, gateway: GatewaySubject, seconds: float, titles: int
    ) -> tuple[list[float], list[float]]:
        """Return the sorted seconds of each page, and the terminals' waiting times meanwhile."""
        arguments = map(str, (gateway.daemon.ports.web, self.browsers, seconds + LOGINS_S + 1, self.kind, titles))
        words = [sys.executable, "-m", "bench.browsers", *arguments]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as browsers:
            try:
                browsers.wait(LOGINS_S)
            except subprocess.TimeoutExpired:
                meanwhile = waits_of_63(ground, gateway, seconds, TERMINALS, A_SECOND)
            printed = browsers.communicate(timeout=TIMEOUT_S)[0]
        if browsers.returncode or not printed:
            raise Broken("the browsers failed")
        return sorted(json.loads(printed)), meanwhile


def searched(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Measure p99 of a search while READERS search at the same time, in ms."""
    engine = open_engine(ground.once("titles on sqlite", lambda: _catalogue(ground, "sqlite", plan.size.catalogue)))

    def look(reader: int) -> Iterator[float]:
        with engine.connect() as connection:
            for words in [typed(plan.size.catalogue, reader * SEARCHES + one) for one in range(SEARCHES)]:
                begun = perf_counter()
                search(connection, words, lambda *_copy: True)
                yield perf_counter() - begun

    with ThreadPoolExecutor(READERS) as readers:
        rounds = [sorted(chain(*readers.map(lambda one: [*look(one)], range(READERS)))) for _ in range(plan.rounds)]
    return {"p99_ms": [quantile(waits, 0.99) * 1000 for waits in rounds]}


def _catalogue(ground: Benchmark, kind: Engine, titles: int) -> str:
    """Create a database with the world and a catalogue, and return its URL."""
    url = ground.fresh_database(kind, ground.fresh(f"catalogue-{kind}"))
    engine, numbers = open_engine(url), count(1)
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: f"R{next(numbers)}"))
    for first in range(0, titles, TOLD):
        fill_catalogue(store, range(first, min(titles, first + TOLD)))
        ground.means.tell(f"{min(titles, first + TOLD):,} of {titles:,} titles on {kind}")
    store.now(lambda unit: catalogue.settle(unit.connection))
    store.close()
    engine.dispose()
    return url
