"""Partner statistics: loans in both directions, replies and turnaround times, with exact period bounds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest

from hkall_gateway.db import partners
from hkall_gateway.db.partners import CAME, WENT, RequestReplies
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import Candidate, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

P = Position
MONTH, WEEK, MOMENT = timedelta(days=30), timedelta(days=7), timedelta(microseconds=1)
Standing = Callable[..., Request]


@pytest.fixture
def asked(store: SoleStore, standing: Standing, now: datetime) -> Callable[..., Request]:
    """A request sent to CUHK under w-N; `last`: CUHK is the current lender."""
    numbers = iter(range(1, 100))

    def put(position: Position, outcome: str = "", *, last: bool = True, placed_at: datetime = now) -> Request:
        name = f"w-{next(numbers)}"
        request = standing(position, wire_id=name if last else "w-other", placed_at=placed_at, received_on=None)
        store.now(
            lambda unit: unit.candidates.add(
                (Candidate(request=request.id, rank=1, agency="CUHK", barcode="C1", wire_id=name, outcome=outcome),)
            )
        )
        return request

    return put


# ---- balance


@pytest.mark.parametrize(("ago", "counted"), [(MONTH, True), (MONTH + MOMENT, False)])
@pytest.mark.parametrize("side", list(Side))
def test_closed_request_counts_in_the_lending_balance_for_thirty_days(
    store: SoleStore, standing: Standing, now: datetime, side: Side, ago: timedelta, counted: bool
) -> None:
    standing(P.CLOSED, side=side, placed_at=now - ago)
    assert store.now(partners.balance, side, now) == ({"CUHK": 1} if counted else {})


@pytest.mark.parametrize("position", sorted(set(CAME) - FINAL))
def test_open_loan_counts_in_the_lending_balance_regardless_of_age(
    store: SoleStore, standing: Standing, now: datetime, position: Position
) -> None:
    standing(position, placed_at=now - 10 * MONTH)
    assert store.now(partners.balance, Side.BORROWING, now) == {"CUHK": 1}


@pytest.mark.parametrize("position", sorted(set(Position) - set(CAME) - set(WENT)))
def test_unfilled_request_does_not_count_in_any_lending_balance(
    store: SoleStore, standing: Standing, now: datetime, position: Position
) -> None:
    standing(position)
    assert store.now(partners.balance, Side.BORROWING, now) == {}


# ---- answers


@pytest.mark.parametrize(("ago", "counted"), [(WEEK, 1), (WEEK + MOMENT, 0)])
def test_only_replies_of_the_last_seven_days_are_counted(
    store: SoleStore, asked: Callable[..., Request], now: datetime, ago: timedelta, counted: int
) -> None:
    asked(P.UNFILLED, "declined: lent", last=False, placed_at=now - ago)
    assert store.now(partners.answers, now).get("CUHK", RequestReplies()).declined == counted


def test_received_requests_count_as_filled_but_not_declined_or_unanswered_requests(
    store: SoleStore, asked: Callable[..., Request], now: datetime
) -> None:
    asked(P.ON_LOAN, "accepted")
    asked(P.CLOSED, "accepted")
    asked(P.REQUESTED, "declined: lent", last=False)
    asked(P.ON_LOAN, "silence", last=False)
    said = store.now(partners.answers, now)["CUHK"]
    assert said == RequestReplies(asked=4, declined=1, filled=2, open=0)
    assert (said.fill_rate, said.decline_rate) == (0.5, 0.25)


@pytest.mark.parametrize("position", [P.REQUESTED, P.CANCELLING, P.CANCELLED])
def test_open_and_cancelled_requests_do_not_count_for_the_lender(
    store: SoleStore, asked: Callable[..., Request], now: datetime, position: Position
) -> None:
    asked(position, "accepted")
    said = store.now(partners.answers, now)["CUHK"]
    assert (said.asked, said.fill_rate) == (1, None)


# ---- turnaround


def test_turnaround_is_the_mean_number_of_days_from_request_to_hold_shelf(
    store: SoleStore, standing: Standing, now: datetime
) -> None:
    standing(P.RECEIVED, placed_at=now - timedelta(days=5), received_on=date(2017, 3, 1))
    standing(P.CLOSED, placed_at=now - timedelta(days=20), received_on=date(2017, 2, 10))
    standing(P.IN_TRANSIT, placed_at=now, received_on=None)
    standing(P.TO_RETURN, placed_at=now, received_on=date(2017, 3, 1), unwanted=True)
    assert store.now(partners.turnaround_days, now) == {"CUHK": 3.0}


@pytest.mark.parametrize(("ago", "counted"), [(MONTH, True), (MONTH + MOMENT, False)])
def test_turnaround_counts_requests_of_the_last_thirty_days(
    store: SoleStore, standing: Standing, now: datetime, ago: timedelta, counted: bool
) -> None:
    standing(P.CLOSED, placed_at=now - ago, received_on=date(2017, 2, 1))
    assert bool(store.now(partners.turnaround_days, now)) is counted


def test_hong_kong_day_starts_at_16_00_utc(store: SoleStore, standing: Standing, now: datetime) -> None:
    placed = datetime.fromisoformat("2017-02-28T16:00:00+00:00")
    standing(P.RECEIVED, placed_at=placed, received_on=date(2017, 3, 1))
    standing(P.RECEIVED, placed_at=placed - MOMENT, received_on=date(2017, 3, 2))
    assert store.now(partners.turnaround_days, now) == {"CUHK": 1.0}
