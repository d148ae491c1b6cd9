"""Measurements over time: the midnight round during checkouts, and hours of ordinary load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlalchemy import Engine, delete, func, insert, select, update

from bench.figures import quantile
from bench.gateways import GatewaySubject
from bench.generator import LoadOrder, Question
from bench.plan import Plan
from bench.questions import WORKS
from bench.resources import Benchmark
from bench.situations.crowds import running
from bench.tasks import Task
from bench.world import BenchWorld, fill
from hkall_gateway.rules.dates.calendar import civil
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.rounds import ROUND
from hkall_gateway.store.tables import JOBS, OUTBOX, REQUESTS

DUE: Final = 20_000
COUNTERS: Final = 4
LOOK_S: Final = 1.0
IDLE_S: Final = 5.0
OVERDUE: Final = f"{ROUND}overdue"


# ---- midnight


def midnight(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """p99 of message 63 at four counters while thousands of loans fall due, against the same counters before."""
    due = DUE if plan.idle_s >= LOOK_S * 30 else DUE // 10
    url = f"sqlite:///{ground.fresh('midnight') / 'hkall.db'}"
    engine = open_engine(url)
    world = BenchWorld(replace(ground.world.size, patrons=max(due, 1), open=due), ground.means.now())
    fill(engine, world)
    _lend_until_yesterday(engine, world)
    with running(ground, "gateway", url) as gateway:
        before = _waits(ground, gateway, IDLE_S)
    with engine.connect() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.name == OVERDUE))
    with running(ground, "gateway", url) as gateway:
        during = list(_until_done(ground, gateway, engine))
    _each_has_its_letter(engine, due)
    engine.dispose()
    return {"p99": [quantile(sorted(during), 0.99) / quantile(sorted(before), 0.99)]}


def _lend_until_yesterday(engine: Engine, world: BenchWorld) -> None:
    """Makes every book a loan that was due yesterday; the round does not start by itself today."""
    yesterday, long_ago = civil(world.now) - timedelta(days=1), civil(world.now) - timedelta(days=16)
    lent = {"position": "ON_LOAN", "due": yesterday, "first_checkout": long_ago, "loan_days": 15, "used": True}
    with engine.connect() as connection:
        connection.execute(update(REQUESTS).values(**lent))
        connection.execute(insert(JOBS).values(name=OVERDUE, last_run=world.now, next_run=world.now + timedelta(days=1)))


def _each_has_its_letter(engine: Engine, due: int) -> None:
    told = select(func.count(), func.count(OUTBOX.c.request.distinct())).where(
        OUTBOX.c.send == Notification.LETTER_OVERDUE.value
    )
    with engine.connect() as connection:
        letters, requests = connection.execute(told).one()
    assert letters == requests == due, f"{due} loans fell due, but there are {letters} letters about {requests}"


def _waits(ground: Benchmark, gateway: GatewaySubject, seconds: float) -> list[float]:
    order = gateway.order(Task("sip2_63", COUNTERS, seconds, 0), ground.questions("sip2_63"))
    return ground.drive(order)[1]


def _until_done(ground: Benchmark, gateway: GatewaySubject, engine: Engine) -> Iterator[float]:
    """Returns the waiting times from the daemon's start until the round has finished."""
    with engine.connect() as connection:
        while True:
            yield from _waits(ground, gateway, LOOK_S)
            ended = connection.execute(select(JOBS.c.last_run).where(JOBS.c.name == OVERDUE)).scalar()
            connection.rollback()
            if ended is not None:
                return


# ---- hours


MIXED: Final = ("sip2_63", "sip2_11", "sip2_09")
BOOKS: Final = 100
MOST_S: Final = 2.0
HALF: Final = 0.5
TERMINALS, PARTNERS = 32, 8
MIB: Final = 2**20
LAG: Final = "hkall_reactor_lag_seconds_bucket"


@dataclass(slots=True)
class Watch:
    """Samples of the daemon, one each second."""

    cpu_s: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    wal_mib: list[float] = field(default_factory=list)

    def look(self, gateway: GatewaySubject) -> None:
        process = gateway.daemons[0].process
        wal = Path(gateway.url.removeprefix("sqlite:///") + "-wal")
        self.cpu_s.append(process.cpu_s())
        self.memory.append(process.rss_kib())
        self.descriptors.append(process.descriptors())
        self.wal_mib.append(wal.stat().st_size / MIB if wal.exists() else 0.0)


def soak(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Runs mixed load at half of the possible rate for `plan.soak_s` seconds: growth, and waiting times.

    Terminals and partners ask at once. Growth compares the last tenth of the run with the second one. The reactor's lag is the
    daemon's own measure of it, rounded up to the bound of a bucket.
    """
    with running(ground, "gateway") as gateway, ThreadPoolExecutor(2) as pool:
        orders = _orders(ground, gateway)
        most = [asked.result() for asked in [pool.submit(_driven, ground, order) for order in orders]]
        halves = [replace(order, seconds=plan.soak_s, rate=HALF * rate) for order, (rate, _) in zip(orders, most, strict=True)]
        before = gateway.daemons[0].metrics()
        asked = [pool.submit(_driven, ground, order) for order in halves]
        watch = _watched(gateway, asked)
        lag_s = lag(before, gateway.daemons[0].metrics(), 0.99)
        (rate, waits_s), (lookups, _) = (future.result() for future in asked)
    return {
        "cpu": [growth([after - before for before, after in pairwise(watch.cpu_s)])],
        "memory": [growth(watch.memory)],
        "descriptors": [growth(watch.descriptors)],
        "wal": [growth(watch.wal_mib)],
        "waits": [growth(waits_s)],
        "wal_mib": [max(watch.wal_mib)],
        "p99_ms": [quantile(sorted(waits_s), 0.99) * 1000],
        "lag_ms": [lag_s * 1000],
        "a_second": [rate + lookups],
    }


def _orders(ground: Benchmark, gateway: GatewaySubject) -> tuple[LoadOrder, LoadOrder]:
    """The orders of the terminals and of the partners, at the highest possible rate."""
    terminals = gateway.order(Task("sip2_63", TERMINALS, MOST_S, 0), mixture(ground))
    partners = gateway.order(Task("lookup_user", PARTNERS, MOST_S, 0), ground.questions("lookup_user"))
    return replace(terminals, yes=tuple(WORKS[work].yes for work in MIXED)), partners


def _driven(ground: Benchmark, order: LoadOrder) -> tuple[float, list[float]]:
    """Returns answers a second, and each answer's waiting time."""
    said, waits_s = ground.drive(order)
    return len(waits_s) / said["took_s"], waits_s


def lag(before: Mapping[str, float], after: Mapping[str, float], share: float) -> float:
    """The smallest bucket bound in seconds that this share of the beats between two readings of the metrics did not exceed."""
    beats = {name: after[name] - before.get(name, 0.0) for name in after if name.startswith(LAG)}
    bounds = {float(name.partition('le="')[2].partition('"')[0]): count for name, count in beats.items()}
    return min(bound for bound, count in bounds.items() if count >= share * bounds[math.inf])


def _watched(gateway: GatewaySubject, asked: Sequence[Future[Any]]) -> Watch:
    watch = Watch()
    watch.look(gateway)
    while not all(future.done() for future in asked):
        wait(asked, LOOK_S)
        watch.look(gateway)
    return watch


def growth(seen: Sequence[float]) -> float:
    """The median of the last tenth over that of the second tenth: the first tenth is warm-up."""
    tenth = max(1, len(seen) // 10)
    early, late = seen[tenth : 2 * tenth] or seen[:1], seen[-tenth:]
    return median(late) / median(early)


def mixture(ground: Benchmark) -> list[Question]:
    """Mostly patrons' records; some books are lent and, much later, the checkout is undone (09 with BI)."""
    seen, lent, undone = (ground.questions(work) for work in MIXED)
    books = min(BOOKS, len(lent))
    return [*lent[:books], *seen[: 3 * books], *undone[:books], *seen[3 * books : 6 * books]]
