"""Lending to partners: page, ship, renew and take back our copies. The patron's identity stays with the borrowing library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.command import Command, Context, Library
from hkall_gateway.circulation.partner_notice import PartnerNotice, hold_if_contradicted
from hkall_gateway.circulation.results import CheckedOut, Noted, Refused, Renewed, noted_result
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, lenders
from hkall_gateway.rules.dates import over
from hkall_gateway.rules.evidence import News
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import lends, refuse_missing
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position, Refusal, Request, RequestChange, Side


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Paged:
    """Result: our copy is paged for a partner."""

    request: str
    wire_agency: str
    wire_id: str
    item: ItemKey
    title: str
    author: str = ""
    call_number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BorrowFromUs(Command[None, Paged]):
    """A partner's request for our book, identified by `wire_agency` and `wire_id`. It expires after `need_before`."""

    by: Actor
    partner: str
    wire_agency: str
    wire_id: str
    bib_id: str = ""
    item: ItemKey | None = None
    volume: str = ""
    pickup_location: str = ""
    need_before: date | None = None


P = Position
LEFT = frozenset({Event.BORROWER_HAS_IT, Event.COMING_HOME})
"""Events that imply that our copy has left, even if it was not scanned."""
NEWS: Final[Mapping[Event, News]] = MappingProxyType(
    {Event.BORROWER_HAS_IT: News.RECEIVED_THERE, Event.COMING_HOME: News.COMING_HOME, Event.WITHDRAW: News.WITHDRAWN}
)
"""Kind of news in a borrower's notice, by the life-cycle event that the notice would cause."""


def borrow_from_us(context: Context, command: BorrowFromUs) -> Paged | Refused:
    """Page one of our copies for a partner. A repeated RequestId gets the same copy."""
    known = context.unit.requests.find_lent(command.wire_agency, command.wire_id)
    if known and known.partner == command.partner:
        return _answer_repeated_request(context, known, command)
    partner = context.unit.partners.find(command.partner)
    if known or partner is None:
        return context.refuse(Reason.AGENCY_NOT_ALLOWED, command.by)
    if late := over(command.need_before, context.now):
        return context.refuse(late, command.by)
    ours = _our_copies(context.unit, command, context.library)
    fitting = [c for c in ours if not command.volume or c.volume == command.volume]
    free = tuple(c for c in fitting if not context.unit.requests.open_with_item(c.barcode, c.agency))
    answer = lenders.may_lend(partner, free, context.library.policy, context.now, known=bool(ours))
    if isinstance(answer, Refusal):
        return context.refuse(answer, command.by)
    return _paged_result(context.unit, _open_paged(context, command, answer))


def _answer_repeated_request(context: Context, known: Request, command: BorrowFromUs) -> Paged | Refused:
    """Answer a repeated RequestId. Refuse a declined or withdrawn request, so that the borrower asks elsewhere."""
    named = {copy.bib_id for copy in _our_copies(context.unit, command, context.library)} | {command.bib_id}
    if (command.bib_id or command.item) and known.bib_id not in named:
        return context.refuse(Reason.DUPLICATE_REQUEST, command.by, known)
    if known.position in {P.DECLINED, P.WITHDRAWN}:
        return context.refuse(Reason.NO_AVAILABLE_COPY, command.by, known)
    return _paged_result(context.unit, known)


def _our_copies(unit: UnitOfWork, command: BorrowFromUs, library: Library) -> tuple[Holding, ...]:
    """Return our copies of the title, or the one copy that the partner names."""
    copies = unit.holdings.of_title(command.bib_id, library.agency) if command.bib_id else ()
    if command.item:
        named = unit.holdings.find(command.item) if command.item.agency in {"", library.agency} else None
        copies = (named,) if named else copies
    return copies


def _open_paged(context: Context, command: BorrowFromUs, copy: Holding) -> Request:
    return context.unit.open(
        Request(
            id="",
            side=Side.LENDING,
            position=P.PAGED,
            title=copy.title,
            bib_id=copy.bib_id,
            volume=copy.volume,
            partner=command.partner,
            wire_agency=command.wire_agency,
            wire_id=command.wire_id,
            item_agency=copy.agency,
            item_barcode=copy.barcode,
            pickup_location=command.pickup_location,
            need_before=command.need_before,
        ),
        context.now,
        command.by,
    )


def _paged_result(unit: UnitOfWork, request: Request) -> Paged:
    item = request.item or ItemKey("", "")
    copy = unit.holdings.find(item)
    return Paged(
        request=request.id,
        wire_agency=request.wire_agency,
        wire_id=request.wire_id,
        item=item,
        title=request.full_title,
        author=copy.author if copy else "",
        call_number=copy.call_number if copy else "",
    )


def ship(context: Context, request: Request, by: Actor) -> Request:
    """Ship the copy. The lender's due date includes the transport days."""
    due = dates.civil(context.now) + timedelta(days=context.library.policy.lending.institutional_days)
    after = context.unit.advance(request, Event.LEND, context.now, by, lender_due=due)
    context.unit.holdings.set_status(after.item or ItemKey("", ""), "On Loan")
    return after


def ship_at_counter(context: Context, by: Actor, role: str, card: str, barcode: str, partner: Partner) -> CheckedOut | Refused:
    """Ship our paged copy, which a terminal of this `role` checks out to a partner's institutional card."""
    held = [r for r in context.unit.requests.open_with_item(barcode, context.library.agency) if r.partner == partner.agency]
    if not held:
        return context.refuse(Reason.UNKNOWN_ITEM, by)
    if not lends(role, context.library.policy):
        only = Refusal(Reason.COUNTER_ONLY, detail={"place": context.library.pickup_locations[0]})
        return context.refuse(only, by, held[0])
    if held[0].position is P.SHIPPED:
        return _shipped_result(held[0], card, again=True)
    if not context.unit.can(held[0], Event.LEND):
        return context.refuse(Reason.WRONG_POSITION, by, held[0])
    return _shipped_result(ship(context, held[0], by), card)


def _shipped_result(request: Request, card: str, *, again: bool = False) -> CheckedOut:
    item = request.item or ItemKey("", "")
    return CheckedOut(request=request.id, item=item, card=card, title=request.full_title, due=request.lender_due, again=again)


def apply_notice(context: Context, notice: PartnerNotice, event: Event) -> Noted | Refused:
    """Apply a borrower's notice to the life cycle. Succeed without change if the request is already past the step."""
    request = find_lent_request(context.unit, notice)
    if request is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, notice.by)
    if held := hold_if_contradicted(context, notice, request, NEWS[event]):
        return held
    if request.position in FINAL:
        context.unit.note(request, "LATE", {"message": notice.by.message}, context.now, notice.by)
        return noted_result(request, late=True)
    if not context.unit.can(request, event):
        if event is Event.WITHDRAW:
            return context.refuse(Reason.TOO_LATE_TO_CANCEL, notice.by, request)
        return noted_result(request, again=True, note="known already")
    if request.position is P.PAGED and event in LEFT:
        context.unit.holdings.set_status(request.item or ItemKey("", ""), "On Loan")
    return noted_result(
        context.unit.advance(request, event, context.now, notice.by, **_fields_of_step(context, event, request))
    )


def notice_handler(event: Event) -> Callable[[Context, PartnerNotice], Noted | Refused]:
    """Create the handler for a borrower's notices of this event."""
    return lambda context, ask: apply_notice(context, ask, event)


def _fields_of_step(context: Context, event: Event, request: Request) -> RequestChange:
    if event is Event.BORROWER_HAS_IT and request.position is P.PAGED:
        days = context.library.policy.lending.institutional_days
        return {"unannounced": True, "lender_due": dates.civil(context.now) + timedelta(days=days)}
    if event is Event.COMING_HOME and request.position is P.SHIPPED:
        return {"skipped": "received"}
    if event is Event.COMING_HOME and request.position is P.PAGED:
        return {"unannounced": True, "skipped": P.PAGED.value}
    return {}


def renewed_by_borrower(context: Context, notice: PartnerNotice) -> Renewed | Refused:
    """Renew the borrowing library's loan (R28).

    Refuse it for a copy that is recalled, lost or claimed returned, and if the notice's date is later than ours.
    """
    request = find_lent_request(context.unit, notice)
    if request is None:
        return context.refuse(Reason.UNKNOWN_ITEM, notice.by)
    if held := hold_if_contradicted(context, notice, request, News.KEPT_LONGER):
        return held
    if not context.unit.can(request, Event.BORROWER_RENEWED):
        return context.refuse(Reason.NOT_ON_LOAN, notice.by, request)
    if missing := refuse_missing(request):
        return context.refuse(missing, notice.by, request)
    if request.recalled_on is not None:
        return context.refuse(Reason.RECALLED, notice.by, request)
    due = _renewed_until(context, notice, request)
    if isinstance(due, Refusal):
        return context.refuse(due, notice.by, request)
    after = context.unit.advance(
        request, Event.BORROWER_RENEWED, context.now, notice.by, lender_due=due, renewals=request.renewals + 1
    )
    return Renewed(
        request=after.id, item=after.item or ItemKey("", ""), card="", title=after.full_title, due=due, renewals=after.renewals
    )


def _renewed_until(context: Context, notice: PartnerNotice, request: Request) -> date | Refusal:
    """Compute our new due date: at least the agreed date, at most our lending period from today.

    A partner that asks for a later date gets our date. A partner that has already promised its patron a later date is refused.
    A later date that a central has decided is accepted.
    """
    longer = dates.civil(context.now) + timedelta(days=context.library.policy.lending.institutional_days)
    ours = max(day for day in (longer, request.lender_due) if day)
    if notice.due is None or notice.due <= ours or notice.due_is == "asked":
        return ours
    return notice.due if notice.due_is == "decided" else Refusal(Reason.RENEWAL_DENIED, detail={"due": request.lender_due})


def find_lent_request(unit: UnitOfWork, notice: PartnerNotice) -> Request | None:
    """Find the request with which this partner borrows from us, by RequestId or by copy."""
    by_wire = unit.requests.find_lent(notice.wire_agency or notice.partner, notice.wire_id) if notice.wire_id else None
    if by_wire:
        return by_wire if by_wire.partner == notice.partner else None
    held = unit.requests.open_with_item(notice.item.barcode, notice.item.agency) if notice.item else ()
    found = next((r for r in held if r.side is Side.LENDING and r.partner == notice.partner), None)
    if found or notice.item is None or notice.wire_id:
        return found
    last = unit.requests.last_with_item(notice.item)
    return last if last and last.side is Side.LENDING and last.partner == notice.partner else None
