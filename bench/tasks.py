"""Tasks, and the interface of the subjects that run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bench.figures import Run


@dataclass(frozen=True, slots=True)
class Task:
    """One run: a work of WORKS over a number of connections.

    `most` limits the questions that can be asked only once. `rate` is the maximum number of questions per second, 0 for as many
    as are answered.
    """

    work: str
    connections: int
    seconds: float
    most: int
    rate: float = 0.0


class Subject(Protocol):
    """A subject of measurements, which runs tasks."""

    def run(self, task: Task) -> Run:
        """Run a task and return its figures."""

    def close(self) -> None:
        """Stop the subject. Raises AssertionError if it lost or duplicated an answered request, Broken if it failed to stop."""
        ...

    def abandon(self) -> None:
        """Stop the subject in any state, without checks."""
        ...
