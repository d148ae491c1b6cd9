"""Borrowing: place and cancel a patron's request for a title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from hkall_gateway.circulation import choosing
from hkall_gateway.circulation.borrowers import counts, patron_blocks, waited_too_long
from hkall_gateway.circulation.command import Command, Context, Library, question, refused
from hkall_gateway.circulation.find_request import reason_not_owner
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules import policy
from hkall_gateway.rules.lenders import InUse
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.policy import RequestFacts
from hkall_gateway.rules.positions import PATRON_CANCELLED, TAKES_QUOTA
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import (
    Actor,
    Borrower,
    Candidate,
    Grant,
    Holding,
    ItemKey,
    Position,
    Refusal,
    Request,
    Side,
)


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """Result: the request was placed under our number `request` and the caller's RequestId (`placed_by`, `placed_id`)."""

    request: str
    patron: str
    placed_by: str
    placed_id: str
    bib_id: str


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Result: the request is cancelled, or will be once the lender confirms."""

    request: str
    patron: str
    placed_by: str
    placed_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTitle(Command[BorrowerFacts, Requested]):
    """Request a title from another library for a patron.

    Attributes:
        placed_by: AgencyId of the caller's RequestId. `placed_id` is the RequestId's value.
        need_before: Last day on which the patron can use the book. The request expires after this day.
        staff: Whether staff place the request, which allows a second request for the same title.
        asks_first: Whether a second request is refused to staff too, until they have been asked.
        item: Copy that the caller named. If `volume` is empty, any copy of the same volume is requested (R8).
    """

    by: Actor
    patron: str
    bib_id: str
    volume: str = ""
    pickup_location: str = ""
    placed_by: str = ""
    placed_id: str = ""
    hold: bool = False
    need_before: date | None = None
    staff: bool = False
    asks_first: bool = False
    reopened_from: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest(Command[None, Cancelled]):
    """Cancel a patron's request, identified by our number `request` or by `placed_by` and `placed_id`."""

    by: Actor
    patron: str = ""
    placed_by: str = ""
    placed_id: str = ""
    request: str = ""


P = Position


def request_title(context: Context, command: RequestTitle, facts: BorrowerFacts) -> Requested | Refused:
    """Place a request and ask the first lender, or refuse. A repeated RequestId returns the existing request."""
    known = context.unit.requests.find_placed(command.placed_by, command.placed_id) if command.placed_id else None
    if known:
        return _answer_repeated_request(context, known, command)
    if facts.borrower is None:
        return context.refuse(facts.stranger, command.by, patron=command.patron)
    if command.item and not command.volume:
        pointed_at = context.unit.holdings.find(command.item)
        command = replace(command, volume=pointed_at.volume if pointed_at else "")
    copies = context.unit.holdings.of_title(command.bib_id)
    answer, ranked = _decide_request(context, command, facts, facts.borrower, copies)
    if isinstance(answer, Refusal):
        return context.refuse(answer, command.by, patron=command.patron, language=facts.borrower.language)
    unknown = [flag for name, flag in UNCHECKED.items() if answer.facts.get(name) == "unknown"]
    flags = " ".join([*unknown, *filter(None, [facts.flag])])
    return _requested_result(_open_request(context, command, copies, ranked, flags))


def _answer_repeated_request(context: Context, known: Request, command: RequestTitle) -> Requested | Refused:
    """Answer a repeated RequestId. Refuse it if the request was cancelled, or if the patron or title differs."""
    if known.patron != command.patron:
        return context.refuse(reason_not_owner(context.unit, command.patron), command.by)
    another = (known.bib_id, known.volume) != (command.bib_id, command.volume)
    if another or known.position in PATRON_CANCELLED:
        return context.refuse(Reason.DUPLICATE_REQUEST, command.by, known)
    return _requested_result(known)


@question
def may_request(context: Context, command: RequestTitle, facts: BorrowerFacts) -> Refused | None:
    """Return the refusal that this request would get now, or None if it would be granted. Change nothing."""
    if facts.borrower is None:
        return Refused(why=facts.stranger, rule=facts.stranger.rule)
    copies = context.unit.holdings.of_title(command.bib_id)
    answer, _ = _decide_request(context, command, facts, facts.borrower, copies)
    return refused(answer, facts.borrower.language) if isinstance(answer, Refusal) else None


def _decide_request(
    context: Context, command: RequestTitle, facts: BorrowerFacts, borrower: Borrower, copies: tuple[Holding, ...]
) -> tuple[Grant | Refusal, tuple[Candidate, ...]]:
    """Decide whether to grant a request, and rank the copies that could be sent."""
    in_use = context.unit.holdings.in_use(command.bib_id)
    ranked = choosing.rank_candidates(context, copies, command.placed_id, command.volume, in_use)
    available = sum(not c.skip for c in ranked)
    requests = context.unit.requests.open_of_patron(command.patron, command.bib_id)
    wanted = replace(
        about_title(context.library, copies, facts.at_home if facts.looked else copies, command.volume, in_use),
        pickup_location=command.pickup_location or context.library.pickup_locations[0],
        candidates=available,
        # A book that stayed on the hold shelf past its pickup deadline counts as returned (R11a, R14).
        duplicate=any(_is_same_volume(r, command) and not waited_too_long(context, r) for r in requests),
        hold=command.hold and not available,  # many systems call every request a hold, but a hold waits for a copy
        need_before=command.need_before,
    )
    took, blocks = counts(context, borrower), patron_blocks(context, borrower.barcode)
    rules = context.library.policy
    may_repeat = command.staff and not command.asks_first
    return policy.may_request(borrower, wanted, took, rules, context.now, staff=may_repeat, blocks=blocks), ranked


def about_title(
    library: Library, copies: tuple[Holding, ...], ours: tuple[Holding, ...] | None, volume: str, in_use: InUse
) -> RequestFacts:
    """Collect the facts about a title for the request rules, without the patron's choices and the candidates.

    `ours` contains our own copies with their current statuses, or is None if the statuses are unknown.
    """
    return RequestFacts(
        known_title=bool(copies),
        pickup_locations=library.pickup_locations,
        materials=tuple(sorted({c.material for c in copies})),
        statuses_at_home=_statuses_at_home(volume, ours, in_use, library),
    )


def _statuses_at_home(
    volume: str, copies: tuple[Holding, ...] | None, in_use: InUse, library: Library
) -> tuple[str, ...] | None:
    """Return the statuses of our own copies (if `volume` is set, only of that volume), or None if they are unknown.

    A copy that is at another library, or in transit to one, is excluded regardless of its status.
    """
    if copies is None:
        return None
    ours = [c for c in copies if c.agency == library.agency and c.key not in in_use.held]
    return tuple(c.status for c in ours if not volume or c.volume == volume)


def _is_same_volume(request: Request, command: RequestTitle) -> bool:
    """Check whether an existing request, neither returned nor cancelled, makes the command a duplicate (R11a)."""
    return request.position in TAKES_QUOTA and not request.unwanted and request.volume == command.volume


UNCHECKED: Final[Mapping[str, StaffFlag]] = {
    "local_check": StaffFlag.LOCAL_CHECK_UNKNOWN,
    "quota_check": StaffFlag.QUOTA_CHECK_UNKNOWN,
}
"""Staff flags for checks that could not be made, by the fact whose value in the grant is then "unknown"."""


def _open_request(
    context: Context, command: RequestTitle, copies: tuple[Holding, ...], ranked: tuple[Candidate, ...], flags: str
) -> Request:
    asks = bool(ranked) and not ranked[0].skip
    request = context.unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.NEW,
            title=copies[0].title,
            bib_id=command.bib_id,
            volume=command.volume,
            patron=command.patron,
            pickup_location=command.pickup_location or context.library.pickup_locations[0],
            placed_by=command.placed_by,
            placed_id=command.placed_id,
            need_before=command.need_before,
            reopened_from=command.reopened_from,
            flags=flags,
        ),
        context.now,
        command.by,
        steps=asks,
    )
    if not asks:
        context.unit.candidates.add(ranked, request.id)
        return request
    # This is still the best choice, as ranked in this transaction.
    asked = replace(ranked[0], request=request.id, wire_id=choosing.next_wire_id(request))
    context.unit.candidates.add([asked, *ranked[1:]], request.id)
    return choosing.send_to(context, request, asked, Event.ASK, command.by)


def _requested_result(request: Request) -> Requested:
    return Requested(
        request=request.id,
        patron=request.patron,
        placed_by=request.placed_by,
        placed_id=request.placed_id,
        bib_id=request.bib_id,
    )


def cancel(context: Context, command: CancelRequest) -> Cancelled | Refused:
    """Cancel a patron's request, which is possible until the lender has sent the copy (R34)."""
    request = (
        context.unit.requests.find(command.request)
        if command.request
        else context.unit.requests.find_placed(command.placed_by, command.placed_id)
    )
    if request is None or request.side is not Side.BORROWING or (command.patron and command.patron != request.patron):
        return context.refuse(reason_not_owner(context.unit, command.patron), command.by, patron=command.patron)
    if request.position in PATRON_CANCELLED:
        return _cancelled_result(request)
    answer = policy.may_cancel(request, context.library.policy)
    if isinstance(answer, Refusal):
        context.unit.refuse(answer, context.now, command.by, request)
        patron = context.unit.patrons.find(request.patron)
        return refused(answer, patron.language if patron else "", request.full_title)
    return _cancelled_result(context.unit.advance(request, Event.CANCEL, context.now, command.by, rule="R34"))


def _cancelled_result(request: Request) -> Cancelled:
    return Cancelled(request=request.id, patron=request.patron, placed_by=request.placed_by, placed_id=request.placed_id)
