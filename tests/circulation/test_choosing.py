"""Choice of the lender: by priority, record and calendar, anew before each attempt, or as staff decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from hkall_gateway.circulation import choosing
from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.find_request import StaffCommand
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import actions
from hkall_gateway.circulation.staff.actions import Acted
from hkall_gateway.db import partners
from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import CLOSURES, HOLDINGS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.circuit import DOWN
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request, Side
from hkall_gateway.simulator.scenario.world import World

WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"
STAFF = Actor(who="wong", channel="cli", message="request")
DAY = date(2017, 3, 1)
LENDERS = ("CUHK", "HKUST", "POLYU", "LU")
DECLINE = "ItemRequestCancelled request=HKU:R1-1 item=C1 user=HKU-INST"


@pytest.fixture
def world() -> Iterator[World]:
    """Dune is held by CUHK (C1), HKUST (S1) and LU (L1), asked in this order."""
    made = World.open(WORLDS / "consortium.toml")
    put(made, "LU", "L1")
    yield made
    made.close()


def put(world: World, agency: str, barcode: str, bib: str = "b-dune") -> None:
    copy = {"agency": agency, "barcode": barcode, "bib_id": bib, "title": "Dune", "material": "book"}
    world.store.now(lambda unit: unit.execute(insert(HOLDINGS), copy | {"status": "Available On Shelf", "lendable": True}))


def close(world: World, *agencies: str, day: date = DAY) -> None:
    world.store.now(lambda unit: unit.execute(insert(CLOSURES), [{"agency": a, "day": day, "reason": ""} for a in agencies]))


def wish(world: World) -> Request:
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    world.pump()
    return world.request("R1")


def decline(world: World, agency: str = "CUHK") -> Request:
    now = world.request("R1")
    world.tell(agency, DECLINE.replace("R1-1", now.wire_id))
    world.pump()
    return world.request("R1")


def skips(world: World) -> dict[str, str]:
    return {c.agency: c.skip for c in world.store.now(lambda unit: unit.candidates.of_request("R1"))}


# ---- the list


def test_library_closed_today_is_skipped_with_the_reason(world: World) -> None:
    close(world, "CUHK")

    assert wish(world).partner == "HKUST"
    assert skips(world)["CUHK"] == "closed 2017-03-01"


def test_request_on_a_public_holiday_waits_at_the_first_library(world: World) -> None:
    close(world, "CUHK", "HKUST", "POLYU", "LU")

    assert wish(world).partner == "CUHK"


def test_library_is_skipped_when_its_channel_is_down_too_long(world: World) -> None:
    def fall(unit: UnitOfWork) -> None:
        since = world.now - partners.DOWN_TOO_LONG
        unit.circuits.keep(replace(unit.circuits.find("CUHK"), state=DOWN, down_since=since))

    world.store.now(fall)

    assert wish(world).partner == "HKUST"
    assert skips(world)["CUHK"] == "cannot be reached"


def equal(world: World) -> None:
    """All libraries have the same priority."""
    world.store.now(lambda unit: unit.partners.write([replace(p, priority=10) for p in unit.partners.among(LENDERS).values()]))


def lent(world: World, agency: str, count: int, side: Side = Side.BORROWING) -> None:
    position = Position.CLOSED
    for n in range(count):
        row = Request(
            id=f"X{side}{agency}{n}", side=side, position=position, title="An older book", bib_id=f"b{n}", partner=agency
        )
        world.store.now(UnitOfWork.open, row, world.now, Actor(who="world", channel="world"))


def test_library_with_the_lowest_lending_ratio_is_asked_first(world: World) -> None:
    equal(world)
    lent(world, "CUHK", 5)
    lent(world, "HKUST", 4)
    lent(world, "LU", 3)

    assert wish(world).partner == "LU"


def test_lender_record_counts_loans_in_both_directions(world: World) -> None:
    equal(world)
    lent(world, "CUHK", 5)
    lent(world, "CUHK", 4, Side.LENDING)
    lent(world, "HKUST", 4)
    lent(world, "LU", 3)

    records = world.store.now(partners.records, world.now, LENDERS)

    assert (records["CUHK"].lent, records["CUHK"].borrowed) == (5, 4)


def test_refusal_lowers_the_rank_of_a_library(world: World) -> None:
    wish(world)
    decline(world)

    records = world.store.now(partners.records, world.now, LENDERS)

    assert (records["CUHK"].declines, records["HKUST"].declines) == (1.0, 0.0)


# ---- the next attempt


def test_item_that_became_unavailable_is_skipped_with_the_reason(world: World) -> None:
    wish(world)
    world.store.now(lambda unit: unit.holdings.set_status(ItemKey("HKUST", "S1"), "On Loan"))

    assert decline(world).partner == "LU"
    assert skips(world)["HKUST"] == "status On Loan"


def test_missing_item_is_replaced_by_another_of_the_same_library(world: World) -> None:
    put(world, "HKUST", "S2")
    wish(world)
    world.store.now(lambda unit: unit.holdings.set_status(ItemKey("HKUST", "S1"), "On Loan"))

    decline(world)

    asked = world.store.now(lambda unit: unit.requests.find_by_wire_id("R1-2"))
    assert asked is not None
    assert (asked[1].agency, asked[1].barcode) == ("HKUST", "S2")


def test_library_closed_today_is_asked_last(world: World) -> None:
    wish(world)
    close(world, "HKUST")

    assert decline(world).partner == "LU"
    assert decline(world, "LU").partner == "HKUST"


def test_library_is_asked_once_per_request(world: World) -> None:
    put(world, "CUHK", "C9")
    wish(world)

    partners_asked = [decline(world).partner, decline(world, "HKUST").partner, decline(world, "LU").position]

    assert partners_asked == ["HKUST", "LU", Position.UNFILLED]


def look_for(world: World, agency: str) -> tuple[str, ...]:
    told = PartnerMessage(
        send=Notification.TELL_LENDER_RECEIVED.value,
        request="R1",
        partner=agency,
        wire_agency="HKU",
        wire_id="R1-1",
        at=world.now,
    )
    address = in_context(choosing.address_message, world.circulation.library, world.now, told)
    found: tuple[str, ...] = world.store.now(address)[2]
    return found


@pytest.mark.parametrize(("seconds", "looked"), [(900, False), (901, True)])
def test_r7_recently_loaded_holdings_need_no_availability_lookup(world: World, seconds: int, looked: bool) -> None:
    world.store.now(
        lambda unit: unit.partners.write([replace(partner, can_lookup_items=True) for partner in world.start.partners])
    )
    assert look_for(world, "CUHK")

    world.store.now(loading.finish, "holdings", 1, False, world.now - timedelta(seconds=seconds))

    assert bool(look_for(world, "CUHK")) is looked


def test_library_without_lookups_is_not_queried(world: World) -> None:
    assert look_for(world, "CUHK") == ()


# ---- staff


def choose(world: World, what: str, agency: str, barcode: str = "", reason: str = "the reader's choice") -> Acted | Refused:
    deed = StaffCommand(by=STAFF, request="R1", barcode=barcode, agency=agency, reason=reason)
    outcome: Acted | Refused = world.store.now(in_context(actions.act, world.circulation.library, world.now, deed, what))
    world.pump()
    return outcome


def journal(world: World) -> list[str]:
    return [str(line["event"]) for line in world.store.now(lambda unit: unit.journal.history("R1"))]


def test_pinned_request_is_not_sent_to_another_library(world: World) -> None:
    wish(world)

    assert isinstance(choose(world, "pin", "CUHK"), Done)

    assert decline(world).position is Position.UNFILLED
    assert "PINNED" in journal(world)


def test_skipped_library_is_not_asked(world: World) -> None:
    wish(world)
    choose(world, "skip", "HKUST")

    assert decline(world).partner == "LU"


def test_skipping_the_current_lender_withdraws_the_request_and_asks_the_next(world: World) -> None:
    wish(world)
    world.peers.arrived("CUHK")

    choose(world, "skip", "CUHK")

    assert world.request("R1").partner == "HKUST"
    assert world.peers.unasked() == ["CUHK CancelRequestItem", "HKUST RequestItem"]


def test_inserted_item_is_requested_next(world: World) -> None:
    put(world, "POLYU", "P1")
    wish(world)

    choose(world, "insert", "LU", barcode="L1")

    assert decline(world).partner == "LU"


@pytest.mark.parametrize(
    ("what", "agency", "barcode", "why"),
    [
        ("insert", "POLYU", "P7", Reason.UNKNOWN_ITEM),  # another title
        ("insert", "POLYU", "P404", Reason.UNKNOWN_ITEM),
        ("insert", "CUHK", "C1", Reason.DUPLICATE_REQUEST),  # it is asked already
        ("pin", "POLYU", "", Reason.UNKNOWN_ITEM),  # it is not on the list
        ("skip", "POLYU", "", Reason.UNKNOWN_ITEM),
    ],
)
def test_invalid_choice_is_refused_and_changes_nothing(world: World, what: str, agency: str, barcode: str, why: Reason) -> None:
    put(world, "POLYU", "P7", "b-other")
    wish(world)
    before = skips(world)

    no = choose(world, what, agency, barcode)

    assert isinstance(no, Refused)
    assert (no.why, skips(world)) == (why, before)


@pytest.mark.parametrize("what", ["pin", "skip", "insert"])
def test_lender_cannot_be_changed_after_the_shipment(world: World, what: str) -> None:
    wish(world)
    world.tell("CUHK", "ItemShipped request=HKU:R1-1 item=C1")

    no = choose(world, what, "LU", barcode="L1")

    assert isinstance(no, Refused)
    assert no.why is Reason.WRONG_POSITION


def test_every_lender_list_entry_has_a_reason(world: World) -> None:
    close(world, "LU", day=date(2017, 3, 2))
    wish(world)

    reasons = {c.agency: c.reason for c in world.store.now(lambda unit: unit.candidates.of_request("R1"))}

    assert reasons["CUHK"] == "priority 10, balance 0.00, declines 0%"
    assert reasons["LU"] == "priority 40, closed tomorrow, balance 0.00, declines 0%"
