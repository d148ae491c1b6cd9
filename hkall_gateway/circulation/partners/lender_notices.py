"""Notices of a lender about a book that we borrow: shipped, declined, back home."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import cast

from hkall_gateway.circulation import recalls
from hkall_gateway.circulation.borrowing import move_on, no, release_rivals
from hkall_gateway.circulation.command import Context, Library
from hkall_gateway.circulation.fines import fix_fine, pay_back
from hkall_gateway.circulation.partner_notice import PartnerNotice, contradicted, hold
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.db import requests_by_partner_id
from hkall_gateway.db.requests_by_partner_id import STRAY, Asked, asked_for
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.evidence import News
from hkall_gateway.rules.lender_reasons import NEVER_SENT, OTHER, decline_reason
from hkall_gateway.rules.lifecycle import FINAL, Event, Notification
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import CandidateOutcome, StaffFlag
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Position, Request, RequestChange, Side

P = Position
HERE = frozenset({P.RECEIVED, P.ON_LOAN, P.TO_RETURN, P.RETURN_TRANSIT})


def we_borrow(ask: PartnerNotice, library: Library) -> bool:
    """Whether we are the borrower: the RequestId is ours, or without one the copy is not ours."""
    if ask.wire_id and ask.wire_agency:
        return ask.wire_agency == library.agency
    return ask.item is None or ask.item.agency != library.agency


def shipped(context: Context, ask: PartnerNotice) -> Noted | Refused:
    """Record that the lender has sent a copy, also if its notice comes late, early or twice."""
    asked = (
        _stray_under(context.unit, ask)
        or context.unit.requests.asked(ask.wire_id)
        or _by_item(context.unit, ask)
        or _asked_for(context.unit, ask)
    )
    if asked is None:
        return no(context.unit, Reason.UNKNOWN_REQUEST, ask.by, context.now)
    request, candidate = asked
    if candidate is not None and candidate.agency != ask.partner:
        return no(context.unit, Reason.AGENCY_NOT_OWNER, ask.by, context.now, request=request)
    if ask.item is not None and ask.item.agency != ask.partner:  # a lender sends its own copies, never ours nor another's
        return no(context.unit, Reason.NOT_THEIR_COPY, ask.by, context.now, request=request)
    if candidate is not None and not ask.wire_id:
        ask = replace(ask, wire_agency=context.library.agency, wire_id=candidate.wire_id)
    item = ask.item or (ItemKey(candidate.agency, candidate.barcode) if candidate else request.item)
    holder = _other_holder(context.unit, item, request) if item else None
    if holder is not None and _came_without_a_word(holder, ask):
        return _came_for_another(context.unit, ask, request, holder, context.now)
    if item is None:
        return no(context.unit, Reason.UNKNOWN_ITEM, ask.by, context.now, request=request)
    if held := contradicted(context, replace(ask, item=item), request, News.SHIPPED):
        return held
    return _take_shipment(context, ask, request, item)


def _asked_for(unit: UnitOfWork, ask: PartnerNotice) -> Asked | None:
    """Return the request for which the copy was asked last, for a notice without a number."""
    return asked_for(unit, ask.item) if ask.item and not ask.wire_id else None


def _by_item(unit: UnitOfWork, ask: PartnerNotice) -> tuple[Request, None] | None:
    held = unit.requests.with_copy(ask.item.barcode, ask.item.agency) if ask.item else ()
    mine = [r for r in held if r.side is Side.BORROWING and r.partner == ask.partner]
    return (mine[0], None) if mine else None


def _stray_under(unit: UnitOfWork, ask: PartnerNotice) -> tuple[Request, None] | None:
    """The request of an orphan copy, which came after its request had ended and is filed under the same number."""
    strays = requests_by_partner_id.strays_under(unit, ask.wire_agency, ask.wire_id) if ask.wire_id else ()
    mine = [r for r in strays if r.partner == ask.partner and ask.item in {None, r.item}]
    return (mine[-1], None) if mine else None


def _other_holder(unit: UnitOfWork, item: ItemKey, request: Request) -> Request | None:
    """Another request that holds the copy."""
    return next((r for r in unit.requests.with_copy(item.barcode, item.agency) if r.id != request.id), None)


def _came_without_a_word(holder: Request, ask: PartnerNotice) -> bool:
    return holder.unannounced and holder.side is Side.BORROWING and holder.partner == ask.partner


def _came_for_another(
    unit: UnitOfWork, ask: PartnerNotice, request: Request, holder: Request, now: datetime
) -> Noted | Refused:
    """The copy was received for another request than the one it was sent for: take only the date from this late message."""
    _filled(unit, ask, holder, {"lender_due": ask.due}, now)
    unit.note(request, "LATE", {"message": ask.by.message, "held_by": holder.id}, now, ask.by)
    return _noted(request, note=f"here for {holder.id}")


def _take_shipment(context: Context, ask: PartnerNotice, request: Request, item: ItemKey) -> Noted | Refused:
    active = not ask.wire_id or request.wire_id == ask.wire_id
    came: RequestChange = {"item_agency": item.agency, "item_barcode": item.barcode, "lender_due": ask.due}
    if request.position is P.CANCELLING and active:
        came["unwanted"] = True
        return _noted(context.unit.advance(request, Event.SHIP_UNWANTED, context.now, ask.by, rule="R34", **came))
    if request.position in {P.NEW, P.REQUESTED}:
        sent = _ship(context.unit, ask, request, came, active=active, now=context.now)
        release_rivals(context, item, sent.id, ask.by)
        return _noted(sent)
    if request.position in HERE | {P.IN_TRANSIT} and request.item in {None, item}:
        filled = _filled(context.unit, ask, request, came, context.now)
        return _noted(filled, note="already under way" if request.position is P.IN_TRANSIT else "already here")
    if request.position is P.CLOSED and request.item == item:
        return _late(context.unit, ask, request, context.now)
    return _stray(context.unit, ask, request, item, context.now)


def _filled(unit: UnitOfWork, ask: PartnerNotice, request: Request, came: RequestChange, now: datetime) -> Request:
    """Fill in the facts of a shipment reported after the copy came: only missing ones, the copy and the lender's date."""
    missing = cast("RequestChange", {name: value for name, value in came.items() if value and not getattr(request, name)})
    return recalls.ask_for_later_date(unit, unit.amend(request, now, ask.by, **missing), now, ask.by) if missing else request


def _ship(
    unit: UnitOfWork, ask: PartnerNotice, request: Request, came: RequestChange, *, active: bool, now: datetime
) -> Request:
    """Accept a shipment, also of a former lender while no other has shipped: the present one gets a cancellation."""
    if active:
        return unit.advance(request, Event.SHIP, now, ask.by, **came)
    if request.position is P.REQUESTED:
        unit.enqueue(Notification.CANCEL_AT_LENDER, request, now, ask.by)
    lender: RequestChange = {
        "partner": ask.partner,
        "wire_agency": ask.wire_agency or request.wire_agency,
        "wire_id": ask.wire_id,
        **came,
    }
    return unit.advance(request, Event.SHIP, now, ask.by, **lender)


def _stray(unit: UnitOfWork, ask: PartnerNotice, request: Request, item: ItemKey, now: datetime) -> Noted | Refused:
    """Open a request for an orphan copy, which no request waits for, so that it is received and sent home."""
    stray = unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.IN_TRANSIT,
            kind=STRAY,
            title=request.title,
            bib_id=request.bib_id,
            partner=ask.partner,
            wire_agency=ask.wire_agency,
            wire_id=ask.wire_id,
            item_agency=item.agency,
            item_barcode=item.barcode,
            lender_due=ask.due,
            unwanted=True,
            reopened_from=request.id,
        ),
        now,
        ask.by,
    )
    return _noted(stray, note="nobody waits for it any more")


def declined(context: Context, ask: PartnerNotice) -> Noted | Refused:
    """The lender will not supply. Before shipment only; the next lender is asked (R37)."""
    asked = context.unit.requests.asked(ask.wire_id) or _asked_for(context.unit, ask)
    if asked is None:
        return no(context.unit, Reason.UNKNOWN_REQUEST, ask.by, context.now)
    request, candidate = asked
    if candidate.agency != ask.partner:
        return no(context.unit, Reason.AGENCY_NOT_OWNER, ask.by, context.now, request=request)
    if request.wire_id != candidate.wire_id or request.position in FINAL:
        return _late(context.unit, ask, request, context.now)
    return _declined_by_active(context, ask, request, candidate)


def _declined_by_active(context: Context, ask: PartnerNotice, request: Request, candidate: Candidate) -> Noted | Refused:
    if request.position is P.CANCELLING:
        return _noted(context.unit.advance(request, Event.CANCEL_SETTLED, context.now, ask.by, rule="R34"))
    if request.position is not P.REQUESTED:
        return hold(context, ask, request, Reason.ALREADY_SHIPPED, StaffFlag.DECLINED_AFTER_SHIPMENT)
    if held := contradicted(context, ask, request, News.DECLINED):
        return held
    context.unit.candidates.mark(candidate, outcome=CandidateOutcome.DECLINED.because(ask.reason or OTHER))
    return _noted(move_on(context, request, decline_reason(ask.reason, ask.detail), ask.by))


def home(context: Context, ask: PartnerNotice) -> Noted | Refused:
    """Accept the lender's check-in of its copy, even if messages were missed, unless we have the copy by our own scan."""
    request = _borrowed(context.unit, ask)
    if request is None:
        return _past(context.unit, ask, context.now)
    if request.partner != ask.partner:
        return no(context.unit, Reason.AGENCY_NOT_OWNER, ask.by, context.now, request=request)
    if held := contradicted(context, replace(ask, item=request.item), request, News.HOME):
        return held
    if request.position in {P.REQUESTED, P.IN_TRANSIT} and not request.unwanted:  # it never left the lender
        return _noted(move_on(context, request, NEVER_SENT, ask.by), note="never sent")
    if request.position is P.CANCELLING:
        return _noted(context.unit.advance(request, Event.CANCEL_SETTLED, context.now, ask.by, rule="R34"), note="never sent")
    if not context.unit.can(request, Event.HOME):
        return _late(context.unit, ask, request, context.now)
    return _closed(context, ask, request)


def _closed(context: Context, ask: PartnerNotice, request: Request) -> Noted | Refused:
    """Close the request. A loan that skipped our counter ends on the day that the owner names, with its fine."""
    skipped = "" if request.position is P.RETURN_TRANSIT else request.position.value
    day = dates.civil(min(ask.at or context.now, context.now))
    if request.position is P.ON_LOAN:
        fix_fine(context, request, day, ask.by)
        pay_back(context.unit, request, day, context.now, ask.by)
    return _noted(
        context.unit.advance(request, Event.HOME, context.now, ask.by, skipped=skipped, returned_on=request.returned_on or day),
        note=f"home while {skipped}" if skipped else "",
    )


def _borrowed(unit: UnitOfWork, ask: PartnerNotice) -> Request | None:
    """The request for the copy that is back home; None for a request that this lender is no longer asked for.

    A copy that came without a shipped message may have been received for another request than the one it was sent for: the copy
    decides.
    """
    if stray := _stray_under(unit, ask):
        return stray[0]
    asked, held = unit.requests.asked(ask.wire_id), _by_item(unit, ask)
    named = asked[0] if asked and asked[0].wire_id == ask.wire_id else None
    if held and (named is None or _came_before(held[0], ask)):
        return held[0]
    return named


def _came_before(held: Request, ask: PartnerNotice) -> bool:
    """Whether a copy arrived before its owner's check-in, so that the message is not about an older loan."""
    return held.received_on is not None and ask.at is not None and held.received_on <= dates.civil(ask.at)


def _past(unit: UnitOfWork, ask: PartnerNotice, now: datetime) -> Noted | Refused:
    """A lender that was asked once, or held the copy last: it is late, and a success. A copy alone may mean an older loan."""
    asked = unit.requests.asked(ask.wire_id) or _asked_for(unit, ask)
    last = None if asked else unit.requests.last_with(ask.item) if ask.item else None
    request = asked[0] if asked else last if last and last.side is Side.BORROWING else None
    if request is None:
        return no(unit, Reason.UNKNOWN_REQUEST, ask.by, now)
    if (asked[1].agency if asked else request.partner) != ask.partner:
        return no(unit, Reason.AGENCY_NOT_OWNER, ask.by, now, request=request)
    return _late(unit, ask, request, now)


def _late(unit: UnitOfWork, ask: PartnerNotice, request: Request, now: datetime) -> Noted:
    """Accept a late message: a success that only the journal records."""
    unit.note(request, "LATE", {"message": ask.by.message}, now, ask.by)
    return _noted(request, late=True)


def _noted(request: Request, *, late: bool = False, note: str = "") -> Noted:
    return Noted(request.id, request.wire_agency, request.wire_id, request.item, late, note, request.position)
