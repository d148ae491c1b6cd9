"""Notifications without a RequestId are matched by item; without a match they belong to no request."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hkall_gateway.circulation.partner_notice import ItemShipped, PartnerNotice, RequestCancelled
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.db.database import finished
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position
from hkall_gateway.simulator.scenario.scripted_partner import manner
from hkall_gateway.simulator.scenario.world import World
from tests.circulation.conftest import sent_as

P = Position
WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"
C1, S1 = ItemKey("CUHK", "C1"), ItemKey("HKUST", "S1")


@pytest.fixture
def world() -> World:
    """R1 is requested from CUHK for C1; HKUST's S1 is next in its list."""
    made = World.open(WORLDS / "consortium.toml")
    made.peers.script("CUHK", manner("ok")[0])
    made.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    made.pump()
    return made


def told(partner: str, message: str, item: ItemKey | None) -> PartnerNotice:
    return PartnerNotice(
        by=Actor(who=partner, channel="ncip", message=message),
        partner=partner,
        wire_agency="",
        wire_id="",
        item=item,
        at=datetime(2017, 3, 2, tzinfo=UTC),
    )


def shipped(world: World, partner: str, item: ItemKey | None) -> object:
    return finished(world.circulation.execute(sent_as(ItemShipped, told(partner, "ItemShipped", item))))


def declined(world: World, partner: str, item: ItemKey | None) -> object:
    return finished(world.circulation.execute(sent_as(RequestCancelled, told(partner, "ItemRequestCancelled", item))))


def standing(world: World) -> tuple[Position, str, str, str]:
    request = world.request("R1")
    return request.position, request.partner, request.item_barcode, request.flags


@pytest.mark.parametrize("tell", [shipped, declined])
@pytest.mark.parametrize("item", [None, S1, ItemKey("HKUST", "other")], ids=["no copy", "next copy", "another copy"])
def test_notification_without_a_request_number_is_refused_from_a_library_that_was_not_asked(
    world: World, tell: object, item: ItemKey | None
) -> None:
    before = standing(world)

    answer = tell(world, "HKUST", item)  # type: ignore[operator]

    assert isinstance(answer, Refused)
    assert answer.why is Reason.UNKNOWN_REQUEST
    assert standing(world) == before


def test_shipment_is_matched_by_its_item(world: World) -> None:
    assert isinstance(shipped(world, "CUHK", C1), Noted)
    assert standing(world)[:3] == (P.IN_TRANSIT, "CUHK", "C1")


def test_refusal_is_matched_by_its_item_and_the_next_lender_asked(world: World) -> None:
    assert isinstance(declined(world, "CUHK", C1), Noted)
    assert standing(world)[:2] == (P.REQUESTED, "HKUST")


def test_shipment_from_a_former_lender_cancels_the_current_lender(world: World) -> None:
    declined(world, "CUHK", C1)

    assert isinstance(shipped(world, "CUHK", C1), Noted)

    assert standing(world)[:3] == (P.IN_TRANSIT, "CUHK", "C1")
    assert (world.request("R1").wire_agency, world.request("R1").wire_id) == ("HKU", "R1-1")
