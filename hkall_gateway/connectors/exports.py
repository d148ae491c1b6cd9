"""CSV files as records: every row is checked first, and every mistake named by file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from hkall_gateway.rules.vocabulary import Borrower, Holding, Sensitive

T = TypeVar("T")

TRUE = frozenset({"1", "y", "yes", "true", "t"})
FALSE = frozenset({"", "0", "n", "no", "false", "f"})


class BadFile(Exception):
    """What is wrong with a file: one line a mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how its text becomes a value, and whether it must be there."""

    name: str
    read: Callable[[str], Any]
    required: bool = False


def _text(value: str) -> str:
    return value


def _secret(value: str) -> Sensitive:
    return Sensitive(value)


def _yes(value: str) -> bool:
    word = value.lower()
    if word in TRUE | FALSE:
        return word in TRUE
    raise ValueError(f"{value!r} is neither yes nor no")


def _yes_by_default(value: str) -> bool:
    return _yes(value) if value else True


def _day(value: str) -> date | None:
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a date (YYYY-MM-DD)") from None


def _count(value: str) -> int | None:
    if not value:
        return None
    if not value.isdigit():
        raise ValueError(f"{value!r} is not a number of books")
    return int(value)


# fmt: off
PATRONS: tuple[Column, ...] = (
    Column("barcode",     _text, required=True),
    Column("name",        _secret),
    Column("name_zh",     _secret),
    Column("category",    _text, required=True),
    Column("study_mode",  _text),
    Column("expires",     _day),
    Column("email",       _secret),
    Column("language",    _text),
    Column("blocked",     _yes),
    Column("local_loans", _count),
    Column("total_quota", _count),
    Column("pin_hash",    _secret),
)

HOLDINGS: tuple[Column, ...] = (
    Column("agency",       _text, required=True),
    Column("bib_id",       _text, required=True),
    Column("isbn",         _text),
    Column("title",        _text, required=True),
    Column("author",       _text),
    Column("volume",       _text),
    Column("barcode",      _text, required=True),
    Column("call_number",  _text),
    Column("status",       _text, required=True),
    Column("lendable",     _yes_by_default),
    Column("material",     _text),
    Column("local_bib_id", _text),
)
# fmt: on


def read_patrons(path: Path) -> tuple[Borrower, ...]:
    """patrons.csv. Raises BadFile."""
    return _read(path, PATRONS, lambda row: Borrower(**{**row, "language": row["language"] or "en"}), ("barcode",))


def read_holdings(path: Path) -> tuple[Holding, ...]:
    """holdings.csv. Raises BadFile."""
    return _read(path, HOLDINGS, lambda row: Holding(**{**row, "material": row["material"] or "book"}), ("agency", "barcode"))


def _read(path: Path, columns: Sequence[Column], make: Callable[[dict[str, Any]], T], key: Sequence[str]) -> tuple[T, ...]:
    mistakes: list[str] = []
    made: list[T] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, row in _rows(path, columns):
        values = _values(path, line, row, columns, mistakes)
        same = tuple(row.get(k, "") for k in key)
        if same in seen:
            mistakes.append(f"{path}:{line}: {key[-1]}: {same[-1]!r} is in line {seen[same]} too")
        seen[same] = line
        if values is not None:
            made.append(make(values))
    if mistakes:
        raise BadFile(mistakes)
    return tuple(made)


def _rows(path: Path, columns: Sequence[Column]) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile([f"{path}: byte {error.start}: not UTF-8"]) from None
    except OSError as error:
        raise BadFile([f"{path}: {error.strerror}"]) from None
    reader = csv.DictReader(text.splitlines(), restkey="")
    missing = [c.name for c in columns if c.required and c.name not in (reader.fieldnames or ())]
    unknown = [n for n in reader.fieldnames or () if n not in {c.name for c in columns}]
    if missing or unknown:
        raise BadFile(
            [f"{path}:1: {n}: no such column in the file" for n in missing]
            + [f"{path}:1: {n}: unknown column" for n in unknown]
        )
    for row in reader:
        yield reader.line_num, {k: (v or "").strip() if isinstance(v, str) else "?" for k, v in row.items()}


def _values(
    path: Path, line: int, row: Mapping[str, str], columns: Sequence[Column], mistakes: list[str]
) -> dict[str, Any] | None:
    before = len(mistakes)
    if "" in row:
        mistakes.append(f"{path}:{line}: more fields than columns")
    values: dict[str, Any] = {}
    for column in columns:
        text = row.get(column.name, "")
        if column.required and not text:
            mistakes.append(f"{path}:{line}: {column.name}: is empty")
            continue
        try:
            values[column.name] = column.read(text)
        except ValueError as error:
            mistakes.append(f"{path}:{line}: {column.name}: {error}")
    return values if len(mistakes) == before else None
