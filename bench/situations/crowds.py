"""Many connections: hundreds of silent ones, and two gateways that compete for the same few rows."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import make_url

from bench.figures import Run, run_of
from bench.gateways import GatewaySubject
from bench.generator import HOST, LoadOrder
from bench.plan import Plan, Size
from bench.processes import Broken
from bench.questions import WORKS, line, login, questions, stamp
from bench.resources import Benchmark
from bench.tasks import Task
from bench.world import BenchWorld, fill
from hkall_gateway.lab import postgres
from hkall_gateway.store.engine.connect import open_engine

SILENT, BUSY = 500, 50
WARM_S: Final = 3.0
TIMEOUT_S: Final = 20.0

TERMINALS: Final = 64
HOT: Final = Size(patrons=200, holdings=8000, open=2800, closed=0)
"""Few patrons, each with nearly as many books as the rules allow: checkouts compete for the same rows."""
COOL: Final = replace(HOT, patrons=1400)
"""The same books among so many patrons that two checkouts of one patron rarely coincide."""


@contextmanager
def running(ground: Benchmark, name: str, url: str = "") -> Iterator[GatewaySubject]:
    """A gateway that is closed with its checks, or abandoned after an exception."""
    gateway = GatewaySubject(ground, name, url)
    try:
        yield gateway
        gateway.close()
    finally:
        gateway.abandon()


def waits_of_63(ground: Benchmark, gateway: GatewaySubject, seconds: float, terminals: int, a_second: float) -> list[float]:
    """The waiting times of 63 in seconds, sorted, at so many terminals that together ask so often."""
    ports, kind = [gateway.daemons[0].ports.sip2], WORKS["sip2_63"]
    asked = ground.questions("sip2_63")
    order = LoadOrder(ports, terminals, seconds, "line", (kind.yes,), asked, login(), again=True, rate=a_second)
    return sorted(ground.drive(order)[1])


# ---- many silent connections


def idle(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Resident memory after `plan.idle_s` seconds with 500 silent and 50 busy terminals, against before. Broken on errors."""
    with running(ground, "gateway") as gateway, ExitStack() as lines:
        daemon = gateway.daemons[0]
        silent = [lines.enter_context(closing(logged_in(daemon.ports.sip2))) for _ in range(SILENT)]
        gateway.run(Task("sip2_63", BUSY, WARM_S, 0))
        before = daemon.process.rss_kib()
        gateway.run(Task("sip2_63", BUSY, plan.idle_s, 0))
        after = daemon.process.rss_kib()
        for number, terminal in enumerate(silent):
            _still_there(ground, terminal, number)
    return {"memory": [after / before]}


def memory(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Resident memory in KiB of each 100 terminals that have logged in and are silent, beside as many others."""
    return {"kib": [_kib_of_100(ground) for _ in range(plan.rounds)]}


def _kib_of_100(ground: Benchmark) -> float:
    with running(ground, "gateway") as gateway, ExitStack() as lines:
        daemon = gateway.daemons[0]

        def more() -> int:
            for _ in range(SILENT):
                lines.enter_context(closing(logged_in(daemon.ports.sip2)))
            return daemon.process.rss_kib()

        few = more()  # with all that a daemon makes once
        return (more() - few) * 100 / SILENT


def logged_in(port: int) -> socket.socket:
    """A terminal that has logged in."""
    terminal = socket.create_connection((HOST, port), TIMEOUT_S)
    terminal.sendall(login())
    _heard(terminal, b"941")
    return terminal


def _still_there(ground: Benchmark, terminal: socket.socket, number: int) -> None:
    terminal.sendall(line(f"35{stamp(ground.world.now)}AOHKU|AAP000001|AC|", number))
    _heard(terminal, b"36Y")


def _heard(terminal: socket.socket, wanted: bytes) -> None:
    if not (said := terminal.recv(4096)).startswith(wanted):
        raise Broken(f"a silent terminal wanted {wanted!r} and heard {said!r}")


# ---- the same few rows


def hot_rows(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Deadlocks that PostgreSQL counted, and p99, while 64 terminals of two processes lend to 200 patrons.

    Also the ratio of that p99 to the one with 1,400 patrons, and the rates.
    """
    found = [(_fight(ground, HOT, plan.seconds), _fight(ground, COOL, plan.seconds)) for _ in range(plan.rounds)]
    return {
        "deadlocks": [float(hot.deadlocks + cool.deadlocks) for hot, cool in found],
        "p99": [hot.run.p99_ms / cool.run.p99_ms for hot, cool in found],
        "p99_ms": [hot.run.p99_ms for hot, _ in found],
        "a_second": [hot.run.rate for hot, _ in found],
    }


@dataclass(frozen=True, slots=True)
class Fight:
    """The result of one fight."""

    deadlocks: int
    run: Run


def _fight(ground: Benchmark, size: Size, seconds: float) -> Fight:
    world = BenchWorld(size, ground.means.now())
    server, url = ground.server, ground.empty_database()
    engine = open_engine(url)
    fill(engine, world)
    engine.dispose()
    with running(ground, "postgres_2", url) as gateway:
        task = Task("sip2_11", TERMINALS, seconds, size.open)
        said, waits_s = ground.drive(gateway.order(task, questions(WORKS["sip2_11"], world)))
        gateway.note(task.work, len(waits_s))
    name = make_url(url).database
    counted = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"
    return Fight(int(postgres.ask(server, counted)), run_of(said["took_s"], waits_s))
