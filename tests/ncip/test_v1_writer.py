"""Documents written in NCIP 1 follow its DTD."""

from __future__ import annotations

import pytest
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_1_0, NCIP_1_01, NCIP_2_02, Dtd, public
from hkall_gateway.ncip.codec.documents import Coded, Fields, NcipMessage, decode, encode
from hkall_gateway.ncip.codec.elements_v1 import RENAMED, SERVICES
from hkall_gateway.ncip.codec.messages import SHAPES
from hkall_gateway.xml.tree import Value

DIRECT = DIALECTS["direct"]
MESSAGING = "http://www.niso.org/ncip/v1_0/schemes/messagingerrortype/messagingerrortype.scm"


def written(service: str, said: Fields, version: str = NCIP_1_0) -> etree._Element:
    return etree.fromstring(encode(NcipMessage(service=service, fields=said, version=version), DIRECT))[0]


def text(node: etree._Element, path: str) -> str | None:
    return node.findtext(path)


PROBLEM: Fields = {"ProblemType": Coded("Unknown Item", "urn:p"), "ProblemDetail": "R3: no", "ProblemElement": "ItemId"}
UNREADABLE: Fields = {"ProblemType": Coded("Unknown Element", MESSAGING)}


def test_document_has_declaration_doctype_version_and_header() -> None:
    agency = "<UniqueAgencyId><Scheme>{}</Scheme><Value>{}</Value></UniqueAgencyId>"
    us, them = agency.format("urn:a", "HKU"), agency.format("NCIP Unique Agency Id", "CENTR")
    header: Fields = {"FromAgencyId": {"AgencyId": Coded("HKU", "urn:a")}, "ToAgencyId": {"AgencyId": "CENTR"}}
    assert encode(
        NcipMessage(service="ItemShippedResponse", fields={"ResponseHeader": header}, version=NCIP_1_0), DIRECT
    ).decode() == (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        f'<!DOCTYPE NCIPMessage PUBLIC "-//NISO//NCIP DTD Version 1.0//EN" "{NCIP_1_0}">\n'
        f'<NCIPMessage version="{NCIP_1_0}"><ItemShippedResponse><ResponseHeader><FromAgencyId>{us}</FromAgencyId>'
        f"<ToAgencyId>{them}</ToAgencyId></ResponseHeader></ItemShippedResponse></NCIPMessage>"
    )


def test_dialect_of_ncip_1_is_written_unless_the_message_is_of_ncip_2() -> None:
    kinds = {
        version: decode(
            encode(NcipMessage(service="ItemShippedResponse", fields={}, version=version), DIALECTS["innreach"])
        ).namespaced
        for version in ("", "5.6", NCIP_1_0, NCIP_2_02)
    }
    assert kinds == {"": False, "5.6": False, NCIP_1_0: False, NCIP_2_02: True}


def test_missing_header_is_written_empty() -> None:
    said = decode(encode(NcipMessage(service="ItemShippedResponse", fields={}, version=NCIP_1_0), DIRECT))
    assert (written("ItemShippedResponse", {})[0].tag, said.text("ResponseHeader/FromAgencyId/AgencyId")) == (
        "ResponseHeader",
        "",
    )


def test_value_without_a_scheme_gets_the_published_scheme() -> None:
    node = written("CirculationStatusUpdated", {"CirculationStatus": "On Loan"})
    uri = "http://www.niso.org/ncip/v1_0/imp1/schemes/circulationstatus/circulationstatus.scm"
    assert (text(node, "CirculationStatus/Scheme"), text(node, "CirculationStatus/Value")) == (uri, "On Loan")


def test_elements_missing_in_ncip_1_are_omitted() -> None:
    user: Fields = {"UserIdentifierType": "Barcode", "UserIdentifierValue": "PG7"}
    item: Fields = {"ItemIdentifierValue": "L1"}
    node = written("RequestItem", {"UserId": user, "ItemId": [item], "PickupLocation": "Main", "Ext": {"ItemNote": "x"}})
    tags = {str(inner.tag) for inner in node.iter()}
    assert tags.isdisjoint({"PickupLocation", "Ext", "UserIdentifierType", "ItemNote"})
    assert text(node, "UniqueUserId/UserIdentifierValue") == "PG7"


def test_loans_are_written_in_their_wrapper_without_titles() -> None:
    loan: Fields = {"ItemId": {"ItemIdentifierValue": "L1"}, "DateDue": "2017-03-16T23:59:59+08:00", "Title": "酒徒"}
    node = written("LookupUserResponse", {"UserId": {"UserIdentifierValue": "P"}, "LoanedItem": [loan]})
    loaned = node.find("UserTransaction/LoanedItem")
    assert loaned is not None
    assert [inner.tag for inner in loaned] == ["UniqueItemId", "ReminderLevel", "DateDue", "Amount"]
    assert (text(loaned, "ReminderLevel"), text(loaned, "Amount/MonetaryValue")) == ("1", "0")


def test_paid_fee_is_written_only_in_1_01() -> None:
    said: Fields = {"UserId": {"UserIdentifierValue": "P"}, "PaidFeeAmount": {"CurrencyCode": "HKD", "MonetaryValue": "5"}}
    found = {
        version: written("RequestItem", said, version).find("PaidFeeAmount") is not None for version in (NCIP_1_0, NCIP_1_01)
    }
    assert found == {NCIP_1_0: False, NCIP_1_01: True}


def test_item_is_written_when_item_and_title_are_given() -> None:
    title: Fields = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKU"}}
    node = written("RequestItem", {"BibliographicId": [title], "ItemId": [{"ItemIdentifierValue": "L1"}]})
    assert (node.find("UniqueItemId") is None, node.find("UniqueBibliographicId") is None) == (False, True)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"UserIdentifierValue": "P"}, "UniqueUserId"),
        ({"AgencyId": "HKU", "UserIdentifierValue": "P"}, "UniqueUserId"),
        ({"AgencyId": "HKU", "UserIdentifierType": "Barcode", "UserIdentifierValue": "P"}, "VisibleUserId"),
    ],
)
def test_user_is_written_as_a_card_when_its_type_is_given(said: Fields, expected: str) -> None:
    assert written("LookupUser", {"UserId": said})[1].tag == expected


def test_problem_is_a_processing_error_with_nested_names() -> None:
    said = {**PROBLEM, "ProblemElement": "ItemId/ItemIdentifierValue", "ProblemValue": "L1"}
    node = written("CheckInItemResponse", {"Problem": [said], "ItemId": {"ItemIdentifierValue": "L1"}})
    error = node.find("Problem/ProcessingError")
    assert error is not None
    assert etree.tostring(error).decode() == (
        "<ProcessingError><ProcessingErrorType><Scheme>urn:p</Scheme><Value>Unknown Item</Value></ProcessingErrorType>"
        "<ProcessingErrorElement><ElementName>UniqueItemId</ElementName><ProcessingErrorElement>"
        "<ElementName>ItemIdentifierValue</ElementName><ProcessingErrorValue>L1</ProcessingErrorValue>"
        "</ProcessingErrorElement></ProcessingErrorElement></ProcessingError>"
    )


@pytest.mark.parametrize(
    ("problems_said", "expected"),
    [
        ([UNREADABLE], ["MessagingError"]),
        ([PROBLEM, PROBLEM], ["ProcessingError", "ProcessingError"]),
        ([UNREADABLE, PROBLEM], ["ProcessingError", "ProcessingError"]),
    ],
)
def test_problem_holds_errors_of_one_kind(problems_said: list[Value], expected: list[str]) -> None:
    node = written("LookupUserResponse", {"Problem": problems_said}).find("Problem")
    assert node is not None
    assert [inner.tag for inner in node] == expected


def test_notification_is_refused_with_a_messaging_error() -> None:
    assert [inner.tag for inner in written("ItemShippedResponse", {"Problem": [PROBLEM]})] == [
        "ResponseHeader",
        "MessagingError",
    ]


@pytest.mark.parametrize("service", ["Problem", "DeleteItemResponse"])
def test_error_without_an_ncip_1_service_follows_inn_reach(service: str, dtd: etree.DTD) -> None:
    body = encode(NcipMessage(service=service, fields={"Problem": [PROBLEM]}, version=NCIP_1_0), DIRECT)
    again = decode(body)
    assert (dtd.validate(etree.fromstring(body)), again.service, again.text("Problem/ProblemType")) == (
        True,
        "ItemRequestedResponse",
        "Unknown Item",
    )


def test_service_missing_in_ncip_1_raises_an_error() -> None:
    with pytest.raises(ValueError, match="DeleteItem is not in NCIP 1"):
        encode(NcipMessage(service="DeleteItem", fields={"ItemId": {"ItemIdentifierValue": "L1"}}, version=NCIP_1_0), DIRECT)


def test_programming_error_is_reported_by_its_path() -> None:
    with pytest.raises(ValueError, match="RequestItem/Umbrella is not"):
        encode(NcipMessage(service="RequestItem", fields={"Umbrella": "1"}, version=NCIP_1_0), DIRECT)


def test_reply_to_authenticate_user_is_authenticate_user_response() -> None:
    reply = NcipMessage(
        service="LookupUserResponse",
        fields={"UserId": {"UserIdentifierValue": "P"}},
        version=Dtd(NCIP_1_0, NCIP_1_0, public(NCIP_1_0), "AuthenticateUser"),
    )
    assert etree.fromstring(encode(reply, DIRECT))[0].tag == "AuthenticateUserResponse"


def test_every_ncip_1_response_has_a_known_request() -> None:
    known = {RENAMED.get(service, service) for service in SERVICES}
    assert {service for service in known if not service.endswith("Response")} <= SHAPES.keys()
