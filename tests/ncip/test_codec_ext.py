"""Ext content is kept and echoed unchanged; peers without a namespace are answered as their dialect says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, NcipDialect
from hkall_gateway.ncip.codec.documents import NISO, NcipMessage, decode, encode
from hkall_gateway.ncip.codec.messages import HIDDEN_ELEMENT, redacted
from hkall_gateway.ncip.handlers import redact_document
from tests.ncip.conftest import make_ext

DIRECT, BROKER = DIALECTS["direct"], DIALECTS["broker"]
ITEM = "<n:ItemId><n:ItemIdentifierValue>L1</n:ItemIdentifierValue></n:ItemId>"


IN_EXT = f".//{{{NISO}}}Ext/*"


def wrapped(inside: str, spaces: str = "") -> bytes:
    """A notification with `inside` in its Ext."""
    body = f"<n:ItemReceived>{ITEM}<n:Ext>{inside}</n:Ext></n:ItemReceived>"
    return f'<n:NCIPMessage xmlns:n="{NISO}" {spaces}>{body}</n:NCIPMessage>'.encode()


def received(inside: str, spaces: str = "") -> NcipMessage:
    return decode(wrapped(inside, spaces))


OTHERS = {
    "another namespace": ('<x:Note xmlns:x="urn:x" kind="a">酒 &amp; <x:b/>tail</x:Note>', ""),
    "a namespace from outside": ("<x:Note>1</x:Note>", 'xmlns:x="urn:x" xmlns:unused="urn:u"'),
    "a name of NCIP in another namespace": ('<RequestId xmlns="urn:x"><Deep>1</Deep></RequestId>', ""),
    "a new name in the namespace of NCIP": ("<n:ReceivedBy><n:Lender/></n:ReceivedBy>", ""),
    "no namespace at all": ("<note><a>1</a> <a>2</a></note>", ""),
}


@pytest.mark.parametrize("name", OTHERS)
def test_foreign_elements_are_kept_as_text_and_returned_unchanged(name: str) -> None:
    inside, spaces = OTHERS[name]
    message = received(inside, spaces)
    again = decode(encode(message, DIRECT))
    assert (again.fields, again.notes, message.notes) == (message.fields, (), ())
    came, went = etree.fromstring(wrapped(inside, spaces)), etree.fromstring(encode(message, DIRECT))
    assert [bare(child) for child in went.iterfind(IN_EXT)] == [bare(child) for child in came.iterfind(IN_EXT)]


def bare(node: etree._Element) -> str:
    """A standalone node, without unused namespaces and regardless of prefixes."""
    alone = etree.fromstring(etree.tostring(node, with_tail=False))
    etree.cleanup_namespaces(alone)
    return etree.canonicalize(etree.tostring(alone, encoding="unicode"), rewrite_prefixes=True)


def test_ncip_elements_are_read_beside_foreign_elements() -> None:
    message = received(
        '<x:Note xmlns:x="urn:x"/><n:RequestId><n:RequestIdentifierValue>R1</n:RequestIdentifierValue></n:RequestId>'
    )
    assert message.text("Ext/RequestId/RequestIdentifierValue") == "R1"
    assert message.texts("Ext/Ext") == ('<x:Note xmlns:x="urn:x"/>',)


def test_ext_can_be_echoed_in_the_reply() -> None:
    message = received("<n:ReceivedBy><n:Lender/></n:ReceivedBy>")
    reply = encode(NcipMessage(service="ItemReceivedResponse", fields={"Ext": message.fields["Ext"]}), DIRECT)
    assert decode(reply).fields["Ext"] == message.fields["Ext"]
    assert b"ReceivedBy" in reply


def test_foreign_element_is_written_unchanged_beside_ncip_elements() -> None:
    note = etree.fromstring('<x:Note xmlns:x="urn:x" kind="a">酒 &amp; <x:b/>tail</x:Note>')
    message = NcipMessage(
        service="ItemReceivedResponse", fields={"Ext": make_ext(note, etree.Element("Plain")) | {"ItemNote": ["torn"]}}
    )

    sent = etree.fromstring(encode(message, DIRECT))

    assert [etree.QName(child).localname for child in sent.iterfind(IN_EXT)] == ["Note", "Plain", "ItemNote"]
    assert bare(sent.find(IN_EXT)) == bare(note)  # type: ignore[arg-type]
    assert decode(encode(message, DIRECT)).fields == message.fields


def test_make_ext_does_not_modify_the_source_document() -> None:
    outside = etree.fromstring("<all><one/>tail</all>")
    assert make_ext(outside[0]) == {"Ext": ["<one/>"]}
    assert etree.tostring(outside) == b"<all><one/>tail</all>"


def test_foreign_elements_in_an_ext_are_masked_in_a_document_that_can_be_replayed() -> None:
    message = received("<Patron>Chan Tai Man</Patron>")
    assert redacted(message)["Ext"] == {"Ext": [HIDDEN_ELEMENT]}
    assert decode(redact_document(message).encode()).service == message.service


def test_invalid_xml_text_is_reported_by_its_path() -> None:
    with pytest.raises(ValueError, match="ItemReceivedResponse/Ext/Ext is not XML"):
        encode(NcipMessage(service="ItemReceivedResponse", fields={"Ext": {"Ext": ["<a>"]}}), DIRECT)


def test_text_is_parsed_as_an_element_only_inside_ext() -> None:
    with pytest.raises(ValueError, match="ItemReceivedResponse/Ext is any and cannot hold str"):
        encode(NcipMessage(service="ItemReceivedResponse", fields={"Ext": "<a/>"}), DIRECT)


@pytest.mark.parametrize("space", ["http://www.extensiblecatalog.org/2011/ilsdi", NISO, ""])
def test_service_in_the_envelope_ext_is_found_in_any_namespace_and_answered_there(space: str) -> None:
    service = f'<LookupItemSet xmlns="{space}"><HoldingsSetId>7</HoldingsSetId></LookupItemSet>'
    message = decode(f'<n:NCIPMessage xmlns:n="{NISO}"><n:Ext>{service}</n:Ext></n:NCIPMessage>'.encode())
    reply = encode(
        NcipMessage(service="LookupItemSetResponse", fields={"NextItemToken": "8"}, extension=message.extension), DIRECT
    )
    found = etree.fromstring(reply).find(f"{{{NISO}}}Ext/{{{NISO}}}LookupItemSetResponse")
    assert (message.text("HoldingsSetId"), found is not None) == ("7", True)


MIRRORS = {
    "a bare document to a broker": (BROKER, False, False),
    "a namespaced document to a broker": (BROKER, True, True),
    "a bare document to a library": (DIRECT, False, True),
    "a bare document where none is ever namespaced": (replace(DIRECT, namespaced=False), True, False),
}


@pytest.mark.parametrize("case", MIRRORS)
def test_document_without_a_namespace_gets_a_bare_reply_only_in_a_mirroring_dialect(case: str) -> None:
    dialect, came, goes = MIRRORS[case]
    assert decode(encode(NcipMessage(service="ItemShippedResponse", fields={}, namespaced=came), dialect)).namespaced is goes


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda row: row.name)
def test_attributes_are_qualified_only_in_namespaced_replies(dialect: NcipDialect) -> None:
    root = etree.fromstring(encode(NcipMessage(service="ItemShippedResponse", fields={}, namespaced=False), dialect))
    spaces = {etree.QName(root).namespace, *(etree.QName(str(name)).namespace for name in root.attrib)}
    assert len(spaces) == 1
