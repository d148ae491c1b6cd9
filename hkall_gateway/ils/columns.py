"""Converts rows of text to records, checks each row against the columns, and reports errors with file, line and column."""

from __future__ import annotations

import csv
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from hkall_gateway.net.closed_folder import cannot_enter, closed_folder
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


def card(value: str) -> str:
    """Take a card number. A spreadsheet that takes it for a number has lost its last digits, as in 2.00E+07."""
    if re.fullmatch(r"\d+([.,]\d+)?[eE]\+?\d+", value):
        raise ValueError(f"{value!r} is a number that a spreadsheet has shortened: export the column as text")
    return value


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


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How a CSV file is written: its encoding, a name of Python's codecs, and the character between two columns."""

    encoding: str = "utf-8-sig"
    delimiter: str = field(default=",", kw_only=True)


USUAL: Final = CsvFormat()
DELIMITERS: Final = {";": "';'", "\t": "tab", "|": "'|'"}
"""Delimiters of other programs, and how the option `--delimiter` names them."""


def csv_rows(path: Path, columns: Sequence[Column], written: CsvFormat = USUAL) -> Iterator[Row]:
    """Yield the rows of a CSV file with columns in any order.

    Raises:
        BadFile: The file cannot be read, has no rows, or lacks columns. The message names the line, and the encoding and
            the delimiter that the file seems to have.
    """
    try:
        with path.open(encoding=written.encoding, newline="") as file:
            reader = csv.DictReader(file, restkey="", strict=True, delimiter=written.delimiter)
            try:
                names = reader.fieldnames
                if not names:
                    raise BadFile([f"{path}:1: the file is empty: see that the export has ended"])
                _require_columns(path, names, columns, written)
                number = 0
                for row in reader:
                    number += 1
                    texts = {k: (v or "").strip() if isinstance(v, str) else "?" for k, v in row.items()}
                    yield f"{path}:{reader.line_num}", texts
                if not number:
                    raise BadFile([f"{path}:2: there is no row after the header: see that the export has ended"])
            except csv.Error as error:
                raise BadFile([f"{path}:{reader.line_num + 1}: {error}"]) from None
    except UnicodeError:
        raise BadFile([_describe_encoding(path, columns, written)]) from None
    except OSError as error:
        raise BadFile([f"{path}: {describe_os_error(error, path)}"]) from None


def describe_os_error(error: OSError, path: Path) -> str:
    """Return why a file cannot be read, and what to do if it lies in a folder that this process may not enter."""
    closed = closed_folder(path)
    return cannot_enter(closed) if closed is not None else error.strerror or str(error)


def _require_columns(path: Path, names: Sequence[str], columns: Sequence[Column], written: CsvFormat) -> None:
    """Raise BadFile if columns are missing or unknown. Name the delimiter if another one separates the columns."""
    known = {column.name for column in columns}
    missing = [column.name for column in columns if column.required and column.name not in names]
    unknown = [name for name in names if name not in known]
    if not missing and not unknown:
        return
    for delimiter, shown in DELIMITERS.items():
        others = ",".join(names).split(delimiter)
        if delimiter != written.delimiter and len(known & {name.strip('" ') for name in others}) > 1:
            raise BadFile([f"{path}:1: {shown} separates the columns: load with --delimiter {shown}"])
    faults = [f"{name}: no such column in the file" for name in missing] + [f"{name}: unknown column" for name in unknown]
    raise BadFile([f"{path}:1: {fault}" for fault in faults])


def _describe_encoding(path: Path, columns: Sequence[Column], written: CsvFormat) -> str:
    """Return the line of the first byte that the encoding does not know, and the options that fit the file."""
    line, beginning = _first_bad_line(path, written.encoding)
    found = recognise_encoding(beginning)
    header = beginning.decode(found, errors="replace").splitlines()[0] if found else ""
    known = {column.name for column in columns}
    fits = [shown for delimiter, shown in DELIMITERS.items() if len(known & {*header.split(delimiter)}) > 1]
    separated = f" --delimiter {fits[0]}" if fits else ""
    shown = "UTF-8" if written.encoding == USUAL.encoding else written.encoding
    remedy = f"; it seems to be {found}: load with --encoding {found}{separated}" if found else ": export it as UTF-8"
    return f"{path}:{line}: is not {shown}{remedy}"


BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_BIG5, _GB = range(0xA4, 0xC7), range(0xB0, 0xD8)
"""First bytes of the frequent characters in Big5, and in GB2312 and its successor GB18030."""


def recognise_encoding(text: bytes) -> str:
    """Return the likely encoding of a text that is not UTF-8: utf-16, big5hkscs, gb18030, cp1252, or "" if none fits."""
    if text.startswith(BYTE_ORDER_MARKS):
        return "utf-16"
    whole = text.rpartition(b"\n")[0] or text  # a block may end within a character
    fitting = [name for name in ("big5hkscs", "gb18030") if _can_decode(whole, name)]
    if len(fitting) > 1:
        leads = [byte for byte in whole if byte >= 0xA4]
        in_big5, in_gb = sum(byte in _BIG5 for byte in leads), sum(byte in _GB for byte in leads)
        return "big5hkscs" if in_big5 >= in_gb else "gb18030"
    if fitting:
        return fitting[0]
    return "cp1252" if _can_decode(whole, "cp1252") else ""


def _can_decode(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeError:
        return False
    return True


def _first_bad_line(path: Path, encoding: str) -> tuple[int, bytes]:
    """Return the number of the first line that is not in this encoding, and the first block of the file."""
    decoder, lines, beginning = getincrementaldecoder(encoding)(), 1, b""
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            beginning = beginning or block
            try:
                lines += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                return lines + bytes(error.object)[: error.start].count(b"\n"), beginning
            except UnicodeError:  # such as a UTF-16 file without its mark
                return lines, beginning
            if not block:
                return lines, beginning


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
