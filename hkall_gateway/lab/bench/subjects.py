"""What is measured: the gateway and everything it is compared with, each behind the same two verbs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from hkall_gateway.lab import setup
from hkall_gateway.lab.bench.figures import Run
from hkall_gateway.lab.bench.generator import Order
from hkall_gateway.lab.bench.ground import Ground
from hkall_gateway.lab.bench.processes import COMMAND, Broken, Process
from hkall_gateway.lab.bench.questions import WORKS, login
from hkall_gateway.lab.bench.tallies import check

SERVING: Final = (sys.executable, "-m", "hkall_gateway.lab.bench.serving")
NO_KEYS: Final[setup.Keys] = {}


@dataclass(frozen=True, slots=True)
class Task:
    """One run: a work of WORKS over so many connections. `most` limits questions that can be asked only once."""

    work: str
    connections: int
    seconds: float
    most: int


class Subject(Protocol):
    """Something that does a task."""

    def run(self, task: Task) -> Run: ...

    def close(self) -> None:
        """End it. AssertionError if it lost or doubled anything that it answered."""
        ...

    def abandon(self) -> None:
        """End it whatever state it is in."""
        ...


@dataclass(frozen=True, slots=True)
class Variant:
    """A gateway that differs from the usual one in `keys` of its configuration or in its environment."""

    keys: setup.Keys = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


# fmt: off
VARIANTS: Final[Mapping[str, Variant]] = {
    "gateway":       Variant(),
    "single":        Variant({"database": {"batch_units": 1}}),
    "silent":        Variant({"logs": {"level": "error"}}),
}
"""By the name that rows use. `single`: one commit each; `silent`: a log of errors only."""
# fmt: on

CROWD: Final = {"sip2": {"max_connections": 2000, "max_connections_per_address": 2000}}
"""The whole consortium comes from one address here."""


class Gateway:
    """The daemon as it is installed, on a database of its own, with nobody at home at its partners' addresses."""

    def __init__(self, ground: Ground, name: str, variant: Variant, database: Path) -> None:
        self._ground, self.database = ground, database
        self._next: Counter[str] = Counter()
        sip2, ncip, ops, smtp, *others = (next(ground.ports) for _ in range(7))
        self.ports = setup.Ports(sip2, ncip, ops, smtp, dict(zip(setup.NAMES, others, strict=True)))
        folder = database.parent
        keys = {**CROWD, **variant.keys}
        keys["database"] = {**keys.get("database", {}), "url": f"sqlite:///{database}"}
        self.config = setup.write_config(folder, self.ports, keys=keys)
        self.environ = {**setup.environment(self.ports), **variant.environ}
        self.process = Process([COMMAND, "serve", "--config", self.config], folder / f"{name}.jsonl", self.environ)
        self.process.until_it_listens(ops)

    def run(self, task: Task) -> Run:
        asked, kind = self._ground.questions(task.work), WORKS[task.work]
        first = self._next[task.work]
        port, hello = (self.ports.sip2, login()) if kind.framing == "line" else (self.ports.ncip, b"")
        mine = asked[first : first + task.most] if kind.once else asked
        order = Order([port], task.connections, task.seconds, kind.framing, kind.yes, mine, hello, not kind.once)
        done = self._ground.drive_and_watch(order, self.process.cpu_s)
        self._next[task.work] += done.answered
        return done

    def close(self) -> None:
        self.process.stop()
        check(f"sqlite:///{self.database}", self._next)

    def abandon(self) -> None:
        self.process.kill()


class Peer:
    """One of the small servers of serving.py. `names_it`: its answers name what they are about; a canned one's cannot."""

    def __init__(self, ground: Ground, name: str) -> None:
        self._ground, self._name, self._port = ground, name, next(ground.ports)
        log = ground.fresh(name) / "log"
        self.process = Process([*SERVING, name, str(self._port)], log)
        self.process.until_it_listens(self._port)

    def run(self, task: Task) -> Run:
        kind, canned = WORKS[task.work], self._name in CANNED
        asked = [(text, b"" if canned else wanted) for text, wanted in self._ground.questions(task.work)]
        yes = b"" if self._name in ECHOES else kind.yes
        order = Order([self._port], task.connections, task.seconds, kind.framing, yes, asked, again=True)
        return self._ground.drive_and_watch(order, self.process.cpu_s)

    def close(self) -> None:
        self.process.stop()

    def abandon(self) -> None:
        self.process.kill()


ECHOES: Final = frozenset({"echo"})
CANNED: Final = frozenset({"canned"})
PEERS: Final = ("echo", "canned")


def start(ground: Ground, name: str) -> Subject:
    """A subject by the name that rows use. Raises Broken for one that cannot be had on this machine."""
    if name in VARIANTS:
        folder = ground.fresh(name)
        ground.copy_template(folder / "hkall.db")
        return Gateway(ground, name, VARIANTS[name], folder / "hkall.db")
    if name in PEERS:
        return Peer(ground, name)
    raise Broken(f"{name} is no subject")


def names() -> Sequence[str]:
    """Every subject."""
    return (*VARIANTS, *PEERS)
