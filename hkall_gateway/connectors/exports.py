"""CSV files as records: every row is checked first, and every mistake named by file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from hkall_gateway.rules import calendar
from hkall_gateway.rules.vocabulary import Borrower, Holding, Partner, Position, Request, Sensitive, Side

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


def _side(value: str) -> Side:
    try:
        return Side(value.lower())
    except ValueError:
        raise ValueError(f"{value!r} is neither borrow nor lend") from None


def _position(value: str) -> Position:
    try:
        return Position(value.upper())
    except ValueError:
        raise ValueError(f"{value!r} is no position") from None


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

CLOSURES: tuple[Column, ...] = (
    Column("agency", _text, required=True),
    Column("from",   _day,  required=True),
    Column("to",     _day,  required=True),
    Column("reason", _text),
)

PARTNERS: tuple[Column, ...] = (
    Column("agency",             _text, required=True),
    Column("name",               _text, required=True),
    Column("url",                _text, required=True),
    Column("dialect",            _text),
    Column("secret_env",         _text),
    Column("priority",           _count),
    Column("institutional_card", _text),
    Column("timezone",           _text),
)

REQUESTS: tuple[Column, ...] = (
    Column("side",           _side,     required=True),
    Column("request_id",     _text,     required=True),
    Column("partner",        _text,     required=True),
    Column("patron",         _text),
    Column("barcode",        _text),
    Column("title",          _text,     required=True),
    Column("bib_id",         _text,     required=True),
    Column("position",       _position, required=True),
    Column("placed",         _day,      required=True),
    Column("received",       _day),
    Column("first_checkout", _day),
    Column("due",            _day),
    Column("lender_due",     _day),
    Column("renewals",       _count),
    Column("recalled",       _day),
)
# fmt: on

MOST_CLOSED_DAYS = 400


def read_patrons(path: Path) -> tuple[Borrower, ...]:
    """patrons.csv. Raises BadFile."""
    return _read(path, PATRONS, lambda row: Borrower(**{**row, "language": row["language"] or "en"}), ("barcode",))


def read_holdings(path: Path) -> tuple[Holding, ...]:
    """holdings.csv. Raises BadFile."""
    return _read(path, HOLDINGS, lambda row: Holding(**{**row, "material": row["material"] or "book"}), ("agency", "barcode"))


def read_closures(path: Path) -> tuple[tuple[str, date, str], ...]:
    """closures.csv as one (agency, day, reason) a day, `from` and `to` included. Raises BadFile."""
    spans = _read(path, CLOSURES, dict, ("agency", "from"))
    mistakes = [f"{path}: to: {s['to']} is before {s['from']}" for s in spans if s["to"] < s["from"]]
    mistakes += [f"{path}: to: {s['to']} is more than a year later" for s in spans if _length(s) > MOST_CLOSED_DAYS]
    if mistakes:
        raise BadFile(mistakes)
    days = ((s["agency"], calendar.after(s["from"], n), s["reason"]) for s in spans for n in range(_length(s)))
    return tuple({(agency, day): (agency, day, reason) for agency, day, reason in days}.values())


def _length(span: Mapping[str, Any]) -> int:
    """How many days from the first to the last, both included."""
    return int((span["to"] - span["from"]).days) + 1


def read_partners(path: Path) -> tuple[Partner, ...]:
    """partners.csv. Its secret_env and timezone are for the configuration; the directory does not keep them. Raises BadFile."""

    def make(row: dict[str, Any]) -> Partner:
        priority = 50 if row["priority"] is None else row["priority"]
        card, dialect = row["institutional_card"], row["dialect"] or "direct"
        return Partner(row["agency"], row["name"], row["url"], dialect, priority, card)

    return _read(path, PARTNERS, make, ("agency",))


def read_requests(path: Path) -> tuple[Request, ...]:
    """requests.csv: what was open when the gateway took over. Raises BadFile."""
    return _read(path, REQUESTS, _opening, ("request_id",))


def _opening(row: dict[str, Any]) -> Request:
    lending = row["side"] is Side.LENDING
    placed = calendar.start_of(row["placed"])
    loan = (row["due"] - row["first_checkout"]).days if row["due"] and row["first_checkout"] else 0
    return Request(
        id=row["request_id"],
        side=row["side"],
        position=row["position"],
        title=row["title"],
        bib_id=row["bib_id"],
        patron="" if lending else row["patron"],
        partner=row["partner"],
        wire_agency=row["partner"] if lending else "",
        wire_id=row["request_id"],
        item_agency=("" if lending else row["partner"]) if row["barcode"] else "",
        item_barcode=row["barcode"],
        placed_at=placed,
        moved_at=placed,
        received_on=row["received"],
        first_checkout=row["first_checkout"],
        loan_days=loan,
        due=row["due"],
        lender_due=row["lender_due"],
        renewals=row["renewals"] or 0,
        recalled_on=row["recalled"],
        used=row["first_checkout"] is not None,
    )


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
