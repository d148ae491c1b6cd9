"""An unannounced item at our counter: received if exactly one request waits for it, otherwise set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hkall_gateway.circulation.queries import CopySystem, FindCopySystem
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.returning import CheckedIn, CheckIn
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.positions import FINAL, LENDING
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position


def test_unannounced_item_of_the_asked_lender_is_received_and_reported(library_on_each: DeskWorld) -> None:
    library = library_on_each
    library.given(P.REQUESTED)

    answer = library.check_in("C1")

    assert isinstance(answer, CheckedIn)
    assert (answer.what, answer.held_for) == ("received", "UG1")
    assert (library.request().position, library.request().unannounced) == (P.RECEIVED, True)
    assert library.told() == ["CUHK tell_lender_received", "UG1 letter_pickup"]


def test_repeated_scan_sends_no_second_message(library: DeskWorld) -> None:
    library.given(P.REQUESTED)
    library.check_in("C1")

    assert library.check_in("C1").what == "again"
    assert library.told() == ["CUHK tell_lender_received", "UG1 letter_pickup"]


def test_unannounced_item_from_a_former_lender_is_received_and_the_current_lender_cancelled(library: DeskWorld) -> None:
    library.wish()
    asked = library.request()
    library.say("request_cancelled", asked)
    assert library.request().partner == "HKUST"

    library.check_in("C1")

    assert (library.request().position, library.request().partner) == (P.RECEIVED, "CUHK")
    assert library.told()[2:] == ["HKUST cancel_at_lender", "CUHK tell_lender_received", "UG1 letter_pickup"]


def test_another_copy_from_the_current_lender_is_received(library: DeskWorld) -> None:
    library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="dune", title="Dune")])
    library.given(P.REQUESTED)

    library.check_in("C2")

    assert library.request().item == ItemKey("CUHK", "C2")


@pytest.mark.parametrize(
    ("volume", "wanted", "received"),
    [("v.1", "v.1", True), ("v.2", "v.1", False), ("v.2", "", True)],
)
def test_r8_item_of_another_volume_is_not_received(library: DeskWorld, volume: str, wanted: str, received: bool) -> None:
    library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="dune", title="Dune", volume=volume)])
    library.given(P.REQUESTED, volume=wanted)

    assert isinstance(library.check_in("C2"), CheckedIn) is received


@pytest.mark.parametrize(("barcode", "owner"), [("S1", "HKUST"), ("P1", "POLYU"), ("NOBODYS", "")])
def test_item_of_a_library_that_was_not_asked_is_set_aside(library: DeskWorld, barcode: str, owner: str) -> None:
    library.given(P.REQUESTED)

    answer = library.check_in(barcode)

    assert isinstance(answer, Refused)
    assert answer.why is (Reason.BELONGS_ELSEWHERE if owner else Reason.UNKNOWN_ITEM)
    assert (answer.detail, answer.item) == ({"owner": owner} if owner else {}, ItemKey(owner, barcode))
    assert library.request().position is P.REQUESTED


@pytest.mark.parametrize("position", sorted(FINAL - LENDING | {P.CLOSED}))
def test_item_of_an_ended_request_names_its_owner(library: DeskWorld, position: Position) -> None:
    library.given(position, item_agency="CUHK", item_barcode="X9")

    answer = library.check_in("X9")

    assert (answer.why, answer.item, answer.title) == (Reason.BELONGS_ELSEWHERE, ItemKey("CUHK", "X9"), "Dune")
    assert library.journal()[-1]["request"] == "R1"


def test_item_of_two_possible_owners_names_both(library: DeskWorld) -> None:
    library.add_copies([Holding(agency="HKUST", barcode="P1", bib_id="emma", title="Emma")])

    answer = library.check_in("P1")

    assert (answer.detail, answer.item) == ({"owner": "HKUST / POLYU"}, ItemKey("", "P1"))


def test_own_item_is_never_reported_as_another_librarys(library: DeskWorld) -> None:
    library.add_copies([Holding(agency="CUHK", barcode="K9", bib_id="emma", title="Emma")])

    assert library.check_in("K9").why is Reason.UNKNOWN_ITEM


def test_item_matching_two_requests_is_not_assigned(library: DeskWorld) -> None:
    library.given(P.REQUESTED)
    library.given(P.REQUESTED, patron="UG2", wire_id="other-1")

    answer = library.check_in("C1")

    assert isinstance(answer, Refused)
    assert answer.why is Reason.AMBIGUOUS_ITEM
    assert [r.position for r in library.requests()] == [P.REQUESTED, P.REQUESTED]
    assert library.journal()[-1]["outcome"] == Reason.AMBIGUOUS_ITEM


def test_staff_can_assign_an_ambiguous_item(library: DeskWorld) -> None:
    library.given(P.REQUESTED)
    library.given(P.REQUESTED, patron="UG2", wire_id="other-1")

    library.act("receive", "R2", barcode="C1", agency="CUHK")

    assert [r.position for r in library.requests()] == [P.REQUESTED, P.RECEIVED]


def test_own_item_with_the_same_barcode_is_not_confused_with_a_partner_item(library: DeskWorld) -> None:
    library.add_copies([Holding(agency="HKU", barcode="C1", bib_id="ours", title="A book of our own")])
    library.given(P.REQUESTED)

    answer = library.check_in("C1")

    assert isinstance(answer, Refused)
    assert answer.why is Reason.AMBIGUOUS_ITEM


def test_unrelated_own_book_is_left_to_the_local_system(library: DeskWorld) -> None:
    answer = library.check_in("K9")

    assert isinstance(answer, Refused)
    assert answer.why is Reason.UNKNOWN_ITEM


@pytest.mark.parametrize("role", ["bookdrop", "selfcheck"])
def test_r16_r17_unannounced_item_is_received_only_at_the_counter(library: DeskWorld, role: str) -> None:
    library.given(P.REQUESTED)

    answer = library.ask(
        library.circulation.execute(
            CheckIn(by=Actor(who="t-1", channel="sip2"), place=Place(role=role, location="HKU-MAIN-LENDING"), barcode="C1")
        )
    )

    assert isinstance(answer, Refused)
    assert library.request().position is P.REQUESTED


def test_unannounced_item_of_a_cancelled_request_is_sent_home_without_a_letter(library: DeskWorld) -> None:
    library.given(P.CANCELLING)

    assert library.check_in("C1").what == "unwanted"
    assert library.told() == ["CUHK tell_lender_received"]
    assert library.request().unannounced


@pytest.mark.parametrize(
    ("barcode", "arriving", "system"),
    [
        ("S1", True, CopySystem.NOT_FOR_CARD),
        ("S1", False, CopySystem.THEIRS),
        ("K9", True, CopySystem.THEIRS),
        ("NOBODYS", True, CopySystem.THEIRS),
    ],
)
def test_scan_is_handled_by_the_gateway_unless_the_local_system_knows_the_barcode(
    library: DeskWorld, barcode: str, arriving: bool, system: CopySystem
) -> None:
    assert library.ask(library.circulation.execute(FindCopySystem(barcode=barcode, arriving=arriving))) is system
