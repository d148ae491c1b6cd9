"""SUBJECTS: all subjects of measurements, by the name that rows use, and their requirements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from bench.builds import AT, BuildSubject
from bench.gateways import GatewaySubject
from bench.peers import PeerServer
from bench.resources import Benchmark
from bench.tasks import Subject
from tests import postgres_server


@dataclass(frozen=True, slots=True)
class Kind:
    """How a subject is started, its description, and the key of NEEDS that it requires."""

    start: Callable[[Benchmark, str], Subject]
    about: str
    needs: str = ""


NEEDS: Final[Mapping[str, Callable[[], bool]]] = {
    "PostgreSQL": lambda: postgres_server.programs() is not None,
    "pysip2": lambda: find_spec("pysip2") is not None,
}
"""Checks for requirements, by their display names."""

# fmt: off
SUBJECTS: Final[Mapping[str, Kind]] = {
    "gateway":  Kind(GatewaySubject, "the gateway"),
    "postgres": Kind(GatewaySubject, "the gateway on PostgreSQL", "PostgreSQL"),
    "echo":     Kind(PeerServer, "a bare LineReceiver that echoes the same lines"),
    "pysip2":   Kind(PeerServer, "pysip2's server, which stores nothing", "pysip2"),
}
# fmt: on


def lacking(name: str) -> str:
    """Return the display name of a subject's requirement that this machine lacks, or ""."""
    return without(SUBJECTS[name.partition(AT)[0]].needs)


def without(needs: str) -> str:
    """Return the key of NEEDS if this machine lacks it, else ""."""
    return needs if needs and not NEEDS[needs]() else ""


def start(ground: Benchmark, name: str) -> Subject:
    """Start a new instance of a subject."""
    name, _, build = name.partition(AT)
    return BuildSubject(ground.host(build), name) if build else SUBJECTS[name].start(ground, name)


def about(name: str) -> str:
    """Return the display name of a subject."""
    name, _, build = name.partition(AT)
    return f"{SUBJECTS[name].about} of {build}" if build else SUBJECTS[name].about
