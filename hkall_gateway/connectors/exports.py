"""Reads a library's export files into records: patrons, holdings, closures, partners, and requests open at go-live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from hkall_gateway.connectors import alma
from hkall_gateway.connectors.columns import (
    TRUE,
    BadFile,
    Column,
    Row,
    cards,
    count,
    csv_rows,
    day,
    language,
    placed_records,
    position,
    records,
    secret,
    side,
    text,
    yes,
    yes_by_default,
)
from hkall_gateway.rules.dates import calendar
from hkall_gateway.rules.lifecycle import HOLDS_ITEM, LENDING
from hkall_gateway.rules.replaced_cards import PatronRow
from hkall_gateway.rules.vocabulary import Borrower, Holding, Partner, Position, Request, Side

__all__ = ["BadFile"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Export(Generic[R]):
    """The records read from a file, and the names of its columns."""

    rows: tuple[R, ...]
    columns: frozenset[str]


# fmt: off
PATRONS: tuple[Column, ...] = (
    Column("barcode",        text, required=True),
    Column("name",           secret),
    Column("name_zh",        secret),
    Column("category",       text, required=True),
    Column("study_mode",     text),
    Column("expires",        day),
    Column("email",          secret),
    Column("language",       language),
    Column("blocked",        yes),
    Column("local_loans",    count),
    Column("total_quota",    count),
    Column("pin_hash",       secret),
    Column("former_barcode", cards),
)

HOLDINGS: tuple[Column, ...] = (
    Column("agency",       text, required=True),
    Column("bib_id",       text, required=True),
    Column("isbn",         text),
    Column("title",        text, required=True),
    Column("author",       text),
    Column("volume",       text),
    Column("barcode",      text, required=True),
    Column("call_number",  text),
    Column("status",       text, required=True),
    Column("lendable",     yes_by_default),
    Column("material",     text),
    Column("local_bib_id", text),
)

DELETED = Column("deleted", yes)
"""In holdings.csv: the copy is gone, and its row needs only agency and barcode."""

CLOSURES: tuple[Column, ...] = (
    Column("agency", text, required=True),
    Column("from",   day,  required=True),
    Column("to",     day,  required=True),
    Column("reason", text),
)

PARTNERS: tuple[Column, ...] = (
    Column("agency",             text, required=True),
    Column("name",               text, required=True),
    Column("url",                text, required=True),
    Column("dialect",            text),
    Column("secret_env",         text),
    Column("priority",           count),
    Column("institutional_card", text),
    Column("timezone",           text),
)

REQUESTS: tuple[Column, ...] = (
    Column("side",           side,     required=True),
    Column("request_id",     text,     required=True),
    Column("partner",        text,     required=True),
    Column("patron",         text),
    Column("barcode",        text),
    Column("title",          text,     required=True),
    Column("bib_id",         text,     required=True),
    Column("position",       position, required=True),
    Column("placed",         day,      required=True),
    Column("received",       day),
    Column("first_checkout", day),
    Column("due",            day),
    Column("lender_due",     day),
    Column("renewals",       count),
    Column("recalled",       day),
)
# fmt: on

MOST_CLOSED_DAYS = 400
BORROWING = (frozenset(Position) - LENDING) | {Position.RETURN_TRANSIT, Position.CLOSED}
"""Positions of requests that we borrow by; return transit and closed are the same on both sides."""


def read_patrons(path: Path) -> tuple[Borrower, ...]:
    """patrons.csv, or Alma's user XML, plain or in a zip file. Raises BadFile."""
    return tuple(row.borrower for row in read_patron_rows(path).rows)


def read_patron_rows(path: Path) -> Export[PatronRow]:
    """The same, with former cards and places. Raises BadFile."""
    columns, rows = _with_columns(_patron_rows(path))
    placed = placed_records(rows, PATRONS, _patron, ("barcode",))
    return Export(tuple(PatronRow(where, borrower, former) for where, (borrower, former) in placed), columns)


def _patron(row: dict[str, Any]) -> tuple[Borrower, tuple[str, ...]]:
    former = row.pop("former_barcode")
    return Borrower(**row), former


def _patron_rows(path: Path) -> Iterable[Row]:
    return alma.rows(path) if alma.is_alma(path) else csv_rows(path, PATRONS)


def _with_columns(rows: Iterable[Row]) -> tuple[frozenset[str], Iterable[Row]]:
    """The columns that a file has, which each of its rows names, and its rows."""
    coming = iter(rows)
    first = list(islice(coming, 1))
    return frozenset(chain.from_iterable(texts for _, texts in first)), chain(first, coming)


def read_holdings(path: Path) -> tuple[Holding, ...]:
    """holdings.csv. Raises BadFile."""
    return tuple(copy for _, copy in read_holdings_file(path).rows)


@dataclass(frozen=True, slots=True)
class HoldingsFile:
    """The copies of holdings.csv with their FILE:LINE, the names of its columns, and the (agency, barcode) of deleted copies.

    `mistakes` are those of rows that were left out, a line each.
    """

    rows: tuple[tuple[str, Holding], ...]
    columns: frozenset[str]
    deleted: frozenset[tuple[str, str]] = frozenset()
    mistakes: tuple[str, ...] = ()


def read_holdings_file(path: Path, *, skip: bool = False) -> HoldingsFile:
    """Read holdings.csv. Raises BadFile with all mistakes; with `skip` bad rows are left out."""
    columns, rows = _with_columns(csv_rows(path, (*HOLDINGS, DELETED)))
    deleted: set[tuple[str, str]] = set()
    mistakes: list[str] = []
    copies = placed_records(_but_deleted(rows, deleted), HOLDINGS, _copy, ("agency", "barcode"), left_out=mistakes)
    if mistakes and not skip:
        raise BadFile(mistakes)
    return HoldingsFile(copies, columns - {DELETED.name}, frozenset(deleted), tuple(mistakes))


def _copy(row: dict[str, Any]) -> Holding:
    return Holding(**{**row, "material": row["material"] or "book"})


def _but_deleted(rows: Iterable[Row], deleted: set[tuple[str, str]]) -> Iterator[Row]:
    """Yield the rows of copies that exist, without the column; the keys of the others go into `deleted`."""
    for where, row in rows:
        word = row.get(DELETED.name, "")
        if word.lower() in TRUE:
            deleted.add((row.get("agency", ""), row.get("barcode", "")))
        else:
            yield where, {name: value for name, value in row.items() if name != DELETED.name} if word else row


def read_closures(path: Path) -> tuple[tuple[str, date, str], ...]:
    """closures.csv as one (agency, day, reason) a day, `from` and `to` included. Raises BadFile."""
    spans = records(csv_rows(path, CLOSURES), CLOSURES, dict, ("agency", "from"), _span)
    days = ((s["agency"], calendar.after(s["from"], n), s["reason"]) for s in spans for n in range(_length(s)))
    return tuple({(agency, on): (agency, on, reason) for agency, on, reason in days}.values())


def _span(row: Mapping[str, Any]) -> Iterator[str]:
    if row["to"] < row["from"]:
        yield f"to: {row['to']} is before {row['from']}"
    elif _length(row) > MOST_CLOSED_DAYS:
        yield f"to: {row['to']} is more than a year later"


def _length(span: Mapping[str, Any]) -> int:
    """How many days from the first to the last, both included."""
    return int((span["to"] - span["from"]).days) + 1


def read_partners(path: Path) -> tuple[Partner, ...]:
    """partners.csv. Its secret_env and timezone are for the configuration; the directory does not keep them. Raises BadFile."""

    def make(row: dict[str, Any]) -> Partner:
        priority = 50 if row["priority"] is None else row["priority"]
        card, dialect = row["institutional_card"], row["dialect"] or "direct"
        return Partner(row["agency"], row["name"], row["url"], dialect, priority, card)

    return records(csv_rows(path, PARTNERS), PARTNERS, make, ("agency",))


def read_requests(path: Path) -> tuple[Request, ...]:
    """Read requests.csv: the requests open when the gateway took over. Raises BadFile."""
    return records(csv_rows(path, REQUESTS), REQUESTS, _opening, ("request_id",), _stands)


def _stands(row: Mapping[str, Any]) -> Iterator[str]:
    """The contradictions between a row's position and its other values."""
    position, lending = row["position"], row["side"] is Side.LENDING
    if position not in (LENDING if lending else BORROWING):
        yield f"position: {position} is none of a request where we {row['side']}"
    if not lending and not row["patron"]:
        yield "patron: is empty"
    if position in HOLDS_ITEM and not row["barcode"]:
        yield f"barcode: is empty, and a request that is {position} has a copy"
    if position is Position.ON_LOAN:
        yield from (f"{name}: is empty, and the book is on loan" for name in ("first_checkout", "due") if row[name] is None)
    if row["due"] and row["first_checkout"] and row["due"] < row["first_checkout"]:
        yield f"due: {row['due']} is before {row['first_checkout']}"


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
