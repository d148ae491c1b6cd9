"""ROWS: the comparisons, and the demand on each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from bench.figures import Spread, middle
from bench.interleaved import Cell, Runs
from bench.plan import FEW
from bench.questions import WORKS
from bench.situations.table import (
    APART,
    ATTACKED,
    BROWSED,
    CATALOGUE,
    CATALOGUE_ON_PG,
    CODECS,
    GROUPING,
    GROWTH,
    HOT_ROWS,
    IDLE,
    LOADING,
    LOADS,
    MEMORY,
    MIDNIGHT,
    NINE,
    SEARCHED,
    SEARCHED_APART,
    SEARCHED_ON_PG,
    SOAK,
    STARTING,
    Situation,
)
from bench.subjects import about


@dataclass(frozen=True, slots=True)
class Demand:
    """Bounds of a row's median; with neither bound it is reported only."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def bounds(self) -> tuple[float, ...]:
        return tuple(bound for bound in (self.least, self.most) if bound is not None)

    def __str__(self) -> str:
        bounds = ["" if self.least is None else f"≥ {self.least:g}", "" if self.most is None else f"≤ {self.most:g}"]
        return " and ".join(filter(None, bounds)) or "reported"


REPORTED: Final = Demand()


@dataclass(frozen=True, slots=True)
class Ratio:
    """The rate of one cell over that of another, round by round."""

    ours: Cell
    theirs: Cell

    @property
    def how(self) -> str:
        ours, theirs = (about(cell.subject) for cell in (self.ours, self.theirs))
        return f"{WORKS[self.ours.work].about} over {self.ours.connections}: {ours}, against {theirs}"

    def spread(self, runs: Runs) -> Spread:
        return Spread(tuple(a.rate / b.rate for a, b in zip(runs[self.ours], runs[self.theirs], strict=True)))

    def by_cpu(self, runs: Runs) -> float | None:
        """The same ratio by CPU time per answer, which other load disturbs less; None if unknown."""
        ours, theirs = (middle(runs[cell]) for cell in (self.ours, self.theirs))
        known = ours.all_cpu_us and theirs.all_cpu_us
        return theirs.all_cpu_us / ours.all_cpu_us if known else None


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a situation with its own setup; `how` describes it for people."""

    situation: Situation
    name: str
    how: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    key: str
    demand: Demand
    measure: Ratio | Figure

    @property
    def demanded(self) -> bool:
        """Whether it has a demand."""
        return self.demand != REPORTED

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that must be run for it; empty for a figure."""
        return (self.measure.ours, self.measure.theirs) if isinstance(self.measure, Ratio) else ()


def _of(work: str, connections: int, ours: str, theirs: str) -> Ratio:
    return Ratio(Cell(work, connections, ours), Cell(work, connections, theirs))


def least(value: float) -> Demand:
    """At least so much."""
    return Demand(least=value)


def most(value: float) -> Demand:
    """At most so much."""
    return Demand(most=value)


# fmt: off
_RATIOS: Final = (
    Row("protocol_vs_echo",        least(0.6),  _of("sip2_63",     64, "protocol",   "echo")),
    Row("sip2_11_vs_c_single",     least(0.3),  _of("sip2_11",     1,  "gateway",    "c_single")),
    Row("sip2_11_vs_c_batched",    least(0.2),  _of("sip2_11",     64, "gateway",    "c_batched")),
    Row("sip2_11_vs_single",       least(2.5),  _of("sip2_11",     64, "gateway",    "single")),
    Row("sip2_11_vs_single_slow",  least(12),   _of("sip2_11",     64, "slow",       "slow_single")),
    Row("sip2_11_vs_orm",          least(10),   _of("sip2_11",     64, "gateway",    "orm")),
    Row("postgres_vs_pgbench_1",   least(0.6),  _of("sip2_11",     1,  "postgres",   "pgbench")),
    Row("postgres_vs_pgbench_16",  least(1.0),  _of("sip2_11",     16, "postgres",   "pgbench")),
    Row("postgres_vs_pgbench_64",  least(2),    _of("sip2_11",     64, "postgres",   "pgbench")),
    Row("postgres_vs_core",        least(4),    _of("sip2_11",     64, "postgres",   "core_pg")),
    Row("lookup_user_vs_aiohttp",  least(0.5),  _of("lookup_user", 16, "gateway",    "aiohttp")),
    Row("logging_vs_quiet",        least(0.85), _of("sip2_63",     64, "gateway",    "quiet")),
    Row("two_processes",           least(1.2),  _of("sip2_11",     64, "postgres_2", "postgres")),
    Row("sip2_63_vs_echo",         least(0.15), _of("sip2_63",     64, "gateway",    "echo")),
    Row("sip2_63_vs_pysip2_32",    least(0.8),  _of("sip2_63",     32, "gateway",    "pysip2")),
    Row("sip2_63_vs_pysip2",       least(1.0),  _of("sip2_63",     64, "gateway",    "pysip2")),
    Row("sip2_11_vs_pysip2",       REPORTED,    _of("sip2_11",     64, "gateway",    "pysip2")),
    Row("sip2_11_vs_disk",         REPORTED,    _of("sip2_11",     1,  "gateway",    "disk")),
    Row("sip2_visit_vs_pysip2",    REPORTED,    _of("sip2_visit",  16, "gateway",    "pysip2")),
    Row("sip2_35_vs_echo",         REPORTED,    _of("sip2_35",     64, "gateway",    "echo")),
    Row("lookup_user_vs_canned_1", least(0.35), _of("lookup_user", 1,  "gateway",    "canned")),
    Row("lookup_user_vs_canned_8", least(0.35), _of("lookup_user", 8,  "gateway",    "canned")),
    Row("lookup_user_vs_canned_32", least(0.35), _of("lookup_user", 32, "gateway",    "canned")),
    Row("request_item_vs_canned_8", REPORTED,    _of("request_item", 8, "gateway",    "canned")),
    Row("request_item_vs_canned_32", REPORTED,   _of("request_item", 32, "gateway",   "canned")),
)
"""Ratios of rates, each over so many connections."""

FELT: Final = frozenset({
    "sip2_visit_vs_pysip2", "attacked_63_p99", "browsed_pages", "searched_pages", "searched_postgres_p99", "search_1m_rate",
    "loading_p99", "loading_p99_ms", "loading_rate", "start_s", "start_aged_s", "memory_of_100_kib",
})
"""Rows that have no demand, but that users or buyers of hardware feel."""

_FIGURES: Final = (
    Row("codec_vs_pysip2",    least(4),   Figure(CODECS,   "codec",       "a 63 and its 64 read and written, against pysip2")),
    Row("growth_63",          least(0.8), Figure(GROWTH,   "sip2_63",     "63 with --closed, against 10,000 closed requests")),
    Row("growth_11",          least(0.8), Figure(GROWTH,   "sip2_11",     "11 with --closed, against 10,000 closed requests")),
    Row("growth_memory",      most(1.1),  Figure(GROWTH,   "memory",      "resident memory there, against 10,000")),
    Row("hot_rows_deadlocks", most(0),    Figure(HOT_ROWS, "deadlocks",   "two processes, 64 terminals, 200 patrons")),
    Row("hot_rows_p99",       most(3),    Figure(HOT_ROWS, "p99",         "its p99, to the same with 1,400 patrons")),
    Row("hot_rows_p99_ms",    REPORTED,   Figure(HOT_ROWS, "p99_ms",      "that p99 in ms")),
    Row("midnight",           most(5),    Figure(MIDNIGHT, "p99",         "p99 of 63 over 4 as 20,000 fall due, to before")),
    Row("attacked_p99",       most(5),    Figure(ATTACKED, "p99",         "p99 of 99 among heavy documents, to before")),
    Row("attacked_lag_ms",    most(50),   Figure(ATTACKED, "lag_ms",      "the reactor's longest lag meanwhile in ms")),
    Row("attacked_63_p99",    REPORTED,   Figure(ATTACKED, "p99_of_63",   "the same of 63 over 16")),
    Row("browsed_p99",        most(3),    Figure(BROWSED,  "p99",         "p99 of 63 over 16 beside 20 browsers, to none")),
    Row("browsed_pages",      REPORTED,   Figure(BROWSED,  "pages",       "pages a second meanwhile, in one process")),
    Row("browsed_2_p99",      REPORTED,   Figure(APART,    "p99",         "the same with the pages in a process of their own")),
    Row("browsed_2_pages",    REPORTED,   Figure(APART,    "pages",       "pages a second meanwhile, in two processes")),
    Row("searched_p99",       most(3),    Figure(SEARCHED, "p99",         "p99 of 63 over 16 beside 20 who search, to none")),
    Row("searched_pages",     REPORTED,   Figure(SEARCHED, "pages",       "pages a second meanwhile, in one process")),
    Row("searched_2_p99",     REPORTED,   Figure(SEARCHED_APART, "p99",   "the same with the pages in a process of their own")),
    Row("searched_2_pages",   REPORTED,   Figure(SEARCHED_APART, "pages", "pages a second meanwhile, in two processes")),
    Row("searched_postgres_p99", REPORTED, Figure(SEARCHED_ON_PG, "p99",   "the same on PostgreSQL, in one process")),
    Row("searched_postgres_pages", REPORTED, Figure(SEARCHED_ON_PG, "pages", "pages a second meanwhile")),
    Row("search_1m_p99",      most(50),   Figure(CATALOGUE, "p99_ms",      "p99 in ms of 8 readers of --catalogue titles")),
    Row("search_1m_p50",      REPORTED,   Figure(CATALOGUE, "p50_ms",      "their median in ms")),
    Row("search_1m_rate",     REPORTED,   Figure(CATALOGUE, "a_second",    "their searches a second, without pause")),
    Row("search_1m_terminals", REPORTED,  Figure(CATALOGUE, "terminals",   "p99 of 63 meanwhile, to before")),
    Row("search_1m_postgres_p99", most(50), Figure(CATALOGUE_ON_PG, "p99_ms", "the same searches on PostgreSQL")),
    Row("search_1m_postgres_rate", REPORTED, Figure(CATALOGUE_ON_PG, "a_second", "their searches a second")),
    Row("loading_p99",        REPORTED,   Figure(LOADING,  "p99",         "p99 of 63 over 16 during a load, to before")),
    Row("loading_p99_ms",     REPORTED,   Figure(LOADING,  "p99_ms",      "that p99 in ms")),
    Row("loading_rate",       REPORTED,   Figure(LOADING,  "a_second",    "rows loaded a second meanwhile")),
    Row("load_csv_bare",      least(20_000), Figure(LOADS, "csv_bare",    "rows of a CSV loaded a second, without the index")),
    Row("load_csv",           least(8_000), Figure(LOADS,  "csv",         "the same with titles and the search index")),
    Row("load_marc_vs_pymarc", least(0.5), Figure(LOADS,   "marc21",      "a load of MARC21, against pymarc reading it")),
    Row("load_marcxml_vs_pymarc", least(0.5), Figure(LOADS, "marcxml",    "the same for MARCXML")),
    Row("start_s",            REPORTED,   Figure(STARTING, "empty_s",     "seconds from start to first answer")),
    Row("start_aged_s",       REPORTED,   Figure(STARTING, "aged_s",      "the same with --closed closed requests")),
    Row("memory_of_100_kib",  REPORTED,   Figure(MEMORY,   "kib",         "resident memory of 100 silent terminals in KiB")),
    Row("idle_500",           most(1.1),  Figure(IDLE,     "memory",      "memory after 500 idle and 50 busy lines")),
    Row("nine_oclock",        most(3),    Figure(NINE,     "slowest",     "the slowest question at nine, --closed to 10,000")),
    Row("nine_oclock_scans",  most(0),    Figure(NINE,     "scans",       "statements at nine that read it all")),
    Row("soak_memory",        most(1.1),  Figure(SOAK,     "memory",      "memory at half of the most load, late to early")),
    Row("soak_descriptors",   most(1.1),  Figure(SOAK,     "descriptors", "open files, late to early")),
    Row("soak_wal",           most(1.25), Figure(SOAK,     "wal",         "the write-ahead log, late to early")),
    Row("soak_waits",         most(1.25), Figure(SOAK,     "waits",       "the median waiting time, late to early")),
    Row("soak_cpu",           REPORTED,   Figure(SOAK,     "cpu",         "CPU time a second at that rate, late to early")),
    Row("soak_lag_ms",        most(20),   Figure(SOAK,     "lag_ms",      "p99 of the reactor's lag in ms")),
    Row("soak_p99_ms",        REPORTED,   Figure(SOAK,     "p99_ms",      "p99 of the waiting time in ms")),
    Row("soak_wal_mib",       REPORTED,   Figure(SOAK,     "wal_mib",     "the write-ahead log at its longest")),
    Row("soak_rate",          REPORTED,   Figure(SOAK,     "a_second",    "answers a second all the while")),
    Row("grouping_16",        REPORTED,   Figure(GROUPING, "grouping_16", "the store alone, grouped against one each")),
    Row("grouping_64",        least(2.5), Figure(GROUPING, "grouping_64", "the store alone, grouped against one each")),
)
"""The rows measured in situations of their own."""
# fmt: on


def _beside(work: str, peer: str) -> Iterator[Row]:
    for connections in FEW:
        ratio = _of(work, connections, "gateway", peer)
        if all(row.measure != ratio for row in _RATIOS):
            yield Row(f"{work}_vs_{peer}_{connections}", REPORTED, ratio)


ROWS: Final = (
    *_RATIOS,
    *_FIGURES,
    *(row for work in ("sip2_63", "sip2_11") for row in _beside(work, "echo")),
    *(row for work in ("lookup_user", "request_item") for row in _beside(work, "canned")),
    *(row for work in ("sip2_11", "request_item") for row in _beside(work, "single")),
)
"""All rows: those with a demand, then each work over each number of connections."""


def rows(only: Collection[str] = (), connections: Collection[int] = ()) -> Iterator[Row]:
    """The rows with these keys; of ratios, those over these connections. All rows if none is named.

    A word that is not a key stands for all keys that begin with it.
    """
    for row in ROWS:
        over = {cell.connections for cell in row.cells}
        if (not only or any(_named(row.key, word) for word in only)) and (
            not connections or not over or over & set(connections)
        ):
            yield row


def _named(key: str, word: str) -> bool:
    return key == word if word in KEYS else key.startswith(word)


KEYS: Final = frozenset(row.key for row in ROWS)
