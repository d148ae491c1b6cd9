"""A closure announced late moves dates only when staff apply it, only forward, and in batches of any size."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.staff.closure_changes import MoveClosedDays, move
from hkall_gateway.rules.vocabulary import Actor, Position

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
DAYS = ("2017-03-16", "2017-03-17")
TYPHOON = MoveClosedDays(by=Actor(who="mei", channel="cli", message="closures move"), reason="typhoon")
OPEN = date(2017, 3, 18)


def moved(library: DeskWorld, limit: int = 200) -> dict[str, date | None]:
    """The moved dates and their new values."""
    found: dict[str, date | None] = {}
    after: str | None = ""
    while after is not None:
        done, after = library.store.now(in_context(move, library.library, library.now, TYPHOON, after, limit))
        found |= {one.request: one.due for one in done}
    return found


@pytest.mark.parametrize(
    ("facts", "until"),
    [
        pytest.param({}, OPEN, id="due on a closed day"),
        pytest.param({"due": date(2017, 3, 15)}, None, id="due before it"),
        pytest.param({"due": OPEN}, None, id="due after it"),
        pytest.param({"lender_due": date(2017, 3, 17)}, OPEN, id="the lender gives one day more"),
        pytest.param({"lender_due": date(2017, 3, 16)}, OPEN, id="the lender gives no day more"),
        pytest.param({"recalled_on": date(2017, 3, 4), "due_before_recall": date(2017, 3, 31)}, OPEN, id="recalled"),
        pytest.param({"recalled_on": date(2017, 3, 4), "due_before_recall": date(2017, 3, 16)}, None, id="no day to give back"),
        pytest.param({"lost_on": date(2017, 3, 10)}, None, id="lost"),
        pytest.param({"claimed_on": date(2017, 3, 10)}, None, id="claimed returned"),
    ],
)
def test_r19_due_date_moves_to_the_next_open_day_within_other_limits(
    library: DeskWorld, facts: dict[str, Any], until: date | None
) -> None:
    library.close_on("HKU", *DAYS)
    before = library.lent_out(**facts)

    assert moved(library) == ({"R1": until} if until else {})
    assert library.request().due == (until or before.due)


def test_r14_pickup_period_is_extended_past_a_new_closure(library: DeskWorld) -> None:
    library.close_on("HKU", *DAYS)
    library.given(P.RECEIVED, pickup_last=date(2017, 3, 17))

    assert moved(library) == {"R1": OPEN}
    assert library.request().pickup_last == OPEN


def test_loan_overdue_before_today_stays_overdue(library: DeskWorld) -> None:
    library.close_on("HKU", *DAYS)
    library.lent_out()
    library.go_to("2017-03-17 10:00")

    assert moved(library) == {}


def test_holiday_of_another_library_does_not_move_due_dates(library: DeskWorld) -> None:
    library.close_on("CUHK", *DAYS)
    library.lent_out()

    assert moved(library) == {}


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_due_dates_move_once_for_any_batch_size_and_record_the_user(library_on_each: DeskWorld, limit: int) -> None:
    library = library_on_each
    library.close_on("HKU", *DAYS)
    for number in range(3):
        library.lent_out(item_barcode=f"C{number}", wire_id=f"w-{number}")

    assert moved(library, limit) == {"R1": OPEN, "R2": OPEN, "R3": OPEN}
    assert moved(library, limit) == {}
    lines = [line for line in library.journal() if line["event"] == "AMEND"]
    assert [(line["request"], line["who"], line["rule"]) for line in lines] == [(f"R{n}", "mei", "R19") for n in (1, 2, 3)]
