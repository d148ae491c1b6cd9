"""An NCIP 1 document is read as the equivalent NCIP 2 message."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_1_0, Dtd
from hkall_gateway.ncip.codec.documents import NISO, Coded, NcipMessage, decode, encode

OURS = Path(__file__).parents[2] / "fixtures" / "ncip" / "v1"
SHARED = Path(__file__).parents[3] / "shared/ncip/samples"
DIRECT = DIALECTS["direct"]
FIXTURES = sorted(path.name for path in OURS.glob("*.xml") if not path.name.startswith("lookup-version"))
FOREIGN = sorted(
    str(path.relative_to(SHARED)) for path in SHARED.glob("**/*") if "ncipOne" in path.name or path.suffix == ".hbs"
)
VISIBLE_ITEM = "ItemOptionalFields/ItemDescription/Ext/ItemId/ItemIdentifierValue"

# What NCIP 1 cannot say again: its LookupUser takes a user or credentials, this one has both.
NOT_THE_SAME = {"ole_lib_ncip_client/templates/lookupUser.hbs"}


def fixture(name: str) -> bytes:
    return (OURS / name).read_bytes()


def first(service: str, inside: str) -> bytes:
    """A document of NCIP 1.0 with `inside` in its service."""
    return f'<NCIPMessage version="{NCIP_1_0}"><{service}>{inside}</{service}></NCIPMessage>'.encode()


def user(card: str = "PG7") -> str:
    return f"<UniqueUserId><UserIdentifierValue>{card}</UserIdentifierValue></UniqueUserId>"


# Documents


@pytest.mark.parametrize("name", FIXTURES)
def test_own_document_of_1_0_is_valid(name: str, dtd: etree.DTD) -> None:
    if name.startswith("lookup-request"):
        pytest.skip("the DTD of 1.01 is not to be had")
    assert dtd.validate(etree.fromstring(fixture(name))), dtd.error_log


@pytest.mark.parametrize("name", FIXTURES)
def test_own_document_round_trips_in_its_version(name: str) -> None:
    message = decode(fixture(name))
    again = decode(encode(message, DIRECT))
    assert (again, again.version, again.notes) == (message, message.version, message.notes)


@pytest.mark.parametrize("name", FIXTURES)
def test_own_document_has_the_same_content_in_ncip_2(name: str) -> None:
    message = decode(fixture(name))
    again = decode(encode(replace(message, version=""), DIRECT))
    assert (again, again.namespaced, again.notes) == (message, True, ())


@pytest.mark.skipif(not FOREIGN, reason=f"{SHARED} is not on this machine")
def test_documents_from_other_systems_are_present() -> None:
    assert len(FOREIGN) == 19


@pytest.mark.parametrize("name", FOREIGN)
def test_document_from_another_system_is_rewritten_valid(name: str, dtd: etree.DTD) -> None:
    written = encode(decode((SHARED / name).read_bytes()), DIRECT)
    assert dtd.validate(etree.fromstring(written)), dtd.error_log


@pytest.mark.parametrize("name", FOREIGN)
def test_document_from_another_system_round_trips(name: str) -> None:
    message = decode((SHARED / name).read_bytes())
    assert (decode(encode(message, DIRECT)) == message) == (name not in NOT_THE_SAME)


# The version


def test_message_keeps_version_and_doctype_of_its_document() -> None:
    version = decode(fixture("lookup-request.xml")).version
    assert isinstance(version, Dtd)
    assert version == version.system == "http://www.niso.org/ncip/v1_01/imp1/dtd/ncip_v1_01.dtd"
    assert version.public == "-//NISO//NCIP DTD Version 1.01//EN"


AGENCY = "<UniqueAgencyId><Value>HKU</Value></UniqueAgencyId>"
PLAIN = f"<ItemRequestedResponse><ResponseHeader><FromAgencyId>{AGENCY}</FromAgencyId></ResponseHeader></ItemRequestedResponse>"
BARE = "<ItemRequestedResponse/>"
SIGNS = {
    "the version": f'<NCIPMessage version="{NCIP_1_0}">{BARE}</NCIPMessage>',
    "a public id": f'<!DOCTYPE NCIPMessage PUBLIC "-//NISO//NCIP DTD Version 1//EN" "n.dtd"><NCIPMessage>{BARE}</NCIPMessage>',
    "a system id": f'<!DOCTYPE NCIPMessage SYSTEM "{NCIP_1_0}"><NCIPMessage version="">{BARE}</NCIPMessage>',
    "a name": f"<NCIPMessage>{PLAIN}</NCIPMessage>",
}


@pytest.mark.parametrize("sign", SIGNS)
def test_any_indication_of_ncip_1_is_sufficient(sign: str) -> None:
    message = decode(SIGNS[sign].encode())
    assert (message.service, isinstance(message.version, Dtd), message.namespaced) == ("ItemRequestedResponse", True, False)


def test_namespace_takes_precedence_over_a_contradicting_version() -> None:
    message = decode(f'<NCIPMessage xmlns="{NISO}" version="{NCIP_1_0}"><ItemShippedResponse/></NCIPMessage>'.encode())
    assert (message.version, message.notes) == ("", (f"version {NCIP_1_0} in NCIP 2",))


DOCTYPES = {
    "as it came": ('PUBLIC "-//NISO//NCIP DTD Version 1//EN" "http://x.test/v1_0.dtd"',) * 2,
    "without a public id": ('SYSTEM "ncip_v1_0.dtd"',) * 2,
    "with a quote": ("SYSTEM 'ncip_\"v1_0\".dtd'",) * 2,
    "too long": (
        f'SYSTEM "ncip_v1_0{"x" * 300}.dtd"',
        f'PUBLIC "-//NISO//NCIP DTD Version 1.0//EN" "{NCIP_1_0}"',
    ),
}


@pytest.mark.parametrize("name", DOCTYPES)
def test_reply_has_the_doctype_of_the_request(name: str) -> None:
    came, goes = DOCTYPES[name]
    message = decode(f"<!DOCTYPE NCIPMessage {came}><NCIPMessage>{BARE}</NCIPMessage>".encode())
    written = encode(NcipMessage(service="ItemShippedResponse", fields={}, version=message.version), DIRECT).decode()
    assert f"?>\n<!DOCTYPE NCIPMessage {goes}>\n<NCIPMessage version=" in written


# Names


def test_names_and_scheme_value_pairs_are_converted_to_ncip_2() -> None:
    message = decode(fixture("request-item.xml"))
    agency = message.each("InitiationHeader/FromAgencyId")[0].fields["AgencyId"]
    assert isinstance(agency, Coded)
    assert (agency, agency.scheme) == (
        "CUHK",
        "http://central.test:6601/IRCIRCD?target=get_scheme_values&scheme=UniqueAgencyId",
    )
    assert message.fields["RequestId"] == {"AgencyId": "CUHK", "RequestIdentifierValue": "R-3050-1"}
    assert message.text("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier") == "b1020304"


def test_printed_barcode_is_read_beside_the_inn_reach_number() -> None:
    message = decode(fixture("item-shipped.xml"))
    assert (message.text("ItemId/ItemIdentifierValue"), message.text(VISIBLE_ITEM)) == ("i10203040", "C30991")


def test_lookup_card_becomes_the_user_id() -> None:
    message = decode(fixture("lookup-user.xml"))
    assert message.fields["UserId"] == {
        "AgencyId": "HKU",
        "UserIdentifierType": "Barcode",
        "UserIdentifierValue": "PG2040",
    }
    assert message.notes == ("VisibleUserId read as UserId",)


ITEM = "<UniqueItemId><ItemIdentifierValue>L1</ItemIdentifierValue></UniqueItemId>"
CARD = "<VisibleUserId><VisibleUserIdentifier>B1</VisibleUserIdentifier></VisibleUserId>"


def test_card_beside_the_user_is_kept_in_ext() -> None:
    message = decode(
        first("CheckOutItem", f"{CARD}{user()}<UniqueItemId><ItemIdentifierValue>L1</ItemIdentifierValue></UniqueItemId>")
    )
    assert (message.text("UserId/UserIdentifierValue"), message.text("Ext/UserId/UserIdentifierValue")) == ("PG7", "B1")


def test_cards_beside_credentials_are_all_kept() -> None:
    name = (
        "<PersonalNameInformation><UnstructuredPersonalUserName>Chan</UnstructuredPersonalUserName></PersonalNameInformation>"
    )
    cards = CARD + CARD.replace("B1", "B2")
    message = decode(first("CreateUser", f"{cards}<NameInformation>{name}</NameInformation>"))
    assert message.texts("Ext/UserId/UserIdentifierValue") == ("B1", "B2")


def test_user_cards_are_a_list_as_in_ncip_2() -> None:
    message = decode(fixture("lookup-user-response.xml"))
    assert message.texts("UserOptionalFields/UserId/UserIdentifierValue") == ("PG2040",)


def test_loans_and_requests_are_unwrapped() -> None:
    message = decode(fixture("lookup-user-response.xml"))
    assert message.text("LoanedItem/ItemId/ItemIdentifierValue") == "C30991"
    assert message.text("RequestedItem/RequestId/RequestIdentifierValue") == "R-2040-2"


def test_errors_become_flat_problems_with_a_path() -> None:
    first_problem, second = decode(fixture("lookup-user-refused.xml")).each("Problem")
    assert first_problem.fields == {
        "ProblemType": "Unknown User",
        "ProblemElement": "UserId/UserIdentifierValue",
        "ProblemValue": "PG2041",
    }
    assert second.fields == {"ProblemType": "Invalid Date", "ProblemElement": "DateOfBirth"}


def test_notification_error_becomes_a_problem() -> None:
    message = decode(fixture("item-requested-refused.xml"))
    assert (message.text("Problem/ProblemType"), message.text("Problem/ProblemValue")) == ("Unknown Element", "i10203040")


def test_error_text_from_koha_is_kept() -> None:
    error = "<ProcessingErrorType><Value>Unknown Item</Value></ProcessingErrorType>"
    error += "<ProcessingErrorDetail>never heard of it</ProcessingErrorDetail>"
    message = decode(first("CheckInItemResponse", f"<Problem><ProcessingError>{error}</ProcessingError></Problem>"))
    assert message.fields == {"Problem": [{"ProblemType": "Unknown Item", "ProblemDetail": "never heard of it"}]}


def test_problem_in_ncip_2_form_is_understood() -> None:
    message = decode(first("CheckInItemResponse", "<Problem><ProblemType>Unknown Item</ProblemType></Problem>"))
    assert message.text("Problem/ProblemType") == "Unknown Item"


def test_authenticate_user_is_read_as_lookup_user() -> None:
    message = decode(fixture("authenticate-user.xml"))
    assert (message.service, message.texts("AuthenticationInput/AuthenticationInputType")) == (
        "LookupUser",
        ("Barcode Id", "PIN"),
    )


# Tolerance


def test_identifier_without_an_agency_is_accepted() -> None:
    assert decode(first("LookupUser", user())).fields == {"UserId": {"UserIdentifierValue": "PG7"}}


def test_value_without_a_scheme_is_accepted() -> None:
    body = "<UniqueUserId><UniqueAgencyId>HKU</UniqueAgencyId><UserIdentifierValue>PG7</UserIdentifierValue></UniqueUserId>"
    assert decode(first("LookupUser", body)).text("UserId/AgencyId") == "HKU"


def test_required_empty_element_is_absent() -> None:
    empty = (
        "<UniqueItemId><UniqueAgencyId><Scheme>s</Scheme><Value> </Value></UniqueAgencyId><ItemIdentifierValue/></UniqueItemId>"
    )
    assert decode(first("LookupUser", user() + empty + "<ItemOptionalFields/>")).has("ItemId") is False


@pytest.mark.parametrize("name", ["Pending", "ItemReportedReturned"])
def test_empty_structure_with_a_meaning_is_kept(name: str) -> None:
    service = "RenewItemResponse" if name == "Pending" else "CirculationStatusChangeReported"
    assert decode(first(service, f"{ITEM}<{name}/>")).fields[name] == {}


def test_fixed_datatypes_and_control_d_are_ignored() -> None:
    body = fixture("item-shipped.xml").replace(b"D-77001", b"D-\x0477001") + b"\x04"
    message = decode(body)
    assert (message, message.notes) == (decode(fixture("item-shipped.xml")), ("^D removed",))


def test_placeholders_of_a_blank_form_are_read_as_values() -> None:
    message = decode(first("LookupUser", user("VISIBLE_ID_HERE")))
    assert message.text("UserId/UserIdentifierValue") == "VISIBLE_ID_HERE"


@pytest.mark.parametrize(
    "scheme", ["http://c.test/IRCIRCD?target=values&scheme=UniqueAgencyId", "http://<DCB SERVER>:<PORT>/x&y=z"]
)
def test_scheme_with_unescaped_xml_characters_is_read_completely(scheme: str) -> None:
    head = f"<InitiationHeader><FromAgencyId><UniqueAgencyId><Scheme>{scheme}</Scheme><Value>A&B</Value></UniqueAgencyId>"
    message = decode(first("LookupUser", f"{head}</FromAgencyId></InitiationHeader>{user()}"))
    agency = message.each("InitiationHeader/FromAgencyId")[0].fields["AgencyId"]
    assert isinstance(agency, Coded)
    assert (agency, agency.scheme, message.notes) == ("A&B", scheme, ("bare & or < escaped",))


def test_unknown_element_is_skipped_with_a_note() -> None:
    assert decode(first("LookupUser", f"{user()}<Umbrella/>")).notes == ("unknown element LookupUser/Umbrella",)
