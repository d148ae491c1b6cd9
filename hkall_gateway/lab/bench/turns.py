"""Taking turns: in every round each subject does each work right after the others did it, on a fresh copy of the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hkall_gateway.lab.bench.figures import Run
from hkall_gateway.lab.bench.questions import WORKS
from hkall_gateway.lab.bench.subjects import Subject, Task
from hkall_gateway.lab.bench.world import Size


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One work by one subject over so many connections."""

    work: str
    connections: int
    subject: str


LONE: Final = 1
MANY: Final = 3
"""Shares of what can be asked only once: a lone connection asks fewer."""


def take_turns(
    cells: Collection[Cell],
    rounds: int,
    seconds: float,
    size: Size,
    start: Callable[[str], Subject],
    tell: Callable[[str], None],
) -> Mapping[Cell, Sequence[Run]]:
    """Every cell's runs, one a round. `start` makes a subject by its name; `tell` hears how far it is."""
    runs: dict[Cell, list[Run]] = {cell: [] for cell in sorted(cells)}
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        with _started({cell.subject for cell in cells}, start) as subjects:
            for cell in _in_turn(runs, number):
                task = Task(cell.work, cell.connections, seconds, share(cell, cells, size))
                runs[cell].append(subjects[cell.subject].run(task))
    return runs


def _in_turn(cells: Collection[Cell], number: int) -> Iterator[Cell]:
    """Subjects side by side; every other round goes through them backwards, so that nobody is always first."""
    return iter(sorted(cells, reverse=bool(number % 2)))


def share(cell: Cell, cells: Collection[Cell], size: Size) -> int:
    """How many of the questions that can be asked only once a cell may ask."""
    siblings = [c for c in cells if (c.work, c.subject) == (cell.work, cell.subject)]
    return WORKS[cell.work].count(size) * _weight(cell) // sum(map(_weight, siblings))


def _weight(cell: Cell) -> int:
    return LONE if cell.connections == 1 else MANY


@contextmanager
def _started(names: Collection[str], start: Callable[[str], Subject]) -> Iterator[Mapping[str, Subject]]:
    """All of them at once; closed with their own checks, or put down if anything goes wrong."""
    subjects: dict[str, Subject] = {}
    try:
        for name in sorted(names):
            subjects[name] = start(name)
        yield subjects
        for subject in subjects.values():
            subject.close()
    finally:
        for subject in subjects.values():
            subject.abandon()
