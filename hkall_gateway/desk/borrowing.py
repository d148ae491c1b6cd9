"""We borrow: a patron's request, the lenders asked one after another, and the patron's cancellation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from hkall_gateway.desk.common import choosing
from hkall_gateway.desk.common.counts import counts, waited_too_long
from hkall_gateway.desk.common.library import Library, refused
from hkall_gateway.desk.common.patron_blocks import patron_blocks
from hkall_gateway.desk.messages.commands import CancelRequest, RequestTitle
from hkall_gateway.desk.messages.results import Cancelled, DeliveryResult, Outcome, Refused, Requested
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.queries import not_theirs
from hkall_gateway.rules import policy
from hkall_gateway.rules.dates.service_windows import suspended
from hkall_gateway.rules.lenders import InUse
from hkall_gateway.rules.lifecycle import TAKES_QUOTA, Event, Notification
from hkall_gateway.rules.policy import RequestFacts
from hkall_gateway.rules.vendor_words.decline_reasons import LENT_TO_ANOTHER, NOT_REACHED, SILENCE, decline_reason
from hkall_gateway.rules.vocabulary import (
    RULES,
    Actor,
    Borrower,
    Candidate,
    Grant,
    Holding,
    ItemKey,
    Position,
    Reason,
    Refusal,
    Request,
    Side,
)
from hkall_gateway.store.in_use import copies_in_use
from hkall_gateway.store.unannounced import asked_by_barcode
from hkall_gateway.store.unit import Unit

P = Position
ACCEPTED: Final = "accepted"
"""The outcome of a candidate that has accepted our request."""
NOBODY_ASKED: Final[Mapping[str, Any]] = MappingProxyType(
    {"partner": "", "wire_agency": "", "wire_id": "", "item_agency": "", "item_barcode": "", "lender_due": None}
)
"""The lender's fields of a request without a lender, all empty."""


# ---- the request


def request_title(unit: Unit, ask: RequestTitle, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Place a request and ask the first lender, or refuse. The same RequestId again gets the same request."""
    known = unit.request_placed(ask.placed_by, ask.placed_id) if ask.placed_id else None
    if known:
        return _known(unit, known, ask, now)
    if facts.borrower is None:
        return no(unit, facts.stranger, ask.by, now, patron=ask.patron)
    if ask.item and not ask.volume:
        pointed_at = unit.holding(ask.item)
        ask = replace(ask, volume=pointed_at.volume if pointed_at else "")
    return _decide(unit, ask, facts, facts.borrower, library, now)


def _known(unit: Unit, known: Request, ask: RequestTitle, now: datetime) -> Outcome:
    """Answer a repeated RequestId; refused if the request was cancelled, or if its patron or title differs."""
    if known.patron != ask.patron:
        return no(unit, not_theirs(unit, ask.patron), ask.by, now)
    another = (known.bib_id, known.volume) != (ask.bib_id, ask.volume)
    if another or known.position in {P.CANCELLING, P.CANCELLED}:
        return no(unit, Reason.DUPLICATE_REQUEST, ask.by, now, request=known)
    return _placed(known)


def _decide(
    unit: Unit, ask: RequestTitle, facts: BorrowerFacts, borrower: Borrower, library: Library, now: datetime
) -> Outcome:
    copies, in_use = unit.copies(ask.bib_id), copies_in_use(unit, ask.bib_id)
    ranked = choosing.ranked(unit, copies, ask.placed_id, library, now, ask.volume, in_use)
    wish = _wish(unit, ask, facts, copies, ranked, in_use, library, now)
    took, known = counts(unit, borrower, library), patron_blocks(unit, borrower.barcode, library, now)
    answer = policy.may_request(borrower, wish, took, library.policy, now, staff=ask.staff, standing=known)
    if isinstance(answer, Refusal):
        unit.refuse(answer, now, ask.by, patron=ask.patron)
        return refused(answer, borrower.language)
    return _placed(_place(unit, ask, copies, ranked, _unchecked(answer, facts), library, now))


def _wish(
    unit: Unit,
    ask: RequestTitle,
    facts: BorrowerFacts,
    copies: tuple[Holding, ...],
    ranked: tuple[Candidate, ...],
    in_use: InUse,
    library: Library,
    now: datetime,
) -> RequestFacts:
    available = sum(not c.skip for c in ranked)
    return RequestFacts(
        known_title=bool(copies),
        pickup_location=ask.pickup_location or library.pickup_locations[0],
        pickup_locations=library.pickup_locations,
        materials=tuple(sorted({c.material for c in copies})),
        statuses_at_home=_at_home(ask, facts.at_home if facts.looked else copies, in_use, library),
        candidates=available,
        duplicate=any(_same(r, ask) and not _given_back(unit, r, library, now) for r in unit.open_requests(ask.patron)),
        hold=ask.hold and not available,  # many systems call every request a hold; without a copy it would be one
        need_before=ask.need_before,
    )


def _at_home(ask: RequestTitle, copies: tuple[Holding, ...] | None, in_use: InUse, library: Library) -> tuple[str, ...] | None:
    """The statuses of our own copies, of the wanted volume if one is named; None where they cannot be seen.

    A copy that is on its way to another library, or there, does not count as at home, in any status.
    """
    if copies is None:
        return None
    ours = [c for c in copies if c.agency == library.agency and c.key not in in_use.held]
    return tuple(c.status for c in ours if not ask.volume or c.volume == ask.volume)


def _same(request: Request, ask: RequestTitle) -> bool:
    """Whether a request is open and for the same title and volume; returned and cancelled requests do not count (R11a)."""
    alive = request.position in TAKES_QUOTA and not request.unwanted
    return alive and request.bib_id == ask.bib_id and request.volume == ask.volume


def _given_back(unit: Unit, request: Request, library: Library, now: datetime) -> bool:
    """Whether the patron has left a book on the hold shelf past its last day: it counts as returned (R11a, R14)."""
    return waited_too_long(unit, request, library, now)


def _unchecked(grant: Grant, facts: BorrowerFacts) -> str:
    """The checks that could not be made, as flags for staff: "local_check:unknown"."""
    unknown = [f"{name}:{value}" for name, value in grant.facts.items() if value == "unknown"]
    return " ".join([*unknown, *filter(None, [facts.flag])])


def _place(
    unit: Unit,
    ask: RequestTitle,
    copies: tuple[Holding, ...],
    ranked: tuple[Candidate, ...],
    flags: str,
    library: Library,
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
            pickup_location=ask.pickup_location or library.pickup_locations[0],
            placed_by=ask.placed_by,
            placed_id=ask.placed_id,
            need_before=ask.need_before,
            reopened_from=ask.reopened_from,
            flags=flags,
        ),
        now,
        ask.by,
    )
    unit.save_candidates([replace(c, request=request.id) for c in ranked])
    lender = choosing.next_lender(unit, request, library, now)
    return _ask(unit, request, lender, Event.ASK, library, now, ask.by) if lender else request


def _placed(request: Request) -> Requested:
    return Requested(request.id, request.patron, request.placed_by, request.placed_id, request.bib_id)


# ---- lenders, one after another


def _ask(
    unit: Unit, request: Request, lender: Candidate, event: Event, library: Library, now: datetime, by: Actor, reason: str = ""
) -> Request:
    """Ask this library for its copy, by `event`."""
    attempt = request.attempt + 1
    wire_id = f"{request.id}-{attempt}"
    unit.mark(lender, wire_id=wire_id)
    return unit.advance(
        request,
        event,
        now,
        by,
        partner=lender.agency,
        wire_agency=library.agency,
        wire_id=wire_id,
        attempt=attempt,
        moved_at=now,
        reason=reason,
        item_agency="",
        item_barcode="",
        lender_due=None,
    )


def move_on(unit: Unit, request: Request, reason: str, library: Library, now: datetime, by: Actor) -> Request:
    """Ask the next lender after one that will not supply, or end the list with one letter (R37, R38)."""
    event = Event.NOT_SENT if request.position is P.IN_TRANSIT else Event.ASK_NEXT
    return _ask_next(unit, request, event, reason, library, now, by)


def give_up_on(unit: Unit, request: Request, library: Library, now: datetime, by: Actor, reason: str = SILENCE) -> Request:
    """Send a cancellation to the lender asked, and ask the next one (R11). Its copy may still come."""
    return _ask_next(unit, request, Event.ASK_NEXT_AFTER_SILENCE, reason, library, now, by)


def _ask_next(unit: Unit, request: Request, event: Event, reason: str, library: Library, now: datetime, by: Actor) -> Request:
    """Ask the next lender by `event`. While requests are suspended no lender is asked, and the request waits or ends (R1)."""
    left = choosing.next_lender(unit, request, library, now)
    rests = suspended("borrow_request", library.policy, now) is not None
    if left and not rests:
        return _ask(unit, request, left, event, library, now, by, reason)
    if event is Event.ASK_NEXT_AFTER_SILENCE:
        unit.tell(Notification.CANCEL_AT_LENDER, request, now, by)
    if left and library.policy.declined_while_suspended == "wait":
        return unit.advance(request, Event.POSTPONE, now, by, rule="R1", reason=reason, **NOBODY_ASKED)
    return unit.advance(request, Event.END_OF_LIST, now, by, rule="R38", reason=reason, item_agency="", item_barcode="")


def resume(unit: Unit, request: Request, library: Library, now: datetime, by: Actor) -> Request:
    """Ask the next lender after a suspension has ended, or end the list with one letter (R1, R38)."""
    left = choosing.next_lender(unit, request, library, now)
    if left:
        return _ask(unit, request, left, Event.ASK, library, now, by)
    return unit.advance(request, Event.NO_LENDER, now, by, rule="R38")


# ---- one copy, two requests


def release_rivals(unit: Unit, item: ItemKey, holder: str, library: Library, now: datetime, by: Actor) -> None:
    """Move other requests on when their accepted copy has arrived for the request `holder` (R7, R11).

    A request keeps its lender if that library has another copy to send. A lender that has not answered yet is not given up: its
    answer decides.
    """
    for rival, lender in asked_by_barcode(unit, item.barcode):
        waits = rival.position is P.REQUESTED and rival.wire_id == lender.wire_id and lender.outcome == ACCEPTED
        if waits and lender.agency == item.agency and rival.id != holder and not _another(unit, rival, lender, library, now):
            give_up_on(unit, rival, library, now, by, LENT_TO_ANOTHER)


def _another(unit: Unit, rival: Request, lender: Candidate, library: Library, now: datetime) -> bool:
    """Whether the lender has another copy for the rival, neither held nor asked for by a request of ours."""
    in_use = copies_in_use(unit, rival.bib_id)
    copies = [c for c in unit.copies(rival.bib_id) if c.agency == lender.agency and c.key not in in_use.asked]
    return any(not skip for skip in choosing.reasons(unit, copies, rival, in_use, library, now))


# ---- the patron cancels


def cancel(unit: Unit, ask: CancelRequest, library: Library, now: datetime) -> Outcome:
    """Cancel a patron's request, which is possible until the lender has sent the copy (R34)."""
    request = unit.request(ask.request) if ask.request else unit.request_placed(ask.placed_by, ask.placed_id)
    if request is None or request.side is not Side.BORROWING or (ask.patron and ask.patron != request.patron):
        return no(unit, not_theirs(unit, ask.patron), ask.by, now, patron=ask.patron)
    if request.position in {P.CANCELLING, P.CANCELLED}:
        return _cancelled(request)
    answer = policy.may_cancel(request, library.policy)
    if isinstance(answer, Refusal):
        unit.refuse(answer, now, ask.by, request)
        return refused(answer, _language(unit, request), request.title)
    return _cancelled(unit.advance(request, Event.CANCEL, now, ask.by, rule="R34"))


def _cancelled(request: Request) -> Cancelled:
    return Cancelled(request.id, request.patron, request.placed_by, request.placed_id)


def _language(unit: Unit, request: Request) -> str:
    patron = unit.patron(request.patron)
    return patron.language if patron else ""


# ---- what a lender answered to the courier


def answered(
    unit: Unit,
    send: Notification,
    number: str,
    wire_id: str,
    answer: DeliveryResult,
    library: Library,
    now: datetime,
    by: Actor,
) -> None:
    """Apply a partner's answer to a delivered message; the request advances where the answer calls for it."""
    request = unit.request(number)
    if request is None:
        return
    if send is Notification.ASK_LENDER:
        _asked_lender_answered(unit, request, wire_id, answer, library, now, by)
    if send is Notification.CANCEL_AT_LENDER and request.position is P.CANCELLING and request.wire_id == wire_id:
        _cancel_answered(unit, request, answer, now, by)


def _asked_lender_answered(
    unit: Unit, request: Request, wire_id: str, answer: DeliveryResult, library: Library, now: datetime, by: Actor
) -> None:
    asked = unit.request_asked(wire_id)
    if asked is None:
        return
    if answer.looked:
        unit.note(request, "LOOKED", {"agency": asked[1].agency, "found": answer.looked}, now, by, "R7")
    if answer.kind != "refused":
        unit.mark(asked[1], outcome=ACCEPTED, **({"their_number": answer.number} if answer.number else {}))
    elif answer.untold:  # it was not asked: it has no address
        unit.mark(asked[1], outcome=f"{NOT_REACHED}: {answer.detail}")
        _will_not_come(unit, request, wire_id, NOT_REACHED, library, now, by)
    else:
        unit.mark(asked[1], outcome=answer.looked or f"refused: {answer.problem}")
        reason = decline_reason(answer.looked or answer.problem, answer.detail)
        _will_not_come(unit, request, wire_id, reason, library, now, by)


def not_reached(
    unit: Unit, number: str, wire_id: str, reason: str, error: str, library: Library, now: datetime, by: Actor
) -> Request | None:
    """Ask the next lender if a request certainly never reached this one, which is not counted as a decline."""
    asked = unit.request_asked(wire_id)
    request = unit.request(number)
    if asked is None or request is None:
        return request
    unit.mark(asked[1], outcome=f"{reason}: {error}")
    _will_not_come(unit, request, wire_id, reason, library, now, by)
    return unit.request(number)


def _will_not_come(unit: Unit, request: Request, wire_id: str, reason: str, library: Library, now: datetime, by: Actor) -> None:
    """Record that the lender asked under `wire_id` will not supply; the answer of a former lender is ignored."""
    if request.wire_id != wire_id:
        return
    if request.position is P.REQUESTED:
        move_on(unit, request, reason, library, now, by)
    elif request.position is P.CANCELLING:
        unit.advance(request, Event.CANCEL_SETTLED, now, by, rule="R34")


def _cancel_answered(unit: Unit, request: Request, answer: DeliveryResult, now: datetime, by: Actor) -> None:
    """Settle a cancellation that is confirmed, or unknown to the lender; "already processed" may mean shipped: wait."""
    if answer.kind in {"accepted", "already"} or answer.problem == "Unknown Request":
        unit.advance(request, Event.CANCEL_SETTLED, now, by, rule="R34")


def no(unit: Unit, why: Reason, by: Actor, now: datetime, *, request: Request | None = None, patron: str = "") -> Refused:
    """Refuse, with an entry in the journal."""
    unit.refuse(Refusal(why), now, by, request, patron)
    return Refused(why, RULES.get(why, ""))
