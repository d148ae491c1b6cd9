"""The tasks of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bench.figures import Run


@dataclass(frozen=True, slots=True)
class Task:
    """One run: a work of WORKS over so many connections.

    `most` limits questions that can be asked only once. `rate` is the most questions a second, 0 for as many as are answered.
    """

    work: str
    connections: int
    seconds: float
    most: int
    rate: float = 0.0


class Subject(Protocol):
    """A subject of measurements: it runs tasks."""

    def run(self, task: Task) -> Run:
        """Return the result of a task."""

    def close(self) -> None:
        """End it. AssertionError if it lost or doubled an answered request, Broken if it did not end well."""
        ...

    def abandon(self) -> None:
        """End it in any state."""
        ...
