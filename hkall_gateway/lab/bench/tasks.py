"""What may be asked of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hkall_gateway.lab.bench.figures import Run


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
        """End it. AssertionError if it lost or doubled anything that it answered, Broken if it did not end well."""
        ...

    def abandon(self) -> None:
        """End it, whatever state it is in."""
        ...
