"""Figures of one run, and their summary over many rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

NOTHING_KNOWN: Final = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """Figures of one work at one subject, for a second or so. 0 stands for an unknown figure.

    Attributes:
        rate: Answers per second. `p50_ms` is the median waiting time.
        p99_ms: 99th percentile of the waiting time.
        cpu_us: CPU time of the subject per answer.
        generator: Share of one core that the load generator used.
        database_us: CPU time of the database server per answer.
        batch: Answers per commit.
    """

    answered: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = NOTHING_KNOWN
    generator: float = NOTHING_KNOWN
    database_us: float = NOTHING_KNOWN
    batch: float = NOTHING_KNOWN

    @property
    def all_cpu_us(self) -> float:
        """CPU time of the subject and its database per answer."""
        return self.cpu_us + self.database_us


def run_of(
    took_s: float, waits_s: Sequence[float], cpu_s: float = 0.0, generator_s: float = 0.0, database_s: float = 0.0
) -> Run:
    """Return the figures of a run that took `took_s`, from each answer's waiting time. Raises ValueError without any answer."""
    if not waits_s:
        raise ValueError("nothing was answered")
    times, count = sorted(waits_s), len(waits_s)
    half, most = quantile(times, 0.5) * 1000, quantile(times, 0.99) * 1000
    return Run(count, count / took_s, half, most, cpu_s / count * 1e6, generator_s / took_s, database_s / count * 1e6)


def quantile(times: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted `times` such that at least `share` of them are no larger."""
    return times[max(0, -(-len(times) * round(share * 1000) // 1000) - 1)]


def middle(runs: Sequence[Run]) -> Run:
    """Return the median of each figure over the rounds, and the sum of the answers."""
    found = {field.name: median(getattr(run, field.name) for run in runs) for field in fields(Run)}
    return Run(**{**found, "answered": sum(run.answered for run in runs)})


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the rounds. The median counts; the lowest and highest values show the spread."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return median(self.values)

    @property
    def lowest(self) -> float:
        """Return the value of the lowest round."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """Return the value of the highest round."""
        return max(self.values)
