"""Requests and notifications of clients and partners, through the circulation service, and their replies."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import INBOX, REQUESTS
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.vocabulary import Position
from tests.ncip.fields import number, problem
from tests.ncip.fields import typed_copy as copy

if TYPE_CHECKING:
    from tests.ncip.conftest import World

P = Position
DISCOVERY, CUHK, LU = "HKU-DISCOVERY", "CUHK", "LU"
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
UG1 = {"AgencyId": "HKU", "UserIdentifierType": "Barcode Id", "UserIdentifierValue": "UG1"}
DUNE = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}
LOAN = {"RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}


# ---- requests of our patrons


def test_patron_request_is_placed_and_the_first_lender_asked(world: World) -> None:
    reply = world.place(PickupLocation="HKU-MAIN-LENDING")
    assert reply.text("RequestId/RequestIdentifierValue") == "d-77"
    assert reply.text("UserId/UserIdentifierValue") == "UG1"
    assert reply.text("ResponseHeader/ToAgencyId/AgencyId") == DISCOVERY
    assert [row.send for row in world.store.now(lambda unit: unit.outbox.rows())] == [Notification.ASK_LENDER]


@pytest.mark.parametrize("times", [2, 5])
def test_repeated_document_is_one_request_with_the_same_reply(world: World, times: int) -> None:
    ask: dict[str, Any] = {"UserId": UG1, "BibliographicId": [DUNE], "RequestId": number(DISCOVERY, "d-77"), **LOAN}
    body = world.document(DISCOVERY, "RequestItem", **ask)
    replies = {finished(respond(world.services, body, None, Peer(address="10.0.0.7"))) for _ in range(times)}
    assert (len(replies), len(world.rows(REQUESTS))) == (1, 1)


def test_request_without_a_number_gets_our_number(world: World) -> None:
    reply = world.ask(DISCOVERY, "RequestItem", UserId=UG1, BibliographicId=[DUNE], **LOAN)
    assert (reply.text("RequestId/AgencyId"), reply.text("RequestId/RequestIdentifierValue")) == ("HKU", "R1")


def test_same_request_without_a_number_counts_as_repeated_within_ten_seconds(world: World) -> None:
    world.ask(DISCOVERY, "RequestItem", UserId=UG1, BibliographicId=[DUNE], **LOAN)
    assert world.rows(INBOX)[0]["keep_until"] == NOW + timedelta(seconds=10)


def test_reply_to_a_document_without_a_request_is_stored_for_fifteen_minutes(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 3), first_checkout=date(2017, 2, 15), loan_days=15, used=True)
    world.ask(DISCOVERY, "RenewItem", UserId=UG1, ItemId={"AgencyId": "CUHK", "ItemIdentifierValue": "C1"})
    assert world.rows(INBOX)[0]["keep_until"] == NOW + timedelta(minutes=15)


def test_reply_to_a_document_with_a_request_is_stored_for_thirty_days(world: World) -> None:
    world.place()
    assert world.rows(INBOX)[0]["keep_until"] == NOW + timedelta(days=30)


def test_refusal_names_rule_element_and_value(world: World) -> None:
    reply = world.place(user={**UG1, "UserIdentifierValue": "LATE"})
    assert problem(reply) == "User Ineligible To Request This Item"
    assert reply.text("Problem/ProblemDetail").startswith("R2: ")
    assert (reply.text("Problem/ProblemElement"), reply.text("Problem/ProblemValue")) == ("UserId", "LATE")


def test_patron_cancels_before_the_shipment(world: World) -> None:
    world.place()
    cancel = {"UserId": UG1, "RequestId": number(DISCOVERY, "d-77"), "RequestType": "Loan"}
    reply = world.ask(DISCOVERY, "CancelRequestItem", **cancel)
    assert (problem(reply), reply.text("UserId/UserIdentifierValue")) == ("", "UG1")
    assert world.request("R1").position is P.CANCELLING


def test_request_of_another_patron_cannot_be_cancelled(world: World) -> None:
    world.place()
    other = {**UG1, "UserIdentifierValue": "LATE"}
    reply = world.ask(DISCOVERY, "CancelRequestItem", UserId=other, RequestId=number(DISCOVERY, "d-77"), RequestType="Loan")
    assert problem(reply) == "Unknown Request"


def test_renewal_returns_the_new_due_date_with_its_time_zone(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 2), first_checkout=date(2017, 2, 15), loan_days=15, lender_due=date(2017, 4, 20))
    reply = world.ask(DISCOVERY, "RenewItem", UserId=UG1, ItemId=copy("CUHK", "C1"))
    assert reply.text("DateDue").endswith("T23:59:59+08:00")
    assert reply.text("RenewalCount") == "1"


# ---- what partners ask and tell


def test_partner_borrows_one_of_our_items(world: World) -> None:
    title = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "blend", "AgencyId": "HKALL"}}
    institution = {"AgencyId": "HKU", "UserIdentifierValue": "CUHK-INST"}
    ask = {"UserId": institution, "BibliographicId": [title], "RequestId": number(CUHK, "c-1"), **LOAN}
    reply = world.ask(CUHK, "RequestItem", **ask)
    assert reply.text("ItemId/ItemIdentifierValue") == "K9"
    assert reply.text("UserId/UserIdentifierValue") == "CUHK-INST"
    assert world.request("R1").position is P.PAGED


def asked(world: World) -> str:
    """UG1's request sent to CUHK, and its wire number."""
    world.place()
    return world.request("R1").wire_id


def shipped(wire_id: str, due: str = "2017-04-20T15:59:59Z") -> dict[str, Any]:
    place = {"UnstructuredAddressType": "Newline-Delimited Text", "UnstructuredAddressData": "HKU"}
    to = {"PhysicalAddress": {"UnstructuredAddress": place, "PhysicalAddressType": "Street Address"}}
    said: dict[str, Any] = {"RequestId": number("HKU", wire_id), "ItemId": copy("CUHK", "C1"), "ShippingInformation": to}
    return said | {"DateShipped": "2017-03-01T02:00:00Z", "ItemOptionalFields": {"DateDue": due}}


def test_shipment_is_recorded_and_answered_without_a_problem(world: World) -> None:
    reply = world.ask(CUHK, "ItemShipped", **shipped(asked(world)))
    assert reply.fields.keys() == {"ResponseHeader", "Ext"}
    assert reply.text("Ext/ItemNote") == "applied"
    assert (world.request("R1").position, world.request("R1").lender_due) == (P.IN_TRANSIT, date(2017, 4, 20))


@pytest.mark.parametrize(("meant", "day"), [("instant", date(2017, 4, 21)), ("date_only", date(2017, 4, 20))])
def test_due_date_is_parsed_in_the_partners_format(world: World, meant: str, day: date) -> None:
    world.admit(CUHK, date_semantics=meant)
    world.ask(CUHK, "ItemShipped", **shipped(asked(world), "2017-04-20T23:00:00Z"))
    assert world.request("R1").lender_due == day


def test_library_cannot_ship_an_item_requested_from_another_library(world: World) -> None:
    wire_id = asked(world)
    reply = world.ask(LU, "ItemShipped", **{**shipped(wire_id), "ItemId": copy("LU", "L1")})
    assert problem(reply) == "Unauthorized Combination Of Element Values For Agency"
    assert world.request("R1").position is P.REQUESTED


def test_lender_that_declines_is_replaced_by_the_next_lender(world: World) -> None:
    wire_id = asked(world)
    said = {"UserId": {"AgencyId": "CUHK", "UserIdentifierValue": "HKU-INST"}, "RequestType": "Loan"}
    world.ask(CUHK, "ItemRequestCancelled", RequestId=number("HKU", wire_id), **said)
    assert world.request("R1").partner == LU


def test_item_received_by_its_lender_closes_the_request(world: World) -> None:
    request = world.put(P.RETURN_TRANSIT, wire_agency="HKU", wire_id="R1-1")
    world.ask(CUHK, "ItemReceived", ItemId=copy("CUHK", "C1"), DateReceived="2017-03-19T03:00:00Z")
    assert world.request(request.id).position is P.CLOSED
