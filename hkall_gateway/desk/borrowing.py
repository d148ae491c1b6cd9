"""We borrow: a patron's wish, the lender that is asked, what it answered, and the book's way here and home."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from hkall_gateway.desk.asks import Answer, Cancelled, CancelRequest, Heard, Noted, Outcome, Refused, Requested, RequestTitle
from hkall_gateway.desk.house import House, refused
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.tally import counts
from hkall_gateway.rules import calendar, lenders, policy
from hkall_gateway.rules.lifecycle import FINAL, Event, Send
from hkall_gateway.rules.policy import Wish
from hkall_gateway.rules.vocabulary import (
    RULES,
    Borrower,
    By,
    Candidate,
    Holding,
    ItemKey,
    Position,
    Refusal,
    Request,
    Side,
    Why,
)
from hkall_gateway.store.unit import Unit

P = Position
HERE = frozenset({P.RECEIVED, P.ON_LOAN, P.TO_RETURN, P.RETURN_TRANSIT})


# ---- the wish


def request_title(unit: Unit, ask: RequestTitle, facts: BorrowerFacts, house: House, now: datetime) -> Outcome:
    """Place a request and ask the first lender, or say why not. The same RequestId again gets the same request."""
    known = unit.request_placed(ask.placed_by, ask.placed_id) if ask.placed_id else None
    if known:
        return _placed(known) if known.patron == ask.patron else _no(unit, Why.UNKNOWN_REQUEST, ask.by, now)
    if facts.borrower is None:
        return _no(unit, Why.UNKNOWN_BORROWER, ask.by, now, patron=ask.patron)
    return _decide(unit, ask, facts.borrower, house, now)


def _decide(unit: Unit, ask: RequestTitle, borrower: Borrower, house: House, now: datetime) -> Outcome:
    copies = unit.copies(ask.bib_id)
    ranked = lenders.choose_lender(
        copies, unit.partners(), house.policy, now, ask.placed_id, own=house.agency, volume=ask.volume
    )
    wish = _wish(unit, ask, copies, ranked, house)
    answer = policy.may_request(borrower, wish, counts(unit, borrower, house), house.policy, now)
    if isinstance(answer, Refusal):
        unit.refuse(answer, now, ask.by, patron=ask.patron)
        return refused(answer, borrower.language)
    return _placed(_place(unit, ask, copies, ranked, house, now))


def _wish(unit: Unit, ask: RequestTitle, copies: tuple[Holding, ...], ranked: tuple[Candidate, ...], house: House) -> Wish:
    available = sum(not c.skip for c in ranked)
    at_home = [c for c in copies if c.agency == house.agency and (not ask.volume or c.volume == ask.volume)]
    return Wish(
        known_title=bool(copies),
        pickup_location=ask.pickup_location or house.pickup_locations[0],
        pickup_locations=house.pickup_locations,
        materials=tuple(sorted({c.material for c in copies})),
        statuses_at_home=tuple(c.status for c in at_home),
        candidates=available,
        duplicate=any(r.bib_id == ask.bib_id and r.volume == ask.volume for r in unit.open_requests(ask.patron)),
        hold=ask.hold and not available,  # many systems call every request a hold; without a copy it would be one
    )


def _place(
    unit: Unit,
    ask: RequestTitle,
    copies: tuple[Holding, ...],
    ranked: tuple[Candidate, ...],
    house: House,
    now: datetime,
) -> Request:
    request = unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.NEW,
            title=copies[0].title,
            bib_id=ask.bib_id,
            volume=ask.volume,
            patron=ask.patron,
            pickup_location=ask.pickup_location or house.pickup_locations[0],
            placed_by=ask.placed_by,
            placed_id=ask.placed_id,
        ),
        now,
        ask.by,
    )
    unit.shortlist([replace(c, request=request.id) for c in ranked])
    return _ask_lender(unit, request, Event.ASK, house, now, ask.by) or request


def _placed(request: Request) -> Requested:
    return Requested(request.id, request.patron, request.placed_by, request.placed_id, request.bib_id)


# ---- lenders, one after another


def _ask_lender(
    unit: Unit, request: Request, event: Event, house: House, now: datetime, by: By, reason: str = ""
) -> Request | None:
    """Ask the best library that was not asked yet, by `event`; None when there is none left."""
    listed = unit.candidates(request.id)
    asked = {c.agency for c in listed if c.wire_id}
    left = next((c for c in listed if not c.skip and c.agency not in asked), None)
    if left is None:
        return None
    attempt = request.attempt + 1
    wire_id = f"{request.id}-{attempt}"
    unit.mark(left, wire_id=wire_id)
    return unit.advance(
        request,
        event,
        now,
        by,
        partner=left.agency,
        wire_agency=house.agency,
        wire_id=wire_id,
        attempt=attempt,
        moved_at=now,
        reason=reason,
        item_agency="",
        item_barcode="",
        lender_due=None,
    )


def move_on(unit: Unit, request: Request, reason: str, house: House, now: datetime, by: By) -> Request:
    """The lender asked will not supply: the next one, or the end of the list with one letter (R37, R38)."""
    event = Event.NOT_SENT if request.position is P.IN_TRANSIT else Event.ASK_NEXT
    asked = _ask_lender(unit, request, event, house, now, by, reason)
    return asked or unit.advance(
        request, Event.END_OF_LIST, now, by, rule="R38", reason=reason, item_agency="", item_barcode=""
    )


# ---- the patron cancels


def cancel(unit: Unit, ask: CancelRequest, house: House, now: datetime) -> Outcome:
    """The patron no longer wants it; only while the lender has not sent it (R34)."""
    request = unit.request(ask.request) if ask.request else unit.request_placed(ask.placed_by, ask.placed_id)
    if request is None or request.side is not Side.BORROWING or (ask.patron and ask.patron != request.patron):
        return _no(unit, Why.UNKNOWN_REQUEST, ask.by, now, patron=ask.patron)
    if request.position in {P.CANCELLING, P.CANCELLED}:
        return _cancelled(request)
    answer = policy.may_cancel(request, house.policy)
    if isinstance(answer, Refusal):
        unit.refuse(answer, now, ask.by, request)
        return refused(answer, _language(unit, request), request.title)
    return _cancelled(unit.advance(request, Event.CANCEL, now, ask.by, rule="R34"))


def _cancelled(request: Request) -> Cancelled:
    return Cancelled(request.id, request.patron, request.placed_by, request.placed_id)


def _language(unit: Unit, request: Request) -> str:
    patron = unit.patron(request.patron)
    return patron.language if patron else ""


# ---- what a lender tells


def shipped(unit: Unit, ask: Heard, _house: House, now: datetime) -> Outcome:
    """The lender has sent a copy. Late, early or twice, it is taken as what it is: the copy is on its way."""
    asked = unit.request_asked(ask.wire_id) or _by_item(unit, ask)
    if asked is None:
        return _no(unit, Why.UNKNOWN_REQUEST, ask.by, now)
    request, candidate = asked
    if candidate is not None and candidate.agency != ask.partner:
        return _no(unit, Why.AGENCY_NOT_OWNER, ask.by, now, request=request)
    item = ask.item or (ItemKey(candidate.agency, candidate.barcode) if candidate else None)
    if item is None or _in_other_hands(unit, item, request):
        return _no(unit, Why.UNKNOWN_ITEM, ask.by, now, request=request)
    return _take_shipment(unit, ask, request, item, now)


def _by_item(unit: Unit, ask: Heard) -> tuple[Request, None] | None:
    held = unit.requests_with(ask.item.barcode, ask.item.agency) if ask.item else ()
    mine = [r for r in held if r.side is Side.BORROWING and r.partner == ask.partner]
    return (mine[0], None) if mine else None


def _in_other_hands(unit: Unit, item: ItemKey, request: Request) -> bool:
    return any(r.id != request.id for r in unit.requests_with(item.barcode, item.agency))


def _take_shipment(unit: Unit, ask: Heard, request: Request, item: ItemKey, now: datetime) -> Outcome:
    active = not ask.wire_id or request.wire_id == ask.wire_id
    came: dict[str, Any] = {"item_agency": item.agency, "item_barcode": item.barcode, "lender_due": ask.due}
    if request.position is P.CANCELLING and active:
        return _noted(unit.advance(request, Event.SHIP_UNWANTED, now, ask.by, rule="R34", unwanted=True, **came))
    if request.position is P.REQUESTED:
        return _noted(_ship(unit, ask, request, came, active=active, now=now))
    if request.position in HERE | {P.IN_TRANSIT} and request.item in {None, item}:
        return _noted(request, note="already under way" if request.position is P.IN_TRANSIT else "already here")
    return _stray(unit, ask, request, item, now)


def _ship(unit: Unit, ask: Heard, request: Request, came: dict[str, Any], *, active: bool, now: datetime) -> Request:
    """The copy comes. From a former lender too, while no other has shipped: then the present one is told to stop."""
    if active:
        return unit.advance(request, Event.SHIP, now, ask.by, **came)
    unit.tell(Send.CANCEL_AT_LENDER, request, now, ask.by)
    return unit.advance(request, Event.SHIP, now, ask.by, partner=ask.partner, wire_id=ask.wire_id, **came)


def _stray(unit: Unit, ask: Heard, request: Request, item: ItemKey, now: datetime) -> Outcome:
    """A copy that nobody waits for: it gets a row of its own, so that it is received and sent home."""
    stray = unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.IN_TRANSIT,
            kind="stray",
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


def declined(unit: Unit, ask: Heard, house: House, now: datetime) -> Outcome:
    """The lender will not supply. Before shipment only; the next lender is asked (R37)."""
    asked = unit.request_asked(ask.wire_id)
    if asked is None:
        return _no(unit, Why.UNKNOWN_REQUEST, ask.by, now)
    request, candidate = asked
    if candidate.agency != ask.partner:
        return _no(unit, Why.AGENCY_NOT_OWNER, ask.by, now, request=request)
    if request.wire_id != ask.wire_id or request.position in FINAL:
        return _noted(request, late=True)
    return _declined_by_active(unit, ask, request, candidate, house, now)


def _declined_by_active(unit: Unit, ask: Heard, request: Request, candidate: Candidate, house: House, now: datetime) -> Outcome:
    if request.position is P.CANCELLING:
        return _noted(unit.advance(request, Event.CANCEL_SETTLED, now, ask.by, rule="R34"))
    if request.position is not P.REQUESTED:
        return _no(unit, Why.ALREADY_SHIPPED, ask.by, now, request=request)
    reason = ask.reason or "other"
    unit.mark(candidate, outcome=f"declined: {reason}")
    return _noted(move_on(unit, request, reason, house, now, ask.by))


def home(unit: Unit, ask: Heard, house: House, now: datetime) -> Outcome:
    """The lender has its copy back. Whatever we thought, it is physically there."""
    request = _borrowed(unit, ask)
    if request is None:
        return _no(unit, Why.UNKNOWN_REQUEST, ask.by, now)
    if request.partner != ask.partner:
        return _no(unit, Why.AGENCY_NOT_OWNER, ask.by, now, request=request)
    if request.position in {P.REQUESTED, P.IN_TRANSIT}:  # it never left the lender
        return _noted(move_on(unit, request, "never sent", house, now, ask.by), note="never sent")
    if not unit.can(request, Event.HOME):
        return _noted(request, late=True)
    skipped = "" if request.position is P.RETURN_TRANSIT else request.position.value
    day = calendar.civil(now)
    return _noted(
        unit.advance(request, Event.HOME, now, ask.by, skipped=skipped, returned_on=request.returned_on or day),
        note=f"home while {skipped}" if skipped else "",
    )


def _borrowed(unit: Unit, ask: Heard) -> Request | None:
    asked = unit.request_asked(ask.wire_id) if ask.wire_id else None
    if asked and asked[0].wire_id == ask.wire_id:
        return asked[0]
    found = _by_item(unit, ask)
    return found[0] if found else asked[0] if asked else _stray_on_wire(unit, ask)


def _stray_on_wire(unit: Unit, ask: Heard) -> Request | None:
    last = unit.last_with(ask.item) if ask.item else None
    return last if last and last.side is Side.BORROWING else None


def _noted(request: Request, *, late: bool = False, note: str = "") -> Noted:
    return Noted(request.id, request.wire_agency, request.wire_id, request.item, late, note)


# ---- what a lender answered to the courier


def answered(unit: Unit, send: Send, number: str, wire_id: str, answer: Answer, house: House, now: datetime, by: By) -> None:
    """A partner answered something that the courier brought: the request moves on, or nothing changes."""
    request = unit.request(number)
    if request is None:
        return
    if send is Send.ASK_LENDER:
        _asked_lender_answered(unit, request, wire_id, answer, house, now, by)
    if send is Send.CANCEL_AT_LENDER and request.position is P.CANCELLING and request.wire_id == wire_id:
        _cancel_answered(unit, request, answer, now, by)


def _asked_lender_answered(
    unit: Unit, request: Request, wire_id: str, answer: Answer, house: House, now: datetime, by: By
) -> None:
    asked = unit.request_asked(wire_id)
    if asked is None:
        return
    if answer.kind != "refused":
        unit.mark(asked[1], outcome="accepted")
        return
    unit.mark(asked[1], outcome=f"refused: {answer.problem}")
    if request.wire_id != wire_id:
        return
    if request.position is P.REQUESTED:
        move_on(unit, request, answer.problem, house, now, by)
    elif request.position is P.CANCELLING:
        unit.advance(request, Event.CANCEL_SETTLED, now, by, rule="R34")


def _cancel_answered(unit: Unit, request: Request, answer: Answer, now: datetime, by: By) -> None:
    """Confirmed, or unknown to the lender: settled. "Already processed" may mean that it is on its way: wait."""
    if answer.kind in {"accepted", "already"} or answer.problem == "Unknown Request":
        unit.advance(request, Event.CANCEL_SETTLED, now, by, rule="R34")


def _no(unit: Unit, why: Why, by: By, now: datetime, *, request: Request | None = None, patron: str = "") -> Refused:
    """No, written into the journal."""
    unit.refuse(Refusal(why), now, by, request, patron)
    return Refused(why, RULES.get(why, ""))
