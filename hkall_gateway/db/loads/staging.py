"""The checked copies of a file, on disk and not in memory, until the load has compared and written them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import fields
from operator import attrgetter
from typing import Final

import orjson

from hkall_gateway.rules.vocabulary import Holding

Placed = tuple[str, Holding]
"""A copy with its place, FILE:LINE."""

_CACHE_KIB: Final = 64_000
_FACTS: Final = attrgetter(*(field.name for field in fields(Holding)))


class StagedCopies(Collection[Placed]):
    """Copies in a temporary database of this process, which SQLite deletes. Its file is in the folder of temporary files."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB};"
            "CREATE TABLE copies (agency TEXT, barcode TEXT, place TEXT, bib_id TEXT, facts BLOB);"
            "CREATE UNIQUE INDEX ix_copies ON copies (agency, barcode); BEGIN"
        )
        self._count = 0

    def add(self, place: str, key: tuple[str, ...], copy: Holding | None) -> str:
        """Add a row of the file, None for a bad one. Return the place of the row before with the same key, "" for none."""
        bib_id, facts = (copy.bib_id, orjson.dumps(_FACTS(copy))) if copy else ("", None)
        row = (*key, place, bib_id, facts)
        if self._connection.execute("INSERT OR IGNORE INTO copies VALUES (?, ?, ?, ?, ?)", row).rowcount:
            self._count += copy is not None
            return ""
        ((before,),) = self._connection.execute("SELECT place FROM copies WHERE agency = ? AND barcode = ?", key).fetchall()
        self._connection.execute("UPDATE copies SET place = ? WHERE agency = ? AND barcode = ?", (place, *key))
        return str(before)

    def find(self, agency: str, barcode: str) -> Holding | None:
        """Return the copy that the file has under this key."""
        asked = "SELECT facts FROM copies WHERE agency = ? AND barcode = ?"
        found = self._connection.execute(asked, (agency, barcode)).fetchone()
        return _copy(found[0]) if found and found[0] else None

    def chunks(self, size: int) -> Iterator[list[Holding]]:
        """Yield the copies sorted by title, `size` at once."""
        asked = "SELECT facts FROM copies WHERE facts IS NOT NULL ORDER BY bib_id"
        with closing(self._connection.execute(asked)) as cursor:
            while rows := cursor.fetchmany(size):
                yield [_copy(facts) for (facts,) in rows]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Placed]:
        """Yield the copies in the order of the file."""
        asked = "SELECT place, facts FROM copies WHERE facts IS NOT NULL ORDER BY rowid"
        for place, facts in self._connection.execute(asked):
            yield place, _copy(facts)

    def __contains__(self, placed: object) -> bool:
        return any(placed == one for one in self)


def _copy(facts: bytes) -> Holding:
    return Holding(*orjson.loads(facts))
