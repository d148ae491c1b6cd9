"""Run subjects in turns: in every round, each subject does each work right after the others, on a fresh copy of the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.figures import Run
from bench.plan import Plan, Size
from bench.processes import FAILURES
from bench.questions import WORKS
from bench.tasks import Subject, Task

WARMING: Final = 10
"""Divisor for the warm-up: 1/WARMING of the time and of the questions of each run is not measured."""

Runs = Mapping["Cell", Sequence[Run]]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One work at one subject over a number of connections."""

    work: str
    connections: int
    subject: str


@dataclass(slots=True)
class InterleavedRuns:
    """The runs of every cell, one per round, and the failure of each failed subject, which has no runs and no further turns."""

    runs: dict[Cell, list[Run]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def alternate(
    cells: Collection[Cell], plan: Plan, start: Callable[[str], Subject], tell: Callable[[str], None]
) -> InterleavedRuns:
    """Run all rounds. `start` starts a subject by its name. `tell` is called with progress and failures."""
    interleaving = InterleavedRuns({cell: [] for cell in sorted(cells)})
    for number in range(plan.rounds):
        tell(f"round {number + 1} of {plan.rounds}")
        # Every other round runs backwards, so that no subject is always first.
        Round(sorted(cells, reverse=bool(number % 2)), plan, start, interleaving, tell).run()
    interleaving.runs = {cell: runs for cell, runs in interleaving.runs.items() if cell.subject not in interleaving.failed}
    return interleaving


@dataclass(frozen=True, slots=True)
class Round:
    """One round: runs each cell once, in order. A subject lives from its first cell to its last, and is checked when closed."""

    cells: Sequence[Cell]
    plan: Plan
    start: Callable[[str], Subject]
    pending: InterleavedRuns
    tell: Callable[[str], None]
    living: dict[str, Subject] = field(default_factory=dict)

    def run(self) -> None:
        """Measure all cells in order."""
        try:
            for at, cell in enumerate(self.cells):
                if cell.subject not in self.pending.failed:
                    last = all(later.subject != cell.subject for later in self.cells[at + 1 :])
                    self._run_or_fail(cell, last)
        finally:
            for subject in self.living.values():
                subject.abandon()

    def _run_or_fail(self, cell: Cell, last: bool) -> None:
        """Run a cell. The failure of a subject does not end the whole run, which takes long."""
        try:
            self._run_round(cell, last)
        except FAILURES as error:
            self.tell(f"{cell.subject} failed at {cell.work} over {cell.connections}: {error}")
            self.pending.failed[cell.subject] = str(error) or repr(error)
            if cell.subject in self.living:
                self.living.pop(cell.subject).abandon()

    def _run_round(self, cell: Cell, last: bool) -> None:
        if cell.subject not in self.living:
            self.living[cell.subject] = self.start(cell.subject)
        subject, most = self.living[cell.subject], share(cell, self.cells, self.plan.size)
        self.pending.runs[cell].append(measured(subject, cell, most, self.plan.seconds))
        if last:
            subject.close()
            del self.living[cell.subject]


def measured(subject: Subject, cell: Cell, most: int, seconds: float) -> Run:
    """Measure a cell after a short warm-up that is not counted, since the first operations take longer."""
    first = most // WARMING
    subject.run(Task(cell.work, cell.connections, seconds / WARMING, first))
    return subject.run(Task(cell.work, cell.connections, seconds, most - first))


def share(cell: Cell, cells: Collection[Cell], size: Size) -> int:
    """Return how many of the one-time questions a cell may ask."""
    siblings = [c for c in cells if (c.work, c.subject) == (cell.work, cell.subject)]
    return WORKS[cell.work].count(size) // len(siblings)
