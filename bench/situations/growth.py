"""Years of history: whether a million closed requests slow the counter and the morning's questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event, insert

from bench.figures import Run
from bench.gateways import GatewaySubject
from bench.interleaved import Cell, measured
from bench.plan import Plan
from bench.resources import Benchmark
from bench.situations.crowds import running
from bench.world import copy_file
from hkall_gateway.lab import bulk
from hkall_gateway.lab.demo_setup import Ports, environment, write_config
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.rounds import ROUND
from hkall_gateway.store.tables import JOBS, METADATA

FEW: Final = 10_000
BETWEEN: Final = 100_000
SIZED: Final = " with "
"""Separates a work and the number of closed requests in the name of a rate."""
ASK_TIMES: Final = 20
"""Each statement at nine is timed so often; the quickest time counts, since other load on the machine only adds to it."""
LINES: Final = 10
TOLD: Final = 200_000
CONNECTIONS: Final = 64
SQLITE: Final = "sqlite:///"
WORKS: Final = ("sip2_63", "sip2_11")
MORNING: Final = (
    ("pull-list",),
    ("expected",),
    ("expired-pickups",),
    ("stuck",),
    ("overdues",),
    ("recalls",),
    ("outbox", "list"),
    ("partners",),
    ("status",),
)
"""The questions at nine o'clock. Source: operations.md 7.3."""
LARGE: Final = ("requests", "journal", "outbox", "fines", "candidates", "attempts")
"""Tables that keep finished work."""
OF_HISTORY: Final = {"ix_requests_closed", "ix_requests_personal", "ix_candidates_asked_barcode"}
OPEN_ONLY: Final = {
    str(index.name) for table in METADATA.tables.values() for index in table.indexes if index.kwargs["sqlite_where"] is not None
} - OF_HISTORY
"""Partial indexes that list open work; those OF_HISTORY grow with the years."""
SCAN: Final = re.compile(r"(?:SCAN|Seq Scan on) (?P<table>\w+)(?:.* INDEX (?P<index>\w+))?")
FROM_A_KEY_ON: Final = re.compile(r"SEARCH (?P<table>\w+) USING .*INDEX sqlite_autoindex_\w+ \(\w+[<>]\?\)")
"""A plan step that looks like a search, but reads on to the end of the table."""


def growth(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Rates with much history against little, each round with books of its own, and the memory of both daemons.

    Also each work's rate by the number of closed requests, under names like "sip2_63 with 10000", and its CPU time.
    """
    few, most = FEW, plan.size.closed
    sizes = sorted({few, min(BETWEEN, most), most})
    with ExitStack() as ending:
        aged = {closed: ending.enter_context(running(ground, "gateway", _copy(ground, closed))) for closed in sizes}
        runs = _runs(aged, plan)
        memory = {closed: _memory(gateway) for closed, gateway in aged.items()}
    ratios = {work: [b.rate / a.rate for a, b in zip(runs[work, few], runs[work, most], strict=True)] for work in WORKS}
    rates = {f"{work}{SIZED}{closed}": [run.rate for run in some] for (work, closed), some in runs.items()}
    cpu = {f"CPU µs of {work}, {closed} closed": [run.cpu_us for run in some] for (work, closed), some in runs.items()}
    return {**ratios, **rates, **cpu, "memory": [memory[most] / memory[few]]}


def _runs(aged: Mapping[int, GatewaySubject], plan: Plan) -> dict[tuple[str, int], list[Run]]:
    """Each round's run of each work by size; the sizes take turns, every other round backwards."""
    runs: dict[tuple[str, int], list[Run]] = {(work, closed): [] for work in WORKS for closed in aged}
    for number in range(plan.rounds):
        for work, closed in sorted(runs, reverse=bool(number % 2)):
            cell = Cell(work, CONNECTIONS, "gateway")
            runs[work, closed].append(measured(aged[closed], cell, plan.size.open // plan.rounds, plan.seconds))
    return runs


def _memory(gateway: GatewaySubject) -> int:
    return gateway.daemons[0].process.rss_kib()


def _copy(ground: Benchmark, closed: int) -> str:
    """Returns the URL of a fresh copy for runs that write; the morning's questions read the original file."""
    file = ground.fresh("growth") / "hkall.db"
    copy_file(Path(aged(ground, closed).removeprefix(SQLITE)), file)
    return f"{SQLITE}{file}"


def aged(ground: Benchmark, closed: int) -> str:
    """The URL of the world with so many closed requests added: a file of its own, the same for all situations."""
    return ground.once(f"closed {closed}", lambda: _age(ground, closed))


def _age(ground: Benchmark, closed: int) -> str:
    url = ground.fresh_database("sqlite", ground.fresh(f"closed-{closed}"))
    engine = open_engine(url)
    now = ground.means.now()
    bulk.fill(engine, bulk.Amounts(requests=closed, lines=LINES), now, lambda done: _tell(ground, done, closed))
    with engine.connect() as connection:  # else the first start would purge ten years at once, meanwhile
        purged = {"name": f"{ROUND}purge", "last_run": now, "next_run": now + timedelta(days=1), "count": 0}
        connection.execute(insert(JOBS), purged)
    engine.dispose()
    return url


def _tell(ground: Benchmark, done: int, closed: int) -> None:
    if done % TOLD == 0:
        ground.means.tell(f"{done:,} of {closed:,} closed requests")


# ---- nine o'clock


@dataclass(frozen=True, slots=True)
class RecordedStatement:
    """A statement that a question ran, and its parameters."""

    text: str
    values: Any


def morning(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The slowest question's time with much history against little, and how many statements read a whole table.

    The time of a question is that of its statements: starting the command would hide it. Each question's own ratio is reported
    under its name.
    """
    few, many = (Morning(ground, aged(ground, closed)) for closed in (FEW, plan.size.closed))
    with few, many:
        ratios = {" ".join(words): [many.took_s(words) / few.took_s(words) for _ in range(plan.rounds)] for words in MORNING}
        scans = [statement for words in MORNING for statement in many.scans(words)]
    for statement in scans:
        ground.means.tell(f"reads a whole table: {statement}")
    return {"slowest": list(map(max, zip(*ratios.values(), strict=True))), "scans": [float(len(scans))], **ratios}


class Morning:
    """The morning's questions to one database: records the statements of the real commands, and times them again."""

    def __init__(self, ground: Benchmark, url: str) -> None:
        self._seconds = ground.means.seconds
        config = write_config(ground.fresh("morning"), Ports(), keys={"database": {"url": url}})
        self._asked: dict[Sequence[str], list[RecordedStatement]] = {
            words: self._overhear(ground, words, config) for words in MORNING
        }
        self._engine = open_engine(url)
        self._connection = self._engine.connect()

    def _overhear(self, ground: Benchmark, words: Sequence[str], config: Path) -> list[RecordedStatement]:
        with _overheard() as asked:
            ground.means.command([*words, "--config", str(config)], environment(Ports()))
        assert asked, f"{' '.join(words)} asked the database nothing"
        return asked

    def took_s(self, words: Sequence[str]) -> float:
        """Seconds that all statements of a question take."""
        return sum(min(self._once(one) for _ in range(ASK_TIMES)) for one in self._asked[words])

    def _once(self, one: RecordedStatement) -> float:
        begun = self._seconds()
        self._connection.exec_driver_sql(one.text, one.values).fetchall()
        return self._seconds() - begun

    def scans(self, words: Sequence[str]) -> Iterator[str]:
        """The statements of a question that read a large table from end to end."""
        for one in self._asked[words]:
            plan = self._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one.text}", one.values)
            if any(reads_all(row[3]) for row in plan):
                yield f"{' '.join(words)}: {one.text}"

    def __enter__(self) -> Morning:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._engine.dispose()


def reads_all(step: str) -> bool:
    """Whether a step of SQLite's or PostgreSQL's plan reads a large table from end to end; open work alone does not count."""
    found = SCAN.search(step) or FROM_A_KEY_ON.search(step)
    return found is not None and found["table"] in LARGE and found.groupdict().get("index") not in OPEN_ONLY


@contextmanager
def _overheard() -> Iterator[list[RecordedStatement]]:
    """Records every query to a database while the context is open."""
    asked: list[RecordedStatement] = []

    def hear(_connection: object, _cursor: object, text: str, values: Any, *_: object) -> None:
        if text.lstrip().upper().startswith(("SELECT", "WITH")):
            asked.append(RecordedStatement(text, values))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
