"""Lookups of requests, items and our own agency, and who may see them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.ncip.profile import HANDLERS
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Position, Side
from tests.ncip.conftest import BROKER, assert_valid
from tests.ncip.fields import copy, number, problem

if TYPE_CHECKING:
    from tests.ncip.conftest import World

P = Position
DISCOVERY, CUHK, LU = "HKU-DISCOVERY", "CUHK", "LU"


def title(value: str) -> dict[str, Any]:
    return {"BibliographicRecordId": {"BibliographicRecordIdentifier": value, "AgencyId": "HKALL"}}


# ---- requests


def test_request_is_shown_to_the_system_that_placed_it(world: World) -> None:
    world.put(P.RECEIVED, pickup_last=date(2017, 3, 6), pickup_location="HKU-MAIN-LENDING")
    reply = world.ask(DISCOVERY, "LookupRequest", RequestId=number(DISCOVERY, "d-1"))
    assert reply.text("RequestStatusType") == "Available For Pickup"
    assert reply.text("PickupExpiryDate") == "2017-03-06T23:59:59+08:00"
    assert (reply.text("UserId/UserIdentifierValue"), reply.text("ItemId/ItemIdentifierValue")) == ("UG1", "C1")


def test_only_requested_elements_are_returned(world: World) -> None:
    world.put(P.RECEIVED)
    reply = world.ask(
        DISCOVERY, "LookupRequest", RequestId=number(DISCOVERY, "d-1"), RequestElementType=["Request Status Type"]
    )
    assert reply.fields.keys() == {"ResponseHeader", "RequestId", "ItemId", "RequestStatusType", "Ext", "ItemOptionalFields"}


def test_request_is_found_by_its_item(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16))
    ask = {"UserId": {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}, "ItemId": copy("CUHK", "C1"), "RequestType": "Loan"}
    reply = world.ask(DISCOVERY, "LookupRequest", **ask)
    assert reply.text("RequestId/RequestIdentifierValue") == "R1"
    assert reply.text("ItemOptionalFields/CirculationStatus") == "On Loan"


def test_lender_sees_its_request_without_the_patron(world: World) -> None:
    world.place()
    wire = world.request("R1").wire_id
    reply = world.ask(CUHK, "LookupRequest", RequestId=number("HKU", wire))
    assert (problem(reply), reply.text("UserId/UserIdentifierValue")) == ("", "CUHK-INST")


def test_borrower_sees_its_request(world: World) -> None:
    lent = {"side": Side.LENDING, "patron": "", "item_agency": "HKU", "item_barcode": "K9", "placed_by": "", "placed_id": ""}
    world.put(P.PAGED, **lent, wire_agency=CUHK, wire_id="c-1")
    assert problem(world.ask(CUHK, "LookupRequest", RequestId=number(CUHK, "c-1"))) == ""
    assert problem(world.ask(LU, "LookupRequest", RequestId=number(CUHK, "c-1"))) == "Unknown Request"


@pytest.mark.parametrize("agency", [CUHK, LU, "RESHARE"])
def test_unrelated_library_cannot_see_the_request(world: World, agency: str) -> None:
    world.put(P.RECEIVED)
    for named in (number(DISCOVERY, "d-1"), number("HKU", "R1")):
        assert problem(world.ask(agency, "LookupRequest", RequestId=named)) == "Unknown Request"
        assert problem(world.ask(agency, "LookupItem", RequestId=named)) == "Unknown Item"


@pytest.mark.parametrize(("linked", "shown"), [("沙丘", "沙丘 / Dune"), ("", "Dune")])
def test_title_is_given_in_both_scripts(world: World, linked: str, shown: str) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16), linked_title=linked)
    world.put(P.RECEIVED, item_barcode="C2", placed_id="d-2", linked_title=linked)
    user = {"UserId": {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}}
    seen = world.ask(DISCOVERY, "LookupUser", **user, LoanedItemsDesired=True, RequestedItemsDesired=True)
    assert (seen.text("LoanedItem/Title"), seen.texts("RequestedItem/Title")) == (shown, (shown,))
    reply = world.ask(DISCOVERY, "LookupItem", ItemId=copy("CUHK", "C1"), ItemElementType=["Bibliographic Description"])
    assert reply.text("ItemOptionalFields/BibliographicDescription/Title") == shown


# ---- shelves


def barcodes(reply: NcipMessage) -> list[str]:
    return list(reply.texts("BibInformation/HoldingsSet/ItemInformation/ItemId/ItemIdentifierValue"))


def test_own_clients_see_items_of_every_library(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupItemSet", BibliographicId=[title("b1"), title("blend")])
    assert barcodes(reply) == ["C1", "L1", "K9"]
    assert [one.text("HoldingsSetId") for one in reply.each("BibInformation/HoldingsSet")] == ["b1@CUHK", "b1@LU", "blend@HKU"]


def test_partner_sees_only_our_items(world: World) -> None:
    reply = world.ask(CUHK, "LookupItemSet", BibliographicId=[title("b1"), title("blend")])
    assert barcodes(reply) == ["K9"]
    assert reply.texts("BibInformation/Problem/ProblemValue") == ("b1",)


def test_item_set_lookup_returns_known_items_and_a_problem_per_unknown_item(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupItemSet", ItemId=[copy("CUHK", "C1"), copy("CUHK", "X"), copy("LU", "L1")])
    assert barcodes(reply) == ["C1", "L1"]
    assert reply.texts("BibInformation/Problem/ProblemValue") == ("X",)


def test_item_in_use_by_a_request_shows_its_circulation_status(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16))
    reply = world.ask(DISCOVERY, "LookupItemSet", BibliographicId=[title("b1")])
    said = reply.texts("BibInformation/HoldingsSet/ItemInformation/ItemOptionalFields/CirculationStatus")
    assert said == ("On Loan", "Available On Shelf")


@pytest.mark.parametrize("most", [1, 2, 3])
def test_pages_together_contain_the_whole_list(world: World, most: int) -> None:
    found, token, pages = list[str](), "", 0
    while pages == 0 or token:
        more = {"NextItemToken": token} if token else {}
        wish = [title("b1"), title("none"), title("blend")]
        reply = world.ask(DISCOVERY, "LookupItemSet", BibliographicId=wish, MaximumItemsCount=str(most), **more)
        found, token, pages = [*found, *barcodes(reply)], reply.text("NextItemToken"), pages + 1
        assert token != "0"
    assert (found, pages) == (["C1", "L1", "K9"], -(-4 // most))


@pytest.mark.parametrize("token", ["0", "from-", "from-x", "-1", "from-99999999999", "' OR 1"])
def test_foreign_paging_token_is_refused(world: World, token: str) -> None:
    reply = world.ask(DISCOVERY, "LookupItemSet", BibliographicId=[title("b1")], NextItemToken=token)
    assert (problem(reply), reply.text("Problem/ProblemElement")) == ("Element Rule Violated", "NextItemToken")


# ---- ourselves


def test_own_agency_is_described_as_requested(world: World) -> None:
    kinds = ["Organization Name Information", "Application Profile Supported Type"]
    reply = world.ask(CUHK, "LookupAgency", AgencyId="HKU", AgencyElementType=kinds)
    assert reply.text("OrganizationNameInformation/OrganizationName") == "HKU Libraries"
    assert reply.has("ApplicationProfileSupportedType")
    assert not reply.has("ConsortiumAgreement")


def test_other_agencies_are_not_described(world: World) -> None:
    reply = world.ask(CUHK, "LookupAgency", AgencyId="LU", AgencyElementType=["Organization Name Information"])
    assert problem(reply) == "Unknown Agency"


VERSIONS = b"""<NCIPVersionMessage version="http://www.niso.org/ncip/v1_0/imp1/xsd/ncip_version.xsd"><LookupVersion>
<FromAgencyId><UniqueAgencyId><Scheme>s</Scheme><Value>ANYBODY</Value></UniqueAgencyId></FromAgencyId>
<ToAgencyId><UniqueAgencyId><Scheme>s</Scheme><Value>HKU</Value></UniqueAgencyId></ToAgencyId>
</LookupVersion></NCIPVersionMessage>"""


@pytest.mark.parametrize("body", [VERSIONS, b"<NCIPMessage><LookupVersion/></NCIPMessage>"], ids=["standard", "Koha"])
def test_version_lookup_needs_no_authentication(world: World, body: bytes) -> None:
    reply = finished(respond(world.services, body, None, Peer(address="192.0.2.1")))
    assert_valid(reply)
    said = decode(reply)
    assert said.service == "LookupVersionResponse"
    assert [text for text in said.texts("VersionSupported") if "v2_02" in text]
    assert set(said.texts("ServiceSupported")) == HANDLERS.keys() | {"LookupVersion"}


def test_institutional_card_of_a_partner_is_a_user_without_blocks(world: World) -> None:
    partner = Partner(agency="CUHK", name="The Chinese University", institutional_card="ILL-CUHK")
    world.store.now(lambda unit: unit.partners.write((partner,)))
    user = {"AgencyId": "HKU", "UserIdentifierValue": "ILL-CUHK"}
    desired = ["Name Information", "User Privilege", "Block Or Trap"]
    seen = world.ask(BROKER, "LookupUser", UserId=user, UserElementType=desired, LoanedItemsDesired=True)
    assert (seen.text("UserId/AgencyId"), seen.text("UserId/UserIdentifierValue")) == ("HKU", "ILL-CUHK")
    assert not seen.has("UserOptionalFields/BlockOrTrap")
    assert "OK" in seen.texts("UserOptionalFields/UserPrivilege/UserPrivilegeStatus/UserPrivilegeStatusType")


def test_own_client_can_only_look_up_our_patrons(world: World) -> None:
    world.store.now(
        lambda unit: unit.partners.write(
            (Partner(agency="CUHK", name="The Chinese University", institutional_card="ILL-CUHK"),)
        )
    )
    user = {"AgencyId": "HKU", "UserIdentifierValue": "ILL-CUHK"}
    assert world.ask(DISCOVERY, "LookupUser", UserId=user).text("Problem/ProblemType") == "Unknown User"
