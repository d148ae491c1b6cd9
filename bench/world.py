"""The generated library of the benchmark: patrons, copies of other libraries, and books on its hold shelf."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Table, insert

from bench.plan import COPIES_EACH, Size
from hkall_gateway.db import schema
from hkall_gateway.db.loads.loading import with_keys
from hkall_gateway.db.tables import HOLDINGS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

OWNERS: Final = ("CUHK", "HKUST", "LU")
BOOKS_EACH: Final = 2
CHUNK: Final = 5_000
"""Rows per statement and per transaction."""


def copy_file(source: Path, target: Path) -> None:
    """Copy an SQLite database and sync it."""
    shutil.copyfile(source, target)
    sync(target)


def sync(database: Path) -> None:
    """Flush an SQLite database to disk. Otherwise a gateway's first checkpoint writes the whole file while it is measured."""
    with open(database, "rb+") as file:
        os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class BenchWorld:
    """Data of the benchmark's database. Every value is derived from a number. `now` is the time of its creation."""

    size: Size
    now: datetime

    def card(self, number: int) -> str:
        """Return the card of the patron of an open request."""
        return f"P{number // BOOKS_EACH % self.size.patrons:06d}"

    def barcode(self, number: int) -> str:
        """Return the barcode of the copy of an open request, or of any copy."""
        return f"C{number:07d}"

    def number(self, number: int) -> str:
        """Return our own number of an open request."""
        return f"R{number:07d}"

    def wanted(self, number: int) -> str:
        """Return a title without an open request. Titles are counted from the other end."""
        return f"b{self.size.titles - 1 - number:06d}"

    def ready(self, number: int) -> Request:
        """Create an open request whose book waits at our counter."""
        return Request(
            id=self.number(number),
            side=Side.BORROWING,
            position=Position.RECEIVED,
            title=f"Title {number // COPIES_EACH}",
            bib_id=f"b{number // COPIES_EACH:06d}",
            patron=self.card(number),
            partner=OWNERS[number % len(OWNERS)],
            wire_agency="HKU",
            wire_id=f"{self.number(number)}-1",
            item_agency=OWNERS[number % len(OWNERS)],
            item_barcode=self.barcode(number),
            pickup_location="HKU-MAIN-LENDING",
            placed_at=self.now,
            moved_at=self.now,
            received_on=self.now.date(),
        )

    def patrons(self) -> Iterator[dict[str, Any]]:
        """Yield rows for the table of patrons."""
        for number in range(self.size.patrons):
            card, name = f"P{number:06d}", f"Reader {number}"
            yield {"barcode": card, "name": name, "category": "undergraduates", "email": f"reader{number}@example.hk"}

    def holdings(self) -> Iterator[dict[str, Any]]:
        """Yield rows for the table of holdings."""
        for number in range(self.size.holdings):
            yield {
                "agency": OWNERS[number % len(OWNERS)],
                "barcode": self.barcode(number),
                "bib_id": f"b{number // COPIES_EACH:06d}",
                "title": f"Title {number // COPIES_EACH}",
                "call_number": f"PL{number % 9999}",
                "status": "Available On Shelf",
                "material": "book",
            }


def fill(engine: Engine, world: BenchWorld) -> None:
    """Upgrade an empty database to the current revision and fill it, except for the history."""
    schema.upgrade(engine)
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    _write_rows(store, PATRONS, world.patrons())
    _write_rows(store, HOLDINGS, iter(with_keys(world.holdings())))

    def open_requests(unit: UnitOfWork, numbers: range) -> None:
        for number in numbers:
            unit.open(world.ready(number), world.now, Actor(who="bench", channel="world"))

    for first in range(0, world.size.open, CHUNK):
        store.now(open_requests, range(first, min(first + CHUNK, world.size.open)))
    store.close()


def _write_rows(store: SoleStore, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    while some := list(islice(rows, CHUNK)):
        store.now(lambda unit: unit.execute(insert(table), some))  # the lambda is called immediately
