"""Pure functions that decide what is allowed during the life of a request, from placing it to returning the book."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hkall_gateway.rules.dates import ALWAYS_OPEN, Closures, after, civil, lent_until, over, renewed_until, roll, suspended
from hkall_gateway.rules.eligibility import NO_BLOCKS, LocalBlocks, category_of, may_use
from hkall_gateway.rules.positions import (
    BEFORE_ARRIVAL,
    OUT_OF_LIBRARY,
    TAKES_QUOTA,
    TAKES_QUOTA_AS_LOAN,
    TAKES_QUOTA_UNTIL_HOME,
)
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import RenewalSync, StaffFlag
from hkall_gateway.rules.vendor_words.availability import Availability, availability
from hkall_gateway.rules.vocabulary import Borrower, Grant, Position, Refusal, Request, RequestEntry

P = Position


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """The facts about a requested title.

    Attributes:
        pickup_locations: All our pickup locations.
        materials: Kinds of material among the title's items.
        statuses_at_home: Statuses of our own items with the wanted volume; None if the local system is unreachable.
        candidates: Number of items that other libraries could send.
        hold: Whether the patron wants to reserve an item that is on loan.
        need_before: Last day on which the patron needs the book.
    """

    known_title: bool = True
    pickup_location: str = ""
    pickup_locations: tuple[str, ...] = ()
    materials: tuple[str, ...] = ("book",)
    statuses_at_home: tuple[str, ...] | None = ()
    candidates: int = 0
    duplicate: bool = False
    hold: bool = False
    need_before: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many books a borrower has, without counting the request that is being checked.

    Attributes:
        hkall_used: Number of HKALL books, as counted by the gateway.
        local_loans: Number of loans according to the local system; None if unknown.
        total_quota: Total quota according to the local system; None if unknown.
        ils_counts_hkall: Whether `local_loans` includes HKALL books; the policy can also say so.
    """

    hkall_used: int = 0
    local_loans: int | None = 0
    total_quota: int | None = None
    ils_counts_hkall: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place where an item is scanned. `role` is a role in the policy (counter, selfcheck, bookdrop, lookup)."""

    role: str
    location: str = ""


def may_request(
    borrower: Borrower,
    wanted: RequestFacts,
    counts: Counts,
    policy: Policy,
    now: datetime,
    *,
    staff: bool = False,
    blocks: LocalBlocks = NO_BLOCKS,
) -> Grant | Refusal:
    """Decide whether a borrower may request a title. With `staff`, duplicates are allowed.

    `Grant.facts` flags conditions that could not be checked. Source: HKALL rules R1, R2, R4 to R7, R11a, R20 to R22.
    """
    who = may_use(borrower, policy, now, blocks)
    room = quota(borrower, counts, policy)
    refusal = suspended("borrow_request", policy, now) or _refusal_in(who) or _title_refusal(wanted, policy)
    if wanted.duplicate and policy.duplicates == "deny" and not staff:
        refusal = refusal or Refusal(Reason.DUPLICATE_REQUEST)
    refusal = (
        refusal
        or over(wanted.need_before, now)
        or _home_refusal(wanted, policy)
        or _supply_refusal(wanted)
        or _refusal_in(room)
    )
    return refusal or Grant(facts={**who.facts, **room.facts, **_unchecked_facts(wanted, policy)})


def may_be_requested(wanted: RequestFacts, policy: Policy, now: datetime) -> Grant | Refusal:
    """Decide whether any borrower may request a title. Source: HKALL rules R1, R5 to R7."""
    refusal = suspended("borrow_request", policy, now) or _title_refusal(wanted, policy)
    refusal = refusal or _home_refusal(wanted, policy) or _supply_refusal(wanted)
    return refusal or Grant(facts=_unchecked_facts(wanted, policy))


def quota(borrower: Borrower, counts: Counts, policy: Policy) -> Grant | Refusal:
    """Decide whether the quota allows one more book. `Grant.facts` has `left` (including this book), `quota` and `total`.

    If a number is unknown, the setting `quota.unknown` decides whether to refuse, or to grant with `quota_check="unknown"`.
    Source: HKALL rules R18, R20, R21.
    """
    category = category_of(borrower, policy)
    if category is None:
        return Refusal(Reason.NOT_ELIGIBLE, facts={"category": borrower.category})
    if counts.hkall_used >= category.quota:
        return Refusal(Reason.QUOTA_HKALL, detail={"limit": category.quota}, facts={"hkall_used": counts.hkall_used})
    total = counts.total_quota if category.total_quota == "from_ils" else category.total_quota
    left = category.quota - counts.hkall_used
    facts: dict[str, object] = {"left": left, "quota": category.quota, "hkall_used": counts.hkall_used}
    if category.total_quota is None:
        return Grant(facts=facts)
    if total is None or counts.local_loans is None:
        unknown = facts | {"quota_check": "unknown"}
        return Refusal(Reason.QUOTA_UNKNOWN, facts=facts) if policy.quota.unknown == "deny" else Grant(facts=unknown)
    # The local count does not include requests that have not arrived, so the larger count is the better estimate.
    both = counts.ils_counts_hkall or policy.quota.ils_counts_hkall
    used = max(counts.local_loans, counts.hkall_used) if both else counts.local_loans + counts.hkall_used
    facts |= {"left": min(left, total - used), "total": total, "used": used}
    return Grant(facts=facts) if used < total else Refusal(Reason.QUOTA_TOTAL, detail={"limit": total}, facts=facts)


def quota_positions(policy: Policy) -> frozenset[Position]:
    """Return the positions in which a request counts towards its borrower's quota. Source: HKALL rules R21."""
    taking = TAKES_QUOTA if policy.quota.count_from == "request" else TAKES_QUOTA_AS_LOAN
    late = policy.quota.release_at == "lender_checkin"
    return taking | (TAKES_QUOTA_UNTIL_HOME if late else frozenset())


def may_cancel(request: Request, policy: Policy) -> Grant | Refusal:
    """Decide whether the patron may still cancel: only while the status is HKALL REQUESTD. Source: HKALL rules R34."""
    again = request.attempt > 1 and not policy.cancel.in_rerequested
    if request.position in (P.NEW, P.REQUESTED) and not again:
        return Grant()
    return Refusal(Reason.TOO_LATE_TO_CANCEL, detail={"position": policy.labels.get(request.position, request.position)})


PAYMENT = "37"


def messages_of(role: str, policy: Policy, *, takes_money: bool = False) -> frozenset[str]:
    """Return the SIP2 messages allowed to a role, besides login, status and resend. `takes_money` adds Fee Paid (37)."""
    named = frozenset(code for row in policy.roles if row.role == role for code in row.messages)
    return named | {PAYMENT} if takes_money else named


def lends(role: str, policy: Policy) -> bool:
    """Return whether terminals with this role lend books of other libraries. Source: HKALL rules R16."""
    return any(row.checkout for row in policy.roles if row.role == role)


def pickup_last(notified_on: date, policy: Policy, closures: Closures = ALWAYS_OPEN) -> date:
    """Return the last day to collect a book if the letter was sent on `notified_on`. Source: HKALL rules R14."""
    days = policy.pickup.days - policy.pickup.count_notice_day
    return roll(after(notified_on, days), closures, policy.pickup.last_day_closed)


def pickup_expired(request: Request | RequestEntry, policy: Policy, now: datetime, closures: Closures = ALWAYS_OPEN) -> bool:
    """Check whether the pickup period is over. It starts with the letter, or else on arrival. Source: HKALL rules R14."""
    letter_day = request.notified_on or request.received_on
    last = request.pickup_last or (letter_day and pickup_last(letter_day, policy, closures))
    return last is not None and civil(now) > last


def waited_too_long(request: Request | RequestEntry, policy: Policy, now: datetime, closures: Closures = ALWAYS_OPEN) -> bool:
    """Check whether a book on our hold shelf was not collected in time, so that a check-in sends it back to the lender.

    Source: HKALL rules R14, R15.
    """
    held = request.position is P.RECEIVED
    return held and (request.expired_pickup or pickup_expired(request, policy, now, closures))


def may_borrow(
    borrower: Borrower,
    request: Request,
    counts: Counts,
    terminal: Place,
    policy: Policy,
    now: datetime,
    closures: Closures = ALWAYS_OPEN,
    *,
    staff: bool = False,
    blocks: LocalBlocks = NO_BLOCKS,
) -> Grant | Refusal:
    """Decide whether a borrower may check out the requested item at a terminal, and until when.

    `counts` does not include this request. If the policy allows it, `staff` may lend after the pickup period or a recall.
    Source: HKALL rules R13 to R21.
    """
    if refusal := suspended("checkout", policy, now):
        return refusal
    here = not request.pickup_location or terminal.location in ("", request.pickup_location)
    if not here or not lends(terminal.role, policy):
        return Refusal(Reason.COUNTER_ONLY, detail={"place": request.pickup_location})
    if refusal := not_theirs(borrower, request):
        return refusal
    if request.position is not P.RECEIVED:
        why = Reason.NOT_YET_ARRIVED if request.position in BEFORE_ARRIVAL else Reason.WRONG_POSITION
        return Refusal(why, facts={"position": request.position})
    if refusal := _refusal_in(may_use(borrower, policy, now, blocks)):
        return refusal
    late = policy.pickup.late_pickup
    lenient = late == "allow" or (late == "staff_only" and (staff or terminal.role == "counter"))
    if not lenient and waited_too_long(request, policy, now, closures):
        return Refusal(Reason.PICKUP_EXPIRED, detail={"pickup_last": request.pickup_last})
    if request.recalled_on is not None and policy.recall.before_pickup == "return" and not staff:
        return Refusal(Reason.RECALLED)
    room = quota(borrower, counts, policy)
    return _refusal_in(room) or Grant(loan_due(borrower, request, policy, now, closures), room.facts)


def not_theirs(borrower: Borrower, request: Request) -> Refusal | None:
    """Return the refusal for a borrower who is not the requester, or None. Source: HKALL rules R13."""
    if request.patron == borrower.barcode:
        return None
    return Refusal(Reason.ON_LOAN_TO_ANOTHER if request.position is P.ON_LOAN else Reason.NOT_REQUESTER)


def loan_due(
    borrower: Borrower, request: Request, policy: Policy, happened: datetime, closures: Closures = ALWAYS_OPEN
) -> date:
    """Return the due date of a loan that began at `happened`. Borrowers without a category get the shortest loan period.

    Source: HKALL rules R19, due date on a closure.
    """
    category = category_of(borrower, policy)
    days = category.loan_days if category else min((c.loan_days for c in policy.categories), default=0)
    return lent_until(request, days, policy, civil(happened), closures, borrower.expires)


def may_return(terminal: Place, policy: Policy, places: tuple[str, ...] = ()) -> Grant | Refusal:
    """Decide whether an item may be returned at a terminal. `places` lists the locations that accept returns; empty = all.

    For the book drop, `Grant.facts` has the `flag` for staff. Source: HKALL rules R16, R17.
    """
    if terminal.role == "bookdrop":
        taken = policy.bookdrop.policy == "accept_and_flag"
        return Grant(facts={"flag": StaffFlag.IN_BOOK_DROP}) if taken else Refusal(Reason.NOT_IN_BOOK_DROP)
    taking = any(row.checkin for row in policy.roles if row.role == terminal.role)
    here = not places or terminal.location in places
    return Grant() if taking and here else Refusal(Reason.COUNTER_ONLY, detail={"place": places[0] if places else ""})


def may_renew(
    request: Request,
    policy: Policy,
    now: datetime,
    closures: Closures = ALWAYS_OPEN,
    *,
    staff: bool = False,
    borrower: Borrower | None = None,
    blocks: LocalBlocks = NO_BLOCKS,
) -> Grant | Refusal:
    """Decide whether a loan may be renewed, and until when. A renewal that would not extend the loan is refused.

    `borrower` is the patron who has the loan, or None if unknown. Source: HKALL rules R2, R27 to R29, R32, R33.
    """
    today = civil(now)
    if request.position is not P.ON_LOAN or request.due is None:
        return Refusal(Reason.NOT_ON_LOAN)
    rule = policy.renewal.expired_or_blocked
    refusal = suspended("renew", policy, now)
    if borrower is not None and rule != "allow" and not (rule == "staff_only" and staff):
        refusal = refusal or _refusal_in(may_use(borrower, policy, now, blocks))
    if refusal := refusal or _renewal_refused(request, request.due, policy, today, staff):
        return refusal
    until = renewed_until(request, policy, today, closures, borrower.expires if borrower else None)
    return (
        Grant(until)
        if until > request.due
        else Refusal(Reason.RENEWAL_DENIED, detail={"due": request.due}, facts={"latest": until})
    )


def is_repetition(request: Request, policy: Policy, now: datetime) -> bool:
    """Check whether a renewal request repeats the last renewal, within `repeat_window_s`, of an unchanged loan.

    Source: HKALL rules R27, R28.
    """
    renewed_at = request.renewed_at
    within = renewed_at is not None and now - renewed_at < timedelta(seconds=policy.renewal.repeat_window_s)
    return within and renewal_stands(request)


def renewal_stands(request: Request) -> bool:
    """Check that a loan is unchanged since its last renewal: still on loan, not returned in between, not recalled."""
    renewed_at, moved_at = request.renewed_at, request.moved_at
    moved = renewed_at is not None and moved_at is not None and moved_at > renewed_at
    return is_out(request) and not moved and request.recalled_on is None


def refuse_missing(request: Request) -> Refusal | None:
    """Return the refusal to renew a book that is lost or said to be returned, or None."""
    if request.lost_on is not None:
        return Refusal(Reason.BOOK_LOST, facts={"lost_on": request.lost_on})
    if request.claimed_on is not None:
        return Refusal(Reason.CLAIMED_RETURNED, facts={"claimed_on": request.claimed_on})
    return None


def is_out(request: Request) -> bool:
    """Return whether an item is with a patron or partner, and neither lost nor claimed returned."""
    return request.position in OUT_OF_LIBRARY and request.lost_on is None and request.claimed_on is None


def _renewal_refused(request: Request, due: date, policy: Policy, today: date, staff: bool) -> Refusal | None:
    """Return the first reason to refuse a renewal today, or None. Source: HKALL rules R27 to R29."""
    if refusal := refuse_missing(request):
        return refusal
    if request.recalled_on is not None:
        return Refusal(Reason.RECALLED, detail={"due": request.due}, facts={"recalled_on": request.recalled_on})
    if request.renewal_sync == RenewalSync.DENIED and not staff:
        return Refusal(Reason.RENEWAL_DENIED, detail={"due": request.due}, facts={"renewal_sync": RenewalSync.DENIED.value})
    most, late = policy.renewal.max_count, policy.renewal.overdue
    if request.renewals >= most:
        return Refusal(Reason.RENEWAL_LIMIT, detail={"limit": most, "due": request.due})
    opens = after(due, -policy.renewal.window_days)
    if today < opens:
        return Refusal(Reason.RENEWAL_TOO_SOON, detail={"from": opens, "due": due})
    allowed = late == "allow" or (late == "staff_only" and staff)
    return Refusal(Reason.RENEWAL_OVERDUE, detail={"due": due}) if today > due and not allowed else None


def _refusal_in(answer: Grant | Refusal) -> Refusal | None:
    return answer if isinstance(answer, Refusal) else None


def _title_refusal(wanted: RequestFacts, policy: Policy) -> Refusal | None:
    if wanted.pickup_location and wanted.pickup_location not in wanted.pickup_locations:
        return Refusal(Reason.PICKUP_LOCATION, detail={"place": ", ".join(wanted.pickup_locations)})
    if not wanted.known_title:
        return Refusal(Reason.UNKNOWN_TITLE)
    fit = set(wanted.materials) & set(policy.materials)
    return None if fit else Refusal(Reason.MATERIAL_NOT_REQUESTABLE, facts={"materials": wanted.materials})


def _home_refusal(wanted: RequestFacts, policy: Policy) -> Refusal | None:
    here = at_home(wanted.statuses_at_home, policy)
    if here is Availability.UNKNOWN:
        return Refusal(Reason.AVAILABILITY_UNKNOWN) if policy.local_availability_unknown == "deny" else None
    return Refusal(Reason.AVAILABLE_LOCALLY) if here is Availability.AVAILABLE else None


def at_home(statuses: tuple[str, ...] | None, policy: Policy) -> Availability:
    """Return AVAILABLE if any of our own items is available, else UNKNOWN if any status is unknown, else OUT.

    Return UNKNOWN if `statuses` is None. Source: HKALL rules R6.
    """
    if statuses is None:
        return Availability.UNKNOWN
    found = {availability(status, policy.local_available_statuses) for status in statuses}
    return next((one for one in (Availability.AVAILABLE, Availability.UNKNOWN) if one in found), Availability.OUT)


def _supply_refusal(wanted: RequestFacts) -> Refusal | None:
    if wanted.hold:
        return Refusal(Reason.HOLDS_NOT_ALLOWED)
    return None if wanted.candidates > 0 else Refusal(Reason.NO_AVAILABLE_COPY)


def _unchecked_facts(wanted: RequestFacts, policy: Policy) -> dict[str, object]:
    return {"local_check": "unknown"} if at_home(wanted.statuses_at_home, policy) is Availability.UNKNOWN else {}
