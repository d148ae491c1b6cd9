"""Rank the possible lenders of a request, ask them one after another, and apply their answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.loads import loading
from hkall_gateway.db.partners import records
from hkall_gateway.db.requests_by_partner_id import awaiting_barcode
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, lenders
from hkall_gateway.rules.dates import ALWAYS_OPEN, suspended
from hkall_gateway.rules.lender_reasons import LENT_TO_ANOTHER, NOT_REACHED, SILENCE, decline_reason
from hkall_gateway.rules.lenders import NOT_IN_USE, SPARE, UNKNOWN_RECORD, InUse, LenderChoice, Record
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import ABOUT_THE_CHOSEN, DESCRIBED, PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import CandidateOutcome, DeliveryKind
from hkall_gateway.rules.vocabulary import Actor, Candidate, Holding, ItemKey, Position, Request, RequestChange

P = Position


def rank_candidates(
    context: Context,
    copies: Sequence[Holding],
    seed: str,
    volume: str = "",
    in_use: InUse = NOT_IN_USE,
) -> tuple[Candidate, ...]:
    """Return all copies in the order in which their libraries are asked, with a reason for each copy passed over.

    A library that is closed today is passed over while another library can be asked. If all libraries are closed, as on a
    public holiday, the request waits at the first library. `seed` breaks ties.
    """
    partners = context.unit.partners.among({c.agency for c in copies})
    # The lending balance matters only if two libraries have the same priority, so it is read only then.
    rivals = len({partner.priority for partner in partners.values()}) < len(partners)
    choice = _make_choice(context, partners, volume, in_use, weighed=rivals)
    order = lenders.choose_lender(copies, choice, seed)
    if not order or not order[0].skip:
        return order
    return lenders.choose_lender(copies, replace(choice, records=_open_today(choice.records)), seed)


def _make_choice(
    context: Context, partners: Mapping[str, Partner], volume: str, in_use: InUse, *, weighed: bool = False
) -> LenderChoice:
    """Collect the data for choosing among copies of these libraries."""
    library, known = context.library, records(context.unit, context.now, partners, weighed=weighed)
    return LenderChoice(
        partners=partners,
        policy=library.policy,
        now=context.now,
        own=library.agency,
        volume=volume,
        records=known,
        in_use=in_use,
    )


def _open_today(known: Mapping[str, Record]) -> dict[str, Record]:
    return {agency: replace(record, closures=ALWAYS_OPEN) for agency, record in known.items()}


def next_lender(context: Context, request: Request) -> Candidate | None:
    """Choose the best available copy at a library that was not asked yet, or return None if no copy is left.

    A listed copy that is our own, or has become unavailable, is marked with the reason, and another copy at the same library
    takes its place. Copies that another request waits for come later, and libraries that are closed today come last.
    """
    listed = context.unit.candidates.of_request(request.id)
    tried = {c.agency for c in listed if c.wire_id}
    in_use = context.unit.holdings.in_use(request.bib_id, request.id)
    # The lending balance is not needed: the order was fixed when the list was made.
    today = _make_choice(context, context.unit.partners.among({c.agency for c in listed}), request.volume, in_use)
    choice = replace(today, records=_open_today(today.records))
    for candidate in _order_candidates(listed, today.records, in_use, context.now):
        if candidate.agency in tried:
            continue
        copy = context.unit.holdings.find(ItemKey(candidate.agency, candidate.barcode))
        why = lenders.passed_over(copy, choice) if copy else ""
        if why or candidate.skip:
            context.unit.candidates.update(candidate, skip=why)
        if not why:
            return candidate
    return None


def address_message(context: Context, message: PartnerMessage) -> tuple[PartnerMessage, Partner | None, tuple[str, ...]]:
    """Complete a message with current data, and find its recipient in the directory.

    Returns:
        The message, its recipient (None if it is not in the directory), and the statuses that count as available in a shelf
        check before the request (R7). They are empty if the lender does not answer look-ups, or the loaded holdings are fresh.
    """
    partner, loaded = context.unit.partners.find(message.partner), loading.loaded_at(context.unit, "holdings")
    fresh = loaded is not None and context.now - loaded <= timedelta(seconds=context.library.policy.availability.fresh_s)
    looked_at = partner is not None and partner.can_lookup_items and not fresh
    return _with_present_facts(context.unit, message), partner, context.library.policy.lendable_statuses if looked_at else ()


def _with_present_facts(unit: UnitOfWork, message: PartnerMessage) -> PartnerMessage:
    """Add the lender's own request number and the description of the copy, as known now."""
    attempt = unit.requests.find_by_wire_id(message.wire_id) if message.send in ABOUT_THE_CHOSEN and message.wire_id else None
    copy = unit.holdings.find(message.item) if message.send in DESCRIBED and message.item else None
    if attempt and attempt[1].their_number:
        message = replace(message, their_number=attempt[1].their_number)
    return replace(message, author=copy.author, call_number=copy.call_number) if copy else message


def _order_candidates(
    listed: Sequence[Candidate], known: Mapping[str, Record], in_use: InUse, now: datetime
) -> list[Candidate]:
    """Order the remaining candidates by the rank of their library.

    Copies of one library stay together. Copies that another request waits for come later, and closed libraries come last.
    """
    possible = [c for c in listed if c.skip in {"", SPARE}]
    first = {c.agency: c.rank for c in reversed(possible)}
    today = dates.civil(now)

    def rank(c: Candidate) -> tuple[bool, bool, int, int]:
        closed, is_asked = today in known.get(c.agency, UNKNOWN_RECORD).closures, ItemKey(c.agency, c.barcode) in in_use.asked
        return closed, is_asked, first[c.agency], c.rank

    return sorted(possible, key=rank)


def choice_today(context: Context, agencies: Collection[str], volume: str = "", in_use: InUse = NOT_IN_USE) -> LenderChoice:
    """Collect the data for choosing among copies of these libraries. Libraries that are closed today count as open.

    `lenders.passed_over` uses the result to decide whether a copy is available. An empty `volume` accepts every volume.
    """
    choice = _make_choice(context, context.unit.partners.among(agencies), volume, in_use)
    return replace(choice, records=_open_today(choice.records))


NOBODY_ASKED: Final[RequestChange] = {
    "partner": "",
    "wire_agency": "",
    "wire_id": "",
    "item_agency": "",
    "item_barcode": "",
    "lender_due": None,
}
"""Changes that clear the lender's fields of a request."""


def _ask_lender(context: Context, request: Request, lender: Candidate, event: Event, by: Actor, reason: str = "") -> Request:
    """Assign the next RequestId to the candidate, and ask the candidate's library with the step `event`."""
    wire_id = next_wire_id(request)
    context.unit.candidates.update(lender, wire_id=wire_id)
    return send_to(context, request, replace(lender, wire_id=wire_id), event, by, reason)


def next_wire_id(request: Request) -> str:
    """Return the RequestId for the next lender."""
    return f"{request.id}-{request.attempt + 1}"


def send_to(context: Context, request: Request, lender: Candidate, event: Event, by: Actor, reason: str = "") -> Request:
    """Advance the request to the lender, whose candidate row already has the RequestId."""
    return context.unit.advance(
        request,
        event,
        context.now,
        by,
        chosen=lender,
        partner=lender.agency,
        wire_agency=context.library.agency,
        wire_id=lender.wire_id,
        attempt=request.attempt + 1,
        moved_at=context.now,
        reason=reason,
        item_agency="",
        item_barcode="",
        lender_due=None,
    )


def move_on(context: Context, request: Request, reason: str, by: Actor) -> Request:
    """Ask the next lender after one lender declines. If no lender is left, end the request with one letter (R37, R38)."""
    event = Event.NOT_SENT if request.position is P.IN_TRANSIT else Event.ASK_NEXT
    return _ask_next_lender(context, request, event, reason, by)


def give_up_on(context: Context, request: Request, by: Actor, reason: str = SILENCE) -> Request:
    """Cancel at the current lender, and ask the next lender (R11). The current lender's copy may still arrive."""
    return _ask_next_lender(context, request, Event.ASK_NEXT_AFTER_SILENCE, reason, by)


def _ask_next_lender(context: Context, request: Request, event: Event, reason: str, by: Actor) -> Request:
    """Ask the next lender with the step `event`. During a suspension, ask nobody: the request waits or ends (R1)."""
    left = next_lender(context, request)
    rests = suspended("borrow_request", context.library.policy, context.now) is not None
    if left and not rests:
        return _ask_lender(context, request, left, event, by, reason)
    if event is Event.ASK_NEXT_AFTER_SILENCE:
        context.unit.enqueue(Notification.CANCEL_AT_LENDER, request, context.now, by)
    if left and context.library.policy.declined_while_suspended == "wait":
        nobody: RequestChange = {**NOBODY_ASKED, "reason": reason}
        return context.unit.advance(request, Event.POSTPONE, context.now, by, rule="R1", **nobody)
    return context.unit.advance(
        request, Event.END_OF_LIST, context.now, by, rule="R38", reason=reason, item_agency="", item_barcode=""
    )


def resume_request(context: Context, request: Request, by: Actor) -> Request:
    """Ask the next lender after a suspension. If no lender is left, end the request with one letter (R1, R38)."""
    left = next_lender(context, request)
    if left:
        return _ask_lender(context, request, left, Event.ASK, by)
    return context.unit.advance(request, Event.NO_LENDER, context.now, by, rule="R38")


def release_rivals(context: Context, item: ItemKey, holder: str, by: Actor) -> None:
    """Move other requests to their next lender when the copy promised to them has arrived for `holder` (R7, R11).

    A request stays with its lender if that library has another copy to send, or has not answered yet.
    """
    for rival, lender in awaiting_barcode(context.unit, item.barcode):
        promised = rival.wire_id == lender.wire_id and lender.outcome == CandidateOutcome.ACCEPTED
        if (
            rival.position is P.REQUESTED
            and promised
            and lender.agency == item.agency
            and rival.id != holder
            and not _has_another_copy(context, rival, lender)
        ):
            give_up_on(context, rival, by, LENT_TO_ANOTHER)


def _has_another_copy(context: Context, rival: Request, lender: Candidate) -> bool:
    """Check whether the lender has another copy for the rival, which none of our requests holds or waits for."""
    in_use = context.unit.holdings.in_use(rival.bib_id)
    copies = [
        c for c in context.unit.holdings.of_title(rival.bib_id) if c.agency == lender.agency and c.key not in in_use.asked
    ]
    choice = choice_today(context, {lender.agency}, rival.volume, in_use)
    return any(not lenders.passed_over(copy, choice) for copy in copies)


def apply_lender_answer(
    context: Context,
    send: Notification,
    number: str,
    wire_id: str,
    answer: DeliveryResult,
    by: Actor,
) -> None:
    """Apply a partner's answer to a delivered message, and advance the request if the answer requires it."""
    request = context.unit.requests.find(number)
    if request is None:
        return
    if send is Notification.ASK_LENDER:
        _apply_request_answer(context, request, wire_id, answer, by)
    is_asked = request.position is P.CANCELLING and request.wire_id == wire_id
    # A refusal "already processed" may mean that the copy was shipped, so it does not confirm the cancellation.
    is_over = answer.kind in {DeliveryKind.ACCEPTED, DeliveryKind.ALREADY} or answer.problem == "Unknown Request"
    if answer.pending:  # the lender has received the cancellation, and may still refuse it and ship
        is_over = False
    if send is Notification.CANCEL_AT_LENDER and is_asked and is_over:
        context.unit.advance(request, Event.CANCEL_SETTLED, context.now, by, rule="R34")


def _apply_request_answer(context: Context, request: Request, wire_id: str, answer: DeliveryResult, by: Actor) -> None:
    attempt = context.unit.requests.find_by_wire_id(wire_id)
    if attempt is None:
        return
    if answer.looked:
        context.unit.note(request, "LOOKED", {"agency": attempt[1].agency, "found": answer.looked}, context.now, by, "R7")
    number = {"their_number": answer.number} if answer.number else {}
    if answer.pending:
        # The lender has received the request, but has promised nothing, so the silence round waits no longer for it.
        if number:
            context.unit.candidates.update(attempt[1], **number)
    elif answer.kind != DeliveryKind.REFUSED:
        context.unit.candidates.update(attempt[1], outcome=CandidateOutcome.ACCEPTED, **number)
    elif answer.untold:  # the lender was not asked, because it has no address
        context.unit.candidates.update(attempt[1], outcome=f"{NOT_REACHED}: {answer.detail}")
        _note_no_supply(context, request, wire_id, NOT_REACHED, by)
    else:
        context.unit.candidates.update(attempt[1], outcome=answer.looked or CandidateOutcome.REFUSED.because(answer.problem))
        reason = decline_reason(answer.looked or answer.problem, answer.detail)
        _note_no_supply(context, request, wire_id, reason, by)


def note_not_reached(context: Context, number: str, wire_id: str, reason: str, error: str, by: Actor) -> Request | None:
    """Ask the next lender after a request that certainly did not arrive. This does not count as a decline."""
    attempt = context.unit.requests.find_by_wire_id(wire_id)
    request = context.unit.requests.find(number)
    if attempt is None or request is None:
        return request
    context.unit.candidates.update(attempt[1], outcome=f"{reason}: {error}")
    _note_no_supply(context, request, wire_id, reason, by)
    return context.unit.requests.find(number)


def _note_no_supply(context: Context, request: Request, wire_id: str, reason: str, by: Actor) -> None:
    """Ask the next lender if the lender of `wire_id` will not supply the book. Ignore a former lender."""
    if request.wire_id != wire_id:
        return
    if request.position is P.REQUESTED:
        move_on(context, request, reason, by)
    elif request.position is P.CANCELLING:
        context.unit.advance(request, Event.CANCEL_SETTLED, context.now, by, rule="R34")
