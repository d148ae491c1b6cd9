"""A partner that only confirms receipt: nothing is settled until its decision arrives in a message of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy, Renewal
from hkall_gateway.rules.stored_words import DeliveryKind, RenewalSync, StaffFlag
from hkall_gateway.rules.vocabulary import Position
from tests.circulation.conftest import DeskWorld

P = Position
YES = DeliveryResult(kind=DeliveryKind.ACCEPTED)
RECEIVED = replace(YES, pending=True, number="CUHK:77")


@pytest.fixture
def library(make_library: Callable[..., DeskWorld]) -> DeskWorld:
    """A library whose patron has asked CUHK for Dune."""
    library = make_library()
    library.wish()
    return library


# ---- the request


@pytest.mark.parametrize("day", ["2017-03-04", "2017-03-09"])
def test_r11_lender_that_accepts_apart_gets_its_paging_period(library: DeskWorld, day: str) -> None:
    library.delivered(Notification.ASK_LENDER, RECEIVED)

    library.say("accepted", library.request())
    library.go_to(f"{day} 10:00")
    library.round("silence")

    is_over = day == "2017-03-09"
    assert library.request().partner == ("HKUST" if is_over else "CUHK")
    assert library.told()[-1] == ("HKUST ask_lender" if is_over else "CUHK ask_lender")


def test_acceptance_of_a_lender_that_was_given_up_is_only_noted(library: DeskWorld) -> None:
    first = library.request()
    library.delivered(Notification.ASK_LENDER, RECEIVED)
    library.go_to("2017-03-04 10:00")
    library.round("silence")

    said = library.say("accepted", first)

    assert said.late
    assert library.request().partner == "HKUST"


def test_acceptance_by_another_library_is_refused(library: DeskWorld) -> None:
    stranger = replace(library.request(), partner="HKUST")

    said = library.say("accepted", stranger)

    assert isinstance(said, Refused)
    assert said.why is Reason.AGENCY_NOT_OWNER


def test_lender_that_declines_apart_is_followed_by_the_next(library: DeskWorld) -> None:
    library.delivered(Notification.ASK_LENDER, RECEIVED)

    library.say("request_cancelled", library.request())

    assert library.request().partner == "HKUST"
    assert library.told() == ["CUHK ask_lender", "HKUST ask_lender"]


# ---- the cancellation


@pytest.mark.parametrize("kind", [DeliveryKind.ACCEPTED, DeliveryKind.ALREADY])
def test_cancellation_is_not_settled_by_a_confirmation_of_receipt(library: DeskWorld, kind: DeliveryKind) -> None:
    library.act("cancel")

    library.delivered(Notification.CANCEL_AT_LENDER, replace(YES, kind=kind, pending=True))
    assert library.request().position is P.CANCELLING

    library.say("request_cancelled", library.request())
    assert library.request().position is P.CANCELLED


def test_copy_shipped_against_a_pending_cancellation_is_on_its_way(library: DeskWorld) -> None:
    library.act("cancel")
    library.delivered(Notification.CANCEL_AT_LENDER, replace(YES, pending=True))

    library.say("shipped", library.request())

    assert library.request().position is P.IN_TRANSIT


def test_cancellation_that_the_lender_never_decides_is_settled_by_the_silence_round(library: DeskWorld) -> None:
    library.act("cancel")
    library.delivered(Notification.CANCEL_AT_LENDER, replace(YES, pending=True))

    library.go_to("2017-03-04 10:00")
    library.round("silence")

    assert library.request().position is P.CANCELLED


# ---- the renewal


@pytest.fixture
def asking(make_library: Callable[..., DeskWorld]) -> DeskWorld:
    """A library whose patron has asked for a renewal, which CUHK has only received."""
    partner = Partner(agency="CUHK", name="Chinese University", renewal_mode="ask_first")
    library = make_library(partners=(partner,))
    library.lent_out(lender_due=date(2017, 3, 20))
    library.go_to("2017-03-14 10:00")
    library.renew()
    library.delivered(Notification.ASK_LENDER_TO_RENEW, replace(YES, pending=True))
    return library


def standing(library: DeskWorld) -> tuple[int, int, str]:
    """The day on which UG1's loan is due, its renewals, and what is known of the lender's decision."""
    request = library.request()
    assert request.due is not None
    return request.due.day, request.renewals, request.renewal_sync


def test_renewal_is_granted_by_a_message_of_the_lender(asking: DeskWorld) -> None:
    assert standing(asking) == (16, 0, RenewalSync.PENDING)

    asking.say("renewed", asking.request())

    assert standing(asking) == (29, 1, RenewalSync.NONE)


def test_renewal_is_refused_by_a_message_of_the_lender(asking: DeskWorld) -> None:
    said = asking.say("renewal_refused", asking.request(), reason="Maximum Renewals Exceeded")

    assert not said.late
    assert standing(asking) == (16, 0, RenewalSync.DENIED)
    assert asking.request().reason == "Maximum Renewals Exceeded"
    assert asking.letters(Notification.LETTER_RENEWAL_DENIED) == 1

    again = asking.say("renewal_refused", asking.request())
    assert again.late
    assert asking.letters(Notification.LETTER_RENEWAL_DENIED) == 1


def test_renewal_that_the_lender_never_decides_leaves_the_due_date(asking: DeskWorld) -> None:
    asking.go_to("2017-03-17 10:00")
    asking.round("silence")
    asking.round("overdue")

    assert standing(asking) == (16, 0, RenewalSync.PENDING)
    assert asking.letters(Notification.LETTER_OVERDUE) == 1


@pytest.mark.parametrize("policy", [Renewal(on_lender_refusal="keep"), Renewal(on_lender_refusal="revert")])
def test_granted_renewal_that_the_lender_refuses_apart_follows_the_policy(
    make_library: Callable[..., DeskWorld], policy: Renewal
) -> None:
    library = make_library(Policy(renewal=policy))
    library.lent_out(lender_due=date(2017, 3, 20))
    library.go_to("2017-03-14 10:00")
    library.renew()
    library.delivered(Notification.TELL_LENDER_RENEWED, replace(YES, pending=True))
    assert standing(library) == (29, 1, RenewalSync.NONE)

    library.say("renewal_refused", library.request(), reason="Maximum Renewals Exceeded")

    if policy.on_lender_refusal == "revert":
        assert standing(library) == (16, 0, RenewalSync.DENIED)
    else:
        assert standing(library) == (29, 1, RenewalSync.NONE)
        assert library.request().flags == StaffFlag.refused_there("tell_lender_renewed")


def test_granted_renewal_that_the_lender_refuses_for_another_patron_is_recalled(
    make_library: Callable[..., DeskWorld],
) -> None:
    library = make_library()
    library.lent_out(lender_due=date(2017, 3, 20))
    library.go_to("2017-03-14 10:00")
    library.renew()

    library.say("renewal_refused", library.request(), reason="Item Has Outstanding Requests")

    assert library.request().recalled_on == date(2017, 3, 14)


# ---- what the reply says meanwhile


@pytest.mark.parametrize(
    ("answer", "asked_next"),
    [(RECEIVED, True), (replace(RECEIVED, kind=DeliveryKind.ALREADY), True), (replace(RECEIVED, pending=False), False)],
)
def test_r11_lender_that_only_confirmed_receipt_has_no_paging_period(
    library: DeskWorld, answer: DeliveryResult, asked_next: bool
) -> None:
    library.delivered(Notification.ASK_LENDER, answer)

    library.go_to("2017-03-04 10:00")
    library.round("silence")

    assert (library.request().partner == "HKUST") is asked_next


def test_lenders_own_number_is_kept_from_a_confirmation_of_receipt(library: DeskWorld) -> None:
    library.delivered(Notification.ASK_LENDER, RECEIVED)

    candidate = library.store.now(lambda unit: unit.candidates.of_request("R1"))[0]

    assert (candidate.outcome, candidate.their_number) == ("", "CUHK:77")
