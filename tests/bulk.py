"""Bulk data for years of operation: closed requests with journal, notices and candidates, and a directory of any length.

The benchmarks and the growth tests fill a database with it. Every value is derived from a row's number, so that the same plan
always gives the same rows. Rows are written with plain `executemany`, one transaction per chunk, in key order.

    python -m tests.bulk sqlite:////tmp/big.db --requests 1000000 --partners 1000000
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import click
from sqlalchemy import Engine, Table

from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import CANDIDATES, FINES, JOURNAL, NOTICES, OUTBOX, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.lifecycle import Event, Notification, step
from hkall_gateway.rules.messages.json_records import to_json
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import STAGES
from hkall_gateway.rules.stored_words import CandidateOutcome, NoticeState, OutboxKind, OutboxState
from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.simulator.databases import SoleStore

CHUNK: Final = 5_000
OTHERS: Final = ("CITYU", "CUHK", "EDUHK", "HKBU", "HKUST", "LU", "POLYU")
STEP_DAYS: Final = 4
AT_A_TIME: Final = 1_000
CACHE_KIB: Final = 500_000
E, P = Event, Position

# fmt: off
LIVES: Final[dict[Side, tuple[Event, ...]]] = {
    Side.BORROWING: (E.ASK, E.SHIP, E.ARRIVE, E.NOTIFY, E.CHECK_OUT, E.RENEW, E.RETURN, E.DISPATCH, E.HOME),
    Side.LENDING:   (E.PRINT, E.LEND, E.BORROWER_HAS_IT, E.BORROWER_RENEWED, E.COMING_HOME, E.CHECK_IN_HOME),
}
FIRST: Final = {Side.BORROWING: P.NEW, Side.LENDING: P.PAGED}
# fmt: on


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts of data: `requests` closed requests with `lines` of journal each, spread evenly over `days` up to now.

    Half of the requests are borrowed, by `patrons` patrons and by others without a row in the table of patrons. Of the
    latter, AT_A_TIME borrow at any time, since patrons come and go. Each item serves ten requests.
    """

    requests: int = 1_000_000
    lines: int = 10
    patrons: int = 60_000
    days: int = 3_650
    agency: str = "HKU"


@dataclass(frozen=True, slots=True)
class ClosedRequest:
    """One closed request: the values from which its rows are made."""

    number: int
    side: Side
    placed: datetime
    plenty: Amounts

    @property
    def id(self) -> str:
        return f"B{self.number:09d}"

    @property
    def patron(self) -> str:
        if self.side is Side.LENDING:
            return ""
        first = self.number * self.plenty.patrons // self.plenty.requests
        return f"BP{first + self.number * 7919 % AT_A_TIME:07d}"

    @property
    def partner(self) -> str:
        return OTHERS[self.number // 2 % len(OTHERS)]

    @property
    def owner(self) -> str:
        return self.partner if self.side is Side.BORROWING else self.plenty.agency

    @property
    def borrower(self) -> str:
        return self.plenty.agency if self.side is Side.BORROWING else self.partner

    @property
    def barcode(self) -> str:
        return f"BC{self.number // 10:08d}"

    def day(self, after: int) -> date:
        return civil(self.placed) + timedelta(days=after)


def at(plenty: Amounts, number: int, now: datetime) -> ClosedRequest:
    """Return the request with this number; 0 is the oldest."""
    left = timedelta(days=plenty.days) * ((plenty.requests - number) / plenty.requests)
    return ClosedRequest(number, Side.LENDING if number % 2 else Side.BORROWING, now - left, plenty)


# ---- rows, with values in column order


def _requests(one: ClosedRequest, now: datetime) -> Iterator[Sequence[object]]:
    ended = min(now, one.placed + timedelta(days=STEP_DAYS * len(LIVES[one.side])))
    stands = (one.side.value, P.CLOSED.value, STAGES[P.CLOSED].value)
    named = (one.patron, one.partner, one.borrower, f"w{one.number}")
    held = (one.owner, one.barcode, f"Title {one.number // 40}", f"bib{one.number // 40}")
    days = (one.day(12).isoformat(), one.day(16).isoformat(), one.day(31).isoformat(), one.day(28).isoformat())
    yield (one.id, *stands, *named, *held, _text(one.placed), _text(ended), *days)


def _journal(one: ClosedRequest, now: datetime) -> Iterator[Sequence[object]]:
    life = LIVES[one.side]
    yield _line(one, now, 0, "OPEN", "", FIRST[one.side].value)
    for number in range(1, one.plenty.lines):
        happened = life[(number - 1) % len(life)]
        yield _line(one, now, number, happened.name, *_STEPS[happened])


def _line(one: ClosedRequest, now: datetime, number: int, happened: str, source: str, target: str) -> Sequence[object]:
    when = _text(min(now, one.placed + timedelta(days=STEP_DAYS * number)))
    facts = f'{{"position":{{"_":"Position","v":"{target}"}}}}'
    return (when, one.id, one.patron, "bulk", "import", "", f"c{one.number}", happened, source, target, "", "ok", facts)


def _candidates(one: ClosedRequest, _now: datetime) -> Iterator[Sequence[object]]:
    if one.side is Side.BORROWING:
        yield (one.id, 1, one.partner, one.barcode, f"w{one.number}", CandidateOutcome.ACCEPTED)


def _outbox(one: ClosedRequest, _now: datetime) -> Iterator[Sequence[object]]:
    send = Notification.ASK_LENDER if one.side is Side.BORROWING else Notification.TELL_BORROWER_SHIPPED
    told = PartnerMessage(
        send=send.value,
        request=one.id,
        partner=one.partner,
        wire_agency=one.borrower,
        wire_id=f"w{one.number}",
        at=one.placed,
        patron=one.patron,
    )
    when = _text(one.placed)
    yield (OutboxKind.NCIP, send.value, one.partner, one.id, to_json(told), OutboxState.SENT, when, when, when, 1)


def _notices(one: ClosedRequest, _now: datetime) -> Iterator[Sequence[object]]:
    if one.side is Side.BORROWING:
        when = _text(one.placed + timedelta(days=12))
        yield (one.id, Notification.LETTER_PICKUP.value, one.day(12).isoformat(), one.patron, NoticeState.SENT, when, when)


def _fines(one: ClosedRequest, _now: datetime) -> Iterator[Sequence[object]]:
    if one.number % 20 == 0:
        yield (one.id, one.patron, "overdue", 200, 200, "HKD", _text(one.placed), "R40", one.day(31).isoformat())


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """The rows that one request has in a table, and their columns."""

    table: Table
    rows: Callable[[ClosedRequest, datetime], Iterator[Sequence[object]]]
    columns: str


# fmt: off
KINDS: Final = (
    RowTemplate(REQUESTS,   _requests,   "id side position stage patron partner wire_agency wire_id item_agency item_barcode"
                                         " title bib_id placed_at moved_at received_on first_checkout due returned_on"),
    RowTemplate(JOURNAL,    _journal,    "at request patron who channel message corr event source target rule outcome detail"),
    RowTemplate(CANDIDATES, _candidates, "request rank agency barcode wire_id outcome"),
    RowTemplate(OUTBOX,     _outbox,     "kind send recipient request payload state made_at next_at sent_at attempts"),
    RowTemplate(NOTICES,    _notices,    "request kind about patron state made_at sent_at"),
    RowTemplate(FINES,      _fines,      "request patron kind cents paid_cents currency at reason due"),
)
# fmt: on


# ---- writing to the database


def fill(engine: Engine, plenty: Amounts, now: datetime, tell: Callable[[int], None] = lambda _done: None) -> None:
    """Write all rows into tables that are empty. `tell` is called with the number of requests written so far."""
    with open_store(engine) as store:
        for first in range(0, plenty.requests, CHUNK):
            some = range(first, min(first + CHUNK, plenty.requests))
            store.now(_write, [at(plenty, number, now) for number in some], now)
            tell(some.stop)


def fill_directory(engine: Engine, partners: int, tell: Callable[[int], None] = lambda _done: None) -> None:
    """Add `partners` further libraries, L0000000 and up, each with its own card at our counter."""
    with open_store(engine) as store:
        for first in range(0, partners, CHUNK * 4):
            some = range(first, min(first + CHUNK * 4, partners))
            store.now(lambda unit: unit.partners.write([partner(number) for number in some]))  # noqa: B023  # it runs at once
            tell(some.stop)


def partner(number: int) -> Partner:
    """Return a partner library with generated values."""
    return Partner(agency=f"L{number:07d}", name=f"Library {number}", institutional_card=f"L{number:07d}-INST")


def _write(unit: UnitOfWork, some: Sequence[ClosedRequest], now: datetime) -> None:
    for kind in KINDS:
        rows = [tuple(row) for one in some for row in kind.rows(one, now)]
        if rows:
            columns = kind.columns.split()
            marks = ", ".join(["?" if unit.dialect == "sqlite" else "%s"] * len(columns))
            insert = f"INSERT INTO {kind.table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  # our own names
            unit.connection.exec_driver_sql(insert, rows)


@contextmanager
def open_store(engine: Engine) -> Iterator[SoleStore]:
    """A store with a page cache large enough for the upper levels of the large indexes."""
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    store.now(_more_memory)
    try:
        yield store
    finally:
        store.close()


def _more_memory(unit: UnitOfWork) -> None:
    if unit.dialect == "sqlite":
        unit.connection.exec_driver_sql(f"PRAGMA cache_size=-{CACHE_KIB}")


def _steps() -> Iterator[tuple[Event, tuple[str, str]]]:
    """Yield each event of the life cycles, with its positions before and after."""
    for side, life in LIVES.items():
        here = FIRST[side]
        for happened in life:
            there = step(side, here, happened).target
            yield happened, (here.value, there.value)
            here = there


def _text(instant: datetime) -> str:
    """Return a timestamp in the tables' format."""
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


_STEPS: Final = dict(_steps())


# ---- the command


@click.command()
@click.argument("url")
@click.option("--requests", default=1_000_000, show_default=True, help="Closed requests.")
@click.option("--lines", default=10, show_default=True, help="Lines of the journal each.")
@click.option("--days", default=3_650, show_default=True, help="Over how long they were placed.")
@click.option("--partners", default=0, show_default=True, help="Further libraries in the directory.")
@click.option("--now", "until", type=click.DateTime(), default="2026-01-05 04:00:00", show_default=True, help="In UTC.")
def main(url: str, requests: int, lines: int, days: int, partners: int, until: datetime) -> None:
    """Fill the database at URL with closed requests and a long directory; missing tables are created.

    Example: python -m tests.bulk sqlite:////tmp/big.db --requests 100000
    """
    engine = open_engine(url)
    schema.upgrade(engine)
    plenty = Amounts(requests, lines, days=days)
    fill(engine, plenty, until.replace(tzinfo=UTC), lambda done: _tell("requests", done, requests))
    fill_directory(engine, partners, lambda done: _tell("partners", done, partners))
    engine.dispose()


def _tell(what: str, done: int, of: int) -> None:
    if done == of or done % (CHUNK * 20) == 0:
        click.echo(f"{done:,} of {of:,} {what}")


if __name__ == "__main__":
    main()
