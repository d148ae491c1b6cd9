"""Put one patron into every column of a database that may contain patron data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import Boolean, Column, Integer, Table, insert

from hkall_gateway.db.privacy.persons import card_columns, personal
from hkall_gateway.db.tables import METADATA, UtcDateTime
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import Stage
from hkall_gateway.rules.vocabulary import Position, Side

CARD, NAME, NAME_ZH, EMAIL = "7770001234", "Cheung Suk Ling", "張淑玲", "suk.ling@example.hk"
PERSON = (CARD, NAME, NAME_ZH, EMAIL)
WHEN = datetime(2017, 3, 1, 2, 0, tzinfo=UTC)
ENDED = {"side": Side.BORROWING.value, "position": Position.CLOSED.value, "stage": Stage.ENDED.value}
TEXTS = (
    "{}",
    "said {} by telephone",
    '{{"_":"Letter","send":"letter_pickup","patron":"{}","title":"Dune","cents":400}}',
    "<UserId><UserIdentifierValue>{}</UserIdentifierValue></UserId>",
)


def plant(unit: UnitOfWork, marks: Sequence[str] = PERSON) -> int:
    """Insert a row for each column that may name a patron, each mark and each kind of text; return their number.

    A column of card numbers contains nothing but the card.
    """
    patron = {"barcode": CARD, "name": NAME, "name_zh": NAME_ZH, "email": EMAIL}
    unit.execute(insert(METADATA.tables["patrons"]), patron)
    rows = [(table, row) for table in METADATA.sorted_tables if table.name != "patrons" for row in _rows(table, marks)]
    for table, row in rows:
        unit.execute(insert(table), row)
    return len(rows) + 1


def _rows(table: Table, marks: Sequence[str]) -> Iterator[dict[str, Any]]:
    numbers = count(1_000)
    whole = [column.name for column in card_columns(table)]
    for column in (column for column in personal(table) if column.computed is None):
        for text in TEXTS[:1] if column.name in whole else TEXTS:
            for mark in marks:
                yield {**_plain(table, next(numbers)), column.name: text.format(mark)}


def _plain(table: Table, number: int) -> dict[str, Any]:
    """A row without patron data."""
    row = {c.name: _value(c, number) for c in table.c if c.computed is None}
    return {**row, **ENDED} if table.name == "requests" else row


def _value(column: Column[Any], number: int) -> Any:
    if isinstance(column.type, UtcDateTime):
        return WHEN
    if isinstance(column.type, Boolean):
        return False
    if isinstance(column.type, Integer):
        return number if column.primary_key else 0
    if column.type.python_type is str:
        return f"x{number}"
    return None
