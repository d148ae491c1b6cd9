"""Renewals that the lender decides: asked first, or notified and refusing (R28)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.command import InboxKey, in_context
from hkall_gateway.circulation.partners import unsent
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, Delivered
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled
from hkall_gateway.circulation.results import CheckedOut, DeliveryResult, Refused, Renewed
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Notices, Policy, Renewal
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Actor, Position, Request
from tests.circulation.conftest import sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
ASKED = (Partner(agency="CUHK", name="Chinese University", renewal_mode="ask_first"),)
YES, NO = (
    DeliveryResult(kind=DeliveryKind.ACCEPTED),
    DeliveryResult(kind=DeliveryKind.REFUSED, problem="Renewal Not Allowed - Item Has Outstanding Requests"),
)
NO_MORE = DeliveryResult(kind=DeliveryKind.REFUSED, problem="Maximum Renewals Exceeded")
REVERT = Renewal(on_lender_refusal="revert")
CLERK = Actor(who="mei", channel="cli", message="outbox")


@pytest.fixture
def asking(make_library: Callable[..., DeskWorld]) -> DeskWorld:
    """A lender that must be asked about renewals; UG1's loan is due on 16 March and renewable today until the 29th."""
    made = make_library(partners=ASKED)
    made.lent_out(lender_due=date(2017, 3, 20))
    made.go_to("2017-03-14 10:00")
    return made


@pytest.fixture
def taking_back(make_library: Callable[..., DeskWorld]) -> DeskWorld:
    """A library that reverts a renewal when the lender refuses it."""
    return make_library(Policy(renewal=REVERT))


def told(library: DeskWorld, answer: DeliveryResult) -> Request:
    """Receive the lender's reply to the last message."""
    (row,) = library.store.now(lambda unit: unit.outbox.rows())
    library.ask(
        library.circulation.execute(Delivered(row=row, answer=answer, retry_at=None, circuit_settings=CIRCUIT_SETTINGS))
    )
    return library.request()


def renewed(library: DeskWorld, **more: Any) -> Renewed:
    done = library.renew(**more)
    assert isinstance(done, Renewed)
    return done


# ---- asked first


def test_patron_is_notified_that_the_lender_was_asked(asking: DeskWorld) -> None:
    done = renewed(asking)

    assert (done.pending, done.due, done.renewals) == (True, date(2017, 3, 16), 0)
    assert asking.told() == ["CUHK ask_lender_to_renew"]


def test_lender_is_asked_for_the_full_period_regardless_of_its_own_due_date(asking: DeskWorld) -> None:
    renewed(asking)

    assert asking.message().due == date(2017, 3, 29)


ANSWERS = [
    # the lender's answer                                 due, lender_due, renewals, sync
    (YES, (29, 29, 1, "none")),
    (replace(YES, due=date(2017, 3, 31)), (29, 31, 1, "none")),
    (replace(YES, due=date(2017, 3, 25)), (25, 25, 1, "none")),
    (replace(YES, due=date(2017, 3, 16)), (16, 20, 0, "denied")),
    (replace(YES, due=date(2017, 3, 10)), (16, 20, 0, "denied")),
    (replace(YES, pending=True), (16, 20, 0, "pending")),
    (DeliveryResult(kind=DeliveryKind.ALREADY), (29, 29, 1, "none")),
    (NO, (16, 20, 0, "denied")),
]


@pytest.mark.parametrize(("answer", "stands"), ANSWERS)
def test_lender_reply_decides_the_renewal(asking: DeskWorld, answer: DeliveryResult, stands: tuple[int, int, int, str]) -> None:
    renewed(asking)

    after = told(asking, answer)

    due, lender_due = after.due, after.lender_due
    assert due is not None
    assert lender_due is not None
    assert (due.day, lender_due.day, after.renewals, after.renewal_sync) == stands


def test_repeated_renewal_while_pending_sends_no_second_request(asking: DeskWorld) -> None:
    first = renewed(asking)

    assert renewed(asking) == first
    assert asking.told() == ["CUHK ask_lender_to_renew"]


def test_repeated_document_is_answered_anew_after_the_lender_replied(asking: DeskWorld) -> None:
    key = InboxKey(agency="D", digest="digest", keep_s=900)
    assert renewed(asking, inbox=key).pending

    told(asking, YES)

    assert renewed(asking, inbox=key).due == date(2017, 3, 29)


def test_checkout_used_as_a_renewal_is_pending_until_the_lender_replies(asking: DeskWorld) -> None:
    done = asking.check_out(renewal_allowed=True)

    assert isinstance(done, CheckedOut)
    assert (done.renewed, done.due) == (False, date(2017, 3, 16))


def test_denied_renewal_is_refused_again_and_staff_may_retry(asking: DeskWorld) -> None:
    renewed(asking)
    told(asking, NO)

    no = asking.renew()
    again = asking.renew(staff=True)

    assert isinstance(no, Refused)
    assert no.why is Reason.RENEWAL_DENIED
    assert again.pending


def test_recall_counts_as_the_reply_and_later_replies_are_ignored(asking: DeskWorld) -> None:
    renewed(asking)
    asking.ask(asking.circulation.execute(sent_as(ItemRecalled, asking.heard())))

    after = told_first(asking, YES)

    assert (after.due, after.renewals, after.renewal_sync) == (date(2017, 3, 16), 0, "none")


def test_reply_after_the_return_changes_nothing(asking: DeskWorld) -> None:
    renewed(asking)
    asking.check_in()
    before = asking.request()

    assert told_first(asking, YES) == before


def told_first(library: DeskWorld, answer: DeliveryResult) -> Request:
    """Receive the lender's reply to the first waiting message."""
    row = library.store.now(lambda unit: unit.outbox.rows())[0]
    library.ask(
        library.circulation.execute(Delivered(row=row, answer=answer, retry_at=None, circuit_settings=CIRCUIT_SETTINGS))
    )
    return library.request()


def test_r40_days_awaiting_the_lenders_reply_are_not_charged(asking: DeskWorld) -> None:
    asking.go_to("2017-03-17 10:00")
    renewed(asking, staff=True, fee_acknowledged=True)
    asking.go_to("2017-03-20 10:00")

    told(asking, replace(YES, due=date(2017, 4, 20)))

    assert asking.fines() == [("overdue", 200)]


@pytest.mark.parametrize(("what", "stands"), [("done", (29, "none")), ("drop", (16, "denied"))])
def test_undeliverable_renewal_is_settled_by_staff(asking: DeskWorld, what: str, stands: tuple[int, str]) -> None:
    renewed(asking)
    asking.store.now(lambda unit: unit.outbox.mark_dead(1, "unknown: cut"))

    asking.store.now(
        in_context(getattr(unsent, what), asking.library, asking.now, unsent.Settle(by=CLERK, number=1, reason="by telephone"))
    )

    found = asking.request()
    assert found.due is not None
    assert (found.due.day, found.renewal_sync) == stands


# ---- told, and refusing


def test_lender_refusal_restores_its_earlier_due_date(taking_back: DeskWorld) -> None:
    taking_back.lent_out()
    taking_back.go_to("2017-03-14 10:00")
    renewed(taking_back)

    after = told(taking_back, NO_MORE)

    assert (after.due, after.renewals, after.renewal_sync) == (date(2017, 3, 16), 0, "denied")
    assert after.reason == NO_MORE.problem


def test_late_lender_reply_does_not_make_the_loan_overdue(taking_back: DeskWorld) -> None:
    taking_back.lent_out()
    taking_back.go_to("2017-03-14 10:00")
    renewed(taking_back)
    taking_back.go_to("2017-03-21 10:00")

    assert told(taking_back, NO_MORE).due == date(2017, 3, 21)


def test_refusal_of_an_earlier_renewal_changes_nothing(taking_back: DeskWorld) -> None:
    taking_back.lent_out()
    taking_back.go_to("2017-03-14 10:00")
    renewed(taking_back)
    taking_back.go_to("2017-03-27 10:00")
    renewed(taking_back)
    before = taking_back.request()

    assert told_first(taking_back, NO_MORE) == before


def test_cancelled_recall_does_not_restore_a_refused_due_date(taking_back: DeskWorld) -> None:
    taking_back.lent_out()
    taking_back.go_to("2017-03-14 10:00")
    renewed(taking_back)
    taking_back.ask(taking_back.circulation.execute(sent_as(ItemRecalled, taking_back.heard())))
    told_first(taking_back, NO_MORE)

    taking_back.ask(taking_back.circulation.execute(sent_as(RecallCancelled, taking_back.heard())))

    assert taking_back.request().due == date(2017, 3, 16)


@pytest.mark.parametrize("wanted", [True, False])
def test_r30_denied_renewal_sends_a_letter_only_when_the_policy_says_so(
    make_library: Callable[..., DeskWorld], wanted: bool
) -> None:
    library = make_library(Policy(notices=Notices(renewal_denied=wanted), renewal=REVERT))
    library.lent_out()
    library.go_to("2017-03-14 10:00")
    renewed(library)

    told(library, NO_MORE)

    assert library.letters(Notification.LETTER_RENEWAL_DENIED) == int(wanted)


def test_r28_renewal_refused_by_the_lender_stays_in_force_and_is_shown_to_staff(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-14 10:00")
    renewed(library)

    after = told(library, NO_MORE)

    assert (after.due, after.renewals, after.renewal_sync) == (date(2017, 3, 29), 1, "none")
    assert after.flags == "refused:tell_lender_renewed"
    assert library.letters(Notification.LETTER_RENEWAL_DENIED) == 0


@pytest.mark.parametrize(
    "refusal",
    [
        NO,
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Item Not Renewable", detail="the item is recalled by another user"),
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Recalled"),
    ],
)
@pytest.mark.parametrize("policy", [Policy(), Policy(renewal=REVERT)])
def test_r28_refusal_due_to_a_recall_is_handled_as_a_recall(
    make_library: Callable[..., DeskWorld], refusal: DeliveryResult, policy: Policy
) -> None:
    library = make_library(policy)
    library.lent_out()
    library.go_to("2017-03-14 10:00")
    renewed(library)

    after = told(library, refusal)

    assert (after.due, after.recalled_on, after.due_before_recall) == (date(2017, 3, 21), date(2017, 3, 14), date(2017, 3, 29))
    assert (after.renewals, after.flags) == (1, "")
    assert (library.letters(Notification.LETTER_RECALLED), library.letters(Notification.LETTER_RENEWAL_DENIED)) == (1, 0)


def test_r28_refusal_for_a_known_recall_changes_nothing(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-14 10:00")
    renewed(library)
    library.ask(library.circulation.execute(sent_as(ItemRecalled, library.heard())))
    before = library.request()

    assert told_first(library, NO) == before
    assert library.letters(Notification.LETTER_RECALLED) == 1
