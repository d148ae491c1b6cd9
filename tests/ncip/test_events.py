"""Notifications about items, charges and request changes: who may send them, refusals, and their effects."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import FINES
from hkall_gateway.ncip.broker_flow import is_central_number, without_library
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.ncip.requests import REPORTED, read_cents
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.vendor_words.availability import CIRCULATION_STATUS
from hkall_gateway.rules.vocabulary import ItemKey, Position, Side
from tests.ncip.conftest import World, make_ext
from tests.ncip.fields import copy, number, problem

P = Position
DISCOVERY, CUHK, BROKER, CENTRAL = "HKU-DISCOVERY", "CUHK", "RESHARE", "HKALL1"
UG1 = {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}


# ---- what a copy is doing


@pytest.mark.parametrize("status", CIRCULATION_STATUS)
def test_circulation_status_is_case_insensitive(world: World, status: str) -> None:
    world.ask(CUHK, "CirculationStatusUpdated", ItemId=copy(CUHK, "C1"), CirculationStatus=status.upper())
    holding = world.store.now(lambda unit: unit.holdings.find(ItemKey(CUHK, "C1")))
    assert holding is not None
    assert holding.status == status


def test_unknown_status_is_refused_with_its_value(world: World) -> None:
    reply = world.ask(CUHK, "UpdateCirculationStatus", ItemId=copy(CUHK, "C1"), CirculationStatus="Eaten")
    assert (problem(reply), reply.text("Problem/ProblemValue")) == ("Unknown Value From Known Scheme", "Eaten")


@pytest.mark.parametrize("what", REPORTED)
def test_borrower_can_only_report_our_items(world: World, what: str) -> None:
    lent = {"side": Side.LENDING, "patron": "", "item_agency": "HKU", "item_barcode": "K9", "placed_by": "", "placed_id": ""}
    world.put(P.AT_BORROWER, **lent, wire_agency=CUHK, wire_id="c-1")
    said: Any = {"DateReportedReturned": "2017-03-01T00:00:00Z"} if what == "ItemReportedReturned" else True
    ask = {"ItemId": copy("HKU", "K9"), "UserId": {"UserIdentifierValue": "CUHK-INST"}, what: said}
    assert problem(world.ask("LU", "ReportCirculationStatusChange", **ask)) == "Item Not Checked Out"
    assert problem(world.ask(CUHK, "ReportCirculationStatusChange", **ask)) == ""
    after = world.request("R1")
    assert (after.claimed_on is not None, after.lost_on is not None) == (REPORTED[what] == "claim", REPORTED[what] == "lost")


# ---- changes


def change(world: World, agency: str, **fields: Any) -> NcipMessage:
    return world.ask(agency, "UpdateRequestItem", RequestId=number(DISCOVERY, "d-77"), AddRequestFields=fields)


def test_request_is_accepted_only_for_locations_with_delivery(world: World) -> None:
    world.place()
    assert problem(change(world, DISCOVERY, PickupLocation="MARS")) == "Element Rule Violated"


def test_request_cannot_be_changed_by_another_agency(world: World) -> None:
    world.place()
    assert problem(change(world, CUHK, NeedBeforeDate="2017-05-01T00:00:00Z")) == "Unknown Request"
    assert world.request("R1").need_before is None


def test_reply_to_a_change_has_the_request_number_if_there_is_no_item(world: World) -> None:
    world.place()
    reply = change(world, DISCOVERY, NeedBeforeDate="2017-05-01T04:00:00Z")
    assert (reply.text("ItemId/ItemIdentifierType"), reply.text("ItemId/ItemIdentifierValue")) == ("ILL Request Id", "R1")
    assert world.request("R1").need_before == date(2017, 5, 1)


# ---- money


def charge(world: World, cents: str, reference: str, agency: str = BROKER) -> NcipMessage:
    money = {"CurrencyCode": "HKD", "MonetaryValue": cents}
    about: dict[str, Any] = {"FiscalActionType": "Assess", "FiscalTransactionType": "Fine", "Amount": money}
    about["FiscalTransactionReferenceId"] = {"AgencyId": agency, "FiscalTransactionIdentifierValue": reference}
    return world.ask(agency, "CreateUserFiscalTransaction", UserId=UG1, FiscalTransactionInformation=about)


def test_charge_reference_is_applied_once_and_refused_with_another_amount(world: World) -> None:
    found = [problem(charge(world, *row)) for row in (("500", "f-1"), ("500", "f-2"), ("700", "f-1"))]
    assert found == ["", "", "Element Rule Violated"]
    assert [row["cents"] for row in world.rows(FINES)] == [500, 500]


def test_same_reference_from_another_system_is_a_different_event(world: World) -> None:
    charge(world, "500", "f-1")
    charge(world, "600", "f-1", DISCOVERY)
    assert [row["cents"] for row in world.rows(FINES)] == [500, 600]


@pytest.mark.parametrize("cents", ["-5", "0", "", "1e3", "9999999999", "1.234", "５"])
def test_invalid_amount_is_refused(world: World, cents: str) -> None:
    assert problem(charge(world, cents, "f-1")) == "Invalid Amount"
    assert world.rows(FINES) == []


@given(st.integers(0, 9_999_999))
def test_minor_units_and_decimals_are_equivalent(cents: int) -> None:
    said = (str(cents), f"{cents // 100}.{cents % 100:02}")
    assert {read_cents(NcipMessage(service="", fields={"Amount": {"MonetaryValue": text}})) for text in said} == {cents}


# ---- a broker's records


def test_broker_creates_updates_and_hands_over_an_item(world: World) -> None:
    about = {"BibliographicDescription": {"Title": "Botchan"}, "RequestId": number(BROKER, "q-1")}
    made = world.ask(BROKER, "CreateItem", **about)
    assert made.text("ItemId/ItemIdentifierValue") == "q-1"
    changed = {"AddItemFields": {"BibliographicDescription": {"Title": "Kokoro"}}}
    assert problem(world.ask(BROKER, "UpdateItem", ItemId=copy(BROKER, "q-1"), **changed)) == ""
    assert (world.request("R1").title, world.request("R1").position) == ("Kokoro", P.IN_TRANSIT)
    hold = {"RequestedActionType": "Hold For Pickup", "UserId": UG1, "ItemId": copy(BROKER, "q-1")}
    assert problem(world.ask(BROKER, "AcceptItem", RequestId=number(BROKER, "q-1"), **hold)) == ""
    assert (world.request("R1").patron, world.request("R1").position) == ("UG1", P.RECEIVED)


def test_broker_may_create_an_item_twice_but_no_other_item_with_the_same_barcode(world: World) -> None:
    asks = [{"BibliographicDescription": {"Title": name}, "ItemId": copy(BROKER, "T1")} for name in ("Kokoro", "Botchan")]
    assert [problem(world.ask(BROKER, "CreateItem", **ask)) for ask in (asks[0], asks[0], asks[1])] == [
        "",
        "",
        "Duplicate Item",
    ]


def test_announced_item_that_never_arrived_is_deleted(world: World) -> None:
    world.ask(BROKER, "CreateItem", ItemId=copy(BROKER, "T1"), BibliographicDescription={"Title": "Kokoro"})
    assert problem(world.ask(BROKER, "DeleteItem", ItemId=copy(BROKER, "T1"))) == ""
    assert world.request("R1").position is P.CLOSED


def test_broker_undoes_a_checkout(world: World) -> None:
    hold = {"RequestedActionType": "Hold For Pickup", "UserId": UG1, "ItemId": copy(BROKER, "T1")}
    world.ask(BROKER, "AcceptItem", RequestId=number(BROKER, "q-1"), **hold)
    world.ask(BROKER, "CheckOutItem", UserId=UG1, ItemId=copy(BROKER, "T1"))
    assert world.request("R1").position is P.ON_LOAN
    assert problem(world.ask(BROKER, "UndoCheckOutItem", ItemId=copy(BROKER, "T1"))) == ""
    assert world.request("R1").position is P.RECEIVED


@pytest.mark.parametrize("service", ["CheckInItem", "DeleteItem", "RecallItem", "UndoCheckOutItem"])
def test_broker_cannot_change_requests_of_another_broker(world: World, service: str) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16))
    assert problem(world.ask(BROKER, service, ItemId=copy("CUHK", "C1"))) == "Unknown Item"
    assert world.request("R1").position is P.ON_LOAN


# ---- INN-Reach


@pytest.mark.parametrize(
    ("value", "ours"), [("i1234567", True), (".i12345678", True), ("K9", False), ("item9", False), ("i", False)]
)
def test_central_item_number_begins_with_i_and_a_digit(value: str, ours: bool) -> None:
    assert is_central_number(value) == ours


@pytest.mark.parametrize(("joined", "alone"), [("30001HKALL1", "30001"), ("30001", "30001"), ("HKALL1", "HKALL1")])
def test_barcode_and_library_are_separated(joined: str, alone: str) -> None:
    assert without_library(joined, CENTRAL) == alone


def test_central_request_for_an_ineligible_patron_is_refused(world: World) -> None:
    late = {"AgencyId": "HKU", "UserIdentifierValue": "LATE"}
    wish = {"ItemId": copy(CENTRAL, "i1"), "RequestType": "Loan", "RequestScopeType": "Item"}
    reply = world.ask(CENTRAL, "ItemRequested", UserId=late, **wish)
    assert problem(reply) == "User Ineligible To Request This Item"


def test_unannounced_item_is_received(world: World) -> None:
    wish = {"ItemId": copy(CENTRAL, "i1"), "RequestType": "Loan", "RequestScopeType": "Item"}
    world.ask(CENTRAL, "ItemRequested", UserId=UG1, **wish)
    printed = {"ItemDescription": {"Ext": {"ItemId": [{"ItemIdentifierValue": "30001"}]}}}
    hold = {"RequestedActionType": "Hold For Pickup", "ItemId": copy(CENTRAL, "i1"), "ItemOptionalFields": printed}
    assert problem(world.ask(CENTRAL, "AcceptItem", RequestId=number(CENTRAL, "x-1"), **hold)) == ""
    after = world.request("R1")
    assert (after.position, after.item, after.unannounced) == (P.RECEIVED, ItemKey(CENTRAL, "30001"), True)


# ---- Ext


def test_reply_echoes_the_request_number_in_ext_but_no_foreign_elements(world: World) -> None:
    world.place()
    wire = number("HKU", world.request("R1").wire_id)
    shipped_by = etree.fromstring('<x:ShippedBy xmlns:x="urn:nncipp"><x:Lender/></x:ShippedBy>')
    told: dict[str, Any] = {"RequestId": wire, "UserId": {"UserIdentifierValue": "HKU-INST"}, "RequestType": "Loan"}
    told["Ext"] = make_ext(shipped_by) | {"RequestId": [wire]}
    body = world.document(CUHK, "ItemRequestCancelled", **told)
    reply = decode(finished(respond(world.services, body, None, Peer(address="10.0.0.7"))))
    assert reply.fields["Ext"] == {"RequestId": [wire], "ItemNote": ["applied"]}
