"""Partners' notices. A notice that contradicts our own scans is kept for staff to judge (see `rules/evidence.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final, Literal, TypeVar

from hkall_gateway.circulation.command import Command, Context, flagged, refused
from hkall_gateway.circulation.results import Noted, Refused, Renewed
from hkall_gateway.db.requests_by_partner_id import STRAY, asked_for, awaiting_barcode, borrowed_under
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.evidence import Names, News, Verdict, dated, judge
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import (
    Actor,
    Candidate,
    ItemKey,
    Refusal,
    Request,
    Side,
)

MIRRORED: Final = "mirrored"
BROKERED: Final = "brokered"
"""Kinds of requests: MIRRORED if an INN-Reach central placed it and asks the lenders itself, BROKERED if a broker did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerNotice:
    """A partner's notice of an event, such as shipped, received, declined, withdrawn, renewed, recalled.

    Attributes:
        item: The copy, or None if the notice has only the RequestId (`wire_agency`, `wire_id`).
        due: Due date of a renewal or recall.
        reason: Partner's reason for declining. `detail` explains it.
        due_is: Whether the partner asks for `due`, has told it to its patron, or a central has decided it.
        judged: Whether our staff have compared the notice with our records and believe it.
    """

    by: Actor
    partner: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    at: datetime | None = None
    due: date | None = None
    reason: str = ""
    detail: str = ""
    due_is: Literal["asked", "told", "decided"] = "told"
    judged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemShipped(PartnerNotice, Command[None, Noted]):
    """A lender has sent us a copy, or a borrower has sent our copy back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReceived(PartnerNotice, Command[None, Noted]):
    """The borrower has received our copy, or the lender has its copy back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAccepted(PartnerNotice, Command[None, Noted]):
    """A lender that had only confirmed receipt of our request promises a copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCancelled(PartnerNotice, Command[None, Noted]):
    """The lender declines a request, or the borrower withdraws it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRenewed(PartnerNotice, Command[None, Renewed]):
    """The owner extends our patron's loan, or a borrower keeps our copy longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCheckedOut(PartnerNotice, Command[None, Noted]):
    """The lender has charged its copy to us, or the borrower has charged our copy to its patron."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCheckedIn(PartnerNotice, Command[None, Noted]):
    """The lender has its copy back, or the borrower's patron has returned our copy."""


Notice = TypeVar("Notice", bound=PartnerNotice)


def hold_if_contradicted(context: Context, notice: PartnerNotice, request: Request, news: News) -> Refused | None:
    """Refuse a notice that contradicts our last scan or names another request's copy. Return None if it may be applied.

    Two kinds of notices about this request's copy are always believed: notices that staff have judged, and the owner's report
    of finding a book that was lost or claimed returned. A notice about a broker's request is refused only if we have scanned
    the copy. Without a scan, our record consists of the broker's own messages.
    """
    # A shipment brings the copy again, so it contradicts whoever has it. Other news of a past attempt are merely late.
    is_past = news is not News.SHIPPED and _is_copy_of_past_attempt(context.unit, notice, request)
    other = None if is_past else _other_request(context.unit, notice, request)
    other = other or _request_of_number(context.unit, notice, request)
    scanned_at = context.unit.journal.last_scan(request.id)
    if other is None:
        if notice.judged or (news is News.HOME and (request.claimed_on or request.lost_on)):
            return None
        if request.kind in {BROKERED, MIRRORED} and scanned_at is None:
            return None
    names = Names.AGREE if other is None else Names.DIFFER
    verdict = judge(request.side, request.position, news, dated(notice.at, scanned_at), names)
    if verdict is not Verdict.HELD:
        return None
    return hold_notice(context, notice, request, of=other.id if other else "")


def hold_notice(
    context: Context,
    notice: PartnerNotice,
    request: Request,
    why: Reason = Reason.CONTRADICTS_US,
    flag: StaffFlag = StaffFlag.CONTRADICTED,
    *,
    of: str = "",
) -> Refused:
    """Refuse the notice, flag the request for staff, and record both sides in the journal.

    `of` is the number of another request that has the copy.
    """
    scanned_at = context.unit.journal.last_scan(request.id)
    flags = flagged(request, flag)
    if flags != request.flags and request.position not in FINAL:
        request = context.unit.amend(
            request, context.now, notice.by, "R37" if why is Reason.ALREADY_SHIPPED else "", flags=flags
        )
    facts = {
        "says": notice.by.message,
        "dated": notice.at,
        "item": "/".join(notice.item) if notice.item else "",
        "position": request.position,
        "scanned": scanned_at,
        "of": of,
    }
    refusal = Refusal(why, detail={name: value for name, value in facts.items() if value})
    context.unit.refuse(refusal, context.now, notice.by, request)
    return replace(refused(refusal), held=True)


SHIPPED_ON: Final = "SHIPPED_ON"
"""The journal line with the day on which a lender says that it sent the copy."""


def note_shipment(context: Context, notice: PartnerNotice, request: Request) -> None:
    """Record when the lender says that it sent the copy. Whatever it dates before that day is about an earlier loan."""
    if notice.at is not None:
        sent_at = min(notice.at, context.now)
        context.unit.note(request, SHIPPED_ON, {"message": notice.by.message}, sent_at, notice.by)


NEVER_SENT: Final = "NEVER_SENT"
"""The journal line with the time at which a lender says that the copy we wait for is in its library."""


def note_never_sent(context: Context, notice: PartnerNotice, request: Request) -> None:
    """Record when the lender says that its copy is at home, so that an older shipment is not believed afterwards.

    A date without a time stands for the whole day.
    """
    if notice.at is None:
        return
    day = dates.civil(notice.at)
    home_at = dates.end_of(day) if notice.at == dates.start_of(day) else notice.at
    facts = {"message": notice.by.message, "lender": notice.partner}
    context.unit.note(request, NEVER_SENT, facts, min(home_at, context.now), notice.by)


def is_shipment_overtaken(context: Context, notice: PartnerNotice, request: Request) -> bool:
    """Check whether a lender dates its shipment before its own notice that the copy is at home.

    Such a notice was late, or came again. A copy that travels all the same is received when it is scanned.
    """
    if notice.at is None or notice.judged:
        return False
    notes = context.unit.journal.noted(request.id, NEVER_SENT)
    home_at = [at for at, facts in notes if facts.get("lender") == notice.partner]
    return bool(home_at) and notice.at <= max(home_at)


def is_old_news(context: Context, notice: PartnerNotice, request: Request) -> bool:
    """Check whether an owner dates its notice before the day on which it sent this copy.

    The same day counts as later, since some partners send dates without a time.
    """
    if notice.at is None or notice.judged or request.side is not Side.BORROWING:
        return False
    sent_at = context.unit.journal.last_noted(request.id, SHIPPED_ON)
    return sent_at is not None and dates.civil(notice.at) < dates.civil(sent_at)


BEYOND_A_LOAN: Final = timedelta(days=366)
"""How far beyond the end of one loan period a due date is believed."""


def is_too_far(context: Context, due: date | None) -> bool:
    """Check whether a due date is beyond one loan period plus a year."""
    longest = timedelta(days=context.library.policy.lending.institutional_days) + BEYOND_A_LOAN
    return due is not None and due > dates.civil(context.now) + longest


def keep_far_date_aside(context: Context, notice: Notice, request: Request) -> tuple[Notice, Request]:
    """Take a due date that is years away out of a notice, and flag the request for staff. Our own date stays."""
    if not is_too_far(context, notice.due):
        return notice, request
    facts = {"message": notice.by.message, "due": notice.due}
    context.unit.note(request, "FAR_DATE", facts, context.now, notice.by)
    flags = flagged(request, StaffFlag.FAR_DATE)
    if flags != request.flags and request.position not in FINAL:
        request = context.unit.amend(request, context.now, notice.by, flags=flags)
    return replace(notice, due=None), request


def _request_of_number(unit: UnitOfWork, notice: PartnerNotice, request: Request) -> Request | None:
    """Find a different open request under the notice's RequestId, although the notice's copy is that of `request`.

    A copy that came without a shipped message may serve another request than the one for which the lender sent it.
    """
    if not notice.wire_id or notice.item is None or request.unannounced or request.kind == STRAY:
        return None
    if request.side is Side.LENDING:
        named = unit.requests.find_lent(notice.wire_agency or notice.partner, notice.wire_id)
    else:
        attempt = unit.requests.find_by_wire_id(notice.wire_id)
        named = attempt[0] if attempt else borrowed_under(unit, notice.partner, notice.wire_id)
    if named is None or named.id in {request.id, request.reopened_from} or named.position in FINAL:
        return None
    return named


def _other_request(unit: UnitOfWork, notice: PartnerNotice, request: Request) -> Request | None:
    """Find a different request that holds the named copy, or that requested this copy from the partner under another title.

    Requests for the same title do not count: a lender may send a different copy from the one requested.
    """
    if notice.item is None or notice.item == request.item:
        return None
    holders = unit.requests.open_with_item(notice.item.barcode, notice.item.agency)
    holder = next((holder for holder in holders if holder.id != request.id), None)
    if holder:
        return holder
    requests = [one for one, lender in awaiting_barcode(unit, notice.item.barcode) if lender.agency == notice.item.agency]
    others = [one for one in requests if (one.bib_id, one.volume) != (request.bib_id, request.volume)]
    return None if len(others) < len(requests) else next(iter(others), None)


def _is_copy_of_past_attempt(unit: UnitOfWork, notice: PartnerNotice, request: Request) -> bool:
    """Check whether the copy was asked for under the notice's RequestId, in an attempt that is over.

    Another request may have got the copy since, so the names agree although it is not this request's copy any more.
    """
    attempt = unit.requests.find_by_wire_id(notice.wire_id) if notice.wire_id else None
    if attempt is None or notice.item is None:
        return False
    candidate = attempt[1]
    is_over = request.position in FINAL or candidate.wire_id != request.wire_id
    return is_over and notice.item == ItemKey(candidate.agency, candidate.barcode)


Asked = tuple[Request, Candidate]


def with_our_number(unit: UnitOfWork, notice: Notice, agency: str) -> Notice:
    """Replace the lender's own request number by our RequestId (`agency` is our AgencyId).

    If the partner has placed a request under the same number, the notice means that request unless it names the partner's copy.
    """
    if not notice.wire_id or notice.wire_agency == agency:
        return notice
    theirs, lends = notice.wire_agency or notice.partner, notice.item is not None and notice.item.agency == notice.partner
    if not lends and _is_own_number(unit, notice):
        return notice
    attempt = unit.requests.find_by_lender_number(
        notice.partner, f"{theirs}:{notice.wire_id}", notice.item.barcode if notice.item else ""
    )
    if attempt is None and notice.wire_agency and not _is_own_number(unit, notice):
        attempt = _asked_under_our_value(unit, notice) or _asked_before_answer(unit, notice)
    if attempt is None:
        return notice
    # A copy without an owner counts as ours by default. In a notice with the lender's number, the copy is the lender's.
    copy = ItemKey(notice.partner, notice.item.barcode) if notice.item and notice.item.agency == agency else notice.item
    return replace(notice, wire_agency=agency, wire_id=attempt[1].wire_id, item=copy)


def _is_own_number(unit: UnitOfWork, notice: PartnerNotice) -> bool:
    """Check whether the partner has placed a request with this number."""
    lent = unit.requests.find_lent(notice.wire_agency or notice.partner, notice.wire_id)
    return lent is not None or borrowed_under(unit, notice.partner, notice.wire_id) is not None


def _asked_under_our_value(unit: UnitOfWork, notice: PartnerNotice) -> Asked | None:
    """Find our request if the lender combines our RequestId value with its own AgencyId."""
    attempt = unit.requests.find_by_wire_id(notice.wire_id)
    return attempt if attempt and attempt[1].agency == notice.partner else None


def _asked_before_answer(unit: UnitOfWork, notice: PartnerNotice) -> Asked | None:
    """Find the open request for the lender's copy. A notice may arrive before the lender's answer to the request."""
    attempt = asked_for(unit, notice.item) if notice.item and notice.item.agency == notice.partner else None
    return attempt if attempt and attempt[0].position not in FINAL and attempt[0].wire_id == attempt[1].wire_id else None
