"""Compares one commit for all waiting units with one commit each: the store alone, inside this process.

Durable checkouts a second on an SQLite file: every client asks, waits for its answer and asks again. Both designs run the same
unit of work through the same writer thread; only the size of a group differs. They take turns, round by round, each on a fresh
copy of the database. Rates depend on the machine; only the ratio is comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from statistics import median, quantiles
from typing import Final

from sqlalchemy import Connection, func, insert, select
from twisted.python.failure import Failure

from bench.world import copy_file
from hkall_gateway.rules.lifecycle import TAKES_QUOTA, Event
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.engine.database import BATCH_UNITS, Database
from hkall_gateway.store.engine.immediate import Immediate
from hkall_gateway.store.tables import JOURNAL, OUTBOX, PATRONS, REQUESTS, create_all
from hkall_gateway.store.unit import Unit

CLIENTS: Final = (16, 64)
CHECKOUTS: Final = 800
DESIGNS: Final = {"grouped": BATCH_UNITS, "single": 1}
BOOKS_EACH: Final = 8
QUOTA: Final = 15
NOW: Final = datetime(2017, 3, 1, 4, tzinfo=UTC)
DUE: Final = date(2017, 3, 16)
COUNTER: Final = Actor("counter-1", "sip2", "11", "bench")
Seconds = Callable[[], float]


@dataclass(frozen=True, slots=True)
class GroupingRun:
    """One run of one design: checkouts a second, milliseconds from request to answer, units in a commit."""

    rate: float
    p50_ms: float
    p99_ms: float
    batch: float


@dataclass(frozen=True, slots=True)
class GroupingRow:
    """One number of clients: the medians of both designs, and grouped against single in each round."""

    clients: int
    grouped: GroupingRun
    single: GroupingRun
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return median(self.ratios)


# ---- the library


def _checkout(unit: Unit, number: int) -> str:
    """Makes the reads and writes of a checkout: the patron, the copy, the patron's other loans; then the step."""
    card = _card(number)
    patron, held = unit.patron(card), unit.requests_with(_barcode(number))
    request = held[0]
    if patron is None or request.patron != card or unit.quota_used(card, TAKES_QUOTA, request.id) >= QUOTA:
        raise LookupError(f"checkout {number} cannot be")
    today = NOW.date()
    return unit.advance(
        request, Event.CHECK_OUT, NOW, COUNTER, "R19", due=DUE, first_checkout=today, loan_days=15, used=True
    ).id


def _card(number: int) -> str:
    return f"P{number // BOOKS_EACH:06d}"


def _barcode(number: int) -> str:
    return f"C{number:06d}"


def _make_unit(connection: Connection) -> Unit:
    return Unit(connection, str)


def fill(file: Path, checkouts: int) -> None:
    """A library with that many books on its hold shelf, BOOKS_EACH for every patron."""
    engine = open_engine(f"sqlite:///{file}")
    create_all(engine)
    store = Immediate(engine, _make_unit)
    store.now(_fill, checkouts)
    store.close()
    engine.dispose()


def _fill(unit: Unit, checkouts: int) -> None:
    cards = sorted({_card(number) for number in range(checkouts)})
    unit.execute(insert(PATRONS), [{"barcode": card, "name": card, "category": "ug"} for card in cards])
    for number in range(checkouts):
        unit.open(_ready(number), NOW, Actor("bench", "world"))


def _ready(number: int) -> Request:
    return Request(
        id=f"R{number:06d}",
        side=Side.BORROWING,
        position=Position.RECEIVED,
        title="Dune",
        bib_id=f"b{number}",
        patron=_card(number),
        partner="CUHK",
        wire_agency="HKU",
        wire_id=f"R{number:06d}-1",
        item_agency="CUHK",
        item_barcode=_barcode(number),
        pickup_location="HKU-MAIN-LENDING",
        received_on=NOW.date(),
    )


# ---- one run


class Counter:
    """Clients in a closed loop: each takes the next number after its last answer. The calling thread acts as the reactor."""

    def __init__(self, checkouts: int, seconds: Seconds) -> None:
        self._checkouts, self._seconds = checkouts, seconds
        self._numbers = iter(range(checkouts))
        self._pending: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._failures: list[Failure] = []
        self.waits_s: list[float] = []

    def in_reactor(self, call: Callable[[], None]) -> None:
        self._pending.put(call)

    def serve(self, database: Database, clients: int) -> None:
        """Runs until every checkout is answered; raises the first failure."""
        for _ in range(clients):
            self._next(database)
        while len(self.waits_s) < self._checkouts:
            self._pending.get()()
            if self._failures:
                self._failures[0].raiseException()

    def _next(self, database: Database) -> None:
        number = next(self._numbers, None)
        if number is None:
            return
        asked = self._seconds()

        def answered(_request: str) -> None:
            self.waits_s.append(self._seconds() - asked)
            self._next(database)

        database.run(_checkout, number).addCallback(answered).addErrback(self._failures.append)


def measure(file: Path, batch: int, clients: int, checkouts: int, seconds: Seconds) -> GroupingRun:
    """Runs all checkouts of a loaded database, in groups of at most `batch`; AssertionError if one was lost."""
    counter = Counter(checkouts, seconds)
    engine = open_engine(f"sqlite:///{file}")
    database = Database(engine, _make_unit, counter.in_reactor, batch)
    began = seconds()
    try:
        counter.serve(database, clients)
    finally:
        took_s = seconds() - began
        database.close()
        engine.dispose()
    check(file, checkouts)
    cuts = quantiles(counter.waits_s, n=100)
    return GroupingRun(checkouts / took_s, cuts[49] * 1000, cuts[98] * 1000, database.average_batch)


def check(file: Path, checkouts: int) -> None:
    """Checks that every answer is in the file: loans, lines of the journal and messages to lenders, as many as checkouts."""
    questions = {
        "loans": select(func.count()).select_from(REQUESTS).where(REQUESTS.c.position == Position.ON_LOAN),
        "journal": select(func.count()).select_from(JOURNAL).where(JOURNAL.c.event == Event.CHECK_OUT.name),
        "outbox": select(func.count()).select_from(OUTBOX),
    }
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        found = {name: connection.execute(question).scalar_one() for name, question in questions.items()}
    engine.dispose()
    assert set(found.values()) == {checkouts}, f"{checkouts} checkouts were answered, but there are {found}"


# ---- the comparison


def compare(folder: Path, clients: int, checkouts: int, rounds: int, seconds: Seconds) -> GroupingRow:
    """Runs both designs in turns, each round on fresh copies of one database."""
    template = folder / "template.db"
    if not template.exists():
        fill(template, checkouts)
    runs: dict[str, list[GroupingRun]] = {design: [] for design in DESIGNS}
    for _ in range(rounds):
        for design, batch in DESIGNS.items():
            with _copy(template) as file:
                runs[design].append(measure(file, batch, clients, checkouts, seconds))
    ratios = tuple(a.rate / b.rate for a, b in zip(runs["grouped"], runs["single"], strict=True))
    return GroupingRow(clients, _middle(runs["grouped"]), _middle(runs["single"]), ratios)


_COPIES = count(1)


@contextmanager
def _copy(template: Path) -> Iterator[Path]:
    file = template.with_name(f"run-{next(_COPIES)}.db")
    copy_file(template, file)
    yield file
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()


def _middle(runs: Sequence[GroupingRun]) -> GroupingRun:
    return GroupingRun(*(median(getattr(run, name) for run in runs) for name in ("rate", "p50_ms", "p99_ms", "batch")))
