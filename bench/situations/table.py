"""Measurements that need their own setup: growth, midnight, crowds, an attack, browsers, searches, loads, starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.plan import Plan
from bench.resources import Benchmark
from bench.situations import attacked, browsed, crowds, growth, in_process, loading, loads, nights, searched, starting

Figures = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Situation:
    """Its figures by name, a value for each round. `needs` is a row of NEEDS, "" for none; `patient`: only on request."""

    name: str
    measure: Callable[[Benchmark, Plan], Figures]
    needs: str = ""
    patient: bool = False


# fmt: off
CODECS:   Final = Situation("codec",     in_process.codecs, "pysip2")
GROUPING: Final = Situation("grouping",  in_process.grouping)
GROWTH:   Final = Situation("growth",    growth.growth)
NINE:     Final = Situation("morning",   growth.morning)
MIDNIGHT: Final = Situation("midnight",  nights.midnight)
IDLE:     Final = Situation("idle",      crowds.idle)
HOT_ROWS: Final = Situation("hot rows",  crowds.hot_rows, "PostgreSQL")
ATTACKED: Final = Situation("attacked",  attacked.attacked)
BROWSED:  Final = Situation("browsed",   browsed.in_one_process)
APART:    Final = Situation("browsed apart", browsed.in_two_processes)
SEARCHED: Final = Situation("searched",  browsed.searched_in_one_process)
SEARCHED_APART: Final = Situation("searched apart", browsed.searched_in_two_processes)
CATALOGUE: Final = Situation("catalogue", searched.on_sqlite)
SEARCHED_ON_PG: Final = Situation("searched on PostgreSQL", browsed.searched_on_postgresql, "PostgreSQL")
CATALOGUE_ON_PG: Final = Situation("catalogue on PostgreSQL", searched.on_postgresql, "PostgreSQL")
LOADING:  Final = Situation("loading",   loading.loading)
STARTING: Final = Situation("starting",  starting.starting)
MEMORY:   Final = Situation("memory",    crowds.memory)
LOADS:    Final = Situation("loads",     loads.loads)
SOAK:     Final = Situation("soak",      nights.soak, patient=True)
# fmt: on
