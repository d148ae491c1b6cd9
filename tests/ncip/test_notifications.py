"""Documents are read as messages in every XML style."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import NISO, BadDocument, Coded, decode, encode

OURS = Path(__file__).parents[2] / "fixtures" / "ncip"
SHARED = Path(__file__).parents[3] / "shared/ncip"
FIXTURES = sorted(path.name for path in OURS.glob("*.xml"))
FOREIGN = sorted(str(path.relative_to(SHARED)) for path in SHARED.glob("*/**/*.xml"))
DIRECT = DIALECTS["direct"]
Spelled = Callable[[object], object]

# The documents that no one can act upon, each with the Problem it gets.
LACKING = {
    "samples/folio_mod_ncip/resources_mockncip-cancelRequestItem-missingUser.xml": "lacks UserId or AuthenticationInput",
    "samples/folio_mod_ncip/resources_mockncip-createUserFiscalTransactionNoTrans.xml": "lacks FiscalTransactionInfo",
    "samples/folio_mod_ncip/resources_mockncip-deleteItem-missingItem.xml": "lacks ItemId",
}
READABLE = [name for name in FOREIGN if name not in LACKING]


def fixture(name: str) -> bytes:
    return (OURS / name).read_bytes()


def foreign(name: str) -> bytes:
    return (SHARED / name).read_bytes()


def refusal(body: bytes, charset: str | None = None) -> BadDocument:
    with pytest.raises(BadDocument) as caught:
        decode(body, charset)
    return caught.value


@pytest.mark.parametrize("name", FIXTURES)
def test_own_document_is_read_without_notes(name: str) -> None:
    assert decode(fixture(name)).notes == ()


@pytest.mark.parametrize("name", FIXTURES)
def test_own_document_is_valid(name: str, xsd: etree.XMLSchema) -> None:
    assert xsd.validate(etree.fromstring(fixture(name))), xsd.error_log


@pytest.mark.parametrize("service", ["RequestItem", "CancelRequestItem", "ItemShipped", "ItemReceived"])
@pytest.mark.parametrize("part", ["", "Response"])
def test_examples_cover_every_document_between_partners(service: str, part: str) -> None:
    assert f"{service}{part}" in {decode(fixture(name)).service for name in FIXTURES}


@pytest.mark.parametrize("service", ["ItemRequestCancelled", "RenewItem", "LookupUser", "LookupItem"])
@pytest.mark.parametrize("part", ["", "Response"])
def test_examples_cover_every_other_document(service: str, part: str) -> None:
    assert f"{service}{part}" in {decode(fixture(name)).service for name in FIXTURES}


@pytest.mark.skipif(not FOREIGN, reason=f"{SHARED} is not on this machine")
def test_documents_from_other_systems_are_present() -> None:
    assert len(READABLE) > 150


@pytest.mark.parametrize("name", READABLE)
def test_document_from_another_system_round_trips(name: str, spelled: Spelled) -> None:
    message = replace(decode(foreign(name)), version="")
    again = decode(encode(message, DIRECT))
    assert (again.service, spelled(again.fields)) == (message.service, spelled(message.fields))


@pytest.mark.parametrize(("name", "why"), LACKING.items() if FOREIGN else ())
def test_incomplete_document_gets_a_problem_of_its_service(name: str, why: str) -> None:
    bad = refusal(foreign(name))
    assert (bad.problem, bad.header.from_agency, why in bad.detail) == ("Needed Data Missing", "Relais", True)


@pytest.mark.parametrize("name", [name for name in FOREIGN if name.startswith("examples/")])
def test_example_is_written_valid(name: str, xsd: etree.XMLSchema) -> None:
    assert xsd.validate(etree.fromstring(encode(decode(foreign(name)), DIRECT))), xsd.error_log


# Meaning


def test_fields_are_nested_plain_values() -> None:
    message = decode(fixture("cancel-request-item.xml"))
    assert message.fields["RequestId"] == {"AgencyId": "HKU", "RequestIdentifierValue": "R-2040-1"}


def test_repeatable_element_is_always_a_list() -> None:
    message = decode(fixture("request-item.xml"))
    assert message.fields["ItemId"] == [{"AgencyId": "LU", "ItemIdentifierType": "Barcode", "ItemIdentifierValue": "L20417"}]


def test_empty_element_of_the_schema_is_true() -> None:
    assert decode(fixture("lookup-user.xml")).fields["LoanedItemsDesired"] is True


def test_coded_value_keeps_its_scheme() -> None:
    kind = decode(fixture("request-item.xml")).fields["RequestType"]
    assert isinstance(kind, Coded)
    assert kind.scheme == "http://www.niso.org/ncip/v1_0/imp1/schemes/requesttype/requesttype.scm"


def test_standalone_problem_is_a_message() -> None:
    message = decode(fixture("problem.xml"))
    assert (message.service, message.texts("Problem/ProblemType")) == ("Problem", ("Unknown Service",))


def test_problem_in_a_reply_is_found_at_the_same_path() -> None:
    message = decode(fixture("request-item-refused.xml"))
    assert message.text("Problem/ProblemType") == "User Ineligible To Request This Item"


def test_bare_problem_without_the_envelope_is_understood() -> None:
    message = decode(b"<Problem><message>down</message></Problem>")
    assert (message.service, message.has("Problem")) == ("Problem", True)


def test_version_is_kept_as_received() -> None:
    assert decode(b'<NCIPMessage version="5.6"><ItemShippedResponse/></NCIPMessage>').version == "5.6"


def test_service_inside_ext_is_found_and_answered_inside_ext() -> None:
    body = f'<n:NCIPMessage xmlns:n="{NISO}"><n:Ext><x:LookupItemSet xmlns:x="urn:x"><x:HoldingsSetId>7</x:HoldingsSetId>'
    message = decode(f"{body}</x:LookupItemSet></n:Ext></n:NCIPMessage>".encode())
    assert decode(encode(message, DIRECT)).extension is True
    assert (message.service, message.text("HoldingsSetId")) == ("LookupItemSet", "7")


# Tolerance


def plain(body: bytes) -> bytes:
    return body.replace(b"ns1:", b"").replace(b"xmlns:ns1", b"xmlns")


def bare(body: bytes) -> bytes:
    return plain(body).replace(f' xmlns="{NISO}"'.encode(), b"")


def shuffled(body: bytes) -> bytes:
    root = etree.fromstring(body)
    order = random.Random(4)
    for node in root.iter():
        ranks = {child.tag: order.random() for child in node}
        node[:] = sorted(node, key=lambda child: ranks[child.tag])
    return etree.tostring(root)


def littered(body: bytes) -> bytes:
    return body.replace(b"</ns1:AgencyId>", b"<?pi x?></ns1:AgencyId>stray <!-- note --> text")


STYLES: dict[str, Callable[[bytes], bytes]] = {
    "default namespace and plain attributes": plain,
    "no namespace": bare,
    "another prefix": lambda body: body.replace(b"ns1", b"_x-9"),
    "children in any order": shuffled,
    "stray text, comments and instructions": littered,
    "blank lines in front": lambda body: b"\r\n  " + body,
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "^D, NUL and newlines behind": lambda body: body + b"\n\0\x04\r\n",
    "a DOCTYPE from outside": lambda body: body.replace(b"?>", b'?><!DOCTYPE NCIPMessage SYSTEM "file:///none.dtd">', 1),
    "UTF-16": lambda body: body.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
    "UTF-16 without a mark": lambda body: body.decode().replace("UTF-8", "UTF-16").encode("utf-16-be"),
    "no XML declaration": lambda body: body.partition(b"?>")[2],
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FIXTURES)
def test_document_is_read_the_same_in_every_xml_style(name: str, style: str, spelled: Spelled) -> None:
    said = decode(STYLES[style](fixture(name)))
    assert spelled(said.fields) == spelled(decode(fixture(name)).fields)


def test_missing_namespace_is_recorded() -> None:
    message = decode(bare(fixture("item-shipped.xml")))
    assert (message.namespaced, decode(plain(fixture("item-shipped.xml"))).namespaced) == (False, True)


def shipped(inside: str) -> bytes:
    """A minimal ItemShipped for a request, with `inside` in it."""
    start = f'<NCIPMessage xmlns="{NISO}"><ItemShipped><RequestId><RequestIdentifierValue>R1</RequestIdentifierValue>'
    return f"{start}</RequestId>{inside}</ItemShipped></NCIPMessage>".encode()


def test_unknown_element_is_skipped_with_a_note() -> None:
    message = decode(shipped("<Bag><Number>4</Number></Bag><UserId><UserIdentifierValue>PG7</UserIdentifierValue></UserId>"))
    assert (message.text("UserId/UserIdentifierValue"), message.notes) == ("PG7", ("unknown element ItemShipped/Bag",))


def test_first_of_a_repeated_element_is_used_with_a_note() -> None:
    message = decode(shipped("<DateShipped>2017-03-02</DateShipped><DateShipped>2018-01-01</DateShipped>"))
    assert (message.text("DateShipped"), message.notes) == ("2017-03-02", ("repeated element ItemShipped/DateShipped",))


def test_empty_text_is_treated_as_absent() -> None:
    message = decode(shipped("<DateShipped> </DateShipped>"))
    assert "DateShipped" not in message.fields


def test_scheme_and_value_may_be_child_elements(spelled: Spelled) -> None:
    body = "<UserId><UserIdentifierType><Scheme>urn:s</Scheme><Value> Barcode  Id </Value></UserIdentifierType></UserId>"
    kind = decode(shipped(body)).each("UserId")[0].fields["UserIdentifierType"]
    assert spelled(kind) == ("Barcode Id", "urn:s")


def test_text_is_trimmed_but_keeps_inner_white_space() -> None:
    message = decode(shipped("<ShippingInformation><ShippingNote>\n two\n lines </ShippingNote></ShippingInformation>"))
    assert message.text("ShippingInformation/ShippingNote") == "two\n lines"


def test_control_d_inside_a_text_is_removed_with_a_note() -> None:
    message = decode(shipped("<DateShipped>2017-\x0403-02</DateShipped>"))
    assert (message.text("DateShipped"), message.notes) == ("2017-03-02", ("^D removed",))


def test_user_and_credentials_may_stand_side_by_side() -> None:
    body = "<NCIPMessage><LookupUser><AuthenticationInput><AuthenticationInputData>1</AuthenticationInputData>"
    body += "</AuthenticationInput><UserId><UserIdentifierValue>PG7</UserIdentifierValue></UserId></LookupUser></NCIPMessage>"
    message = decode(body.encode())
    assert (message.has("UserId"), message.has("AuthenticationInput")) == (True, True)


def test_number_of_notes_is_bounded() -> None:
    assert len(decode(shipped("".join(f"<x{n}/>" for n in range(5000)))).notes) == 32


TITLED = "<?xml version='1.0' encoding='{}'?><NCIPMessage><CreateItemResponse><Problem><ProblemDetail>酒徒</ProblemDetail>"
TITLED += "</Problem></CreateItemResponse></NCIPMessage>"


@pytest.mark.parametrize(
    ("declared", "written", "charset"),
    [
        ("UTF-8", "utf-8", None),
        ("Big5", "big5", None),
        ("GB18030", "gb18030", None),
        ("ISO-8859-1", "utf-8", "utf-8"),
        ("UTF-8", "big5", '"Big5"'),
        ("ISO-8859-1", "utf-8-sig", "iso-8859-1"),
    ],
)
def test_charset_comes_from_byte_order_mark_then_http_then_declaration(
    declared: str, written: str, charset: str | None
) -> None:
    message = decode(TITLED.format(declared).encode(written), charset)
    assert message.text("Problem/ProblemDetail") == "酒徒"


def test_ncip_1_error_in_an_ncip_2_problem_becomes_its_type() -> None:
    error = "<ProcessingErrorType><Value>\n no such item \n</Value></ProcessingErrorType>"
    inside = f"<RequestItemResponse><Problem><ProcessingError>{error}</ProcessingError></Problem></RequestItemResponse>"
    message = decode(f'<NCIPMessage xmlns="{NISO}">{inside}</NCIPMessage>'.encode())
    assert (message.text("Problem/ProblemType"), message.notes) == (
        "no such item",
        ("ProcessingError in RequestItemResponse/Problem",),
    )
