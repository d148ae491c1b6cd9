"""The reply to a partner's message says whether it was believed: applied, known already, late, or held for staff."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.rules.vocabulary import Actor, Position, Side
from tests.ncip.conftest import BROKER, CUHK, DISCOVERY, UG1
from tests.ncip.fields import problem

if TYPE_CHECKING:
    from hkall_gateway.ncip.codec.messages import NcipMessage
    from tests.ncip.conftest import World

P = Position
CARD = {"AgencyId": "HKU", "UserIdentifierValue": "HKU-INST"}
C1 = {"AgencyId": "CUHK", "ItemIdentifierValue": "C1"}
LOAN = {"first_checkout": date(2017, 2, 20), "loan_days": 15, "due": date(2017, 3, 7), "lender_due": date(2017, 4, 1)}


def belief(reply: NcipMessage) -> str:
    return reply.text("Ext/ItemNote")


def number(value: str, agency: str = "HKU") -> dict[str, str]:
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def ship(world: World, value: str, at: str = "2017-03-01T01:00:00Z", **more: Any) -> NcipMessage:
    return world.ask(CUHK, "ItemShipped", RequestId=number(value), ItemId=C1, DateShipped=at, **more)


def test_shipment_is_applied_and_a_second_one_is_known_already(world: World) -> None:
    world.place()
    value = world.request("R1").wire_id
    assert belief(ship(world, value)) == "applied"
    assert belief(ship(world, value, "2017-03-01T01:30:00Z")) == "known already"
    assert world.request("R1").position is P.IN_TRANSIT


def test_check_in_that_is_older_than_the_shipment_is_late(world: World) -> None:
    world.place()
    value = world.request("R1").wire_id
    ship(world, value)
    reply = world.ask(CUHK, "ItemReceived", RequestId=number(value), ItemId=C1, DateReceived="2017-02-27T01:00:00Z")
    assert (problem(reply), belief(reply)) == ("", "late")
    assert world.request("R1").position is P.IN_TRANSIT


def test_report_that_contradicts_our_scan_is_held_for_staff(world: World) -> None:
    loan = world.put(P.ON_LOAN, wire_agency="HKU", wire_id="R1-1", **LOAN)
    world.store.now(lambda unit: unit.note(loan, "CHECK_OUT", {}, world.now, Actor(who="counter", channel="sip2")))
    reply = world.ask(CUHK, "ItemCheckedIn", ItemId=C1, UserId=CARD)
    assert (problem(reply), belief(reply)) == ("Element Rule Violated", "held for staff")


def test_decline_after_the_shipment_is_held_for_staff(world: World) -> None:
    world.place()
    value = world.request("R1").wire_id
    ship(world, value)
    reply = world.ask(CUHK, "CancelRequestItem", RequestId=number(value), UserId=CARD)
    assert belief(reply) == "held for staff"
    assert problem(reply)


@pytest.mark.parametrize(
    ("due", "expected"),
    [("2017-05-01", "applied"), ("2017-04-01", "known already"), ("2126-04-01", "held for staff")],
)
def test_renewal_by_the_owner_says_whether_its_date_was_taken(world: World, due: str, expected: str) -> None:
    facts = {**LOAN, "due": date(2017, 4, 1)}
    world.put(P.ON_LOAN, wire_agency="HKU", wire_id="R1-1", **facts)
    reply = world.ask(CUHK, "ItemRenewed", ItemId=C1, UserId=CARD, DateDue=f"{due}T10:00:00+08:00")
    assert (problem(reply), belief(reply)) == ("", expected)


def test_repeated_check_in_of_a_broker_is_known_already(world: World) -> None:
    facts = {"partner": BROKER, "wire_agency": BROKER, "wire_id": "b-1", "kind": "brokered"}
    world.put(P.ON_LOAN, **{**LOAN, **facts})
    first = world.ask(BROKER, "CheckInItem", ItemId=C1)
    second = world.ask(BROKER, "CheckInItem", ItemId=C1, ItemElementType=["Circulation Status"])
    assert (belief(first), belief(second)) == ("applied", "known already")


def test_borrowers_news_that_is_known_is_known_already(world: World) -> None:
    lent = {"partner": CUHK, "wire_agency": CUHK, "wire_id": "c-1", "item_agency": "HKU", "item_barcode": "K9", "patron": ""}
    world.put(P.AT_BORROWER, side=Side.LENDING, **lent)
    copy = {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}
    reply = world.ask(CUHK, "ItemReceived", RequestId=number("c-1", CUHK), ItemId=copy)
    assert belief(reply) == "known already"


def test_client_that_asks_for_an_action_gets_no_belief(world: World) -> None:
    world.put(P.ON_LOAN, wire_agency="HKU", wire_id="R1-1", **LOAN)
    pin = [{"AuthenticationInputData": "1234", "AuthenticationDataFormatType": "text", "AuthenticationInputType": "PIN"}]
    reply = world.ask(DISCOVERY, "RenewItem", ItemId=C1, UserId=UG1, AuthenticationInput=pin)
    assert (problem(reply), belief(reply)) == ("", "")
