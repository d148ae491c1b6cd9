"""How long a request may stay in a position before it counts as stalled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from hkall_gateway.rules import dates
from hkall_gateway.rules.positions import FINAL, STALLS_AFTER
from hkall_gateway.rules.settings import Policy, Waits
from hkall_gateway.rules.vocabulary import Position, Request, Side

P = Position
MOVED = datetime(2017, 3, 1, 2, tzinfo=UTC)
LIMITS = Policy().waits


def _request(position: Position, side: Side = Side.BORROWING) -> Request:
    return Request(id="R1", side=side, position=position, title="Dune", bib_id="b1", partner="CUHK", moved_at=MOVED)


def test_only_loans_and_ended_requests_have_no_stall_limit() -> None:
    assert STALLS_AFTER.keys() == set(Position) - FINAL - {P.ON_LOAN, P.AT_BORROWER}


def test_every_waits_key_is_used() -> None:
    assert set(STALLS_AFTER.values()) | {"lender_overdue_days"} == set(Waits.__dataclass_fields__)


# fmt: off
DAYS = {
    P.NEW:            1,
    P.REQUESTED:      3,
    P.CANCELLING:     3,
    P.PAGED:          3,
    P.IN_TRANSIT:     5,
    P.SHIPPED:        5,
    P.RECEIVED:      11,
    P.TO_RETURN:      2,
    P.RETURN_TRANSIT: 7,
}
# fmt: on


@pytest.mark.parametrize(("position", "days"), DAYS.items())
def test_limit_includes_the_two_courier_days(position: Position, days: int) -> None:
    last = MOVED + timedelta(days=days)
    assert not dates.stands_still(_request(position), 2, LIMITS, last)
    assert dates.stands_still(_request(position), 2, LIMITS, last + timedelta(seconds=1))


def test_longer_delivery_period_extends_the_limit() -> None:
    assert not dates.stands_still(_request(P.IN_TRANSIT), 6, LIMITS, MOVED + timedelta(days=9))
    assert dates.stands_still(_request(P.IN_TRANSIT), 6, LIMITS, MOVED + timedelta(days=9, seconds=1))


def test_own_item_is_long_overdue_from_hong_kong_midnight_after_14_days() -> None:
    lent = replace(_request(P.AT_BORROWER, Side.LENDING), lender_due=date(2017, 3, 1))
    midnight = datetime(2017, 3, 15, 16, tzinfo=UTC)
    assert not dates.stands_still(lent, 2, LIMITS, midnight - timedelta(seconds=1))
    assert dates.stands_still(lent, 2, LIMITS, midnight)


def test_own_loan_stalls_by_its_due_date() -> None:
    lent = replace(_request(P.ON_LOAN), due=date(2017, 3, 1), lender_due=date(2017, 3, 1))
    assert not dates.stands_still(lent, 2, LIMITS, MOVED + timedelta(days=365))


def test_borrowed_item_never_counts_as_an_overdue_own_item() -> None:
    later = MOVED + timedelta(days=365)
    borrowed = replace(_request(P.AT_BORROWER), lender_due=date(2017, 3, 1))
    on_its_way = replace(_request(P.SHIPPED, Side.LENDING), lender_due=date(2017, 3, 1))
    assert not dates.long_overdue(borrowed, LIMITS, later)
    assert not dates.long_overdue(on_its_way, LIMITS, later)
