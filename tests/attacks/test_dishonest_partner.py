"""A partner that acts for other libraries, guesses secrets, or tries to read data of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.peers.callers import WRONG_PROOFS
from tests.attacks.conftest import source, until

pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from tests.attacks.conftest import Site

VALUES = "Unauthorized Combination Of Element Values For Agency"
FAILED = "Agency Authentication Failed"
P1 = {"AgencyId": "HKU", "UserIdentifierValue": "P0001"}
LOAN = {"RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}


def book(number: str) -> list[dict[str, Any]]:
    return [{"BibliographicRecordId": {"BibliographicRecordIdentifier": number, "AgencyId": "HKALL"}}]


def numbered(agency: str, value: str) -> dict[str, str]:
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def copy(agency: str, barcode: str) -> dict[str, str]:
    return {"AgencyId": agency, "ItemIdentifierValue": barcode}


def proof(kind: str, value: str) -> dict[str, str]:
    return {"AuthenticationInputType": kind, "AuthenticationInputData": value, "AuthenticationDataFormatType": "text"}


def test_partner_cannot_place_a_request_in_the_name_of_another(site: Site) -> None:
    for agency in ("CUHK", "HKUST", "HKU"):
        told = site.ask("LU", "RequestItem", RequestId=numbered(agency, "c-2"), UserId=P1, BibliographicId=book("x1"), **LOAN)
        assert told.text("Problem/ProblemType") == VALUES
    assert site.rows("SELECT count(*) FROM requests WHERE wire_id = 'c-2'") == [(0,)]


def test_lender_cannot_ship_an_item_of_ours_or_of_a_third_library(site: Site) -> None:
    number = numbered("HKU-DISCOVERY", "shipping")
    place: dict[str, Any] = {"RequestId": number, "UserId": P1, "BibliographicId": book("b9001"), **LOAN}
    assert not site.ask("HKU-DISCOVERY", "RequestItem", **place).has("Problem")
    ((lender, wire),) = site.rows("SELECT partner, wire_id FROM requests WHERE placed_id = 'shipping'")
    for owner, barcode in (("HKU", "X0000008"), ("ATLANTIS", "A1")):
        told = site.ask(lender, "ItemShipped", RequestId=numbered("HKU", wire), ItemId=copy(owner, barcode))
        assert (told.text("Problem/ProblemType"), told.text("Problem/ProblemElement")) == (VALUES, "ItemId")
    assert site.rows("SELECT position, item_barcode FROM requests WHERE placed_id = 'shipping'") == [("REQUESTED", "")]


def test_document_for_another_agency_is_refused(site: Site) -> None:
    told = site.ask("CUHK", "LookupItem", to="LU", ItemId=copy("HKU", "X0000001"))
    assert (told.text("Problem/ProblemType"), told.text("Problem/ProblemElement")) == ("Unknown Agency", "ToAgencyId")


@pytest.mark.parametrize("kind", ["Pin Number", "Passcode", ""])
def test_wrong_pin_under_an_unknown_credential_type_opens_no_record(site: Site, kind: str) -> None:
    inputs = [proof(kind, "0000")]
    told = site.ask("HKU-DISCOVERY", "LookupUser", UserId=P1, AuthenticationInput=inputs, UserElementType=["Name Information"])
    assert told.text("Problem/ProblemType") == "User Authentication Failed"
    assert not told.has("UserOptionalFields")


def test_secret_guesses_are_limited_to_ten_per_fifteen_minutes_and_reveal_nothing(site: Site) -> None:
    here, item = source(), copy("HKU", "X0000001")
    heard = [site.ask("CUHK", "LookupItem", here, f"guess {number}", ItemId=item) for number in range(WRONG_PROOFS)]
    assert {reply.text("Problem/ProblemType") for reply in heard} == {FAILED}
    assert len({reply.text("Problem/ProblemDetail") for reply in heard}) == 1
    assert site.ask("CUHK", "LookupItem", here, ItemId=item).text("Problem/ProblemType") == "Temporary Processing Failure"
    assert site.ask("CUHK", "LookupItem", source(), ItemId=item).text("Problem/ProblemType") == "Unknown Item"


def test_broker_enumerating_cards_gets_no_names_or_addresses(site: Site) -> None:
    wanted = ["Name Information", "User Address Information", "User Privilege"]
    counted = 'hkall_patron_lookups_total{partner="RESHARE",told="eligibility"}'
    before = site.metric(counted)
    for number in range(1, 21):
        card = {**P1, "UserIdentifierValue": f"P{number:04}"}
        told = site.ask("RESHARE", "LookupUser", UserId=card, UserElementType=wanted, LoanedItemsDesired=True)
        assert not told.has("UserOptionalFields/NameInformation")
        assert not told.has("UserOptionalFields/UserAddressInformation")
    assert site.metric(counted) > before


def test_malformed_document_content_is_not_logged(site: Site) -> None:
    secret = "hunter2hunter2"  # not a secret of this site
    for body in (f"<NCIPMessage><FromAgencyAuthentication>{secret}</b>", f"<NCIPMessage {secret}>", f"<a>&{secret};</a>"):
        assert secret.encode() not in site.post(body.encode())
    until(lambda: [line for line in site.events("ncip.answered") if "not well-formed" in str(line.get("reason"))])
    assert secret not in site.log
