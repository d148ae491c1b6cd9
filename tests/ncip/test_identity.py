"""Parties of a document: owner of a request, owner of an item, addressee, access to patron data, and patron credentials."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.peers.callers import WRONG_PROOFS, WRONG_PROOFS_OF_AN_ADDRESS, Peer
from hkall_gateway.rules.vocabulary import Position
from tests.metrics import value
from tests.ncip.fields import problem

if TYPE_CHECKING:
    from tests.ncip.conftest import World

P = Position
CUHK, LU, BROKER, CENTRAL, DISCOVERY = "CUHK", "LU", "RESHARE", "HKALL1", "HKU-DISCOVERY"
UG1 = {"AgencyId": "HKU", "UserIdentifierType": "Barcode Id", "UserIdentifierValue": "UG1"}
OURS = [{"BibliographicRecordId": {"BibliographicRecordIdentifier": "blend", "AgencyId": "HKALL"}}]
LOAN = {"RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}
VALUES = "Unauthorized Combination Of Element Values For Agency"
FAILED = "Agency Authentication Failed"
LATER = "Temporary Processing Failure"
NAME = "UserOptionalFields/NameInformation/PersonalNameInformation/UnstructuredPersonalUserName"


# ---- whose request


def number(agency: str, value: str = "c-2") -> dict[str, str]:
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def borrow(world: World, agency: str, numbered: str) -> NcipMessage:
    named = number(numbered) if numbered else {"RequestIdentifierValue": "c-2"}
    return world.ask(agency, "RequestItem", UserId=UG1, BibliographicId=OURS, RequestId=named, **LOAN)


@pytest.mark.parametrize("numbered", ["LU", "HKU", "RESHARE", "ATLANTIS", "hku"])
def test_library_cannot_place_a_request_in_the_name_of_another_library(world: World, numbered: str) -> None:
    reply = borrow(world, CUHK, numbered)
    assert (problem(reply), reply.text("Problem/ProblemElement")) == (VALUES, "RequestId")
    assert problem(borrow(world, CUHK, CUHK)) == ""


@pytest.mark.parametrize("numbered", ["CUHK", "cuhk", ""])
def test_request_numbers_are_accepted_under_any_spelling_of_the_agency(world: World, numbered: str) -> None:
    assert problem(borrow(world, CUHK, numbered)) == ""


def test_additional_agency_is_accepted_when_configured(world: World) -> None:
    world.admit(CUHK, request_agencies=("CUHK-LAW",))
    assert problem(borrow(world, CUHK, "CUHK-LAW")) == ""


ACCEPT = {"RequestedActionType": "Hold For Pickup", "UserId": UG1}


@pytest.mark.parametrize(
    ("numbered", "row", "says"),
    [
        ("RESHARE", (), ""),
        ("LIBRARY-AFAR", (), ""),
        ("CUHK", (), VALUES),
        ("HKU", (), VALUES),
        ("HKU", ("HKU",), ""),
        ("CUHK", ("CUHK",), ""),
    ],
)
def test_broker_may_use_numbers_of_unconfigured_libraries_and_of_its_listed_agencies(
    world: World, numbered: str, row: tuple[str, ...], says: str
) -> None:
    world.admit(BROKER, request_agencies=row)
    copy = {"AgencyId": BROKER, "ItemIdentifierValue": "T1"}
    assert problem(world.ask(BROKER, "AcceptItem", RequestId=number(numbered), ItemId=copy, **ACCEPT)) == says


def test_client_cannot_place_a_request_in_the_name_of_another_agency(world: World) -> None:
    for numbered, says in (("CUHK", VALUES), (DISCOVERY, "")):
        book = [{"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}]
        reply = world.ask(DISCOVERY, "RequestItem", UserId=UG1, BibliographicId=book, RequestId=number(numbered), **LOAN)
        assert problem(reply) == says


# ---- whose copy


@pytest.mark.parametrize("service", ["ItemShipped", "CheckOutItem", "AcceptItem"])
@pytest.mark.parametrize("owner", ["HKU", "LU", "ATLANTIS"])
def test_lender_can_ship_only_its_own_items(world: World, service: str, owner: str) -> None:
    world.place()
    more = ACCEPT if service == "AcceptItem" else {"UserId": UG1} if service == "CheckOutItem" else {}
    copy = {"AgencyId": owner, "ItemIdentifierValue": "K9"}
    reply = world.ask(CUHK, service, RequestId=number("HKU", world.request("R1").wire_id), ItemId=copy, **more)
    assert (problem(reply), reply.text("Problem/ProblemElement")) == (VALUES, "ItemId")
    assert (world.request("R1").position, world.request("R1").item) == (P.REQUESTED, None)


# ---- for whom


def to(world: World, *agencies: str) -> NcipMessage:
    header: dict[str, Any] = {"FromAgencyId": {"AgencyId": CUHK}, "FromAgencyAuthentication": "c-key"}
    if agencies:
        header["ToAgencyId"] = [{"AgencyId": agency} for agency in agencies]
    copy = {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}
    return world.send(
        encode(NcipMessage(service="LookupItem", fields={"InitiationHeader": header, "ItemId": copy}), DIALECTS["direct"])
    )


@pytest.mark.parametrize("agencies", [("HKU",), ("hku",), (), ("HKU-ILL",)])
def test_document_addressed_to_any_of_our_agencies_is_answered(world: World, agencies: tuple[str, ...]) -> None:
    world.services = replace(world.services, other_names=("hku-ill",))
    assert problem(to(world, *agencies)) == ""


@pytest.mark.parametrize("agency", ["LU", "CUHK", "HKU-ILL", "HKU2"])
def test_document_for_another_agency_is_refused_with_our_agency(world: World, agency: str) -> None:
    reply = to(world, agency)
    told = [reply.text(f"Problem/{name}") for name in ("ProblemType", "ProblemElement", "ProblemValue")]
    assert told == ["Unknown Agency", "ToAgencyId", agency]
    assert "this is HKU" in reply.text("Problem/ProblemDetail")


# ---- what proves a patron


def proof(kind: str, value: str) -> dict[str, Any]:
    return {"AuthenticationInputType": kind, "AuthenticationInputData": value, "AuthenticationDataFormatType": "text"}


@pytest.mark.parametrize("kind", ["Pin Number", "Passcode", "", "Last Name"])
@pytest.mark.parametrize("value", ["1234", "9999"])
@pytest.mark.parametrize("service", ["LookupUser", "RenewItem"])
def test_credential_of_an_unknown_type_is_refused(world: World, kind: str, value: str, service: str) -> None:
    world.put(P.ON_LOAN)
    more = {"ItemId": {"AgencyId": "CUHK", "ItemIdentifierValue": "C1"}} if service == "RenewItem" else {}
    inputs = [proof("Barcode Id", "UG1"), proof(kind, value)]
    reply = world.ask(DISCOVERY, service, UserId=UG1, AuthenticationInput=inputs, **more)
    assert (problem(reply), reply.text("Problem/ProblemElement")) == ("User Authentication Failed", "AuthenticationInputType")
    assert "PIN" in reply.text("Problem/ProblemDetail")


def test_empty_credential_of_an_unknown_type_is_ignored(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupUser", UserId=UG1, AuthenticationInput=[proof("Passcode", "")])
    assert problem(reply) == ""


def with_pin(world: World, pin: str, agency: str = DISCOVERY) -> NcipMessage:
    return world.ask(agency, "LookupUser", AuthenticationInput=[proof("Barcode Id", "UG1"), proof("PIN", pin)])


def test_wrong_pins_are_logged_and_refused_beyond_a_limit(world: World) -> None:
    world.admit(DISCOVERY, wrong_pins=3)
    with capture_logs() as logs:
        found = [problem(with_pin(world, pin)) for pin in ("1", "1234", "2", "3", "1234")]
    wrong = "User Authentication Failed"
    assert found == [wrong, "", wrong, wrong, LATER]
    seen = [(log["log_level"], log["peer"]) for log in logs if log["event"] == "ncip.pin_wrong"]
    assert seen == [("warning", DISCOVERY)] * 3
    assert value(world.services.metrics, "wrong_pins_total", "ncip", DISCOVERY) == 3
    assert problem(world.ask(DISCOVERY, "LookupUser", UserId=UG1)) == ""
    world.now += timedelta(minutes=15)
    assert problem(with_pin(world, "1234")) == ""


# ---- who is told of a patron


def seen_by(world: World, agency: str, **more: Any) -> NcipMessage:
    wanted = ["Name Information", "User Address Information", "User Language", "User Privilege", "Block Or Trap"]
    flags = {"LoanedItemsDesired": True, "UserFiscalAccountDesired": True, "RequestedItemsDesired": True}
    return world.ask(agency, "LookupUser", UserElementType=wanted, **flags, **{"UserId": UG1, **more})


@pytest.mark.parametrize("agency", [BROKER, CENTRAL])
def test_broker_without_a_pin_or_an_open_request_gets_eligibility_and_blocks_only(world: World, agency: str) -> None:
    world.put(P.ON_LOAN)
    world.put(P.CLOSED, partner=agency, item_barcode="T1", item_agency=agency)
    reply = seen_by(world, agency)
    assert reply.fields.keys() == {"ResponseHeader", "UserId", "UserOptionalFields"}
    assert next(iter(reply.each("UserOptionalFields"))).fields.keys() == {"UserPrivilege"}
    barred = seen_by(world, agency, UserId={**UG1, "UserIdentifierValue": "LATE"})
    assert barred.text("UserOptionalFields/BlockOrTrap/BlockOrTrapType") == "Block Request Item"
    assert value(world.services.metrics, "patron_lookups_total", agency, "eligibility") == 2


def test_broker_with_a_pin_an_open_request_or_permission_gets_the_name(world: World) -> None:
    assert "Chan Tai Man" in with_name(world, AuthenticationInput=[proof("PIN", "1234")])
    world.put(P.RECEIVED, partner=CENTRAL, item_barcode="T1", item_agency=CENTRAL)
    assert with_name(world) == ""
    world.put(P.RECEIVED, partner=BROKER, item_barcode="T2", item_agency=BROKER)
    assert "Chan Tai Man" in with_name(world)
    world.admit(CENTRAL, sees_patrons=True)
    assert "Chan Tai Man" in seen_by(world, CENTRAL).text(NAME)
    assert value(world.services.metrics, "patron_lookups_total", BROKER, "whole") == 2


def with_name(world: World, **more: Any) -> str:
    return seen_by(world, BROKER, **more).text(NAME)


# ---- what proves an agency


def guess(world: World, agency: str, secret: str, address: str = "10.0.0.7") -> NcipMessage:
    copy = {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}
    return world.send(world.document(agency, "LookupItem", secret, ItemId=copy), Peer(address=address))


@pytest.mark.parametrize("secret", ["guess", "l-key", "d-key"])
def test_wrong_secret_and_another_partners_secret_get_the_same_reply(world: World, secret: str) -> None:
    reply, other = guess(world, CUHK, secret), guess(world, CUHK, "nothing like it")
    assert problem(reply) == FAILED
    assert reply.fields == other.fields


def test_credentials_are_refused_per_agency_and_address_after_too_many_failures(world: World) -> None:
    found = [problem(guess(world, CUHK, f"guess {number}")) for number in range(WRONG_PROOFS)]
    assert found == [FAILED] * WRONG_PROOFS
    assert problem(guess(world, CUHK, "c-key")) == problem(guess(world, CUHK, "guess")) == LATER
    assert problem(guess(world, LU, "l-key")) == ""
    assert problem(guess(world, CUHK, "c-key", "10.0.0.8")) == ""
    world.now += timedelta(minutes=15)
    assert problem(guess(world, CUHK, "c-key")) == ""
    assert value(world.services.metrics, "wrong_proofs_total", CUHK) == WRONG_PROOFS


def test_address_that_tries_many_agencies_is_locked_out(world: World) -> None:
    for attempt in range(WRONG_PROOFS_OF_AN_ADDRESS):
        guess(world, f"ATLANTIS-{attempt}", "guess")
    assert problem(guess(world, CUHK, "c-key")) == LATER
    assert problem(guess(world, CUHK, "c-key", "10.0.0.8")) == ""


def test_wrong_credentials_from_one_ipv6_network_count_together(world: World) -> None:
    for attempt in range(WRONG_PROOFS_OF_AN_ADDRESS):
        guess(world, f"ATLANTIS-{attempt}", "guess", f"2001:db8::{attempt:x}")
    assert problem(guess(world, CUHK, "c-key", "2001:db8::ffff")) == LATER
    assert problem(guess(world, CUHK, "c-key", "10.0.0.8")) == ""


# ---- a barcode that no scanner reads

UNREADABLE = {"a zero-width space": "C1\u200b", "a delimiter": "C|1", "three thousand characters": "C" * 3_000}


@pytest.mark.parametrize("service", ["ItemShipped", "CheckOutItem", "AcceptItem", "ItemReceived", "RecallItem"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_barcode_that_no_scanner_can_send_is_refused_at_the_entry(world: World, service: str, name: str) -> None:
    world.place()
    before = world.request("R1")
    more = ACCEPT if service == "AcceptItem" else {"UserId": UG1} if service == "CheckOutItem" else {}
    copy = {"AgencyId": CUHK, "ItemIdentifierValue": UNREADABLE[name]}
    numbered = {} if service == "RecallItem" else {"RequestId": number("HKU", before.wire_id)}
    reply = world.ask(CUHK, service, ItemId=copy, **numbered, **more)
    assert problem(reply)
    assert reply.text("Problem/ProblemElement") == "ItemId"
    assert world.request("R1") == before


def test_barcode_in_another_case_is_stored_as_the_lender_lists_it(world: World) -> None:
    world.place()
    copy = {"AgencyId": CUHK, "ItemIdentifierValue": "c1"}
    reply = world.ask(CUHK, "ItemShipped", RequestId=number("HKU", world.request("R1").wire_id), ItemId=copy)
    assert problem(reply) == ""
    assert world.request("R1").item_barcode == "C1"
    assert world.request("R1").position is P.IN_TRANSIT
