"""A lender with its own request numbers: notifications match by its number, by ours, or before its reply arrived."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hkall_gateway.circulation.lending import BorrowFromUs, Paged
from hkall_gateway.circulation.partner_notice import ItemShipped, PartnerNotice, with_our_number
from hkall_gateway.circulation.partners.partner_queries import RequestSeen, SeeRequest
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.db.database import finished
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position
from hkall_gateway.simulator.scenario.scripted_partner import manner
from hkall_gateway.simulator.scenario.world import World
from tests.circulation.conftest import sent_as

P = Position
WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"
C1, K9 = ItemKey("CUHK", "C1"), ItemKey("HKU", "K9")
CUHK = Actor(who="CUHK", channel="ncip", message="ItemShipped")


@pytest.fixture
def world() -> World:
    return World.open(WORLDS / "consortium.toml")


def place(world: World, answer: str = "ok request=CUHK:77") -> None:
    """R1 is requested from CUHK, which replies with this number; "" leaves the message undelivered."""
    if answer:
        world.peers.script("CUHK", manner(answer)[0])
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    if answer:
        world.pump()


def shipped(world: World, agency: str, value: str, item: ItemKey | None = C1) -> object:
    return finished(
        world.circulation.execute(
            sent_as(
                ItemShipped,
                PartnerNotice(
                    by=CUHK, partner="CUHK", wire_agency=agency, wire_id=value, item=item, at=datetime(2017, 3, 2, tzinfo=UTC)
                ),
            )
        )
    )


@pytest.mark.parametrize("agency", ["CUHK", ""])
@pytest.mark.parametrize("item", [C1, ItemKey("HKU", "C1"), None], ids=["its copy", "a copy without an agency", "no copy"])
def test_shipment_with_the_lenders_request_number_is_applied(world: World, agency: str, item: ItemKey | None) -> None:
    place(world)

    answer = shipped(world, agency, "77", item)

    assert isinstance(answer, Noted)
    assert (world.request("R1").position, world.request("R1").item) == (P.IN_TRANSIT, C1)


@pytest.mark.parametrize("item", [C1, None], ids=["its copy", "no copy"])
def test_our_request_number_with_the_lenders_agency_is_accepted(world: World, item: ItemKey | None) -> None:
    place(world, "ok request=CUHK:R1-1")

    assert isinstance(shipped(world, "CUHK", "R1-1", item), Noted)
    assert world.request("R1").position is P.IN_TRANSIT


def test_our_request_number_is_refused_from_another_lender(world: World) -> None:
    place(world)
    told = PartnerNotice(
        by=Actor(who="LU", channel="ncip", message="ItemShipped"), partner="LU", wire_agency="LU", wire_id="R1-1"
    )
    assert world.store.now(with_our_number, told, "HKU") == told


@pytest.mark.parametrize("agency", ["cuhk", "CUHK", ""])
def test_agency_of_a_request_number_is_case_insensitive(world: World, agency: str) -> None:
    place(world, f"ok request={agency}:77")

    assert isinstance(shipped(world, "CUHK", "77", None), Noted)


def test_item_decides_between_two_requests_with_the_same_number(world: World) -> None:
    world.peers.script("CUHK", *manner("ok request=CUHK:77 x2"))
    for bib in ("b-dune", "b-dream"):
        world.tell("HKU-DISCOVERY", f"RequestItem user=UG1 bib={bib} request={bib}")
        world.pump()

    assert isinstance(shipped(world, "CUHK", "77", C1), Noted)

    assert [world.request(name).position for name in ("R1", "R2")] == [P.IN_TRANSIT, P.REQUESTED]


def test_open_request_is_preferred_among_two_with_the_same_number(world: World) -> None:
    world.peers.script("CUHK", *manner("ok request=CUHK:77 x2"))
    for bib in ("b-dune", "b-dream"):
        world.tell("HKU-DISCOVERY", f"RequestItem user=UG1 bib={bib} request={bib}")
        world.pump()
    world.tell("HKU-DISCOVERY", "CancelRequestItem user=UG1 request=b-dream")
    world.pump()

    assert isinstance(shipped(world, "CUHK", "77", None), Noted)

    assert [world.request(name).position for name in ("R1", "R2")] == [P.IN_TRANSIT, P.CANCELLED]


def test_notification_may_arrive_before_the_reply_with_the_lenders_number(world: World) -> None:
    place(world, answer="")

    assert isinstance(shipped(world, "CUHK", "77"), Noted)
    assert world.request("R1").position is P.IN_TRANSIT


def test_unknown_request_number_without_an_item_is_unknown(world: World) -> None:
    place(world)
    assert isinstance(shipped(world, "CUHK", "78", None), Refused)


def test_same_number_from_another_library_is_a_different_request(world: World) -> None:
    place(world)
    told = PartnerNotice(
        by=Actor(who="LU", channel="ncip", message="ItemShipped"), partner="LU", wire_agency="LU", wire_id="77"
    )
    assert world.store.now(with_our_number, told, "HKU") == told


def test_partners_own_request_with_the_same_number_is_not_confused_with_ours(world: World) -> None:
    place(world)
    ask = BorrowFromUs(by=CUHK, partner="CUHK", wire_agency="CUHK", wire_id="77", bib_id="b-lend")
    assert isinstance(finished(world.circulation.execute(ask)), Paged)
    told = PartnerNotice(by=CUHK, partner="CUHK", wire_agency="CUHK", wire_id="77", item=K9)

    assert world.store.now(with_our_number, told, "HKU") == told
    assert world.store.now(with_our_number, replace(told, item=C1), "HKU").wire_id == "R1-1"


def test_lender_may_look_up_a_request_by_its_own_number(world: World) -> None:
    place(world)

    def seen(partner: str) -> object:
        return finished(
            world.circulation.execute(
                SeeRequest(
                    by=Actor(who=partner, channel="ncip", message="LookupRequest"),
                    agency=partner,
                    value="77",
                    caller=partner,
                    client=False,
                )
            )
        )

    found = seen("CUHK")
    assert isinstance(found, RequestSeen)
    assert found.request == "R1"
    assert isinstance(seen("LU"), Refused)
