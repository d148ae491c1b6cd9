"""Resources of the benchmark: its folder, the generated world, and databases that are created once for all rounds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from bench.builds import Build, BuildHost
from bench.figures import Run, run_of
from bench.generator import LoadOrder, Question, write_order
from bench.plan import Size
from bench.processes import Broken, family_cpu_s, ports
from bench.questions import WORKS, questions
from bench.world import BenchWorld, copy_file, fill
from hkall_gateway.db.engine.connect import open_engine
from tests import postgres_server
from tests.postgres_server import PostgresServer

SOURCES: Final = Path(__file__).parents[1] / "fixtures" / "bench"
RUN_S: Final = 60.0
"""Seconds that a run of the generator may take in addition to the time in its order."""
SERVER_SETTINGS: Final = ("listen_addresses=", "max_connections=100", "shared_buffers=256MB", "max_wal_size=4GB")
TEMPLATE: Final = "world"


T = TypeVar("T")
Engine = Literal["sqlite", "postgresql"]


def _no_cpu_s() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class BenchServices:
    """Clocks and functions that the caller of the benchmark provides.

    Attributes:
        now: Returns the current time in UTC.
        seconds: Returns the time of a monotonic clock.
        tell: Reports progress.
        command: Runs a command line of the gateway with additional environment variables.
        builds: Other builds of the gateway, by name.
    """

    now: Callable[[], datetime]
    seconds: Callable[[], float]
    tell: Callable[[str], None]
    command: Callable[[Sequence[str], Mapping[str, str]], None]
    builds: Mapping[str, Build] = field(default_factory=dict)


class Benchmark:
    """One benchmark. `closing` releases the resources that are created here once for all rounds."""

    def __init__(self, folder: Path, size: Size, means: BenchServices, closing: ExitStack) -> None:
        self.folder, self.world, self.means = folder, BenchWorld(size, means.now()), means
        self.ports = ports()
        self._closing, self._numbers = closing, count(1)
        self.questions: Callable[[str], list[Question]] = cache(self._make_questions)
        self._once: dict[str, Any] = {}

    def fresh(self, name: str) -> Path:
        """Create a new folder."""
        made = self.folder / f"{next(self._numbers):03d}-{name}"
        made.mkdir()
        return made

    def _make_questions(self, work: str) -> list[Question]:
        return questions(WORKS[work], self.world)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return the result of `make`, which is called only once for each name."""
        if name not in self._once:
            self._once[name] = make()
        made: T = self._once[name]
        return made

    def host(self, build: str) -> BuildHost:
        """Return the process that runs the subjects of another build."""
        return self.once(f"build {build}", lambda: self._closing.enter_context(self._start_host(build)))

    def _start_host(self, build: str) -> BuildHost:
        host = BuildHost(self.means.builds[build], self.fresh(build), self.world.size)
        self.means.tell(f"{build}: {host.about}")
        return host

    def fresh_database(self, kind: Engine, folder: Path) -> str:
        """Create a fresh copy of the world's database, and return its URL."""
        if kind == "sqlite":
            copy_file(self.template, folder / "hkall.db")
            return f"sqlite:///{folder / 'hkall.db'}"
        server, name = self.server, f"copy{next(self._numbers)}"
        postgres_server.ask(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return server.url(name)

    @property
    def template(self) -> Path:
        """The SQLite file with the world, which is copied for each subject."""
        file = self.folder / "template.db"
        if not file.exists():
            self._fill_template(f"sqlite:///{file}")
        return file

    @property
    def server(self) -> PostgresServer:
        """A PostgreSQL server with the world as its template database. Raises Broken if PostgreSQL is not installed."""
        return self.once("server", self._start_server)

    def _start_server(self) -> PostgresServer:
        programs = postgres_server.programs()
        if programs is None:
            raise Broken("there is no initdb here")
        server = self._closing.enter_context(postgres_server.server(programs, SERVER_SETTINGS))
        postgres_server.ask(server, f"CREATE DATABASE {TEMPLATE}")
        self._fill_template(server.url(TEMPLATE))
        postgres_server.ask(server, "VACUUM ANALYZE", TEMPLATE)
        return server

    def _fill_template(self, url: str) -> None:
        engine = open_engine(url)
        fill(engine, self.world)
        engine.dispose()

    def database_cpu_s(self, url: str) -> Callable[[], float]:
        """Return a clock for the CPU time of the database's own processes. SQLite has none."""
        return _no_cpu_s if url.startswith("sqlite") else lambda: family_cpu_s(self.server.pid)

    def drive(self, order: LoadOrder) -> tuple[dict[str, Any], list[float]]:
        """Run an order in a generator process. Return its figures and the waiting times. Raises Broken for a wrong answer."""
        file = self.folder / f"order{next(self._numbers)}.json"
        write_order(file, order)
        limit = order.seconds + RUN_S
        words: list[str | Path] = [sys.executable, "-m", "bench.generator", file]
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
        file.unlink()
        if done.returncode:
            raise Broken(f"the load generator says: {done.stderr[-2000:]}")
        result = json.loads(done.stdout)
        return result, result.pop("waits_s")

    def watch(self, order: LoadOrder, cpu_s: Callable[[], float], database_cpu_s: Callable[[], float] = _no_cpu_s) -> Run:
        """Run an order and return its figures. The two clocks return the CPU time of the subject and of its database."""
        before, database_before = cpu_s(), database_cpu_s()
        result, waits_s = self.drive(order)
        used = cpu_s() - before, result["cpu_s"], database_cpu_s() - database_before
        return run_of(result["took_s"], waits_s, *used)
