"""Statistics: each figure from a few requests with known outcomes, without patron data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from hkall_gateway.db.loads import loading
from hkall_gateway.db.privacy import retention
from hkall_gateway.db.queries import statistics as stats
from hkall_gateway.db.queries.statistics import Count, DeclineCount, PairCount, Period, RefusalCount, Statistics, Turnaround
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Borrower, Candidate, Position, Refusal, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk, open_work

pytestmark = pytest.mark.sql_differs

P = Position
LEND = Side.LENDING
MARCH = Period(first=date(2017, 3, 1), last=date(2017, 3, 31))
Standing = Callable[..., Request]


def asked(store: SoleStore, period: Period = MARCH) -> Statistics:
    return store.now(stats.statistics, period, "HKU")


@pytest.fixture
def patron(store: SoleStore) -> None:
    store.now(loading.write, "patrons", [Borrower(barcode="P1", name=Sensitive("Chan Tai Man"), category="staff")], 1)


@pytest.fixture
def placed(standing: Standing, now: datetime) -> Standing:
    """A request placed in March that has not been received."""
    return lambda position, **facts: standing(position, **{"placed_at": now, "received_on": None, **facts})


OUTCOMES: dict[str, list[tuple[Position, dict[str, Any]]]] = {
    "filled": [
        (P.RECEIVED, {"received_on": date(2017, 3, 3)}),
        (P.CLOSED, {"received_on": date(2017, 3, 3)}),
        (P.SHIPPED, {"side": LEND}),
        (P.AT_BORROWER, {"side": LEND}),
        (P.CLOSED, {"side": LEND}),
    ],
    "unfilled": [(P.UNFILLED, {}), (P.CLOSED, {}), (P.DECLINED, {"side": LEND})],
    "cancelled": [
        (P.CANCELLED, {}),
        (P.WITHDRAWN, {"side": LEND}),
        (P.TO_RETURN, {"unwanted": True, "received_on": date(2017, 3, 3)}),
    ],
    "still_open": [(P.NEW, {}), (P.REQUESTED, {}), (P.IN_TRANSIT, {}), (P.PAGED, {"side": LEND})],
}


@pytest.mark.parametrize(("outcome", "row"), [(outcome, row) for outcome, rows in OUTCOMES.items() for row in rows])
def test_requests_are_counted_by_outcome(
    store: SoleStore, placed: Standing, outcome: str, row: tuple[Position, dict[str, Any]]
) -> None:
    placed(row[0], **row[1])
    (count,) = asked(store).counts
    assert {name: getattr(count, name) for name in OUTCOMES} == {name: int(name == outcome) for name in OUTCOMES}


def test_requests_are_counted_by_month_side_partner_and_category(store: SoleStore, patron: None, placed: Standing) -> None:
    last_of_february = datetime(2017, 2, 28, 15, 59, 59, tzinfo=UTC)  # one second before midnight in Hong Kong
    placed(P.UNFILLED)
    placed(P.RECEIVED, received_on=date(2017, 3, 2))
    placed(P.UNFILLED, patron="P2")
    placed(P.UNFILLED, partner="LU", placed_at=last_of_february + timedelta(seconds=1))
    placed(P.UNFILLED, placed_at=last_of_february)
    placed(P.PAGED, side=LEND)
    assert asked(store, Period(first=date(2017, 2, 1), last=MARCH.last)).counts == (
        Count(month="2017-02", side="borrow", partner="CUHK", category="staff", requests=1, filled=0, unfilled=1, cancelled=0),
        Count(month="2017-03", side="borrow", partner="CUHK", category="", requests=1, filled=0, unfilled=1, cancelled=0),
        Count(month="2017-03", side="borrow", partner="CUHK", category="staff", requests=2, filled=1, unfilled=1, cancelled=0),
        Count(month="2017-03", side="borrow", partner="LU", category="staff", requests=1, filled=0, unfilled=1, cancelled=0),
        Count(month="2017-03", side="lend", partner="CUHK", category="", requests=1, filled=0, unfilled=0, cancelled=0),
    )
    assert sum(count.requests for count in asked(store).counts) == 5


def test_fill_rate_excludes_cancelled_and_open_requests() -> None:
    assert Count(month="", side="", partner="", category="", requests=10, filled=3, unfilled=1, cancelled=4).fill_rate == 0.75
    assert Count(month="", side="", partner="", category="", requests=6, filled=0, unfilled=0, cancelled=4).fill_rate is None


def test_counts_are_grouped_by_the_requested_fields() -> None:
    counts = [
        Count(month="2017-03", side="borrow", partner=partner, category="staff", requests=n, filled=1, unfilled=0, cancelled=0)
        for partner, n in (("LU", 2), ("CUHK", 3), ("LU", 4))
    ]
    assert stats.total(counts, "partner") == (
        Count(month="", side="", partner="CUHK", category="", requests=3, filled=1, unfilled=0, cancelled=0),
        Count(month="", side="", partner="LU", category="", requests=6, filled=2, unfilled=0, cancelled=0),
    )
    assert stats.total(counts) == (
        Count(month="", side="", partner="", category="", requests=9, filled=3, unfilled=0, cancelled=0),
    )


def test_turnaround_is_in_library_days_from_placing_to_hold_shelf(store: SoleStore, patron: None, placed: Standing) -> None:
    late = datetime(2017, 3, 1, 16, 30, tzinfo=UTC)  # half past midnight of 2 March in Hong Kong
    placed(P.RECEIVED, received_on=date(2017, 3, 4))
    placed(P.CLOSED, received_on=date(2017, 3, 4))
    placed(P.RECEIVED, received_on=date(2017, 3, 4), placed_at=late)
    placed(P.IN_TRANSIT)
    assert asked(store).turnarounds == (
        Turnaround(month="2017-03", partner="CUHK", category="staff", days=2, requests=1),
        Turnaround(month="2017-03", partner="CUHK", category="staff", days=3, requests=2),
    )


def test_days_within_returns_median_90th_percentile_and_maximum() -> None:
    found = [
        Turnaround(month="", partner="", category="", days=days, requests=number) for days, number in ((9, 1), (2, 5), (3, 4))
    ]
    assert [stats.days_within(found, share) for share in (0.5, 0.9, 1.0)] == [2, 3, 9]
    assert stats.days_within([], 0.5) is None


def test_refusals_are_counted_by_rule_and_reason(store: SoleStore, patron: None, placed: Standing, now: datetime) -> None:
    by, request = Actor(who="counter-1", channel="sip2"), placed(P.ON_LOAN)
    quota, soon = Refusal(Reason.QUOTA_HKALL), Refusal(Reason.RENEWAL_TOO_SOON)
    for when, refusal, about, card in (
        (now, quota, None, "P1"),
        (now, quota, None, "P1"),
        (now, quota, None, "P7"),
        (now, soon, request, ""),
        (now - timedelta(days=2), quota, None, "P1"),
    ):
        store.now(UnitOfWork.refuse, refusal, when, by, about, card)
    assert asked(store).refusals == (
        RefusalCount(month="2017-03", rule="R20", reason="quota_hkall", partner="", category="", times=1),
        RefusalCount(month="2017-03", rule="R20", reason="quota_hkall", partner="", category="staff", times=2),
        RefusalCount(month="2017-03", rule="R29", reason="renewal_too_soon", partner="CUHK", category="staff", times=1),
    )


def test_declines_are_counted_by_library_and_reason(store: SoleStore, placed: Standing) -> None:
    outcomes = {
        "CUHK": "declined: not_on_shelf",
        "LU": "declined: Prof. Chan wants it",
        "PolyU": "silence: nothing was heard",
        "HKUST": "not reached: connection refused",
        "CITYU": "accepted",
        "HKBU": "",
    }
    request = placed(P.UNFILLED)
    rows = [
        Candidate(request=request.id, rank=rank, agency=agency, barcode="C", outcome=said)
        for rank, (agency, said) in enumerate(outcomes.items())
    ]
    store.now(lambda unit: unit.candidates.add(rows))
    placed(P.DECLINED, side=LEND, reason="checked_out_locally")
    placed(P.DECLINED, side=LEND, reason="torn by a dog")
    assert asked(store).declines == (
        DeclineCount(month="2017-03", lender="CUHK", borrower="HKU", reason="not_on_shelf", times=1),
        DeclineCount(month="2017-03", lender="HKU", borrower="CUHK", reason="checked_out_locally", times=1),
        DeclineCount(month="2017-03", lender="HKU", borrower="CUHK", reason="other", times=1),
        DeclineCount(month="2017-03", lender="HKUST", borrower="HKU", reason="not reached", times=1),
        DeclineCount(month="2017-03", lender="LU", borrower="HKU", reason="other", times=1),
        DeclineCount(month="2017-03", lender="PolyU", borrower="HKU", reason="silence", times=1),
    )


def test_matrix_counts_loans_per_lender_and_location(store: SoleStore, placed: Standing) -> None:
    placed(P.RECEIVED, received_on=date(2017, 3, 2), pickup_location="HKU-LAW")
    placed(P.UNFILLED, pickup_location="HKU-LAW")
    placed(P.SHIPPED, side=LEND, pickup_location="CUHK-MAIN")
    assert asked(store).pairs == (
        PairCount(lender="CUHK", borrower="HKU", place="HKU-LAW", requests=2, filled=1),
        PairCount(lender="HKU", borrower="CUHK", place="CUHK-MAIN", requests=1, filled=1),
    )


# ---- what is lost, and what is never there


def test_anonymised_request_counts_without_its_category(
    store: SoleStore, patron: None, placed: Standing, now: datetime
) -> None:
    request = placed(P.CLOSED, received_on=date(2017, 3, 2))
    assert (asked(store).anonymised, asked(store).counts[0].category) == (0, "staff")
    store.now(retention.anonymise, [request])
    found = asked(store)
    assert (found.anonymised, found.since) == (1, now.date())
    assert found.counts == (
        Count(month="2017-03", side="borrow", partner="CUHK", category="", requests=1, filled=1, unfilled=0, cancelled=0),
    )
    assert found.turnarounds == (Turnaround(month="2017-03", partner="CUHK", category="", days=1, requests=1),)


def test_archived_request_is_not_counted(store: SoleStore, placed: Standing) -> None:
    store.now(retention.remove, [placed(P.UNFILLED)])
    assert (asked(store).counts, asked(store).since) == ((), None)


def test_records_have_no_field_for_a_patron() -> None:
    named = {field.name for record in (Count, Turnaround, RefusalCount, DeclineCount, PairCount) for field in fields(record)}
    assert not {name for name in named if any(word in name for word in ("patron", "card", "name", "title", "detail"))}


def test_requests_outside_the_period_are_not_read(
    engine: Engine, store: SoleStore, now: datetime, plan: Callable[..., str]
) -> None:
    bulk.fill(engine, bulk.Amounts(requests=300, lines=3, days=600), now)
    open_work.fill(engine, 100, now)
    month = Period(first=now.date() - timedelta(days=30), last=now.date())
    for number in range(7):
        said = plan(stats.statistics, month, "HKU", question=number)
        assert "Seq Scan on requests" not in said
        assert "SCAN journal" not in said
        assert "Seq Scan on journal" not in said
        assert not [line for line in said.splitlines() if "SCAN requests" in line and "COVERING" not in line]
