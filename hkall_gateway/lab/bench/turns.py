"""Taking turns: in every round each subject does each work right after the others did it, on a fresh copy of the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hkall_gateway.lab.bench.figures import Run
from hkall_gateway.lab.bench.questions import WORKS
from hkall_gateway.lab.bench.tasks import Subject, Task
from hkall_gateway.lab.bench.world import Size

LONE: Final = 1
MANY: Final = 3
"""Shares of what can be asked only once: a lone connection asks fewer."""

WARMING: Final = 10
"""One part in so many, of the time and of the questions, goes before a run and is not counted."""

Runs = Mapping["Cell", Sequence[Run]]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One work by one subject over so many connections."""

    work: str
    connections: int
    subject: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long. `seconds` is the length of one run, `idle_s` and `soak_s` those of the rows of patience."""

    rounds: int
    seconds: float
    size: Size
    idle_s: float
    soak_s: float


def take_turns(
    cells: Collection[Cell], plan: Plan, start: Callable[[str], Subject], tell: Callable[[str], None]
) -> dict[Cell, list[Run]]:
    """Every cell's runs, one a round. `start` makes a subject by its name; `tell` hears how far it is."""
    runs: dict[Cell, list[Run]] = {cell: [] for cell in sorted(cells)}
    for number in range(plan.rounds):
        tell(f"round {number + 1} of {plan.rounds}")
        # Every other round goes backwards, so that nobody is always first.
        for cell, run in one_round(sorted(cells, reverse=bool(number % 2)), plan, start).items():
            runs[cell].append(run)
    return runs


def one_round(cells: Sequence[Cell], plan: Plan, start: Callable[[str], Subject]) -> dict[Cell, Run]:
    """Each cell once, in this order. A subject lives from its first cell to its last, and is then closed with its checks."""
    living: dict[str, Subject] = {}
    runs: dict[Cell, Run] = {}
    try:
        for at, cell in enumerate(cells):
            if cell.subject not in living:
                living[cell.subject] = start(cell.subject)
            runs[cell] = _run(living[cell.subject], cell, share(cell, cells, plan.size), plan.seconds)
            if all(later.subject != cell.subject for later in cells[at + 1 :]):
                living.pop(cell.subject).close()
    finally:
        for subject in living.values():
            subject.abandon()
    return runs


def _run(subject: Subject, cell: Cell, most: int, seconds: float) -> Run:
    """The cell measured, after a short while that is not: what is done for the first time takes longer."""
    first = most // WARMING
    subject.run(Task(cell.work, cell.connections, seconds / WARMING, first))
    return subject.run(Task(cell.work, cell.connections, seconds, most - first))


def share(cell: Cell, cells: Collection[Cell], size: Size) -> int:
    """How many of the questions that can be asked only once a cell may ask."""
    siblings = [c for c in cells if (c.work, c.subject) == (cell.work, cell.subject)]
    return WORKS[cell.work].count(size) * _weight(cell) // sum(map(_weight, siblings))


def _weight(cell: Cell) -> int:
    return LONE if cell.connections == 1 else MANY
