"""Converts rows of text to records, checks each row against the columns, and reports errors with file, line and column."""

from __future__ import annotations

import csv
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from hkall_gateway.rules.dates import parse_day
from hkall_gateway.rules.plain_text import fault_of_text, whole_number
from hkall_gateway.rules.vendor_words import languages
from hkall_gateway.rules.vocabulary import Position, Side

T = TypeVar("T")
Row = tuple[str, Mapping[str, str]]
"""The place of a row (FILE:LINE), and the row's texts by column name."""
Values = dict[str, Any]
"""The converted values of a row by column name, which are the keyword arguments for the record."""

_BLOCK = 1 << 20
TRUE = frozenset({"1", "y", "yes", "true", "t"})
MOST_PLACES = 5
"""Maximum number of places listed in one message."""
FALSE = frozenset({"", "0", "n", "no", "false", "f"})


class BadFile(Exception):
    """A file with errors. `mistakes` contains one line per error."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, conversion, whether it is required, and its description for docs/files.md."""

    name: str
    read: Callable[[str], object]
    required: bool
    about: str


def language(value: str) -> str:
    """Convert a language tag or code to a language for letters, by default English. Keep unsupported tags unchanged."""
    return languages.written(value) or languages.ENGLISH


def yes(value: str) -> bool:
    """Parse y, yes, true, t, 1 and their opposites. An empty value means no."""
    word = value.lower()
    if word in TRUE | FALSE:
        return word in TRUE
    raise ValueError(f"{value!r} is neither yes nor no")


def yes_by_default(value: str) -> bool:
    """Parse a value like `yes`, but an empty value means yes."""
    return yes(value) if value else True


def last_day(value: str) -> date | None:
    """Parse YYYY-MM-DD with any year, since some systems write 9999-12-31 for "never". Return None for an empty text."""
    return _parse_day(value, date.fromisoformat)


def day(value: str) -> date | None:
    """Parse YYYY-MM-DD. Return None for an empty text."""
    return _parse_day(value, parse_day)


def cards(value: str) -> tuple[str, ...]:
    """Split a list of barcodes at semicolons, and remove duplicates."""
    return tuple(dict.fromkeys(card for part in value.split(";") if (card := part.strip())))


def count(value: str) -> int | None:
    """Parse a number of books. Return None (unknown) for an empty text."""
    if not value:
        return None
    number = whole_number(value)
    if number is None:
        raise ValueError(f"{value!r} is not a number of books")
    return number


def side(value: str) -> Side:
    """Parse "borrow" or "lend"."""
    try:
        return Side(value.lower())
    except ValueError:
        raise ValueError(f"{value!r} is neither borrow nor lend") from None


def position(value: str) -> Position:
    """Parse a position of the life cycle."""
    try:
        return Position(value.upper())
    except ValueError:
        raise ValueError(f"{value!r} is no position") from None


def _parse_day(value: str, parse: Callable[[str], date]) -> date | None:
    if not value:
        return None
    try:
        return parse(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a date (YYYY-MM-DD)") from None


def agree(_row: Values) -> Iterable[str]:
    """Report no contradictions. This is the default `check`."""
    return ()


def records(
    rows: Iterable[Row],
    columns: Sequence[Column],
    make: Callable[[Values], T],
    key: Sequence[str],
    check: Callable[[Values], Iterable[str]] = agree,
) -> tuple[tuple[str, T], ...]:
    """Return (FILE:LINE, record) for each row. Raise BadFile with the errors in all rows.

    `key` names the columns that must be unique together. `check` yields contradictions within a row, as "column: message".
    """
    mistakes: list[str] = []
    made: list[tuple[str, T]] = []
    places: dict[tuple[str, ...], str] = {}

    def add(where: str, same: tuple[str, ...], record: T | None) -> str:
        before = places.get(same, "")
        places[same] = where
        if record is not None and not before:
            made.append((where, record))
        return before

    keep_records(rows, columns, make, key, add, mistakes, check)
    if mistakes:
        raise BadFile(mistakes)
    return tuple(made)


def keep_records(
    rows: Iterable[Row],
    columns: Sequence[Column],
    make: Callable[[Values], T],
    key: Sequence[str],
    add: Callable[[str, tuple[str, ...], T | None], str],
    mistakes: list[str],
    check: Callable[[Values], Iterable[str]] = agree,
) -> None:
    """Call `add(FILE:LINE, key, record)` for each row, with None for a bad row. Append the errors to `mistakes`.

    `add` must keep the first record with a key, and return the place of the previous row with the same key, or "".
    """
    for where, row in rows:
        values = _read_values(where, row, columns, mistakes)
        wrong = [f"{where}: {what}" for what in check(values)] if values is not None else []
        same = tuple(row.get(k, "") for k in key)
        if before := add(where, same, make(values) if values is not None and not wrong else None):
            file, _, line = before.rpartition(":")
            in_file = f"line {line}" if line.isdigit() else line
            other = in_file if where.rpartition(":")[0] == file else before
            wrong.append(f"{where}: {key[-1]}: {same[-1]!r} is in {other} too")
        mistakes += wrong


class Places:
    """Counts the places of rows and stores the first MOST_PLACES places."""

    __slots__ = ("_first", "_number")

    def __init__(self, first: Sequence[str] = (), number: int = 0) -> None:
        self._first, self._number = list(first), number

    def __add__(self, other: Places) -> Places:
        """Return the combined places, starting with the places in `self`."""
        return Places([*self._first, *other._first][:MOST_PLACES], len(self) + len(other))

    def add(self, place: str) -> None:
        """Add a place."""
        self._number += 1
        if self._number <= MOST_PLACES:
            self._first.append(place)

    def __len__(self) -> int:
        return self._number

    def __str__(self) -> str:
        """Return the places, which may be in several files, as text: `patrons.csv:3, 7, 12 and 40 more`."""
        shown, file = [], ""
        for place in self._first:
            before, (file, _, line) = file, place.rpartition(":")
            shown.append(line if file == before else place)
        more = f" and {self._number - MOST_PLACES} more" if self._number > MOST_PLACES else ""
        return ", ".join(shown) + more


def csv_rows(path: Path, columns: Sequence[Column]) -> Iterator[Row]:
    """Yield the rows of a CSV file with columns in any order. Raise BadFile if it cannot be read or lacks columns."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            try:
                missing = [c.name for c in columns if c.required and c.name not in (reader.fieldnames or ())]
                unknown = [n for n in reader.fieldnames or () if n not in {c.name for c in columns}]
                if missing or unknown:
                    faults = [f"{n}: no such column in the file" for n in missing] + [f"{n}: unknown column" for n in unknown]
                    raise BadFile([f"{path}:1: {fault}" for fault in faults])
                for row in reader:
                    texts = {k: (v or "").strip() if isinstance(v, str) else "?" for k, v in row.items()}
                    yield f"{path}:{reader.line_num}", texts
            except csv.Error as error:
                raise BadFile([f"{path}:{reader.line_num + 1}: {error}"]) from None
    except UnicodeDecodeError:
        raise BadFile([f"{path}: byte {_first_bad_byte(path)}: not UTF-8"]) from None
    except OSError as error:
        raise BadFile([f"{path}: {error.strerror}"]) from None


def _first_bad_byte(path: Path) -> int:
    """Return the offset of the first byte that is not valid UTF-8."""
    decoder, read = getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return read + len(block) - len(error.object) + error.start
            read += len(block)


def _read_values(where: str, row: Mapping[str, str], columns: Sequence[Column], mistakes: list[str]) -> Values | None:
    before = len(mistakes)
    if "" in row:
        mistakes.append(f"{where}: more fields than columns")
    values: Values = {}
    for column in columns:
        text = row.get(column.name, "")
        if column.required and not text:
            mistakes.append(f"{where}: {column.name}: is empty")
            continue
        if fault := fault_of_text(text, lines=True):
            mistakes.append(f"{where}: {column.name}: {fault}")
            continue
        try:
            values[column.name] = column.read(text)
        except ValueError as error:
            mistakes.append(f"{where}: {column.name}: {error}")
    return values if len(mistakes) == before else None
