"""The hold shelf: the last day of the pickup period."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import pytest

from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.policy import Counts, Place, may_borrow, pickup_expired, pickup_last
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Pickup, Policy, Role
from hkall_gateway.rules.vocabulary import Borrower, Grant, Position, Refusal, Request, Sensitive, Side
from tests.rules.answers import at, why

POLICY = Policy()
STUDENT = Borrower(barcode="P1", name=Sensitive("Chan"), category="undergraduates")
COUNTS = Counts(hkall_used=0, local_loans=0, total_quota=20)
COUNTER = Place(role="counter", location="HKU-MAIN-LENDING")
SELFCHECK = Place(role="selfcheck", location="HKU-MAIN-LENDING")
REQUEST = Request(
    id="R1",
    side=Side.BORROWING,
    position=Position.RECEIVED,
    title="Dune",
    bib_id="b1",
    patron="P1",
    pickup_location="HKU-MAIN-LENDING",
    received_on=date(2017, 3, 6),
    notified_on=date(2017, 3, 6),
    pickup_last=date(2017, 3, 11),
)


NOW = at("2017-03-07T10:00:00")


def borrow(terminal: Place = COUNTER, policy: Policy = POLICY, now: datetime = NOW, *, staff: bool = False) -> Grant | Refusal:
    return may_borrow(STUDENT, REQUEST, COUNTS, terminal, policy, now, staff=staff)


MONDAY = date(2017, 3, 6)


@pytest.mark.parametrize(
    ("pickup", "closed", "last"),
    [
        (Pickup(), set(), date(2017, 3, 11)),
        (Pickup(count_notice_day=True), set(), date(2017, 3, 10)),
        (Pickup(), {date(2017, 3, 8)}, date(2017, 3, 11)),
        (Pickup(), {date(2017, 3, 11)}, date(2017, 3, 12)),
        (Pickup(), {date(2017, 3, 11), date(2017, 3, 12)}, date(2017, 3, 13)),
        (Pickup(last_day_closed="keep"), {date(2017, 3, 11)}, date(2017, 3, 11)),
        (Pickup(days=10), set(), date(2017, 3, 16)),
    ],
)
def test_r14_last_pickup_day_is_five_calendar_days_after_the_letter(pickup: Pickup, closed: set[date], last: date) -> None:
    assert pickup_last(MONDAY, replace(POLICY, pickup=pickup), frozenset(closed)) == last


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        ("2017-03-11T15:59:59+00:00", False),
        ("2017-03-11T23:59:59+08:00", False),
        ("2017-03-11T16:00:00+00:00", True),
        ("2017-03-12T00:00:00+08:00", True),
    ],
)
def test_r14_pickup_period_ends_at_midnight_of_the_last_day(now: str, expired: bool) -> None:
    assert pickup_expired(REQUEST, POLICY, datetime.fromisoformat(now)) is expired


def test_r14_letter_sent_after_midnight_gives_one_more_day() -> None:
    days = [civil(at(t)) for t in ("2017-03-06T23:59:00", "2017-03-07T00:01:00")]
    assert [pickup_last(d, POLICY) for d in days] == [date(2017, 3, 11), date(2017, 3, 12)]


@pytest.mark.parametrize(
    ("notified", "received", "expired_on_12"),
    [
        (date(2017, 3, 6), date(2017, 3, 1), True),
        (date(2017, 3, 7), date(2017, 3, 1), False),
        (None, date(2017, 3, 6), True),
        (None, None, False),
    ],
)
def test_r14_pickup_period_counts_from_the_letter_or_else_the_arrival(
    notified: date | None, received: date | None, expired_on_12: bool
) -> None:
    request = replace(REQUEST, pickup_last=None, notified_on=notified, received_on=received)
    assert pickup_expired(request, POLICY, at("2017-03-12T09:00:00")) is expired_on_12


LATE = at("2017-03-12T09:00:00")
OPEN_SELFCHECK = replace(
    POLICY,
    roles=(
        Role(role="counter", checkout=True, checkin=True, messages=("11",)),
        Role(role="selfcheck", checkout=True, checkin=False, messages=("11",)),
    ),
)


@pytest.mark.parametrize(
    ("rule", "terminal", "staff", "reason"),
    [
        ("staff_only", COUNTER, False, None),
        ("staff_only", SELFCHECK, False, Reason.PICKUP_EXPIRED),
        ("staff_only", SELFCHECK, True, None),
        ("deny", COUNTER, True, Reason.PICKUP_EXPIRED),
        ("allow", SELFCHECK, False, None),
    ],
)
def test_r14_late_pickup_follows_the_policy(rule: str, terminal: Place, staff: bool, reason: Reason | None) -> None:
    policies = {r: replace(OPEN_SELFCHECK, pickup=Pickup(late_pickup=r)) for r in ("staff_only", "deny", "allow")}
    assert why(borrow(terminal=terminal, policy=policies[rule], now=LATE, staff=staff)) == reason


def test_r14_checkout_in_the_last_second_is_in_time() -> None:
    policy = replace(POLICY, pickup=Pickup(late_pickup="deny"))
    assert why(borrow(policy=policy, now=at("2017-03-11T23:59:59"))) is None
