"""The rows that match a text scanned at the staff's scan station, before and after the station acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from hkall_gateway.circulation.command import Context, Query
from hkall_gateway.circulation.results import CheckedOut, Refused
from hkall_gateway.circulation.returning import CheckedIn
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.requests_by_partner_id import awaiting_barcode, copies_with
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Borrower, Holding, ItemKey, Request

NUMBER: Final = "R-"
"""Prefix of request numbers, which slips also carry as barcodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedRows:
    """Database rows that match a scanned text, read before the station acts. `copies` have their titles in both scripts."""

    barcode: str
    agency: str
    held: tuple[Request, ...]
    copies: tuple[Holding, ...]
    owners: tuple[str, ...]
    partner: Partner | None
    borrower: Borrower | None

    @property
    def is_copy(self) -> bool:
        """Return whether the text is a copy's barcode."""
        return bool(self.held or self.owners)

    @property
    def is_card(self) -> bool:
        """Return whether the text is a loaded card."""
        return bool(self.partner or self.borrower)

    @property
    def request(self) -> Request | None:
        """Return the open request of the copy, if there is exactly one."""
        return self.held[0] if len(self.held) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindScanned(Query[None, ScannedRows]):
    """Query the rows that match a scanned text: a copy of the library `agency`, if it names one, or a card."""

    text: str
    agency: str


@dataclass(frozen=True, slots=True)
class FindAfterScan(Query[None, Request | None]):
    """Query the request of a scanned copy after the station has acted."""

    found: ScannedRows
    outcome: CheckedIn | CheckedOut | Refused


def find_scanned(context: Context, query: FindScanned) -> ScannedRows:
    """Return the rows that match a scanned text."""
    unit = context.unit
    number = query.text.upper()
    numbered = unit.requests.find(number) if number.startswith(NUMBER) else None
    agency, barcode = _parse_copy(numbered, query)
    held = unit.requests.open_with_item(barcode, agency)
    named = (copy for copy in copies_with(unit, barcode) if agency in ("", copy.agency))
    copies = tuple(replace(copy, title=unit.holdings.full_title(copy)) for copy in named)
    awaited = [lender.agency for _request, lender in awaiting_barcode(unit, barcode) if agency in ("", lender.agency)]
    owners = [*(request.item_agency for request in held), *awaited, *(copy.agency for copy in copies)]
    partner = unit.partners.with_card(query.text)
    borrower = unit.patrons.find(card_now(unit, query.text))
    return ScannedRows(
        barcode=barcode,
        agency=agency,
        held=held,
        copies=copies,
        owners=tuple(dict.fromkeys(owners)),
        partner=partner,
        borrower=borrower,
    )


def _parse_copy(numbered: Request | None, query: FindScanned) -> tuple[str, str]:
    """Return (owner or "", barcode) of the scanned copy."""
    if numbered and numbered.item:
        return numbered.item
    agency, slash, barcode = query.text.partition("/")
    return (agency, barcode) if slash and agency and barcode else (query.agency, query.text)


def find_after_scan(context: Context, query: FindAfterScan) -> Request | None:
    """Return the request of a scanned copy after the station has acted."""
    found, result = query.found, query.outcome
    number = getattr(result, "request", "") or (found.request.id if found.request else "")
    if number:
        return context.unit.requests.find(number)
    ours = any(copy.agency == context.library.agency for copy in found.copies)
    return context.unit.requests.last_with_item(ItemKey(context.library.agency, found.barcode)) if ours else None
