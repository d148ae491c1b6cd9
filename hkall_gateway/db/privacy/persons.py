"""Find one person in every table: by card number, and by names and addresses that are unique to the person.

The search covers METADATA, so that it includes tables added by later revisions. Card numbers in their own columns are compared
as a whole ("1234-5" is not the card "1234"), and other texts word by word. `not_a_person.toml` lists the columns in which a
value that looks like a card number or a name is something else, such as a copy's barcode or a title.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Select, String, Table, Text, func, or_, select, text

from hkall_gateway.db.loads.former_cards import cards_of
from hkall_gateway.db.tables import METADATA, OUTBOX, PATRONS, REQUESTS, UtcDateTime
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.stored_words import OutboxKind

Row = dict[str, Any]
EVERY: Final = "every column"
DOT: Final = "•"

NOT_A_PERSON: Final[dict[str, list[str]]] = tomllib.loads(Path(__file__).with_name("not_a_person.toml").read_text("utf-8"))

NOT_IN_JSON: Final = frozenset(
    {"_", "id", "item", "item_barcode", "barcode", "title", "linked_title", "author", "volume", "bib_id"}
)
"""Keys in JSON texts whose values never name a person."""

_CARDS: Final = re.compile("(?:^|_)(?:card|patron|barcode|present|former|recipient)s?$")
"""Matches names of columns and JSON keys that contain card numbers."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """The card numbers of one person, and the names and addresses that no other patron has.

    `shared` are names and addresses that also occur in another patron's name or address, so that a text with them may be about
    that patron.
    """

    cards: tuple[str, ...]
    words: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """All texts that name the person."""
        return self.cards + self.words

    @cached_property
    def _spot(self) -> re.Pattern[str]:
        longest_first = sorted(map(re.escape, self.marks), key=len, reverse=True)
        return re.compile(rf"(?<![0-9A-Za-z])(?:{'|'.join(longest_first)})(?![0-9A-Za-z])", re.IGNORECASE)

    def is_in(self, value: object, name: str = "") -> bool:
        """Return whether a value of the column `name` ("" for any text) names this person."""
        return isinstance(value, str) and self.out_of(value, name) != value

    def out_of(self, value: str, name: str) -> str:
        """Return a value of the column or JSON key `name` without the person. Card numbers are compared as a whole."""
        if _CARDS.search(name):
            return "" if value in self.marks else value
        return self.without(value)

    def without(self, text: str) -> str:
        """Return the text with a dot in place of this person, or "" if no other text remains. JSON stays valid JSON."""
        if not self._spot.search(text):
            return text
        whole = _parse_json(text)
        if whole is None:
            return "" if self._spot.fullmatch(text) else self._spot.sub(DOT, text)
        rest = self.inside(whole)
        return text if rest == whole else json.dumps(rest, ensure_ascii=False, separators=(",", ":"))

    def inside(self, value: object, name: str = "") -> object:
        """Return the value of the JSON key `name` without the person. Keys of NOT_IN_JSON keep their values."""
        if isinstance(value, dict):
            return {key: one if key in NOT_IN_JSON else self.inside(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [self.inside(one, name) for one in value]
        return self.out_of(value, name) if isinstance(value, str) else value


def _parse_json(text: str) -> object:
    """Return the JSON object or list that a text contains, or None for any other text."""
    if text[:1] not in "{[":
        return None
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    return found


def person(unit: UnitOfWork, card: str, former: Sequence[str] = ()) -> Person:
    """Return the person with this card, its replacements, the cards that it replaced, and the `former` cards."""
    cards = tuple(dict.fromkeys(each for one in (card, *former) for each in (one, *cards_of(unit, one))))
    p = PATRONS.c
    found = unit.execute(select(p.name, p.name_zh, p.email).where(p.barcode.in_(cards))).all()
    words = tuple(dict.fromkeys(word for row in found for word in row if word))
    shared = tuple(word for word in words if _is_shared(unit, word, cards))
    return Person(cards=cards, words=tuple(word for word in words if word not in shared), shared=shared)


def _is_shared(unit: UnitOfWork, word: str, cards: Sequence[str]) -> bool:
    """Check whether a word occurs in another patron's name or address, as "李明" occurs in "李明德"."""
    p, one = PATRONS.c, Person(cards=(word,))
    columns = (p.name, p.name_zh, p.email)
    alike = or_(*(column.icontains(word, autoescape=True) for column in columns))
    rows = unit.execute(select(*columns).where(alike, p.barcode.not_in(cards)))
    return any(one.is_in(value) for row in rows for value in row)


def cards(unit: UnitOfWork) -> Iterator[str]:
    """Yield every card number in any table."""
    patiently(unit)
    for column in _card_columns():
        yield from unit.execute(select(column).where(column != "").distinct()).scalars()


def is_known(unit: UnitOfWork, card: str) -> bool:
    """Check whether this card occurs in any column of card numbers."""
    patiently(unit)
    for column in _card_columns():
        of_patrons = [OUTBOX.c.kind == OutboxKind.MAIL] if column.table is OUTBOX else []
        if unit.execute(select(column).where(column == card, *of_patrons).limit(1)).first():
            return True
    return False


def _card_columns() -> list[Column[str]]:
    return [column for table in METADATA.sorted_tables for column in card_columns(table)]


def personal(table: Table) -> list[Column[str]]:
    """Return the columns of a table that may name a person."""
    things = NOT_A_PERSON.get(table.name, ())
    texts = [c for c in table.c if isinstance(c.type, String | Text) and not isinstance(c.type, UtcDateTime)]
    return [] if EVERY in things else [c for c in texts if c.name not in things]


def card_columns(table: Table) -> list[Column[str]]:
    """Return the personal columns that contain card numbers."""
    return [column for column in personal(table) if _CARDS.search(column.name)]


def rows_naming(unit: UnitOfWork, who: Person) -> Iterator[tuple[Table, Row]]:
    """Yield every row of every table that names this person."""
    patiently(unit)
    for table in METADATA.sorted_tables:
        columns = personal(table)
        if columns:
            query = select(table).where(_may_name(columns, who)).order_by(*table.primary_key)
            rows = [dict(row) for row in unit.execute(query).mappings()]
            yield from ((table, row) for row in rows if names(table, row, who))


def rows_about(unit: UnitOfWork, who: Person) -> Iterator[tuple[Table, Row]]:
    """Yield every row that names this person or belongs to a request of this person."""
    theirs = select(REQUESTS.c.id).where(REQUESTS.c.patron.in_(who.cards))
    seen = set()
    for table, row in rows_naming(unit, who):
        seen.add((table.name, key_of(table, row)))
        yield table, row
    for table in METADATA.sorted_tables:
        belongs = _belongs_to_requests(table, theirs)
        if belongs is not None:
            rows = [dict(row) for row in unit.execute(select(table).where(belongs).order_by(*table.primary_key)).mappings()]
            yield from ((table, row) for row in rows if (table.name, key_of(table, row)) not in seen)


def names(table: Table, row: Mapping[str, object], who: Person) -> bool:
    """Check whether this row names the person. A row of `patrons` counts only for its own patron, whatever its texts name."""
    if table is PATRONS:
        return row["barcode"] in who.cards
    return any(who.is_in(row[column.name], column.name) for column in personal(table))


def key_of(table: Table, row: Mapping[str, object]) -> tuple[object, ...]:
    """Return the values of the row's primary key."""
    return tuple(row[column.name] for column in table.primary_key)


def row_condition(table: Table, row: Mapping[str, object]) -> list[ColumnElement[bool]]:
    """Return the condition that selects this row."""
    return [column == row[column.name] for column in table.primary_key]


def patiently(unit: UnitOfWork) -> None:
    """Lift PostgreSQL's statement timeout in this transaction, because the search reads whole tables."""
    if unit.dialect == "postgresql":
        unit.execute(text("SET LOCAL statement_timeout = 0"))


def _may_name(columns: Sequence[Column[str]], who: Person) -> ColumnElement[bool]:
    """Return a condition that preselects rows: a card or name occurs in the row's texts, possibly within a longer word."""
    texts: list[ColumnElement[str]] = [func.coalesce(column, "") for column in columns]
    whole = reduce(lambda before, text: before + "\n" + text, texts[1:], texts[0])
    return or_(*(whole.icontains(mark, autoescape=True) for mark in who.marks))


def _belongs_to_requests(table: Table, theirs: Select[str]) -> ColumnElement[bool] | None:
    if "request" in table.c:
        return table.c.request.in_(theirs)
    if table.name == "attempts":
        return table.c.row.in_(select(OUTBOX.c.id).where(OUTBOX.c.request.in_(theirs)))
    return None
