"""The rows of a run that compares builds: each row at each build, and the same work at different builds side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from bench.builds import AT
from bench.gateways import GatewaySubject
from bench.interleaved import Cell
from bench.rows import REPORTED, Figure, Rate, Ratio, Row
from bench.subjects import SUBJECTS

OF_A_BUILD: Final = {name for name, kind in SUBJECTS.items() if kind.start is GatewaySubject}
"""Subjects that differ between builds. All others are peers."""


def compared(chosen: Iterable[Row], builds: Mapping[str, Collection[str]]) -> Iterator[Row]:
    """Return the chosen rows, the same rows at each build ("sip2_63_vs_echo@main"), and each build against the first.

    `builds` has the works that each build's benchmark knows. Rows of other works and figures of situations are not repeated at
    the builds. Without builds, only the chosen rows are returned.
    """
    rows = tuple(chosen)
    yield from rows
    for build, works in builds.items():
        for row in rows:
            if row.cells and all(cell.work in works for cell in row.cells):
                yield _cell_at(row, build)
    if builds:
        first, *others = builds
        cells = sorted({cell for row in rows for cell in row.cells if cell.subject in OF_A_BUILD})
        for cell in cells:
            for build in ("", *others) if all(cell.work in works for works in builds.values()) else ():
                ours, theirs = _cell(cell, build), _cell(cell, first)
                yield Row(f"{cell.work}_{cell.connections}_{ours.subject}_vs_{first}", REPORTED, Ratio(ours, theirs))


def _cell_at(row: Row, build: str) -> Row:
    assert not isinstance(row.measure, Figure)
    cells = [_cell(cell, build) for cell in row.measure.cells]
    return Row(f"{row.key}{AT}{build}", row.demand, Rate(*cells) if isinstance(row.measure, Rate) else Ratio(*cells))


def _cell(cell: Cell, build: str) -> Cell:
    return replace(cell, subject=f"{cell.subject}{AT}{build}") if build and cell.subject in OF_A_BUILD else cell
