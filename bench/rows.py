"""ROWS: the comparisons, and the demand on each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures import Spread, middle
from bench.interleaved import Cell, Runs
from bench.plan import Plan
from bench.questions import WORKS
from bench.resources import Benchmark
from bench.situations import attacked, growth, loading, loads, soaking, steady
from bench.situations.browsed import Audience, searched
from bench.subjects import about


@dataclass(frozen=True, slots=True)
class Demand:
    """Bounds of a row's median. Without bounds, the row is only reported."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        """Whether a value meets the demand."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        bounds = ["" if self.least is None else f"≥ {self.least:g}", "" if self.most is None else f"≤ {self.most:g}"]
        return " and ".join(filter(None, bounds)) or "reported"


REPORTED: Final = Demand()


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate of one cell."""

    ours: Cell

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Return the cells that must be run for this measure."""
        return (self.ours,)

    @property
    def how(self) -> str:
        """Describe the measurement for people."""
        return f"{WORKS[self.ours.work].about} over {self.ours.connections}, a second: {about(self.ours.subject)}"

    def spread(self, runs: Runs) -> Spread:
        """Return the value of each round."""
        return Spread(tuple(run.rate for run in runs[self.ours]))


@dataclass(frozen=True, slots=True)
class Ratio:
    """The rate of one cell divided by the rate of another, for each round."""

    ours: Cell
    theirs: Cell

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Return the cells that must be run for this measure."""
        return self.ours, self.theirs

    @property
    def how(self) -> str:
        """Describe the measurement for people."""
        ours, theirs = (about(cell.subject) for cell in (self.ours, self.theirs))
        return f"{WORKS[self.ours.work].about} over {self.ours.connections}: {ours}, against {theirs}"

    def spread(self, runs: Runs) -> Spread:
        """Return the value of each round."""
        return Spread(tuple(a.rate / b.rate for a, b in zip(runs[self.ours], runs[self.theirs], strict=True)))

    def by_cpu(self, runs: Runs) -> float | None:
        """Return the ratio of CPU times per answer, which is less sensitive to other load, or None if unknown."""
        ours, theirs = (middle(runs[cell]) for cell in (self.ours, self.theirs))
        known = ours.all_cpu_us and theirs.all_cpu_us
        return theirs.all_cpu_us / ours.all_cpu_us if known else None


@dataclass(frozen=True, slots=True)
class Situation:
    """A measurement with its own setup. `measure` returns a value per round for each figure.

    Attributes:
        needs: Key of NEEDS, or "".
        patient: Whether it runs only on request, because it takes long.
    """

    name: str
    measure: Callable[[Benchmark, Plan], Mapping[str, Sequence[float]]]
    needs: str = ""
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a situation. `how` describes it for people."""

    situation: Situation
    name: str
    how: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report."""

    key: str
    demand: Demand
    measure: Rate | Ratio | Figure

    @property
    def demanded(self) -> bool:
        """Whether the row has a demand."""
        return self.demand != REPORTED

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Return the cells that must be run for the row, or () for a figure of a situation."""
        return () if isinstance(self.measure, Figure) else self.measure.cells


def _rate(work: str, subject: str) -> Rate:
    return Rate(Cell(work, 32, subject))


def _ratio_of(work: str, connections: int, peer: str) -> Ratio:
    return Ratio(Cell(work, connections, "gateway"), Cell(work, connections, peer))


def least(value: float) -> Demand:
    """Return a demand for at least `value`."""
    return Demand(least=value)


def most(value: float) -> Demand:
    """Return a demand for at most `value`."""
    return Demand(most=value)


# fmt: off
STEADY:   Final = Situation("steady",    steady.steady)
GROWTH:   Final = Situation("growth",    growth.growth)
ATTACKED: Final = Situation("attacked",  attacked.attacked)
BROWSED:  Final = Situation("browsed",   Audience("web", "staff").browsed)
SEARCHED: Final = Situation("searched",  Audience("web", "readers").browsed)
SEARCHED_ON_PG: Final = Situation("searched on PostgreSQL", Audience("web_postgres", "readers").browsed, "PostgreSQL")
LOADING:  Final = Situation("loading",   loading.loading)
LOADS:    Final = Situation("loads",     loads.loads)
SOAK:     Final = Situation("soak",      soaking.soak, patient=True)

ROWS: Final = (
    Row("sip2_63_rate",       REPORTED,   _rate("sip2_63",      "gateway")),
    Row("sip2_11_rate",       REPORTED,   _rate("sip2_11",      "gateway")),
    Row("lookup_user_rate",   REPORTED,   _rate("lookup_user",  "gateway")),
    Row("request_item_rate",  REPORTED,   _rate("request_item", "gateway")),
    Row("postgres_63_rate",   REPORTED,   _rate("sip2_63",      "postgres")),
    Row("postgres_11_rate",   REPORTED,   _rate("sip2_11",      "postgres")),
    Row("sip2_63_vs_echo_1",  REPORTED,   _ratio_of("sip2_63", 1,  "echo")),
    Row("sip2_63_vs_echo",    REPORTED,   _ratio_of("sip2_63", 64, "echo")),
    Row("sip2_63_vs_pysip2_1",  REPORTED, _ratio_of("sip2_63", 1,  "pysip2")),
    Row("sip2_63_vs_pysip2_32", REPORTED, _ratio_of("sip2_63", 32, "pysip2")),
    Row("sip2_63_vs_pysip2",  REPORTED,   _ratio_of("sip2_63", 64, "pysip2")),
    Row("steady_63_p99_ms",   most(3),    Figure(STEADY,   "sip2_63",     "p99 in ms of 63 at 50 a second")),
    Row("steady_11_p99_ms",   most(8),    Figure(STEADY,   "sip2_11",     "p99 in ms of 11 at 50 a second")),
    Row("steady_lookup_user_p99_ms",  most(4), Figure(STEADY, "lookup_user",  "p99 in ms of LookupUser at 50 a second")),
    Row("steady_request_item_p99_ms", most(8), Figure(STEADY, "request_item", "p99 in ms of RequestItem at 50 a second")),
    Row("growth_63",          least(0.8), Figure(GROWTH,   "sip2_63",     "63 with --closed, against 10,000 closed requests")),
    Row("growth_11",          least(0.8), Figure(GROWTH,   "sip2_11",     "11 with --closed, against 10,000 closed requests")),
    Row("growth_memory",      most(1.1),  Figure(GROWTH,   "memory",      "resident memory there, against 10,000")),
    Row("attacked_p99",       most(5),    Figure(ATTACKED, "p99",         "p99 of 99 among heavy documents, to before")),
    Row("attacked_lag_ms",    most(50),   Figure(ATTACKED, "lag_ms",      "the reactor's longest lag meanwhile in ms")),
    Row("attacked_63_p99",    REPORTED,   Figure(ATTACKED, "p99_of_63",   "the same of 63 over 16")),
    Row("browsed_p99",        most(6),    Figure(BROWSED,  "p99",         "p99 of 63 over 16 beside 20 of staff, to none")),
    Row("browsed_p99_ms",     most(20),   Figure(BROWSED,  "p99_ms",      "that p99 in ms")),
    Row("browsed_pages",      REPORTED,   Figure(BROWSED,  "pages",       "pages a second meanwhile")),
    Row("searched_p99",       most(6),    Figure(SEARCHED, "p99",         "the same beside 20 who search --catalogue titles")),
    Row("searched_p99_ms",    most(20),   Figure(SEARCHED, "p99_ms",      "that p99 in ms")),
    Row("search_1m_p99",      most(50),   Figure(Situation("searches", searched), "p99_ms", "p99 of 8 who search, in ms")),
    Row("searched_pages",     REPORTED,   Figure(SEARCHED, "pages",       "searches a second meanwhile, without pause")),
    Row("searched_postgres_p99", REPORTED, Figure(SEARCHED_ON_PG, "p99",  "the same on PostgreSQL")),
    Row("searched_postgres_pages", REPORTED, Figure(SEARCHED_ON_PG, "pages", "searches a second meanwhile")),
    Row("loading_p99",        REPORTED,   Figure(LOADING,  "p99",         "p99 of 63 over 16 during a load, to before")),
    Row("loading_p99_ms",     REPORTED,   Figure(LOADING,  "p99_ms",      "that p99 in ms")),
    Row("loading_rate",       REPORTED,   Figure(LOADING,  "a_second",    "rows loaded a second meanwhile")),
    Row("load_csv_bare",      least(20_000), Figure(LOADS, "csv_bare",    "rows of a CSV loaded a second, without the index")),
    Row("load_csv",           least(8_000), Figure(LOADS,  "csv",         "the same with titles and the search index")),
    Row("load_marc_vs_pymarc", least(0.5), Figure(LOADS,   "marc21",      "a load of MARC21, against pymarc reading it")),
    Row("load_marcxml_vs_pymarc", least(0.5), Figure(LOADS, "marcxml",    "the same for MARCXML")),
    Row("soak_memory",        most(1.1),  Figure(SOAK,     "memory",      "memory at half of the most load, late to early")),
    Row("soak_descriptors",   most(1.1),  Figure(SOAK,     "descriptors", "open files, late to early")),
    Row("soak_wal",           most(1.25), Figure(SOAK,     "wal",         "the write-ahead log, late to early")),
    Row("soak_waits",         most(1.25), Figure(SOAK,     "waits",       "the median waiting time, late to early")),
    Row("soak_cpu",           REPORTED,   Figure(SOAK,     "cpu",         "CPU time a second at that rate, late to early")),
    Row("soak_lag_ms",        most(20),   Figure(SOAK,     "lag_ms",      "p99 of the reactor's lag in ms")),
    Row("soak_p99_ms",        REPORTED,   Figure(SOAK,     "p99_ms",      "p99 of the waiting time in ms")),
    Row("soak_wal_mib",       REPORTED,   Figure(SOAK,     "wal_mib",     "the write-ahead log at its longest")),
    Row("soak_rate",          REPORTED,   Figure(SOAK,     "a_second",    "answers a second all the while")),
)
# fmt: on


def rows(only: Collection[str] = ()) -> Iterator[Row]:
    """Return the rows with these keys, or all rows without any key.

    A word that is not a key selects all keys that begin with it.
    """
    for row in ROWS:
        if not only or any(row.key == word if word in KEYS else row.key.startswith(word) for word in only):
            yield row


KEYS: Final = frozenset(row.key for row in ROWS)
