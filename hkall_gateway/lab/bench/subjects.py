"""SUBJECTS: all subjects of measurements, by the name that rows use, and their requirements on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Final

from hkall_gateway.lab import postgres
from hkall_gateway.lab.bench.gateways import Gateway
from hkall_gateway.lab.bench.ground import SOURCES, Ground
from hkall_gateway.lab.bench.rivals import Design, Disk, InC, PgBench, Server
from hkall_gateway.lab.bench.tasks import Subject


@dataclass(frozen=True, slots=True)
class Kind:
    """How a subject is started, its description for people, and the row of NEEDS that it requires."""

    start: Callable[[Ground, str], Subject]
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
    "gateway":     Kind(Gateway, "the gateway"),
    "single":      Kind(Gateway, "the gateway with one commit each"),
    "quiet":       Kind(Gateway, "the gateway with a log of errors only"),
    "slow":        Kind(Gateway, "the gateway on a disk with 3 ms an fsync", "cc"),
    "slow_single": Kind(Gateway, "one commit each on a disk with 3 ms an fsync", "cc"),
    "postgres":    Kind(Gateway, "the gateway on PostgreSQL", "PostgreSQL"),
    "postgres_2":  Kind(Gateway, "two processes on one PostgreSQL", "PostgreSQL"),
    "echo":        Kind(Server,  "a bare LineReceiver that echoes the same lines"),
    "canned":      Kind(Server,  "a twisted.web resource with canned bytes"),
    "protocol":    Kind(Server,  "our session and codec alone"),
    "pysip2":      Kind(Server,  "pysip2's server with a dictionary behind it", "pysip2"),
    "aiohttp":     Kind(Server,  "aiohttp doing the same XML without a database", "aiohttp"),
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
    return without(SUBJECTS[name].needs)


def without(needs: str) -> str:
    """The name of this row of NEEDS if the machine does not have it; "" if it has."""
    return needs if needs and not NEEDS[needs]() else ""


def start(ground: Ground, name: str) -> Subject:
    """Starts a new instance of a subject."""
    return SUBJECTS[name].start(ground, name)
