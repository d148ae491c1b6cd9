"""Reads a library's export files: patrons, holdings, closures, partners, and the requests open at go-live."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from hkall_gateway.db.loads.loading import StagedCopies
from hkall_gateway.ils import alma
from hkall_gateway.ils.columns import (
    TRUE,
    USUAL,
    BadFile,
    Column,
    CsvFormat,
    Row,
    Values,
    card,
    cards,
    count,
    csv_rows,
    day,
    keep_records,
    language,
    last_day,
    position,
    records,
    side,
    yes,
    yes_by_default,
)
from hkall_gateway.rules import dates
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.plain_text import fault_of_text
from hkall_gateway.rules.positions import BORROWING, HOLDS_ITEM, LENDING
from hkall_gateway.rules.replaced_cards import PatronRow
from hkall_gateway.rules.vocabulary import Borrower, Holding, Position, Request, Sensitive, Side

__all__ = ["BadFile", "CsvFormat"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Export(Generic[R]):
    """The records from a file, and the names of its columns."""

    rows: tuple[R, ...]
    columns: frozenset[str]


READERS: Final[Mapping[str, Callable[[str], object]]] = {
    **{read.__name__: read for read in (card, cards, count, day, language, last_day, position, side, yes, yes_by_default)},
    "text": str,
    "secret": Sensitive,
}
"""The function that converts a text, by the kind of a column in `exports.toml`."""

_FILES: Final[dict[str, dict[str, dict[str, Any]]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def _column(name: str, about: str, kind: str = "text", needed: bool = False) -> Column:
    return Column(name=name, read=READERS[kind], required=needed, about=about)


def _columns(file: str) -> tuple[Column, ...]:
    return tuple(_column(name, **row) for name, row in _FILES[file].items())


PATRONS: Final = _columns("patrons")
_OF_COPIES: Final = {column.name: column for column in _columns("holdings")}
DELETED: Final = _OF_COPIES.pop("deleted")
"""Optional column of holdings.csv for an item that no longer exists. Such a row needs only agency and barcode."""
HOLDINGS: Final = tuple(_OF_COPIES.values())
CLOSURES: Final = _columns("closures")
PARTNERS: Final = _columns("partners")
REQUESTS: Final = _columns("requests")

MOST_CLOSED_DAYS = 400
"""Positions of requests that we placed. RETURN_TRANSIT and CLOSED occur on both sides."""


def read_patrons(path: Path) -> tuple[Borrower, ...]:
    """Read the patrons from patrons.csv, or from Alma's user XML (plain or zipped). Raise BadFile for a file with errors."""
    return tuple(row.borrower for row in read_patron_rows(path).rows)


def read_patron_rows(path: Path, written: CsvFormat = USUAL) -> Export[PatronRow]:
    """Read a patron file like `read_patrons`, but return former cards and the place of each row, too."""
    columns, rows = _with_columns(alma.rows(path) if alma.is_alma(path) else csv_rows(path, PATRONS, written))
    placed = records(rows, PATRONS, _make_patron, ("barcode",))
    return Export(tuple(PatronRow(where, borrower, former) for where, (borrower, former) in placed), columns)


def _make_patron(row: Values) -> tuple[Borrower, tuple[str, ...]]:
    former = row.pop("former_barcode")
    return Borrower(**row), former


def _with_columns(rows: Iterable[Row]) -> tuple[frozenset[str], Iterable[Row]]:
    """Return the column names, taken from the first row, and an iterator over all rows."""
    coming = iter(rows)
    first = list(islice(coming, 1))
    return frozenset(chain.from_iterable(texts for _, texts in first)), chain(first, coming)


def read_holdings(path: Path) -> tuple[Holding, ...]:
    """Read the items in holdings.csv. Raise BadFile for a file with errors."""
    staged = StagedCopies()
    read_holdings_file(path, staged)
    return tuple(copy for _, copy in staged)


@dataclass(frozen=True, slots=True)
class HoldingsFile:
    """The columns of a holdings file, (agency, barcode) pairs of deleted items, and one error per skipped row."""

    columns: frozenset[str]
    deleted: frozenset[tuple[str, str]] = frozenset()
    mistakes: tuple[str, ...] = ()


def read_holdings_file(path: Path, staged: StagedCopies, written: CsvFormat = USUAL, *, skip: bool = False) -> HoldingsFile:
    """Read the items in holdings.csv into `staged`. Raise BadFile with all errors or, with `skip`, skip bad rows."""
    columns, rows = _with_columns(csv_rows(path, (*HOLDINGS, DELETED), written))
    deleted: set[tuple[str, str]] = set()
    mistakes: list[str] = []
    keep_records(_but_deleted(rows, deleted), (*HOLDINGS, DELETED), _make_copy, ("agency", "barcode"), staged.add, mistakes)
    if mistakes and not skip:
        raise BadFile(mistakes)
    return HoldingsFile(columns - {DELETED.name}, frozenset(deleted), tuple(mistakes))


def _make_copy(row: Values) -> Holding:
    del row[DELETED.name]
    return Holding(**{**row, "material": row["material"] or "book"})


def _but_deleted(rows: Iterable[Row], deleted: set[tuple[str, str]]) -> Iterator[Row]:
    """Yield the rows of existing items. Add (agency, barcode) of each deleted item to `deleted`."""
    for where, row in rows:
        word = row.get(DELETED.name, "")
        if word.lower() in TRUE and not any(map(fault_of_text, row.values())):  # rows with bad text are reported later
            deleted.add((row.get("agency", ""), row.get("barcode", "")))
        else:
            yield where, row


def read_closures(path: Path, written: CsvFormat = USUAL) -> tuple[tuple[str, date, str], ...]:
    """Read closures.csv. Return (agency, day, reason) for each closed day. Raise BadFile for a file with errors."""
    spans = [span for _, span in records(csv_rows(path, CLOSURES, written), CLOSURES, dict, ("agency", "from"), _make_span)]
    days = ((s["agency"], dates.after(s["from"], n), s["reason"]) for s in spans for n in range(_count_days(s)))
    return tuple({(agency, on): (agency, on, reason) for agency, on, reason in days}.values())


def _make_span(row: Values) -> Iterator[str]:
    if row["to"] < row["from"]:
        yield f"to: {row['to']} is before {row['from']}"
    elif _count_days(row) > MOST_CLOSED_DAYS:
        yield f"to: {row['to']} is more than a year later"


def _count_days(span: Values) -> int:
    """Count the days from `from` to `to`, inclusive."""
    return int((span["to"] - span["from"]).days) + 1


def read_partners(path: Path, written: CsvFormat = USUAL) -> tuple[Partner, ...]:
    """Read partners.csv without secret_env and timezone, which belong to the configuration. Raise BadFile for errors."""

    def make(row: Values) -> Partner:
        priority = 50 if row["priority"] is None else row["priority"]
        card, dialect = row["institutional_card"], row["dialect"] or "direct"
        return Partner(
            agency=row["agency"], name=row["name"], url=row["url"], dialect=dialect, priority=priority, institutional_card=card
        )

    return tuple(partner for _, partner in records(csv_rows(path, PARTNERS, written), PARTNERS, make, ("agency",)))


def read_requests(path: Path, written: CsvFormat = USUAL) -> tuple[Request, ...]:
    """Read requests.csv, the requests open when the gateway takes over. Raise BadFile for a file with errors."""
    found = records(csv_rows(path, REQUESTS, written), REQUESTS, _make_open_request, ("request_id",), _check_position)
    return tuple(request for _, request in found)


def _check_position(row: Values) -> Iterator[str]:
    """Yield contradictions between the position and other values of a row."""
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


def _make_open_request(row: Values) -> Request:
    lending = row["side"] is Side.LENDING
    placed = dates.start_of(row["placed"])
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
