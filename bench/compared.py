"""The rows of a run that compares builds: every chosen row at each build, and the same work at the builds side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from bench.builds import AT, measured_by
from bench.gateways import GatewaySubject
from bench.interleaved import Cell
from bench.plan import Plan
from bench.resources import Benchmark
from bench.rows import REPORTED, ROWS, Figure, Ratio, Row
from bench.situations.table import Situation
from bench.subjects import SUBJECTS

OF_A_BUILD: Final = {name for name, kind in SUBJECTS.items() if kind.start is GatewaySubject} | {"protocol"}
"""The subjects that differ from build to build; the others are peers."""


def compared(chosen: Iterable[Row], builds: Mapping[str, Collection[str]]) -> Iterator[Row]:
    """The chosen rows, the same at each build ("sip2_63_vs_echo@main"), and each build against the first, this one included.

    `builds` are the works that the benchmark of each build knows; rows of others are left out. Without builds, the chosen rows.
    """
    rows = tuple(chosen)
    yield from rows
    for build, works in builds.items():
        yield from (_at(row, build) for row in rows if all(cell.work in works for cell in row.cells))
    if builds:
        first, *others = builds
        known = [cell for cell in _cells(rows) if all(cell.work in works for works in builds.values())]
        yield from (_beside(cell, build, first) for cell in known for build in ("", *others))


def _cells(rows: Iterable[Row]) -> list[Cell]:
    return sorted({cell for row in rows for cell in row.cells if cell.subject in OF_A_BUILD})


def _at(row: Row, build: str) -> Row:
    key = f"{row.key}{AT}{build}"
    if isinstance(row.measure, Figure):
        situation = _situation(row.measure.situation, build)
        return Row(key, row.demand, replace(row.measure, situation=situation, how=f"{row.measure.how}, of {build}"))
    return Row(key, row.demand, Ratio(_cell(row.measure.ours, build), _cell(row.measure.theirs, build)))


def _cell(cell: Cell, build: str) -> Cell:
    return replace(cell, subject=f"{cell.subject}{AT}{build}") if build and cell.subject in OF_A_BUILD else cell


@cache
def _situation(situation: Situation, build: str) -> Situation:
    """The situation as the benchmark of a build measures it, which finds it by a row."""
    key = next(row.key for row in ROWS if isinstance(row.measure, Figure) and row.measure.situation == situation)

    def measure(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
        return measured_by(ground.host(build), key, plan)

    return replace(situation, name=f"{situation.name}{AT}{build}", measure=measure)


def _beside(cell: Cell, build: str, first: str) -> Row:
    ours, theirs = _cell(cell, build), _cell(cell, first)
    return Row(f"{cell.work}_{cell.connections}_{ours.subject}_vs_{first}", REPORTED, Ratio(ours, theirs))
