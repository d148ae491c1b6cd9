"""Dates in the rules: civil days, due dates, rounds, service windows, and time limits for positions.

All dates in the rules are civil dates in Hong Kong (UTC+8). Only this module converts timestamps (aware, in UTC) to dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from hkall_gateway.rules.positions import ON_A_WAY, STALLS_AFTER
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import OnClosure, Policy, Scope, Waits, Window
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH
from hkall_gateway.rules.vocabulary import Position, Refusal, Request, Side

Date = TypeVar("Date", date, datetime)

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
LAST_SECOND = time(23, 59, 59)
DAY = timedelta(days=1)

WEEKDAYS: tuple[str, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

YEARS = range(1900, 2200)
"""Accepted years in dates from outside. Arithmetic on dates in other years could overflow Python's range."""

Closures = frozenset[date]
"""The days on which a library is closed."""

ALWAYS_OPEN: Closures = frozenset()


def within_years(when: Date) -> Date:
    """Return a date or timestamp from outside unchanged. Raise ValueError if its year is not in YEARS."""
    if when.year not in YEARS:
        raise ValueError(f"the year {when.year} is not between {YEARS[0]} and {YEARS[-1]}")
    return when


def parse_day(text: str) -> date:
    """Parse an ISO date from outside. Raise ValueError if it is malformed or its year is not in YEARS."""
    return within_years(date.fromisoformat(text))


def parse_instant(text: str, zone: tzinfo | None = None) -> datetime:
    """Parse an ISO timestamp from outside, and convert it to UTC. `zone` is the default time zone.

    Raise ValueError if it is malformed, if its year is not in YEARS, or if it has no offset and `zone` is None.
    """
    found = within_years(datetime.fromisoformat(text))
    if found.tzinfo is None and zone is None:
        raise ValueError("it has no offset; add +08:00")
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


@lru_cache(maxsize=1024)
def civil(instant: datetime) -> date:
    """Return the calendar date in Hong Kong. Raise ValueError for a naive `instant`. Source: HKALL rules, day arithmetic."""
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return instant.astimezone(HONG_KONG).date()


def start_of(day: date) -> datetime:
    """Return the start of a Hong Kong day in UTC: 16:00 on the previous day."""
    return datetime.combine(day, time(), HONG_KONG).astimezone(UTC)


def end_of(day: date) -> datetime:
    """Return the last second of a Hong Kong day in UTC. A book due on this day is on time until then."""
    return datetime.combine(day, LAST_SECOND, HONG_KONG).astimezone(UTC)


def after(day: date, days: int) -> date:
    """Return the date `days` calendar days after `day`."""
    return day + timedelta(days=days)


def days_after(first: date, last: date) -> Iterator[date]:
    """Yield each day after `first`, up to and including `last`."""
    return (after(first, n) for n in range(1, (last - first).days + 1))


def roll(day: date, closures: Closures, how: OnClosure, latest: date | None = None) -> date:
    """Move a closed day to the next or previous open day, as specified by `how`, but not beyond `latest`.

    If the next open day is later than `latest`, return `latest`, even if it is closed, so that the borrower loses no day.
    Source: HKALL rules, due date on a closure.
    """
    if how != "keep":
        pace = DAY if how == "roll_forward" else -DAY
        while day in closures:
            day += pace
    return day if latest is None else min(day, latest)


def is_working_day(day: date, work_days: Iterable[str], closures: Closures = ALWAYS_OPEN) -> bool:
    """Return whether a library works on `day`. `work_days` has weekday names ("Mon" … "Sun")."""
    return WEEKDAYS[day.weekday()] in work_days and day not in closures


def after_working_days(day: date, count: int, work_days: Iterable[str], closures: Closures = ALWAYS_OPEN) -> date:
    """Return the `count`-th working day after `day`. Raise ValueError if `work_days` has no weekday."""
    worked = tuple(work_days)
    if not set(worked) & set(WEEKDAYS):
        raise ValueError("a library needs at least one working day a week")
    while count > 0:
        day += DAY
        count -= is_working_day(day, worked, closures)
    return day


ROUND_CHECK_S: Final = 60
"""Seconds between checks for due rounds."""
SKEW: Final = timedelta(minutes=5)
"""Allowed clock difference between gateways that share a database."""
HOUR: Final = timedelta(hours=1)

# fmt: off
EVERY: Final[Mapping[str, timedelta | None]] = {
    "pickup_expiry":    None,
    "pickup_reminder":  None,
    "overdue":          None,
    "not_needed_after": None,
    "postponed":        HOUR,
    "silence":          HOUR,
    "stuck":            None,
    "inbox_cleanup":    HOUR,
    "loads":            timedelta(minutes=5),
    "purge":            None,
}
"""Interval by name of the round. None means daily at midnight in Hong Kong."""
# fmt: on


def next_after(name: str, now: datetime) -> datetime:
    """Return the time at which a round that ran at `now` is due again."""
    every = EVERY[name]
    return now + every if every else start_of(after(civil(now), 1))


def suspended(scope: Scope, policy: Policy, now: datetime, partner: str = "") -> Refusal | None:
    """Return a refusal if a service is suspended today, for all partners or for `partner`. Source: HKALL rules R1."""
    found = window(scope, policy, civil(now), ("", partner))
    if found is None:
        return None
    why = Reason.LENDING_SUSPENDED if found.scope == "lend_request" else Reason.SERVICE_SUSPENDED
    message = suspension_message(found, ENGLISH) or "please ask at the counter"
    zh = suspension_message(found, CHINESE) or "請向櫃檯查詢"
    return Refusal(why, detail={"start": found.start, "end": found.end, "message": message, "message_zh": zh})


def stopped_with(partner: str, scope: Scope, policy: Policy, now: datetime) -> Window | None:
    """Return the window that suspends a service for this partner alone, or None.

    Windows for all partners are ignored, since they do not affect requests placed before. Source: HKALL rules R1.
    """
    return window(scope, policy, civil(now), (partner,))


def window(scope: Scope, policy: Policy, day: date, partners: tuple[str, ...]) -> Window | None:
    """Return the first window that covers `day` and `scope` for one of `partners` ("" = all). Source: HKALL rules R1."""
    concerned = (w for w in policy.service_windows if w.scope in (scope, "all") and w.partner in partners)
    return next((w for w in concerned if w.start <= day < w.end or (w.inclusive and day == w.end)), None)


def requests_suspended_on(policy: Policy, day: date) -> Window | None:
    """Return the window in which patrons place no requests with any library on this day, or None. Source: HKALL rules R1."""
    return window("borrow_request", policy, day, ("",))


def suspension_message(suspension: Window, language: str) -> str:
    """Return the library's own message about a suspension, or "". Without a Chinese message, the other is for everybody."""
    if language == CHINESE and suspension.message_zh:
        return suspension.message_zh
    return suspension.message


def first_day_after(suspension: Window) -> date:
    """Return the first day on which a suspended service is open again. Source: HKALL rules R1."""
    return after(suspension.end, 1) if suspension.inclusive else suspension.end


def over(last: date | None, now: datetime) -> Refusal | None:
    """Return a refusal if `last`, the last day on which the patron needs the book, is in the past."""
    return Refusal(Reason.WRONG_DATE, detail={"on": last}) if last and last < civil(now) else None


def lent_until(
    request: Request, days: int, policy: Policy, today: date, closures: Closures, card_expires: date | None = None
) -> date:
    """Return the due date of a loan that begins today and lasts `days` days, shortened by an earlier recall.

    The policy may cap the due date at the lender's due date, but never below the days of minimum use.
    Source: HKALL rules R19, R25, R33.
    """
    lender = None
    if request.lender_due is not None and policy.due.cap_to_lender_due:
        lender = max(request.lender_due, after(request.first_checkout or today, policy.recall.min_use_days))
    latest = _earliest_of(lender, _card_limit(card_expires, policy))
    full = max(today, roll(after(today, days), closures, policy.due.on_closure, latest))
    if request.recalled_on is None:
        return full
    return recalled_until(full, today, request.recalled_on, policy, closures)


def renewed_until(request: Request, policy: Policy, today: date, closures: Closures, card_expires: date | None = None) -> date:
    """Return the due date after a renewal today: one more loan period, capped, but never before the current due date.

    Source: HKALL rules R32, due date on a closure.
    """
    due = request.due or today
    base = today if policy.renewal.base == "renewal_date" else due
    lender = request.lender_due if policy.renewal.cap_to_lender_due else None
    most, since = policy.renewal.max_total_days, request.first_checkout
    whole = None if most is None or since is None else after(since, most)
    latest = _earliest_of(lender, whole, _card_limit(card_expires, policy))
    return max(due, roll(after(base, request.loan_days), closures, policy.due.on_closure, latest))


def recalled_until(
    due: date, first_checkout: date, recalled_on: date, policy: Policy, closures: Closures, lender_says: date | None = None
) -> date:
    """Return the due date after a recall: the end of both minimum use and time to return, but never later than `due`.

    The lender's date (`lender_says`) is used if it is later than the date by our rules. Source: HKALL rules R25, R26, R33.
    """
    minimum = after(first_checkout, policy.recall.min_use_days)
    ours = max(minimum, after(recalled_on, policy.recall.return_days))
    wanted = ours if lender_says is None else max(lender_says, ours)
    if wanted >= due:
        return due
    rolled = roll(wanted, closures, policy.due.on_closure, latest=due)
    # If rolling back would shorten the minimum use, keep the closed day.
    return rolled if rolled >= minimum else wanted


def recall_due(
    request: Request, policy: Policy, now: datetime, lender_says: date | None = None, closures: Closures = ALWAYS_OPEN
) -> date:
    """Return the due date of a loan that is recalled now. `lender_says` is the due date in the lender's recall.

    Raise ValueError if `request` is not on loan. Source: HKALL rules R25, R26.
    """
    if request.due is None or request.first_checkout is None:
        raise ValueError(f"request {request.id} is not on loan")
    return recalled_until(request.due, request.first_checkout, civil(now), policy, closures, lender_says)


def restored_due(request: Request, policy: Policy) -> date | None:
    """Return the due date after a cancelled recall: the due date before the recall, if it is later. Source: HKALL rules R26."""
    before = request.due_before_recall
    if before is None or request.due is None or not policy.recall.restore_on_cancel:
        return request.due
    return max(before, request.due)


def next_open(request: Request, closures: Closures) -> date | None:
    """Return the open day to which a due date or last pickup day on a closed day moves, or None if the date stays.

    A recall limits the due date, but the lender's date does not. Source: HKALL rules R14, R19.
    """
    held = request.position is Position.RECEIVED
    day = request.pickup_last if held else request.due
    if day is None:
        return None
    until = roll(day, closures, "roll_forward", None if held else request.due_before_recall)
    return until if until > day else None


def past_lender(request: Request) -> bool:
    """Return whether the due date of our patron's loan is after the lender's due date. Source: HKALL rules R19, R32."""
    on_loan = request.side is Side.BORROWING and request.position is Position.ON_LOAN
    return on_loan and request.due is not None and request.lender_due is not None and request.due > request.lender_due


def _card_limit(expires: date | None, policy: Policy) -> date | None:
    return expires if policy.due.cap_to_patron_expiry else None


def _earliest_of(*days: date | None) -> date | None:
    return min((day for day in days if day is not None), default=None)


def limit(position: Position, courier_days: int, waits: Waits) -> timedelta:
    """Return how long a request may stay in a position listed in STALLS_AFTER before staff are notified."""
    days: int = getattr(waits, STALLS_AFTER[position])
    return timedelta(days=days + (courier_days if position in ON_A_WAY else 0))


def stands_still(request: Request, courier_days: int, waits: Waits, now: datetime) -> bool:
    """Check whether staff should look at a request: it has stalled, or our item is long overdue at the borrower."""
    if request.position in STALLS_AFTER and request.moved_at is not None:
        return now - request.moved_at > limit(request.position, courier_days, waits)
    return long_overdue(request, waits, now)


def long_overdue(request: Request, waits: Waits, now: datetime) -> bool:
    """Return whether an item that we lent was due back more than `lender_overdue_days` days ago (R19)."""
    ours = request.side is Side.LENDING and request.position is Position.AT_BORROWER
    due = request.lender_due if ours else None
    return due is not None and civil(now) > after(due, waits.lender_overdue_days)
