"""The staff scan station: distinguishes cards from copies, and checks copies in or out as a counter does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.loans import CheckOut
from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.circulation.results import TRY_AGAIN, CheckedOut, Refused
from hkall_gateway.circulation.returning import CheckedIn, CheckIn
from hkall_gateway.circulation.staff.scanned_rows import FindAfterScan, FindScanned, ScannedRows
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Borrower, Holding, Request


class ScanKind(StrEnum):
    """The clerk's choice if a scanned text may be a card or a copy."""

    CARD = "card"
    COPY = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One scan: a copy's barcode, AGENCY/BARCODE, a request's number, or a card.

    Attributes:
        card: Card to which the copy is lent. If empty, the copy is checked in.
        agency: Owner of the copy, if two libraries share the barcode.
        kind: Whether the text is a card or a copy, if known.
        place: Pickup location of the station. If empty, the request's location is used, else our first location.
    """

    by: Actor
    text: str
    card: str = ""
    agency: str = ""
    kind: ScanKind | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class CardScanned:
    """Result: a patron's card with the patron's record, or a partner's institutional card. `card` is the current card."""

    card: str
    patron: PatronSeen | None = None
    partner: Partner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyScanned:
    """Result: a copy, with the outcome of its check-in or checkout.

    Attributes:
        before: Request of the copy before the scan.
        request: Request after the scan, or the last ended request for our own copy without an open request.
        patron: Record of the borrowing card, else of the request's patron.
        copies: All libraries' copies with this barcode, as last loaded.
        owners: Libraries to choose from if copies of several libraries match the barcode.
    """

    barcode: str
    outcome: CheckedIn | CheckedOut | Refused
    before: Request | None = None
    request: Request | None = None
    patron: PatronSeen | None = None
    copies: tuple[Holding, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CardOrCopy:
    """Result: the text is both a copy's barcode and a card, so that the clerk must choose.

    `title` and `owner` describe the copy, and are empty if several copies match. The card belongs to the patron `borrower` or
    to the partner `library`.
    """

    text: str
    title: str = ""
    owner: str = ""
    borrower: Borrower | None = None
    library: str = ""


NO_CARD: Final = frozenset({Reason.UNKNOWN_BORROWER, Reason.TRY_AGAIN})
"""Reasons in a patron query's refusal for which the scanned text is not treated as a card."""


async def scan(circulation: Circulation, command: Scan) -> CardScanned | CopyScanned | CardOrCopy:
    """Process one scan: distinguish a card from a copy, and lend or check in the copy. No state is kept between scans.

    If a text is both a loaded barcode and a loaded card, the clerk must choose. The local system is not queried about loaded
    barcodes, because hardly any of them is a card.
    """
    found = await circulation.execute(FindScanned(text=command.text, agency=command.agency))
    if command.agency or command.kind is ScanKind.COPY or (found.is_copy and command.kind is None and not found.is_card):
        return await _scan_copy(circulation, command, found)
    if found.is_copy and command.kind is None:
        known = found.copies[0].title if len(found.copies) == 1 else ""
        owner = found.owners[0] if len(found.owners) == 1 else ""
        library = found.partner.agency if found.partner else ""
        return CardOrCopy(
            text=command.text,
            title=found.request.full_title if found.request else known,
            owner=owner,
            borrower=found.borrower,
            library=library,
        )
    if found.partner:
        return CardScanned(command.text, partner=found.partner)
    seen = await circulation.execute(SeePatron(by=command.by, card=command.text))
    if command.kind is ScanKind.CARD or seen.refusal is None or seen.refusal.why not in NO_CARD:
        return CardScanned(seen.card, seen)
    scanned = await _scan_copy(circulation, command, found)
    if seen.refusal.why is Reason.TRY_AGAIN and isinstance(scanned.outcome, Refused):
        return CopyScanned(
            barcode=scanned.barcode, outcome=TRY_AGAIN
        )  # it may be a card that the unreachable local system knows
    return scanned


async def _scan_copy(circulation: Circulation, ask: Scan, found: ScannedRows) -> CopyScanned:
    library = circulation.library
    mine = next((request for request in found.held if request.patron == ask.card), found.request) if ask.card else None
    usual = (mine.pickup_location if mine else "") or library.pickup_locations[0]
    place = Place(role="counter", location=ask.place if ask.place in library.pickup_locations else usual)
    command: CheckIn | CheckOut = CheckIn(by=ask.by, place=place, barcode=found.barcode, agency=found.agency)
    if ask.card:
        command = CheckOut(by=ask.by, place=place, card=ask.card, barcode=found.barcode, agency=found.agency, staff=True)
    result = await circulation.execute(command)
    request = await circulation.execute(FindAfterScan(found, result))
    card = ask.card or (request.patron if request else "")
    patron: PatronSeen | None = None
    if card:
        patron = await circulation.execute(SeePatron(by=ask.by, card=card))
    owners = found.owners if isinstance(result, Refused) and result.why is Reason.AMBIGUOUS_ITEM else ()
    return CopyScanned(
        barcode=found.barcode,
        outcome=result,
        before=found.request,
        request=request,
        patron=patron,
        copies=found.copies,
        owners=owners,
    )
