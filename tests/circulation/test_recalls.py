"""Recalls: who may recall, the new due date, who is notified, and what a cancellation restores (R23 to R28, R41)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.partner_notice import ItemRenewed
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled, Recalled
from hkall_gateway.circulation.results import CheckedOut, Done, Refused, Renewed
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy, Recall
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Side
from tests.circulation.conftest import sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
SEND_BACK = Policy(recall=Recall(before_pickup="return"))
NO_RESTORING = Policy(recall=Recall(restore_on_cancel=False))
PARTNER = Actor(who="CUHK", channel="ncip", message="ItemRecalled")


def recall(library: DeskWorld, **facts: Any) -> Any:
    return library.ask(library.circulation.execute(sent_as(ItemRecalled, library.heard(**facts))))


def cancel(library: DeskWorld, **facts: Any) -> Any:
    return library.ask(library.circulation.execute(sent_as(RecallCancelled, library.heard(**facts))))


# ---- the owner recalls a loan


@pytest.mark.parametrize(
    ("days", "on", "due"),
    [
        (15, "2017-03-04", "2017-03-16"),
        (30, "2017-03-04", "2017-03-16"),
        (30, "2017-03-11", "2017-03-18"),
        (30, "2017-03-16", "2017-03-23"),
        (30, "2017-03-21", "2017-03-28"),
        (30, "2017-03-28", "2017-03-31"),
        (15, "2017-03-01", "2017-03-16"),
        (15, "2017-03-20", "2017-03-16"),
    ],
)
def test_r25_recall_leaves_minimum_use_and_time_to_return(library: DeskWorld, days: int, on: str, due: str) -> None:
    loan = library.lent_out(days=days)
    library.go_to(f"{on} 10:00")

    answer = recall(library)

    assert answer == Recalled(
        request="R1",
        item=ItemKey("CUHK", "C1"),
        due=date.fromisoformat(due),
        old_due=loan.due,
        position=P.ON_LOAN,
        recalled=True,
    )
    assert library.request().due == date.fromisoformat(due)


def test_r24_patron_gets_one_letter_with_both_dates(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")

    recall(library)

    row = library.told()
    letter = library.letter(Notification.LETTER_RECALLED)
    assert row == ["UG1 letter_recalled"]
    assert (letter.old_due, letter.due) == (date(2017, 3, 31), date(2017, 3, 18))


def test_r26_repeated_recall_changes_nothing_and_sends_no_letter(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    recall(library)
    before = library.request()
    library.go_to("2017-03-12 10:00")

    answer = recall(library)

    assert answer.again
    assert library.request() == before
    assert library.letters(Notification.LETTER_RECALLED) == 1


def test_r26_second_recall_with_an_earlier_date_is_applied_and_announced(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    recall(library, due=date(2017, 3, 29))

    answer = recall(library, due=date(2017, 3, 20))

    assert (answer.old_due, answer.due) == (date(2017, 3, 29), date(2017, 3, 20))
    assert library.request().due_before_recall == date(2017, 3, 31)
    assert library.letters(Notification.LETTER_RECALLED) == 2


def test_r26_earlier_lender_date_keeps_minimum_use_and_is_reported(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")

    answer = recall(library, due=date(2017, 3, 12))

    assert (answer.due, answer.asked_due) == (date(2017, 3, 18), date(2017, 3, 12))


def test_r28_recalled_loan_cannot_be_renewed(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-10 10:00")
    recall(library)

    assert library.renew() == Refused(
        why=Reason.RECALLED,
        rule="R28",
        detail={"due": date(2017, 3, 16)},
        language="en",
        title="Dune",
        item=ItemKey("CUHK", "C1"),
        due=date(2017, 3, 16),
    )


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"partner": "HKUST"}, Reason.AGENCY_NOT_OWNER),
        ({"partner": "HKUST", "item": ItemKey("HKUST", "C1")}, Reason.UNKNOWN_ITEM),
        ({"partner": "HKUST", "wire_agency": "HKU", "wire_id": "R1-1"}, Reason.AGENCY_NOT_OWNER),
        ({"wire_agency": "HKU", "wire_id": "R1-1", "item": ItemKey("HKUST", "C1")}, Reason.AGENCY_NOT_OWNER),
    ],
)
def test_r23_only_the_owner_may_recall(library: DeskWorld, facts: dict[str, Any], why: Reason) -> None:
    library.lent_out()

    assert recall(library, **facts).why is why
    assert library.request().recalled_on is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [({"item": ItemKey("CUHK", "C404")}, Reason.UNKNOWN_ITEM), ({"wire_id": "X-1", "item": None}, Reason.UNKNOWN_REQUEST)],
)
def test_recall_of_an_unknown_item_is_refused(library: DeskWorld, facts: dict[str, Any], why: Reason) -> None:
    assert recall(library, **facts).why is why


# ---- before the loan, and after it


@pytest.mark.parametrize("position", [P.IN_TRANSIT, P.RECEIVED])
def test_r24_recall_before_the_loan_is_noted_without_a_letter(library: DeskWorld, position: Position) -> None:
    library.given(position)

    answer = recall(library)

    assert answer == Recalled(request="R1", item=ItemKey("CUHK", "C1"), position=position, recalled=True)
    assert (library.request().position, library.request().recalled_on) == (position, date(2017, 3, 1))
    assert library.told() == []


def test_r24_recall_before_the_shipment_is_matched_by_request_number(library: DeskWorld) -> None:
    library.given(P.REQUESTED)

    recall(library, item=None, wire_agency="HKU", wire_id="R1-1")

    assert (library.request().position, library.request().recalled_on) == (P.REQUESTED, date(2017, 3, 1))


def test_r24_checkout_of_a_recalled_item_warns_staff_and_shortens_the_loan(library: DeskWorld) -> None:
    library.given(P.RECEIVED, patron="PG1", pickup_last=date(2017, 3, 11))
    recall(library)

    answer = library.check_out("PG1")

    assert isinstance(answer, CheckedOut)
    assert (answer.recalled, answer.due) == (True, date(2017, 3, 16))
    assert library.request().due_before_recall == date(2017, 3, 31)


def test_r26_cancelled_recall_restores_the_full_period_of_a_loan_that_began_recalled(library: DeskWorld) -> None:
    library.given(P.RECEIVED, patron="PG1", pickup_last=date(2017, 3, 11))
    recall(library)
    library.check_out("PG1")

    answer = cancel(library)

    assert (answer.old_due, answer.due) == (date(2017, 3, 16), date(2017, 3, 31))


def test_undone_checkout_clears_the_loan_date(library: DeskWorld) -> None:
    library.given(P.RECEIVED, patron="PG1", pickup_last=date(2017, 3, 11))
    recall(library)
    library.check_out("PG1")

    library.check_out("PG1", undo=True)

    assert (library.request().due, library.request().due_before_recall) == (None, None)


def test_r24_recalled_item_on_the_hold_shelf_is_returned_when_the_policy_says_so(
    make_library: Callable[..., DeskWorld],
) -> None:
    library = make_library(SEND_BACK)
    library.given(P.RECEIVED)

    recall(library)

    assert (library.request().position, library.request().reason) == (P.TO_RETURN, "recalled")


def test_r24_recalled_item_is_returned_on_arrival_when_the_policy_says_so(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(SEND_BACK)
    library.given(P.IN_TRANSIT)
    recall(library)

    answer = library.check_in()

    assert (answer.what, library.request().position) == ("unwanted", P.TO_RETURN)
    assert library.letters(Notification.LETTER_PICKUP) == 0


@pytest.mark.parametrize("position", [P.TO_RETURN, P.RETURN_TRANSIT, P.CLOSED])
def test_recall_of_an_item_in_return_transit_succeeds_without_a_change(library: DeskWorld, position: Position) -> None:
    before = library.given(position)

    answer = recall(library)

    assert (answer.late, library.request()) == (True, before)
    assert library.journal()[-1]["event"] == "LATE"


# ---- taken back


def test_r26_cancelled_recall_restores_the_due_date_and_allows_renewals(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    recall(library)
    library.go_to("2017-03-13 10:00")

    answer = cancel(library)

    assert (answer.old_due, answer.due) == (date(2017, 3, 18), date(2017, 3, 31))
    library.go_to("2017-03-31 10:00")
    assert isinstance(library.renew(), Renewed)


def test_r26_policy_may_keep_the_shorter_due_date(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(NO_RESTORING)
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    recall(library)

    assert cancel(library).due == date(2017, 3, 18)


def test_recall_cancellation_without_a_recall_succeeds(library: DeskWorld) -> None:
    before = library.lent_out()

    assert cancel(library).again
    assert library.request() == before


def test_r24_recall_after_a_cancelled_recall_sends_its_own_letter(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    recall(library)
    cancel(library)
    library.go_to("2017-03-14 10:00")

    recall(library)

    assert (library.request().due, library.letters(Notification.LETTER_RECALLED)) == (date(2017, 3, 21), 2)


def test_r41_days_before_a_recall_was_cancelled_are_charged_at_the_recall_rate(library: DeskWorld) -> None:
    library.lent_out()  # due on 16 March
    library.go_to("2017-03-20 10:00")
    recall(library)
    library.go_to("2017-03-23 10:00")
    cancel(library)
    library.go_to("2017-03-24 10:00")

    answer = library.check_in()

    assert answer.fine_cents == 4 * 200 + 2 * 400 + 2 * 200  # 17 to 20, 21 and 22, 23 and 24


def test_r41_fine_is_split_by_day_when_an_overdue_loan_is_recalled(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-20 10:00")
    recall(library)
    library.go_to("2017-03-23 10:00")

    assert library.check_in().fine_cents == 2000


# ---- the owner gives it longer


def test_owner_renewal_extends_the_loan(library: DeskWorld) -> None:
    library.lent_out(lender_due=date(2017, 3, 20))

    answer = library.ask(library.circulation.execute(sent_as(ItemRenewed, library.heard(due=date(2017, 4, 1)))))

    assert answer == Renewed(
        request="R1", item=ItemKey("CUHK", "C1"), card="UG1", title="Dune", due=date(2017, 4, 1), renewals=0
    )
    assert library.request().lender_due == date(2017, 4, 1)
    assert library.told() == []


def test_owner_renewal_never_shortens_a_loan(library: DeskWorld) -> None:
    before = library.lent_out(lender_due=date(2017, 4, 20))

    library.ask(library.circulation.execute(sent_as(ItemRenewed, library.heard(due=date(2017, 3, 10)))))

    assert library.request() == before


def test_owner_renewal_ends_the_recall(library: DeskWorld) -> None:
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    recall(library)

    library.ask(library.circulation.execute(sent_as(ItemRenewed, library.heard(due=date(2017, 4, 5)))))

    assert (library.request().due, library.request().recalled_on) == (date(2017, 4, 5), None)


def test_owner_renewal_before_the_loan_moves_the_lender_due_date(library: DeskWorld) -> None:
    library.given(P.RECEIVED, lender_due=date(2017, 3, 20))

    library.ask(library.circulation.execute(sent_as(ItemRenewed, library.heard(due=date(2017, 4, 1)))))

    assert (library.request().due, library.request().lender_due) == (None, date(2017, 4, 1))


@pytest.mark.parametrize(
    ("position", "due", "why"),
    [(P.CLOSED, date(2017, 4, 1), Reason.NOT_ON_LOAN), (P.ON_LOAN, None, Reason.UNUSABLE_MESSAGE)],
)
def test_owner_renewal_requires_a_loan_and_a_date(
    library: DeskWorld, position: Position, due: date | None, why: Reason
) -> None:
    library.given(position, due=date(2017, 3, 16), first_checkout=date(2017, 3, 1))

    assert library.ask(library.circulation.execute(sent_as(ItemRenewed, library.heard(due=due)))).why is why


# ---- we recall our own


def test_recall_of_a_lent_item_sends_the_borrower_the_due_date(library: DeskWorld) -> None:
    library.given(P.AT_BORROWER, side=Side.LENDING, lender_due=date(2017, 4, 15))

    answer = library.act("recall")

    assert answer == Done(request="R1", item=ItemKey("HKU", "K9"), position=P.AT_BORROWER, title="Dune", due=date(2017, 3, 8))
    assert library.told() == ["CUHK tell_borrower_recalled"]
    assert library.message().due == date(2017, 3, 8)


def test_recall_is_sent_again_only_with_an_earlier_date(library: DeskWorld) -> None:
    library.given(P.AT_BORROWER, side=Side.LENDING, lender_due=date(2017, 4, 15))
    library.act("recall", on=date(2017, 3, 20))

    assert library.act("recall", on=date(2017, 3, 25)).again
    assert library.act("recall", on=date(2017, 3, 15)).due == date(2017, 3, 15)
    assert library.told() == ["CUHK tell_borrower_recalled"] * 2


def test_cancelling_our_recall_restores_the_borrowers_due_date(library: DeskWorld) -> None:
    library.given(P.SHIPPED, side=Side.LENDING, lender_due=date(2017, 4, 15))
    library.act("recall")

    answer = library.act("cancel_recall")

    assert (answer.due, library.request().recalled_on) == (date(2017, 4, 15), None)
    assert library.told() == ["CUHK tell_borrower_recalled", "CUHK tell_borrower_recall_cancelled"]


def test_r28_borrower_cannot_renew_an_item_we_recalled_until_we_cancel(library: DeskWorld) -> None:
    library.given(P.AT_BORROWER, side=Side.LENDING, lender_due=date(2017, 4, 15))
    renewal = library.heard(item=ItemKey("HKU", "K9"))
    library.act("recall")

    assert library.ask(library.circulation.execute(sent_as(ItemRenewed, renewal))).why is Reason.RECALLED
    library.act("cancel_recall")
    assert isinstance(library.ask(library.circulation.execute(sent_as(ItemRenewed, replace(renewal, at=library.now)))), Renewed)


def test_completed_loan_cannot_be_recalled(library: DeskWorld) -> None:
    library.given(P.CLOSED, side=Side.LENDING)

    assert library.act("recall").why is Reason.WRONG_POSITION
