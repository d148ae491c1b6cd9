"""SUBJECTS: all subjects of measurements, by the name that rows use, and their requirements on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Final

from bench.baselines.table import BaselineServer, Design, Disk, InC, PgBench
from bench.builds import AT, BuildSubject
from bench.gateways import GatewaySubject
from bench.resources import SOURCES, Benchmark
from bench.tasks import Subject
from hkall_gateway.lab import postgres


@dataclass(frozen=True, slots=True)
class Kind:
    """How a subject is started, its description for people, and the row of NEEDS that it requires."""

    start: Callable[[Benchmark, str], Subject]
    about: str
    needs: str = ""


NEEDS: Final[Mapping[str, Callable[[], bool]]] = {
    "PostgreSQL": lambda: postgres.programs() is not None,
    "pgbench": lambda: (found := postgres.programs()) is not None and (found / "pgbench").exists(),
    "cc": lambda: shutil.which("cc") is not None and SOURCES.exists(),
    "pysip2": lambda: find_spec("pysip2") is not None,
    "aiohttp": lambda: find_spec("aiohttp") is not None,
}
"""The checks of requirements, by their name for people."""

# fmt: off
SUBJECTS: Final[Mapping[str, Kind]] = {
    "gateway":     Kind(GatewaySubject, "the gateway"),
    "single":      Kind(GatewaySubject, "the gateway with one commit each"),
    "quiet":       Kind(GatewaySubject, "the gateway with a log of errors only"),
    "slow":        Kind(GatewaySubject, "the gateway on a disk with 3 ms an fsync", "cc"),
    "slow_single": Kind(GatewaySubject, "one commit each on a disk with 3 ms an fsync", "cc"),
    "postgres":    Kind(GatewaySubject, "the gateway on PostgreSQL", "PostgreSQL"),
    "postgres_2":  Kind(GatewaySubject, "two processes on one PostgreSQL", "PostgreSQL"),
    "echo":        Kind(BaselineServer,  "a bare LineReceiver that echoes the same lines"),
    "canned":      Kind(BaselineServer,  "a twisted.web resource with canned bytes"),
    "protocol":    Kind(BaselineServer,  "our session and codec alone"),
    "pysip2":      Kind(BaselineServer,  "pysip2's server with a dictionary behind it", "pysip2"),
    "aiohttp":     Kind(BaselineServer,  "aiohttp doing the same XML without a database", "aiohttp"),
    "c_single":    Kind(partial(InC, batch=1),  "C on SQLite, one commit each", "cc"),
    "c_batched":   Kind(partial(InC, batch=64), "C on SQLite, 64 a commit", "cc"),
    "orm":         Kind(partial(Design, kind="orm", database="sqlite"), "ORM sessions in a pool of 10, no sockets"),
    "core_pg":     Kind(partial(Design, kind="core", database="postgresql"), "Core in a pool of 10, no sockets", "PostgreSQL"),
    "pgbench":     Kind(PgBench, "pgbench, the same in 7 trips", "pgbench"),
    "disk":        Kind(Disk,    "the disk's own fsyncs"),
}
# fmt: on


def lacking(name: str) -> str:
    """The requirement of a subject that this machine lacks, for people; "" if it lacks none."""
    return without(SUBJECTS[name.partition(AT)[0]].needs)


def without(needs: str) -> str:
    """The name of this row of NEEDS if the machine does not have it; "" if it has."""
    return needs if needs and not NEEDS[needs]() else ""


def start(ground: Benchmark, name: str) -> Subject:
    """Starts a new instance of a subject."""
    name, _, build = name.partition(AT)
    return BuildSubject(ground.host(build), name) if build else SUBJECTS[name].start(ground, name)


def about(name: str) -> str:
    """The description of a subject for people."""
    name, _, build = name.partition(AT)
    return f"{SUBJECTS[name].about} of {build}" if build else SUBJECTS[name].about
