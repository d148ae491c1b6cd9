"""The gateway as a subject: the installed command with a real configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from bench.figures import Run
from bench.generator import LoadOrder
from bench.processes import COMMAND, HOST, TIMEOUT_S, Process
from bench.questions import WORKS, Work, login
from bench.resources import Benchmark, Engine
from bench.tasks import Task
from bench.verify import check
from demo import demo_setup

GROUPS: Final = "hkall_group_units"


@dataclass(frozen=True, slots=True)
class Variant:
    """Differences from the default gateway: another `database`, or `pages`, for which it starts a second process."""

    database: Engine = "sqlite"
    pages: bool = False


# fmt: off
VARIANTS: Final[Mapping[str, Variant]] = {
    "gateway":      Variant(),
    "postgres":     Variant(database="postgresql"),
    "web":          Variant(pages=True),
    "web_postgres": Variant(pages=True, database="postgresql"),
}
# fmt: on

_MANY: Final = {"max_connections": 2000, "max_connections_per_address": 2000, "max_unproven_per_address": 2000}
CROWD: Final[Mapping[str, Mapping[str, object]]] = {"sip2": _MANY, "ncip": _MANY, "web": {"pages_per_minute": 0}}
"""Limits that admit all load of the consortium from one address and with one login."""


class GatewayProcess:
    """A gateway process on free ports. Nothing listens at its partners' URLs."""

    def __init__(self, ground: Benchmark, folder: Path, url: str, variant: Variant) -> None:
        sip2, ncip, ops, smtp, web, *others = (next(ground.ports) for _ in range(8))
        self.ports = demo_setup.Ports(sip2, ncip, ops, smtp, dict(zip(demo_setup.NAMES, others, strict=True)), web)
        tables = {**CROWD, "database": {"url": url}}
        self.config = demo_setup.write_config(
            folder, self.ports, keys=tables, callers={"max_connections": 2000}, pages=variant.pages
        )
        self.environ = {**demo_setup.environment(self.ports), "HKALL_INSTANCE": "1"}
        self.process = Process([COMMAND, "serve", "--config", self.config], folder / "log.jsonl", self.environ)
        self._waited = (ops, web) if variant.pages else (ops,)

    def until_it_listens(self) -> None:
        """Wait until all ports accept connections. Raises Broken if the process ended."""
        for port in self._waited:
            self.process.until_it_listens(port)

    def stop(self) -> None:
        """Send SIGTERM. Raises Broken unless the process ends properly."""
        self.process.stop()

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()

    def metrics(self) -> dict[str, float]:
        """Return the values of /metrics, by metric name with labels."""
        with closing(HTTPConnection(HOST, self.ports.ops, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/metrics")
            return parse(connection.getresponse().read().decode())


def parse(text: str) -> dict[str, float]:
    """Parse a page of metrics. Return the values by metric name with labels."""
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


class GatewaySubject:
    """A variant of the gateway on a fresh copy of the world, or on the database `url` if given."""

    def __init__(self, ground: Benchmark, name: str, url: str = "") -> None:
        self._ground, variant = ground, VARIANTS[name]
        folder = ground.fresh(name)
        self.url = url or ground.fresh_database(variant.database, folder)
        self._next: Counter[str] = Counter()
        self.daemon = GatewayProcess(ground, folder / "1", self.url, variant)
        try:
            self.daemon.until_it_listens()
        except BaseException:
            self.abandon()
            raise

    def run(self, task: Task) -> Run:
        """Run a task and return its figures."""
        questions, kind = self._ground.questions(task.work), WORKS[task.work]
        first = self._next[task.work]
        mine = questions[first : first + task.most] if kind.once else questions
        before = self.groups(kind)
        done = self._ground.watch(self.order(task, mine), self.daemon.process.cpu_s, self._ground.database_cpu_s(self.url))
        groups, units = (now - then for now, then in zip(self.groups(kind), before, strict=True))
        self._next[task.work] += done.answered
        return replace(done, batch=units / groups if groups else 0.0)

    def groups(self, kind: Work) -> tuple[float, ...]:
        """Return the numbers of commit groups, and of units of work in them, that the worker of this work has run so far."""
        label, samples = f'{{lane="{"writer" if kind.once else "reader"}"}}', self.daemon.metrics()
        return tuple(samples.get(f"{GROUPS}_{what}{label}", 0.0) for what in ("count", "sum"))

    def order(self, task: Task, mine: list[tuple[bytes, bytes]]) -> LoadOrder:
        """Return the order for the load generator."""
        kind, ports = WORKS[task.work], self.daemon.ports
        port, hello = (ports.ncip, b"") if kind.framing == "http" else (ports.sip2, login())
        asks = LoadOrder([port], task.connections, task.seconds, kind.framing, (kind.yes,), mine, hello, not kind.once)
        return replace(asks, rate=task.rate)

    def close(self) -> None:
        """Stop the gateway, and check that it neither lost nor duplicated a request."""
        self.daemon.stop()
        check(self.url, self._next)

    def abandon(self) -> None:
        """Kill the gateway."""
        self.daemon.kill()
