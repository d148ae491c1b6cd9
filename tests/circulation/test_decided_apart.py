"""A partner that only confirms receipt: nothing is settled until its decision arrives in a message of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.stored_words import DeliveryKind
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
