"""Years of history: whether the counter and the morning's questions notice a million closed requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event

from hkall_gateway.lab import bulk
from hkall_gateway.lab.bench.crowds import running
from hkall_gateway.lab.bench.gateways import Gateway
from hkall_gateway.lab.bench.ground import Ground
from hkall_gateway.lab.bench.tasks import Task
from hkall_gateway.lab.bench.turns import Plan
from hkall_gateway.lab.setup import Ports, environment, write_config
from hkall_gateway.store.engine import open_engine

FEW: Final = 10_000
LINES: Final = 10
TOLD: Final = 200_000
CONNECTIONS: Final = 64
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
"""What is asked at nine o'clock. Source: operations.md 7.3."""
OPEN_ONLY: Final = re.compile(r"INDEX ix_requests_open_")
"""Partial indexes: what they list is open work."""


def growth(ground: Ground, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Rates with much history against little, each round with books of its own, and the memory of both daemons."""
    small, large = _aged(ground, FEW), _aged(ground, plan.size.closed)
    found: dict[str, list[float]] = {work: [] for work in WORKS}
    with running(ground, "gateway", small) as few, running(ground, "gateway", large) as many:
        for number in range(plan.rounds):
            for work in WORKS:
                task = Task(work, CONNECTIONS, plan.seconds, plan.size.open // plan.rounds)
                pair = (few, many) if number % 2 else (many, few)
                rates = {gateway: gateway.run(task).rate for gateway in pair}
                found[work].append(rates[many] / rates[few])
        memory = _memory(many) / _memory(few)
    return {**found, "memory": [memory]}


def _memory(gateway: Gateway) -> int:
    return gateway.daemons[0].process.rss_kib()


def _aged(ground: Ground, closed: int) -> str:
    """The world with so many closed requests besides: its own file, the same for both situations."""
    return ground.once(f"closed {closed}", lambda: _age(ground, closed))


def _age(ground: Ground, closed: int) -> str:
    url = ground.fresh_database("sqlite", ground.fresh(f"closed-{closed}"))
    engine = open_engine(url)
    bulk.fill(engine, bulk.Plenty(requests=closed, lines=LINES), ground.means.now(), lambda done: _tell(ground, done, closed))
    engine.dispose()
    return url


def _tell(ground: Ground, done: int, closed: int) -> None:
    if done % TOLD == 0:
        ground.means.tell(f"{done:,} of {closed:,} closed requests")


# ---- nine o'clock


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement that a question ran, and with what."""

    text: str
    values: Any


def morning(ground: Ground, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The slowest question's time with much history against little, and how many statements read a whole table."""
    files = [_aged(ground, closed) for closed in (FEW, plan.size.closed)]
    configs = [_configured(ground, url) for url in files]
    slowest = []
    for _ in range(plan.rounds):
        few, many = ([_took_s(ground, words, config) for words in MORNING] for config in configs)
        slowest.append(max(b / a for a, b in zip(few, many, strict=True)))
    scans = [statement for words in MORNING for statement in _scans(ground, words, configs[1], files[1])]
    for statement in scans:
        ground.means.tell(f"reads a whole table: {statement}")
    return {"slowest": slowest, "scans": [float(len(scans))]}


def _configured(ground: Ground, url: str) -> Path:
    return write_config(ground.fresh("morning"), Ports(), keys={"database": {"url": url}})


def _took_s(ground: Ground, words: Sequence[str], config: Path) -> float:
    begun = ground.means.seconds()
    ground.means.command([*words, "--config", str(config)], environment(Ports()))
    return ground.means.seconds() - begun


def _scans(ground: Ground, words: Sequence[str], config: Path, url: str) -> Iterator[str]:
    """The statements of a question that read all requests or the whole journal."""
    with _overheard() as asked:
        ground.means.command([*words, "--config", str(config)], environment(Ports()))
    engine = open_engine(url)
    with engine.connect() as connection:
        for one in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one.text}", one.values)
            if any(scans(row[3]) for row in plan):
                yield f"{' '.join(words)}: {one.text}"
    engine.dispose()


def scans(step: str) -> bool:
    """Whether a step of SQLite's plan goes through all requests or the whole journal."""
    return re.match(r"SCAN (requests|journal)\b", step) is not None and not OPEN_ONLY.search(step)


@contextmanager
def _overheard() -> Iterator[list[Asked]]:
    """Every question to a database while this lasts."""
    asked: list[Asked] = []

    def hear(_connection: object, _cursor: object, text: str, values: Any, *_: object) -> None:
        if text.lstrip().upper().startswith(("SELECT", "WITH")):
            asked.append(Asked(text, values))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
