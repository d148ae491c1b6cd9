"""Measurements that need their own setup: growth, midnight, the morning, crowds, hot rows, an attack, patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hkall_gateway.lab.bench import alone, attacked, crowds, growth, nights
from hkall_gateway.lab.bench.ground import Ground
from hkall_gateway.lab.bench.plan import Plan

Figures = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Situation:
    """Its figures by name, a value for each round. `needs` is a row of NEEDS, "" for none; `patient`: only on request."""

    name: str
    measure: Callable[[Ground, Plan], Figures]
    needs: str = ""
    patient: bool = False


# fmt: off
CODECS:   Final = Situation("codec",     alone.codecs, "pysip2")
GROUPING: Final = Situation("grouping",  alone.grouping)
GROWTH:   Final = Situation("growth",    growth.growth)
NINE:     Final = Situation("morning",   growth.morning)
MIDNIGHT: Final = Situation("midnight",  nights.midnight)
IDLE:     Final = Situation("idle",      crowds.idle)
HOT_ROWS: Final = Situation("hot rows",  crowds.hot_rows, "PostgreSQL")
ATTACKED: Final = Situation("attacked",  attacked.attacked)
SOAK:     Final = Situation("soak",      nights.soak, patient=True)
# fmt: on
