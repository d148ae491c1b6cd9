"""VuFind's XCNCIP2 driver (10.0), with the documents it sends: every reply is valid and has what the driver reads."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from hkall_gateway.config.systems import SYSTEMS
from hkall_gateway.db import fines
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import HOLDINGS, REQUESTS
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.vocabulary import Actor, Holding, Position
from tests.ncip.conftest import DISCOVERY, World

FOLDER = Path(__file__).parents[2] / "fixtures" / "ncip" / "vufind"
NAME = "UserOptionalFields/NameInformation/PersonalNameInformation"
CHARGE = "UserFiscalAccount/AccountDetails"
HERE = Peer(address="10.0.0.7")


def vufind(world: World, **facts: Any) -> None:
    """Configure the world's discovery system as a VuFind that names no sender."""
    world.admit(DISCOVERY, by_address=True, without_header=True, request_type="Hold", **facts)


def says(world: World, file: str, *swaps: tuple[str, str]) -> NcipMessage:
    text = (FOLDER / file).read_text()
    for old, new in swaps:
        assert old in text
        text = text.replace(old, new)
    return world.send(text.encode(), HERE)


DUNE = ("b-dune", "b1")


def test_hold_is_answered_and_listed_as_a_hold(world: World) -> None:
    vufind(world)
    assert says(world, "request-item.xml", DUNE).text("RequestType") == "Hold"
    assert says(world, "lookup-user.xml").texts("RequestedItem/RequestType") == ("Hold",)


def test_each_client_gets_its_configured_request_type(world: World) -> None:
    world.place(user={"AgencyId": "HKU", "UserIdentifierValue": "UG1"})
    mine = {"UserId": {"UserIdentifierValue": "UG1"}, "RequestedItemsDesired": True}
    assert world.ask(DISCOVERY, "LookupUser", **mine).text("RequestedItem/RequestType") == "Loan"
    vufind(world)
    assert world.ask(DISCOVERY, "LookupUser", **mine).text("RequestedItem/RequestType") == "Hold"
    number = {"AgencyId": DISCOVERY, "RequestIdentifierValue": "d-77"}
    assert world.ask(DISCOVERY, "LookupRequest", RequestId=number).text("RequestType") == "Hold"


def test_item_type_of_the_request_is_passed_on_to_partners(world: World) -> None:
    wish = {"ItemId": {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}, "RequestScopeType": "Item"}
    number = {"AgencyId": "CUHK", "RequestIdentifierValue": "c-1"}
    user = {"AgencyId": "HKU", "UserIdentifierValue": "CUHK-INST"}
    reply = world.ask("CUHK", "RequestItem", UserId=user, RequestId=number, RequestType="Page", **wish)
    assert reply.text("RequestType") == "Page"


def test_loan_includes_its_record_id_and_title(world: World) -> None:
    vufind(world)
    world.put(Position.ON_LOAN, due=date(2017, 3, 16))
    loan = "LoanedItem/Ext/BibliographicDescription"
    seen = says(world, "lookup-user.xml")
    assert seen.text(f"{loan}/BibliographicRecordId/BibliographicRecordIdentifier") == "b1"
    assert seen.text(f"{loan}/Title") == "Dune"


def test_partner_item_lent_here_is_found_under_our_agency(world: World) -> None:
    vufind(world)
    world.put(Position.ON_LOAN, due=date(2017, 3, 16))
    seen = says(world, "lookup-item.xml")
    assert (seen.text("ItemId/AgencyId"), seen.text("ItemId/ItemIdentifierValue")) == ("CUHK", "C1")
    record = "ItemOptionalFields/BibliographicDescription/BibliographicRecordId/BibliographicRecordIdentifier"
    assert seen.text(record) == "b1"


def test_partner_item_not_present_here_is_unknown_under_our_agency(world: World) -> None:
    vufind(world)
    assert says(world, "lookup-item.xml").text("Problem/ProblemType") == "Unknown Item"


def test_charge_is_listed_with_kind_amount_title_and_day(world: World) -> None:
    vufind(world)
    loan = world.put(Position.ON_LOAN, due=date(2017, 3, 16))
    world.store.now(fines.charge, loan, "replacement", 1250, "R45", world.now, Actor(who="test", channel="world"))
    seen = says(world, "lookup-user.xml")
    told = f"{CHARGE}/FiscalTransactionInformation"
    assert seen.text(f"{told}/FiscalTransactionType") == "Book Replacement Charge"
    assert seen.text(f"{told}/FiscalActionType") == "Assess"
    assert seen.text(f"{told}/Amount/MonetaryValue") == seen.text("UserFiscalAccount/AccountBalance/MonetaryValue") == "1250"
    assert seen.text(f"{told}/ItemDetails/BibliographicDescription/Title") == "Dune"
    assert seen.text(f"{told}/ItemDetails/BibliographicDescription/BibliographicRecordId/BibliographicRecordIdentifier") == "b1"
    assert seen.text(f"{CHARGE}/AccrualDate").startswith("2017-03-01T10:00:00+08:00")


def test_charge_of_a_broker_keeps_its_type(world: World) -> None:
    vufind(world)
    for kind in ("Interlibrary Loan Fee", "Something Else"):
        money = {"FiscalTransactionType": kind, "Amount": {"MonetaryValue": "500"}, "FiscalActionType": "Assess"}
        user = {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}
        world.ask(DISCOVERY, "CreateUserFiscalTransaction", UserId=user, FiscalTransactionInformation=money)
    told = says(world, "lookup-user.xml").texts(f"{CHARGE}/FiscalTransactionInformation/FiscalTransactionType")
    assert told == ("Interlibrary Loan Fee", "Service Charge")


PLACES = {"HKU-MAIN-LENDING": "Main Library, Lending Services", "HKU-MUSIC": "Music Library"}


def test_pickup_locations_are_numbered_and_accepted_by_number(world: World) -> None:
    vufind(world)
    world.services = replace(world.services, places=PLACES)
    at = "Ext/LocationName/LocationNameInstance"
    seen = says(world, "lookup-agency.xml")
    assert seen.texts(f"{at}/LocationNameLevel") == ("1", "2")
    assert seen.texts(f"{at}/LocationNameValue") == tuple(PLACES.values())
    says(world, "request-item.xml", DUNE)
    assert world.request("R1").pickup_location == "HKU-MAIN-LENDING"


@pytest.mark.parametrize("said", ["2", "0", "99999", "²", "HKU-MUSIC"])
def test_unknown_pickup_location_is_refused(world: World, said: str) -> None:
    vufind(world)
    reply = says(world, "request-item.xml", DUNE, ("<ns1:PickupLocation>1<", f"<ns1:PickupLocation>{said}<"))
    assert reply.text("Problem/ProblemElement") == "PickupLocation"


def test_partners_do_not_receive_the_pickup_location(world: World) -> None:
    world.services = replace(world.services, places=PLACES)
    assert not world.ask("CUHK", "LookupAgency", AgencyId="HKU").has("Ext")


@pytest.mark.parametrize(
    ("order", "given", "surname"),
    [("surname_first", "Tai Man", "Chan"), ("given_first", "Chan Tai", "Man"), ("", "", "Chan Tai Man")],
)
def test_name_is_split_in_the_librarys_name_order(world: World, order: Any, given: str, surname: str) -> None:
    vufind(world)
    world.services = replace(world.services, name_order=order)
    seen = says(world, "lookup-user.xml")
    parts = tuple(seen.text(f"{NAME}/StructuredPersonalUserName/{part}") for part in ("GivenName", "Surname"))
    assert (parts, seen.text(f"{NAME}/UnstructuredPersonalUserName")) == ((given, surname), "Chan Tai Man")


# ---- PINs


@pytest.mark.parametrize(
    ("pin", "file", "problem"),
    [
        ("checked", "lookup-user.xml", ""),
        ("checked", "lookup-user-without-pin.xml", ""),
        ("checked", "lookup-user-with-empty-pin.xml", "User Authentication Failed"),
        ("optional", "lookup-user-without-pin.xml", ""),
        ("optional", "lookup-user-with-empty-pin.xml", ""),
        ("required", "lookup-user.xml", ""),
        ("required", "lookup-user-without-pin.xml", "Needed Data Missing"),
        ("required", "lookup-user-with-empty-pin.xml", "Needed Data Missing"),
        ("blocks", "lookup-user.xml", ""),
    ],
)
def test_client_configuration_decides_whether_a_pin_is_required(world: World, pin: str, file: str, problem: str) -> None:
    vufind(world, pin=pin)
    assert says(world, file).text("Problem/ProblemType") == problem


CHANGES = ("request-item.xml", "request-item-of-a-volume.xml", "cancel-request-item.xml", "renew-item.xml")


def bare(world: World, file: str) -> NcipMessage:
    """The reply to VuFind's document without credentials: a PIN of `0` is empty for PHP, so the driver leaves both out."""
    text = re.sub("<ns1:AuthenticationInput>.*</ns1:AuthenticationInput>", "", (FOLDER / file).read_text(), flags=re.DOTALL)
    assert "AuthenticationInput" not in text
    return decode(finished(respond(world.services, text.encode(), None, HERE)))


def test_vufind_configuration_returns_blocks_without_a_pin() -> None:
    assert (SYSTEMS["vufind"].clients or {})["pin"] == "blocks"


def test_without_a_pin_vufind_reads_only_the_blocks(world: World) -> None:
    vufind(world, pin="blocks")
    world.put(Position.ON_LOAN, due=date(2017, 3, 16), patron="LATE")
    late = (FOLDER / "lookup-user-without-pin.xml").read_text().replace("UG1", "LATE")
    told = decode(finished(respond(world.services, late.encode(), None, HERE)))
    assert set(told.fields) - {"ResponseHeader"} == {"UserOptionalFields"}
    assert told.has("UserOptionalFields/BlockOrTrap")
    assert not told.has("UserOptionalFields/NameInformation")
    unblocked = bare(world, "lookup-user.xml")
    assert set(unblocked.fields) <= {"ResponseHeader"}


@pytest.mark.parametrize("file", CHANGES)
def test_without_a_pin_vufind_changes_nothing(world: World, file: str) -> None:
    vufind(world, pin="blocks")
    world.put(Position.ON_LOAN, due=date(2017, 3, 3), first_checkout=date(2017, 2, 15), used=True)
    before = world.rows(REQUESTS)
    assert bare(world, file).text("Problem/ProblemType") == "Needed Data Missing"
    assert world.rows(REQUESTS) == before


def test_with_the_correct_pin_vufind_reads_and_changes_everything(world: World) -> None:
    vufind(world, pin="blocks")
    assert says(world, "lookup-user.xml").has("UserId")
    assert not says(world, "request-item.xml", DUNE).has("Problem")


@pytest.mark.parametrize("pin", ["checked", "optional", "required", "blocks"])
def test_wrong_pin_is_refused_for_every_configuration(world: World, pin: str) -> None:
    vufind(world, pin=pin)
    assert says(world, "lookup-user.xml", (">1234<", ">9999<")).text("Problem/ProblemType") == "User Authentication Failed"


def test_required_pin_protects_changes(world: World) -> None:
    world.place()
    vufind(world, pin="required")
    number = {"AgencyId": DISCOVERY, "RequestIdentifierValue": "d-77"}
    change = {"AddRequestFields": {"PickupLocation": "HKU-MAIN-LENDING"}}
    assert (
        world.ask(DISCOVERY, "UpdateRequestItem", RequestId=number, **change).text("Problem/ProblemType")
        == "Needed Data Missing"
    )


# ---- renewals, and holds


@pytest.mark.parametrize(
    ("facts", "offered"),
    [
        ({"due": date(2017, 3, 16)}, False),
        ({"due": date(2017, 3, 6)}, True),
        ({"due": date(2017, 3, 6), "renewals": 2}, False),
        ({"due": date(2017, 3, 6), "recalled_on": date(2017, 2, 20)}, False),
        ({"due": date(2017, 2, 25)}, False),
    ],
)
def test_loan_is_offered_for_renewal_only_when_it_can_be_renewed(world: World, facts: dict[str, Any], offered: bool) -> None:
    vufind(world)
    world.put(Position.ON_LOAN, first_checkout=date(2017, 2, 15), loan_days=15, used=True, **facts)
    assert says(world, "lookup-user.xml").has("LoanedItem/Ext/RenewalNotPermitted") is not offered


def test_client_gets_one_type_of_request_everywhere(world: World) -> None:
    number = {"AgencyId": DISCOVERY, "RequestIdentifierValue": "d-1"}
    user = {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}
    title = [{"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}]
    wish = {"BibliographicId": title, "RequestId": number, "RequestScopeType": "Bibliographic Item", "RequestType": "Page"}
    placed = world.ask(DISCOVERY, "RequestItem", UserId=user, **wish)
    listed = world.ask(DISCOVERY, "LookupUser", UserId=user, RequestedItemsDesired=True)
    assert (placed.text("RequestType"), listed.text("RequestedItem/RequestType")) == ("Loan", "Loan")


@pytest.mark.parametrize(("status", "holdable"), [("On Loan", True), ("Available On Shelf", False)])
def test_title_on_our_own_shelf_is_not_offered_for_a_hold(world: World, status: str, holdable: bool) -> None:
    vufind(world)
    ours = Holding(agency="HKU", barcode="K77", bib_id="b1", title="Dune", status=status)
    world.store.now(lambda unit: unit.execute(insert(HOLDINGS).values(**asdict(ours))))
    seen = says(world, "lookup-item-set.xml", DUNE)
    restricted = seen.texts("BibInformation/HoldingsSet/ItemInformation/ItemOptionalFields/ItemUseRestrictionType")
    assert ("Not For Loan" not in restricted) is holdable
