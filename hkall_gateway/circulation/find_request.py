"""Find the request that a staff command or a scanned copy refers to, and create results of staff commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hkall_gateway.circulation.command import Context, Library, flagged, refused, unflagged
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.db import requests_by_partner_id as found
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import CandidateOutcome, StaffFlag
from hkall_gateway.rules.vocabulary import (
    Actor,
    Candidate,
    Holding,
    ItemKey,
    Position,
    Refusal,
    Request,
    Side,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffCommand:
    """A staff command on one request.

    Attributes:
        request: Number of the request. If empty, `barcode` identifies the copy that the request holds.
        agency: Owner of the copy, if two libraries share the barcode. For commands on the lender list, the lender.
        on: Day of the event, or the new last day for an extension.
        cents: Price named by the owner.
        position: Target of the command `force`.
    """

    by: Actor
    request: str = ""
    barcode: str = ""
    agency: str = ""
    reason: str = ""
    on: date | None = None
    cents: int | None = None
    position: Position | None = None


def is_another_book(request: Request, copy: Holding | None) -> bool:
    """Check whether a copy is of another title than was asked for, or of another volume (R8).

    A copy that is not in the catalogue, and a request without a volume, contradict nothing.
    """
    if copy is None:
        return False
    is_another_title = bool(request.bib_id and copy.bib_id and copy.bib_id != request.bib_id)
    is_another_volume = bool(request.volume and copy.volume and copy.volume != request.volume)
    return is_another_title or is_another_volume


def flag_another_book(context: Context, request: Request, by: Actor) -> Request:
    """Flag a borrowed request for staff if its copy is not what was asked for, else take an earlier flag back."""
    copy = context.unit.holdings.find(request.item) if request.item else None
    if is_another_book(request, copy):
        flags = flagged(request, StaffFlag.ANOTHER_BOOK)
    else:
        flags = unflagged(request, StaffFlag.ANOTHER_BOOK)
    if flags == request.flags:
        return request
    return context.unit.amend(request, context.now, by, "R8", flags=flags)


def find_open_request(unit: UnitOfWork, barcode: str, agency: str, card: str = "") -> Request | Refused | None:
    """Return the open request that holds this copy, or None if there is none.

    A barcode that matches copies of two libraries is refused, unless one of the requests belongs to `card`.
    """
    held = unit.requests.open_with_item(barcode, agency)
    mine = [r for r in held if r.patron == card] if card else []
    held = tuple(mine) or held
    if len(held) > 1:
        return Refused(why=Reason.AMBIGUOUS_ITEM)
    return held[0] if held else None


def reason_not_owner(unit: UnitOfWork, card: str) -> Reason:
    """Return the reason for refusing a card: it was replaced, or it has no such request."""
    return Reason.CARD_REPLACED if card and card_now(unit, card) != card else Reason.UNKNOWN_REQUEST


NO = (CandidateOutcome.DECLINED, CandidateOutcome.REFUSED)
"""Prefixes of candidate outcomes that mean a refusal by the lender."""


@dataclass(frozen=True, slots=True)
class AwaitedCopy:
    """The one request that waits for a copy, the lender that was asked for it, and the copy."""

    request: Request
    lender: Candidate
    item: ItemKey


def find_awaited_copy(unit: UnitOfWork, barcode: str, agency: str, library: Library) -> AwaitedCopy | Reason:
    """Find the request for which a lender was asked for this copy, or for its title (R12, R13).

    A lender that refused may still have sent the copy. It is considered only if no other lender matches. `agency` is the
    owner, or "" if only the barcode is known.

    Returns:
        The awaited copy. AMBIGUOUS_ITEM if several requests may wait for it, or if a book of our own has the same barcode.
        UNKNOWN_ITEM if no request waits for it.
    """
    copies = found.copies_with(unit, barcode)
    ours = any(copy.agency == library.agency for copy in copies)
    waiting = [
        AwaitedCopy(request, lender, ItemKey(lender.agency, barcode))
        for request, lender in found.awaiting_barcode(unit, barcode)
        or [one for copy in copies if copy.agency != library.agency for one in found.asked_for_title(unit, copy)]
        if agency in {"", lender.agency}
    ]
    likely = [one for one in waiting if not one.lender.outcome.startswith(NO)] or waiting
    if not likely:
        return Reason.UNKNOWN_ITEM
    return Reason.AMBIGUOUS_ITEM if ours or len(likely) > 1 else likely[0]


@dataclass(frozen=True, slots=True)
class OwnedElsewhere:
    """A partner's copy for which no request waits, with its last request. Several libraries may use the barcode."""

    owners: tuple[str, ...]
    title: str
    request: Request | None


def find_owner_elsewhere(unit: UnitOfWork, barcode: str, agency: str, library: Library) -> OwnedElsewhere | None:
    """Find the partner that owns the copy with this barcode, or None if it may be a copy of our own.

    The owner is known from the copy's last request, else from the loaded copies. `agency` is "" if only the barcode is known.
    """
    copies = [copy for copy in found.copies_with(unit, barcode) if agency in {"", copy.agency}]
    last = unit.requests.last_with_item(ItemKey(agency, barcode))
    if library.agency in {copy.agency for copy in copies} or (last and last.side is Side.LENDING):
        return None
    if last:
        return OwnedElsewhere((last.item_agency,), last.full_title, last)
    owners = tuple(sorted({copy.agency for copy in copies}))
    return OwnedElsewhere(owners, unit.holdings.full_title(copies[0]), None) if copies else None


def find_named_request(unit: UnitOfWork, command: StaffCommand) -> Request | Refused:
    """Find the request by its number, even if it has ended, or the open request that holds the copy."""
    if command.request:
        found = unit.requests.find(command.request)
        return found or refused(Refusal(Reason.UNKNOWN_REQUEST))
    held = find_open_request(unit, command.barcode, command.agency)
    return held or refused(Refusal(Reason.UNKNOWN_ITEM))


def refuse_position(context: Context, command: StaffCommand, request: Request) -> Refused:
    """Refuse a command that the request's position does not allow."""
    return context.refuse(Refusal(Reason.WRONG_POSITION, detail={"position": request.position}), command.by, request)


def staff_result(request: Request, *, again: bool = False, due: date | None = None, cents: int = 0, note: str = "") -> Done:
    """Create the result of a staff command."""
    return Done(
        request=request.id,
        item=request.item,
        position=request.position,
        title=request.full_title,
        again=again,
        due=due,
        cents=cents,
        note=note,
    )


def day_of(context: Context, command: StaffCommand, request: Request) -> date | Refused:
    """Return the day of the event: today, or an earlier day within this loan. Refuse any other day."""
    today = dates.civil(context.now)
    first = request.first_checkout or request.received_on or (dates.civil(request.placed_at) if request.placed_at else today)
    day = command.on or today
    if first <= day <= today:
        return day
    return context.refuse(Refusal(Reason.WRONG_DATE, detail={"on": day}), command.by, request)
