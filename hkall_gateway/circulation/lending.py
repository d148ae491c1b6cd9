"""We lend: a partner's request is paged, shipped, reported on and returned. The lender never learns the patron's identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.command import Command, Context, Library, refused
from hkall_gateway.circulation.partner_notice import PartnerNotice, contradicted
from hkall_gateway.circulation.results import CheckedOut, Noted, Refused, Renewed
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, lenders
from hkall_gateway.rules.dates import over
from hkall_gateway.rules.evidence import News
from hkall_gateway.rules.lifecycle import FINAL, Event
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.policy import lends
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import (
    Actor,
    Holding,
    ItemKey,
    Position,
    Refusal,
    Request,
    RequestChange,
    Side,
)


@record
@dataclass(frozen=True, slots=True)
class Paged:
    """Our copy is paged for a partner."""

    request: str
    wire_agency: str
    wire_id: str
    item: ItemKey
    title: str
    author: str = ""
    call_number: str = ""


@dataclass(frozen=True, slots=True)
class BorrowFromUs(Command[None, Paged]):
    """A partner's request for a book of ours, to be paged. `wire_agency`/`wire_id` are the partner's RequestId.

    The request expires after `need_before`.
    """

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
"""What a borrower reports, by the event that it would be."""


def borrow_from_us(context: Context, ask: BorrowFromUs) -> Paged | Refused:
    """Page a copy of ours for a partner. The same RequestId again gets the same copy."""
    known = context.unit.requests.lent(ask.wire_agency, ask.wire_id)
    if known and known.partner == ask.partner:
        return _known(context, known, ask)
    partner = context.unit.partners.find(ask.partner)
    if known or partner is None:
        return _no(context.unit, Refusal(Reason.AGENCY_NOT_ALLOWED), ask.by, context.now)
    if late := over(ask.need_before, context.now):
        return _no(context.unit, late, ask.by, context.now)
    ours = _our_copies(context.unit, ask, context.library)
    answer = lenders.may_lend(
        partner, _free_copies(context.unit, ask, ours), context.library.policy, context.now, known=bool(ours)
    )
    if isinstance(answer, Refusal):
        return _no(context.unit, answer, ask.by, context.now)
    return _paged(context.unit, _page(context.unit, ask, answer, context.now))


def _known(context: Context, known: Request, ask: BorrowFromUs) -> Paged | Refused:
    """Answer a repeated RequestId. A declined or withdrawn request is refused: the borrower asks another library."""
    if _another_title(context.unit, known, ask, context.library):
        return _no(context.unit, Refusal(Reason.DUPLICATE_REQUEST), ask.by, context.now, known)
    if known.position in {P.DECLINED, P.WITHDRAWN}:
        return _no(context.unit, Refusal(Reason.NO_AVAILABLE_COPY), ask.by, context.now, known)
    return _paged(context.unit, known)


def _another_title(unit: UnitOfWork, known: Request, ask: BorrowFromUs, library: Library) -> bool:
    """Whether a repeated RequestId names another title, by a number of it or by a copy."""
    named = {copy.bib_id for copy in _our_copies(unit, ask, library)} | {ask.bib_id}
    return bool(ask.bib_id or ask.item) and known.bib_id not in named


def _our_copies(unit: UnitOfWork, ask: BorrowFromUs, library: Library) -> tuple[Holding, ...]:
    """Our copies of the title, or the named one if one is named."""
    copies = unit.holdings.of_title(ask.bib_id, library.agency) if ask.bib_id else ()
    if ask.item:
        named = unit.holdings.find(ask.item) if ask.item.agency in {"", library.agency} else None
        copies = (named,) if named else copies
    return copies


def _free_copies(unit: UnitOfWork, ask: BorrowFromUs, copies: tuple[Holding, ...]) -> tuple[Holding, ...]:
    """The copies that no other request holds, of the volume if one is named."""
    fitting = [c for c in copies if not ask.volume or c.volume == ask.volume]
    return tuple(c for c in fitting if not unit.requests.with_copy(c.barcode, c.agency))


def _page(unit: UnitOfWork, ask: BorrowFromUs, copy: Holding, now: datetime) -> Request:
    return unit.open(
        Request(
            id="",
            side=Side.LENDING,
            position=P.PAGED,
            title=copy.title,
            bib_id=copy.bib_id,
            volume=copy.volume,
            partner=ask.partner,
            wire_agency=ask.wire_agency,
            wire_id=ask.wire_id,
            item_agency=copy.agency,
            item_barcode=copy.barcode,
            pickup_location=ask.pickup_location,
            need_before=ask.need_before,
        ),
        now,
        ask.by,
    )


def _paged(unit: UnitOfWork, request: Request) -> Paged:
    item = request.item or ItemKey("", "")
    copy = unit.holdings.find(item)
    described = (copy.author, copy.call_number) if copy else ()
    return Paged(request.id, request.wire_agency, request.wire_id, item, request.title, *described)


def _no(unit: UnitOfWork, refusal: Refusal, by: Actor, now: datetime, request: Request | None = None) -> Refused:
    unit.refuse(refusal, now, by, request)
    return refused(refusal)


# ---- shipping


def ship(context: Context, request: Request, by: Actor) -> Request:
    """Ship the copy; the lender date includes the days of transport (decisions on two due dates)."""
    due = dates.civil(context.now) + timedelta(days=context.library.policy.lending.institutional_days)
    after = context.unit.advance(request, Event.LEND, context.now, by, lender_due=due)
    context.unit.holdings.set_status(after.item or ItemKey("", ""), "On Loan")
    return after


def ship_at_counter(context: Context, by: Actor, role: str, card: str, barcode: str) -> CheckedOut | Refused | None:
    """A checkout to a partner's institutional card ships our paged copy; None if the card is no partner's.

    Args:
        role: The role of the terminal where the copy is scanned.
    """
    partner = context.unit.partners.with_card(card)
    if partner is None:
        return None
    held = [r for r in context.unit.requests.with_copy(barcode, context.library.agency) if r.partner == partner.agency]
    if not held:
        return _no(context.unit, Refusal(Reason.UNKNOWN_ITEM), by, context.now)
    if not lends(role, context.library.policy):
        only = Refusal(Reason.COUNTER_ONLY, {"place": context.library.pickup_locations[0]})
        return _no(context.unit, only, by, context.now, held[0])
    if held[0].position is P.SHIPPED:
        return _shipped(held[0], card, again=True)
    if not context.unit.can(held[0], Event.LEND):
        return _no(context.unit, Refusal(Reason.WRONG_POSITION), by, context.now, held[0])
    return _shipped(ship(context, held[0], by), card)


def _shipped(request: Request, card: str, *, again: bool = False) -> CheckedOut:
    item = request.item or ItemKey("", "")
    return CheckedOut(request.id, item, card, request.title, request.lender_due, again=again)


# ---- notices of the borrowing library


def heard(context: Context, ask: PartnerNotice, event: Event) -> Noted | Refused:
    """Apply a borrower's notice: the transition of the table, or a success where the request is past it already."""
    request = lent_to(context.unit, ask)
    if request is None:
        return _no(context.unit, Refusal(Reason.UNKNOWN_REQUEST), ask.by, context.now)
    if held := contradicted(context, ask, request, NEWS[event]):
        return held
    if request.position in FINAL:
        context.unit.note(request, "LATE", {"message": ask.by.message}, context.now, ask.by)
        return _noted(request, late=True)
    if not context.unit.can(request, event):
        return _past_it(context.unit, ask, request, event, context.now)
    if request.position is P.PAGED and event in LEFT:
        context.unit.holdings.set_status(request.item or ItemKey("", ""), "On Loan")
    return _noted(
        context.unit.advance(request, event, context.now, ask.by, **_facts_of(event, request, context.library, context.now))
    )


def hears(event: Event) -> Callable[[Context, PartnerNotice], Noted | Refused]:
    """Return the handler of a borrower's notice of this event."""
    return lambda context, ask: heard(context, ask, event)


def _past_it(unit: UnitOfWork, ask: PartnerNotice, request: Request, event: Event, now: datetime) -> Noted | Refused:
    """Answer a step that is already past: a success, but a withdrawal after shipment is refused (R34)."""
    if event is Event.WITHDRAW:
        return _no(unit, Refusal(Reason.TOO_LATE_TO_CANCEL), ask.by, now, request)
    return _noted(request, note="known already")


def _facts_of(event: Event, request: Request, library: Library, now: datetime) -> RequestChange:
    if event is Event.BORROWER_HAS_IT and request.position is P.PAGED:
        days = library.policy.lending.institutional_days
        return {"unannounced": True, "lender_due": dates.civil(now) + timedelta(days=days)}
    if event is Event.COMING_HOME and request.position is P.SHIPPED:
        return {"skipped": "received"}
    if event is Event.COMING_HOME and request.position is P.PAGED:
        return {"unannounced": True, "skipped": P.PAGED.value}
    return {}


def renewed_by_borrower(context: Context, ask: PartnerNotice) -> Renewed | Refused:
    """Renew the borrowing library's loan, unless we have recalled the copy or its date is beyond ours (R28)."""
    request = lent_to(context.unit, ask)
    if request is None or not context.unit.can(request, Event.BORROWER_RENEWED):
        return _no(context.unit, Refusal(Reason.NOT_ON_LOAN if request else Reason.UNKNOWN_ITEM), ask.by, context.now, request)
    if held := contradicted(context, ask, request, News.KEPT_LONGER):
        return held
    if request.recalled_on is not None:
        return _no(context.unit, Refusal(Reason.RECALLED), ask.by, context.now, request)
    due = _kept_until(ask, request, context.library, context.now)
    if isinstance(due, Refusal):
        return _no(context.unit, due, ask.by, context.now, request)
    after = context.unit.advance(
        request, Event.BORROWER_RENEWED, context.now, ask.by, lender_due=due, renewals=request.renewals + 1
    )
    return Renewed(after.id, after.item or ItemKey("", ""), "", after.title, due, after.renewals)


def _kept_until(ask: PartnerNotice, request: Request, library: Library, now: datetime) -> date | Refusal:
    """The new lender date: at least the agreed one, at most our days from today.

    A partner that asks for more gets that; one that has granted its patron more is refused; a central's decision holds.
    """
    longer = dates.civil(now) + timedelta(days=library.policy.lending.institutional_days)
    ours = max(day for day in (longer, request.lender_due) if day)
    if ask.due is None or ask.due <= ours or ask.due_is == "asked":
        return ours
    return ask.due if ask.due_is == "decided" else Refusal(Reason.RENEWAL_DENIED, {"due": request.lender_due})


def lent_to(unit: UnitOfWork, ask: PartnerNotice) -> Request | None:
    """The request by which this partner borrows from us, found by RequestId or by copy."""
    by_wire = unit.requests.lent(ask.wire_agency or ask.partner, ask.wire_id) if ask.wire_id else None
    if by_wire:
        return by_wire if by_wire.partner == ask.partner else None
    held = unit.requests.with_copy(ask.item.barcode, ask.item.agency) if ask.item else ()
    found = next((r for r in held if r.side is Side.LENDING and r.partner == ask.partner), None)
    return found or _lent_last(unit, ask)


def _lent_last(unit: UnitOfWork, ask: PartnerNotice) -> Request | None:
    last = unit.requests.last_with(ask.item) if ask.item and not ask.wire_id else None
    return last if last and last.side is Side.LENDING and last.partner == ask.partner else None


def _noted(request: Request, *, late: bool = False, note: str = "") -> Noted:
    return Noted(request.id, request.wire_agency, request.wire_id, request.item, late, note, request.position)
