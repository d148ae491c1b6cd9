"""A lender declines while requests are suspended (R1): the request waits, or ends if the policy says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from hkall_gateway.circulation.partner_notice import ItemShipped, RequestCancelled
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Position
from tests.circulation.conftest import PUBLISHED, DeskWorld, sent_as

P = Position
END = replace(PUBLISHED, declined_while_suspended="end")


def declined(made: DeskWorld) -> Position:
    """A request of the last open day, declined by its lender in the first second of the suspension."""
    made.go_to("2017-06-05 23:59")
    made.wish()
    made.go_to("2017-06-06 00:00")
    made.ask(made.circulation.execute(sent_as(RequestCancelled, made.heard(wire_agency="HKU", wire_id="R1-1"))))
    return made.request().position


@pytest.mark.parametrize(("policy", "position"), [(PUBLISHED, P.NEW), (END, P.UNFILLED)])
def test_r1_suspended_request_waits_or_ends_as_the_policy_says(
    make_library: Callable[..., DeskWorld], policy: Policy, position: Position
) -> None:
    assert declined(make_library(policy)) is position


def test_r1_suspended_request_resumes_in_the_first_round_after_the_suspension(library: DeskWorld) -> None:
    declined(library)
    for instant, position in (("2017-07-17 23:59", P.NEW), ("2017-07-18 00:00", P.REQUESTED)):
        library.go_to(instant)
        library.round("postponed")
        assert library.request().position is position


def test_r1_suspended_request_without_a_lender_ends_with_the_letter(library: DeskWorld) -> None:
    declined(library)
    library.go_to("2017-07-18 00:00")
    for lender in library.store.now(lambda unit: unit.candidates.of_request("R1")):
        library.store.now(lambda unit: unit.candidates.update(lender, skip="by staff: closed for good"))  # noqa: B023  # it runs at once

    assert library.round("postponed") == 1
    assert library.request().position is P.UNFILLED


def test_r1_silent_lender_is_kept_during_a_suspension(library: DeskWorld) -> None:
    library.go_to("2017-06-05 10:00")
    library.wish()
    library.go_to("2017-06-20 10:00")
    library.round("silence")
    assert library.request().partner == "CUHK"

    library.go_to("2017-07-18 10:00")
    library.round("silence")
    assert (library.request().position, library.request().partner) == (P.REQUESTED, "HKUST")


def test_r1_lender_skipped_by_staff_gets_a_cancellation(library: DeskWorld) -> None:
    library.go_to("2017-06-05 10:00")
    library.wish()
    library.go_to("2017-06-06 10:00")
    library.act("skip", agency="CUHK", reason="their van is broken")

    assert library.request().position is P.NEW
    sent = [row.send.name for row in library.store.now(lambda unit: unit.outbox.rows())]
    assert sent == ["ASK_LENDER", "CANCEL_AT_LENDER", "LETTER_POSTPONED"]


# ---- one copy, two requests


def rivals(library: DeskWorld, *, accepted: bool) -> None:
    """CUHK's only item is requested for UG1 (R1) and for UG2 (R2)."""
    library.wish()
    library.wish("UG2", number="d-2")
    second = library.request("R2")
    asked = next(c for c in library.store.now(lambda unit: unit.candidates.of_request("R2")) if c.agency == "CUHK")
    library.store.now(lambda unit: unit.candidates.update(asked, wire_id="R2-9", outcome="accepted" if accepted else ""))
    library.store.now(lambda unit: unit.amend(second, library.now, library.heard().by, partner="CUHK", wire_id="R2-9"))
    library.ask(library.circulation.execute(sent_as(ItemShipped, library.heard(wire_agency="HKU", wire_id="R1-1"))))


@pytest.mark.parametrize(("accepted", "position"), [(True, P.UNFILLED), (False, P.REQUESTED)])
def test_request_leaves_its_lender_only_if_it_was_accepted_when_the_item_goes_to_another_request(
    library: DeskWorld, accepted: bool, position: Position
) -> None:
    rivals(library, accepted=accepted)

    assert library.request("R2").position is position
