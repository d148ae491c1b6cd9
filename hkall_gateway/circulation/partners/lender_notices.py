"""Lenders' notices about books that we borrow: shipped, declined, back home."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, cast

from hkall_gateway.circulation import recalls
from hkall_gateway.circulation.choosing import move_on, release_rivals
from hkall_gateway.circulation.command import Context, Library, flagged
from hkall_gateway.circulation.find_request import flag_another_book
from hkall_gateway.circulation.fines import fix_fine, pay_back
from hkall_gateway.circulation.partner_notice import (
    PartnerNotice,
    hold_if_contradicted,
    hold_notice,
    is_old_news,
    is_shipment_overtaken,
    keep_far_date_aside,
    note_never_sent,
    note_shipment,
)
from hkall_gateway.circulation.results import Noted, Refused, noted_result
from hkall_gateway.db import requests_by_partner_id
from hkall_gateway.db.requests_by_partner_id import STRAY, Asked, asked_for
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.evidence import News
from hkall_gateway.rules.lender_reasons import NEVER_SENT, OTHER, decline_reason
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.positions import FINAL, HAS_ARRIVED, NEVER_HERE
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import CandidateOutcome, StaffFlag
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Position, Request, RequestChange, Side

P = Position
NOT_ARRIVED: Final = NEVER_HERE - {P.NEW}
"""Positions in which the lender's copy has not been here. No lender is asked in NEW."""


def we_borrow(notice: PartnerNotice, library: Library) -> bool:
    """Check whether we are the borrower: the RequestId is ours or, if it is missing, the copy is not ours."""
    if notice.wire_id and notice.wire_agency:
        return notice.wire_agency == library.agency
    return notice.item is None or notice.item.agency != library.agency


def apply_shipped(context: Context, notice: PartnerNotice) -> Noted | Refused:
    """Record that the lender has sent a copy, even if the notice is late, early or repeated."""
    attempt = (
        _find_stray(context.unit, notice)
        or context.unit.requests.find_by_wire_id(notice.wire_id)
        or _find_holder(context.unit, notice)
        or _asked_for_copy(context.unit, notice)
    )
    if attempt is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, notice.by)
    request, candidate = attempt
    if candidate is not None and candidate.agency != notice.partner:
        return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, request)
    if notice.item is not None and notice.item.agency != notice.partner:  # a lender sends only its own copies
        return context.refuse(Reason.NOT_THEIR_COPY, notice.by, request)
    if candidate is not None:
        notice = _spell_as_listed(notice, candidate)
    if candidate is not None and not notice.wire_id:
        notice = replace(notice, wire_agency=context.library.agency, wire_id=candidate.wire_id)
    item = notice.item or (ItemKey(candidate.agency, candidate.barcode) if candidate else request.item)
    is_over = request.position is P.CLOSED and request.item == item  # it has had this copy: a later loan has its own notice
    held = context.unit.requests.open_with_item(item.barcode, item.agency) if item else ()
    holder = next((other for other in held if other.id != request.id), None)
    if holder and not is_over and holder.unannounced and holder.side is Side.BORROWING and holder.partner == notice.partner:
        # The copy was already received for another request. A late notice that names the copy gives only its due date.
        if notice.item is not None:
            _fill_in(context, notice, holder, {"lender_due": notice.due})
        context.unit.note(request, "LATE", {"message": notice.by.message, "held_by": holder.id}, context.now, notice.by)
        return noted_result(request, again=True, note=f"here for {holder.id}")
    if item is None:
        return context.refuse(Reason.UNKNOWN_ITEM, notice.by, request)
    if refusal := hold_if_contradicted(context, replace(notice, item=item), request, News.SHIPPED):
        return refusal
    if is_shipment_overtaken(context, notice, request):
        return _accept_late(context, notice, request)
    notice, request = keep_far_date_aside(context, notice, request)
    return _take_shipment(context, notice, request, item)


def _spell_as_listed(notice: PartnerNotice, candidate: Candidate) -> PartnerNotice:
    """Spell the barcode as the lender's list of copies does, from which we asked: a scanner reads the printed case."""
    item = notice.item
    if item is None or item.barcode.casefold() != candidate.barcode.casefold():
        return notice
    return replace(notice, item=ItemKey(item.agency, candidate.barcode))


def _asked_for_copy(unit: UnitOfWork, notice: PartnerNotice) -> Asked | None:
    """Find the last request that asked for this copy, for a notice without a RequestId."""
    return asked_for(unit, notice.item) if notice.item and not notice.wire_id else None


def _find_holder(unit: UnitOfWork, notice: PartnerNotice) -> tuple[Request, None] | None:
    held = unit.requests.open_with_item(notice.item.barcode, notice.item.agency) if notice.item else ()
    mine = [r for r in held if r.side is Side.BORROWING and r.partner == notice.partner]
    return (mine[0], None) if mine else None


def _find_stray(unit: UnitOfWork, notice: PartnerNotice) -> tuple[Request, None] | None:
    """Find the request opened for an orphan copy, which arrived after the original request with this number had ended."""
    strays = requests_by_partner_id.strays_under(unit, notice.wire_agency, notice.wire_id) if notice.wire_id else ()
    mine = [r for r in strays if r.partner == notice.partner and notice.item in {None, r.item}]
    return (mine[-1], None) if mine else None


def _take_shipment(context: Context, notice: PartnerNotice, request: Request, item: ItemKey) -> Noted | Refused:
    active = not notice.wire_id or request.wire_id == notice.wire_id
    came: RequestChange = {"item_agency": item.agency, "item_barcode": item.barcode, "lender_due": notice.due}
    if request.position is P.CANCELLING and active:
        came["unwanted"] = True
        sent = context.unit.advance(request, Event.SHIP_UNWANTED, context.now, notice.by, rule="R34", **came)
        note_shipment(context, notice, sent)
        return noted_result(sent)
    if request.position in {P.NEW, P.REQUESTED}:
        sent = _flag_barcode_of_ours(context, notice, _accept_shipment(context, notice, request, came, active=active))
        sent = flag_another_book(context, sent, notice.by)
        note_shipment(context, notice, sent)
        release_rivals(context, item, sent.id, notice.by)
        return noted_result(sent)
    if request.position in HAS_ARRIVED | {P.IN_TRANSIT} and request.item in {None, item}:
        filled = _fill_in(context, notice, request, came)
        is_here = request.position is not P.IN_TRANSIT
        return noted_result(filled, again=True, note="already here" if is_here else "already under way")
    if request.position is P.CLOSED and request.item == item:
        return _accept_late(context, notice, request)
    return _open_stray(context, notice, request, item)


def _flag_barcode_of_ours(context: Context, notice: PartnerNotice, request: Request) -> Request:
    """Flag a shipment under a barcode that only a book of our own has. Its scan is then referred to staff."""
    item = request.item or ItemKey("", "")
    holdings = context.unit.holdings
    if holdings.find(ItemKey(context.library.agency, item.barcode)) is None or holdings.find(item) is not None:
        return request
    return context.unit.amend(request, context.now, notice.by, flags=flagged(request, StaffFlag.CONTRADICTED))


def _fill_in(context: Context, notice: PartnerNotice, request: Request, came: RequestChange) -> Request:
    """Fill in data from a shipped message that came after the copy: the copy's identity and the lender's due date."""
    missing = cast("RequestChange", {name: value for name, value in came.items() if value and not getattr(request, name)})
    return (
        recalls.ask_for_later_date(context, context.unit.amend(request, context.now, notice.by, **missing), notice.by)
        if missing
        else request
    )


def _accept_shipment(
    context: Context, notice: PartnerNotice, request: Request, came: RequestChange, *, active: bool
) -> Request:
    """Accept a shipment, possibly from a former lender if no other lender has shipped. Then cancel at the current lender."""
    if active:
        return context.unit.advance(request, Event.SHIP, context.now, notice.by, **came)
    if request.position is P.REQUESTED:
        context.unit.enqueue(Notification.CANCEL_AT_LENDER, request, context.now, notice.by)
    lender: RequestChange = {
        "partner": notice.partner,
        "wire_agency": notice.wire_agency or request.wire_agency,
        "wire_id": notice.wire_id,
        **came,
    }
    return context.unit.advance(request, Event.SHIP, context.now, notice.by, **lender)


def _open_stray(context: Context, notice: PartnerNotice, request: Request, item: ItemKey) -> Noted | Refused:
    """Open a request for an orphan copy, for which no request waits, so that it is received and sent home."""
    stray = context.unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.IN_TRANSIT,
            kind=STRAY,
            title=request.title,
            bib_id=request.bib_id,
            partner=notice.partner,
            wire_agency=notice.wire_agency,
            wire_id=notice.wire_id,
            item_agency=item.agency,
            item_barcode=item.barcode,
            lender_due=notice.due,
            unwanted=True,
            reopened_from=request.id,
        ),
        context.now,
        notice.by,
    )
    return noted_result(stray, note="nobody waits for it any more")


def apply_accepted(context: Context, notice: PartnerNotice) -> Noted | Refused:
    """Note a lender's promise of a copy, for which the request then waits as long as for one in the reply (R11)."""
    attempt = context.unit.requests.find_by_wire_id(notice.wire_id)
    if attempt is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, notice.by)
    request, candidate = attempt
    if candidate.agency != notice.partner:
        return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, request)
    if request.wire_id != candidate.wire_id or request.position is not P.REQUESTED:
        return _accept_late(context, notice, request)
    context.unit.candidates.update(candidate, outcome=CandidateOutcome.ACCEPTED)
    return noted_result(request)


def apply_declined(context: Context, notice: PartnerNotice) -> Noted | Refused:
    """Ask the next lender after a decline, which counts only before shipment (R37)."""
    attempt = context.unit.requests.find_by_wire_id(notice.wire_id) or _asked_for_copy(context.unit, notice)
    if attempt is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, notice.by)
    request, candidate = attempt
    if candidate.agency != notice.partner:
        return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, request)
    is_about_this_attempt = request.wire_id == candidate.wire_id
    if is_about_this_attempt and request.position not in FINAL | {P.REQUESTED, P.CANCELLING}:
        return hold_notice(context, notice, request, Reason.ALREADY_SHIPPED, StaffFlag.DECLINED_AFTER_SHIPMENT)
    if held := hold_if_contradicted(context, notice, request, News.DECLINED):
        return held
    if not is_about_this_attempt or request.position in FINAL:
        return _accept_late(context, notice, request)
    if request.position is P.CANCELLING:
        return noted_result(context.unit.advance(request, Event.CANCEL_SETTLED, context.now, notice.by, rule="R34"))
    context.unit.candidates.update(candidate, outcome=CandidateOutcome.DECLINED.because(notice.reason or OTHER))
    return noted_result(move_on(context, request, decline_reason(notice.reason, notice.detail), notice.by))


def apply_home(context: Context, notice: PartnerNotice) -> Noted | Refused:
    """Accept the lender's check-in of its copy, even if messages were missed, unless our own scans contradict it.

    A loan that was not returned at our counter ends on the day that the owner names, and the fine is charged.
    """
    request = _find_borrowed(context.unit, notice)
    if request is None:
        return _accept_past_notice(context, notice)
    if request.partner != notice.partner:
        return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, request)
    if is_old_news(context, notice, request):
        return _accept_late(context, notice, request)
    if held := hold_if_contradicted(context, notice, request, News.HOME):
        return held
    if request.position in NOT_ARRIVED:
        note_never_sent(context, notice, request)
    if request.position in {P.REQUESTED, P.IN_TRANSIT} and not request.unwanted:  # the copy never left the lender
        return noted_result(move_on(context, request, NEVER_SENT, notice.by), note="never sent")
    if request.position is P.CANCELLING:
        return noted_result(
            context.unit.advance(request, Event.CANCEL_SETTLED, context.now, notice.by, rule="R34"), note="never sent"
        )
    if not context.unit.can(request, Event.HOME):
        return _accept_late(context, notice, request)
    skipped = "" if request.position is P.RETURN_TRANSIT else request.position.value
    day = dates.civil(min(notice.at or context.now, context.now))
    if request.position is P.ON_LOAN:
        fix_fine(context, request, day, notice.by)
        pay_back(context, request, day, notice.by)
    return noted_result(
        context.unit.advance(
            request, Event.HOME, context.now, notice.by, skipped=skipped, returned_on=request.returned_on or day
        ),
        note=f"home while {skipped}" if skipped else "",
    )


def _find_borrowed(unit: UnitOfWork, notice: PartnerNotice) -> Request | None:
    """Find the request whose copy is back home, or return None if this lender is not the current lender.

    A copy without a shipped message may have been received for a different request than the lender sent it for. Therefore the
    request that holds the copy takes precedence over the RequestId.
    """
    if stray := _find_stray(unit, notice):
        return stray[0]
    attempt, held = unit.requests.find_by_wire_id(notice.wire_id), _find_holder(unit, notice)
    named = attempt[0] if attempt and attempt[0].wire_id == notice.wire_id else None
    if held is None:
        return named
    came_on = held[0].received_on
    # A check-in that is older than the copy's arrival is about an earlier loan.
    came_before = came_on is not None and notice.at is not None and came_on <= dates.civil(notice.at)
    if named is None:
        return held[0]
    # The number of an ended request means an earlier loan of the copy, unless the copy came without a shipped message.
    is_of_this_loan = named.position not in FINAL or held[0].unannounced
    return held[0] if came_before and is_of_this_loan else named


def _accept_past_notice(context: Context, notice: PartnerNotice) -> Noted | Refused:
    """Accept a late notice from a library that was asked before, or that lent the copy last. The notice changes nothing."""
    attempt = context.unit.requests.find_by_wire_id(notice.wire_id) or _asked_for_copy(context.unit, notice)
    if attempt:
        request, candidate = attempt
        if candidate.agency != notice.partner:
            return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, request)
        if candidate.wire_id != request.wire_id:
            note_never_sent(context, notice, request)
        return _accept_late(context, notice, request)

    last = context.unit.requests.last_with_item(notice.item) if notice.item else None
    if last is None or last.side is not Side.BORROWING:
        return context.refuse(Reason.UNKNOWN_REQUEST, notice.by)
    if last.partner != notice.partner:
        return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, last)
    return _accept_late(context, notice, last)


def _accept_late(context: Context, notice: PartnerNotice, request: Request) -> Noted:
    """Accept a late message, and record it only in the journal."""
    context.unit.note(request, "LATE", {"message": notice.by.message}, context.now, notice.by)
    return noted_result(request, late=True)
