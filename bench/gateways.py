"""The gateway as a subject: the installed command with a real configuration, one process or several on one database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
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
from hkall_gateway.lab import demo_setup

SLOW_MS: Final = 3
GROUPS: Final = "hkall_group_units"


@dataclass(frozen=True, slots=True)
class Variant:
    """A gateway that differs from the default one: in `keys` of its configuration, its database, its processes, its disk."""

    keys: demo_setup.Keys = field(default_factory=dict)
    database: Engine = "sqlite"
    processes: int = 1
    slow: bool = False
    pages: bool = False
    apart: bool = False


SINGLE: Final = {"database": {"batch_units": 1}}
QUIET: Final = {"logs": {"level": "error"}}
# fmt: off
VARIANTS: Final[Mapping[str, Variant]] = {
    "gateway":     Variant(),
    "single":      Variant(SINGLE),
    "quiet":       Variant(QUIET),
    "slow":        Variant(slow=True),
    "slow_single": Variant(SINGLE, slow=True),
    "postgres":    Variant(database="postgresql"),
    "postgres_2":  Variant(database="postgresql", processes=2),
    "web":         Variant(pages=True),
    "web_2":       Variant(pages=True, apart=True),
    "web_postgres": Variant(pages=True, database="postgresql"),
}
"""`single`: one commit each; `quiet`: a log of errors only; `slow`: an fsync takes 3 ms longer; `_2`: two processes;
`web`: with the pages for people, in the same process or (`_2`) in one of their own."""
# fmt: on

_MANY: Final = {"max_connections": 2000, "max_connections_per_address": 2000, "max_unproven_per_address": 2000}
CROWD: Final[Mapping[str, Mapping[str, object]]] = {"sip2": _MANY, "ncip": _MANY, "web": {"pages_per_minute": 0}}
"""Limits for a run in which all of the consortium comes from one address, with one login."""


class GatewayProcess:
    """One process of the gateway, on free ports; its partners' addresses have no listener. It was started at `begun_s`."""

    def __init__(self, ground: Benchmark, folder: Path, url: str, variant: Variant, instance: str = "1") -> None:
        sip2, ncip, ops, smtp, web, *others = (next(ground.ports) for _ in range(8))
        self.ports = demo_setup.Ports(sip2, ncip, ops, smtp, dict(zip(demo_setup.NAMES, others, strict=True)), web)
        tables = {**CROWD, **variant.keys}
        tables["database"] = {**tables.get("database", {}), "url": url}
        self.config = demo_setup.write_config(
            folder, self.ports, keys=tables, callers={"max_connections": 2000}, pages=variant.pages
        )
        self.environ = {**demo_setup.environment(self.ports), "HKALL_INSTANCE": instance}
        if variant.slow:
            self.environ |= {"LD_PRELOAD": str(ground.slow_disk), "HKALL_FSYNC_MS": str(SLOW_MS)}
        serve: list[str | Path] = [COMMAND, "serve", "--config", self.config]
        self.begun_s = ground.means.seconds()
        rest = ["--without", "web"] if variant.apart else []
        self.process = Process([*serve, *rest], folder / "log.jsonl", self.environ)
        self.pages = Process([*serve, "--only", "web"], folder / "pages.jsonl", self.environ) if variant.apart else None
        self._waited = {ops: self.process, **({web: self.pages or self.process} if variant.pages else {})}

    def until_it_listens(self) -> None:
        """Wait for all ports; Broken if a process ended."""
        for port, process in self._waited.items():
            process.until_it_listens(port)

    def stop(self) -> None:
        """Send SIGTERM to all that was started; Broken unless it ends well."""
        for process in filter(None, (self.pages, self.process)):
            process.stop()

    def kill(self) -> None:
        for process in filter(None, (self.pages, self.process)):
            process.kill()

    def metrics(self) -> dict[str, float]:
        """Returns the values of /metrics, by name and labels."""
        with closing(HTTPConnection(HOST, self.ports.ops, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/metrics")
            return parse(connection.getresponse().read().decode())


def parse(text: str) -> dict[str, float]:
    """A page of metrics as values by name and labels."""
    told = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in told}


class GatewaySubject:
    """All processes of a variant on a fresh copy of the world, or on `url` where that is given."""

    def __init__(self, ground: Benchmark, name: str, url: str = "") -> None:
        self._ground, variant = ground, VARIANTS[name]
        folder = ground.fresh(name)
        self.url = url or ground.fresh_database(variant.database, folder)
        self.daemons: list[GatewayProcess] = []
        self._next: Counter[str] = Counter()
        try:
            for number in range(1, variant.processes + 1):
                self.daemons.append(GatewayProcess(ground, folder / str(number), self.url, variant, str(number)))
                self.daemons[-1].until_it_listens()
        except BaseException:
            self.abandon()
            raise

    def run(self, task: Task) -> Run:
        asked, kind = self._ground.questions(task.work), WORKS[task.work]
        first = self._next[task.work]
        mine = asked[first : first + task.most] if kind.once else asked
        before = self.groups(kind)
        done = self._ground.watch(self.order(task, mine), self.cpu_s, self._ground.database_cpu_s(self.url))
        groups, units = (now - then for now, then in zip(self.groups(kind), before, strict=True))
        self.note(task.work, done.answered)
        return replace(done, batch=units / groups if groups else 0.0)

    def note(self, work: str, answered: int) -> None:
        """Adds so many to the answers that the database must show at the end."""
        self._next[work] += answered

    def groups(self, kind: Work) -> tuple[float, ...]:
        """The number of groups, and of units in them, that all processes have run so far in the worker of this work."""
        label = f'{{lane="{"writer" if kind.once else "reader"}"}}'
        told = [daemon.metrics() for daemon in self.daemons]
        return tuple(sum(metrics.get(f"{GROUPS}_{what}{label}", 0.0) for metrics in told) for what in ("count", "sum"))

    def order(self, task: Task, mine: list[tuple[bytes, bytes]]) -> LoadOrder:
        """Returns the load generator's order for all processes."""
        kind = WORKS[task.work]
        ports = [daemon.ports.ncip if kind.framing == "http" else daemon.ports.sip2 for daemon in self.daemons]
        hello = login() if kind.framing == "line" else b""
        return LoadOrder(ports, task.connections, task.seconds, kind.framing, (kind.yes,), mine, hello, not kind.once)

    @property
    def web_port(self) -> int:
        """The port of the pages."""
        return self.daemons[0].ports.web

    def cpu_s(self) -> float:
        """CPU seconds of all processes so far."""
        return sum(daemon.process.cpu_s() for daemon in self.daemons)

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.stop()
        check(self.url, self._next)

    def abandon(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
