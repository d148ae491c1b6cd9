"""Documents of NCIP: composing what a probe says, and reading what came back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lxml import etree

from circprobe import rules

NAMESPACE = "http://www.niso.org/2008/ncip"
VERSION_2_02 = "http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"
VERSION_1_0 = "http://www.niso.org/ncip/v1_0/imp1/dtd/ncip_v1_0.dtd"
DOCTYPE_1_0 = (
    '<!DOCTYPE NCIPMessage PUBLIC "-//NISO//NCIP DTD Version 1.0//EN" "' + VERSION_1_0 + '">'
)
OTHER_VERSIONS = {
    "2.0": "http://www.niso.org/schemas/ncip/v2_0/imp1/xsd/ncip_v2_0.xsd",
    "2.01": "http://www.niso.org/schemas/ncip/v2_01/imp1/xsd/ncip_v2_01.xsd",
    "odd": "5.6",
}
PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>'


class Unreadable(Exception):
    """Bytes that are no XML document; the message says where."""


def qualified(name: str) -> str:
    """Give a name in the namespace of version 2."""
    return f"{{{NAMESPACE}}}{name}"


def fill(fragment: str, values: Mapping[str, str]) -> str:
    """Put values into a fragment, escaped; `{header}` and the like are fragments themselves."""
    escaped = {
        name: value if value.startswith("<") else escape(value) for name, value in values.items()
    }
    # Twice, because the header has places of its own.
    return rules.fill(rules.fill(fragment, escaped), escaped)


def compose(fragment: str, form: str = "v2", version: str = VERSION_2_02) -> bytes:
    """Make a message of a fragment without namespace.

    Args:
        fragment: the element of the service, filled.
        form: "v2" (prefix ns1, everything qualified), "prefix" (another prefix), "default" (the
            default namespace, with an unqualified version), "none" (no namespace), or "v1".
        version: what the attribute `version` says.
    """
    if form == "v1":
        head = f'{PROLOGUE}{DOCTYPE_1_0}<NCIPMessage version="{VERSION_1_0}">'
        return f"{head}{fragment}</NCIPMessage>".encode()
    if form == "default":
        head = f'{PROLOGUE}<NCIPMessage xmlns="{NAMESPACE}" version="{version}">'
        return f"{head}{fragment}</NCIPMessage>".encode()
    if form == "none":
        return f'{PROLOGUE}<NCIPMessage version="{version}">{fragment}</NCIPMessage>'.encode()

    prefix = "nisoncip" if form == "prefix" else "ns1"
    root = etree.fromstring(f"<NCIPMessage>{fragment}</NCIPMessage>")
    message = etree.Element(qualified("NCIPMessage"), nsmap={prefix: NAMESPACE})
    message.set(qualified("version"), version)
    for child in root:
        message.append(_in_namespace(child))
    return PROLOGUE.encode() + etree.tostring(message, encoding="utf-8")


def _in_namespace(element: etree._Element) -> etree._Element:
    if not isinstance(element.tag, str):
        return element
    name = element.tag if element.tag.startswith("{") else qualified(element.tag)
    copy = etree.Element(name)
    for attribute, value in element.attrib.items():
        key = str(attribute)
        copy.set(key if key.startswith("{") else qualified(key), str(value))
    copy.text = element.text
    copy.tail = element.tail
    for child in element:
        copy.append(_in_namespace(child))
    return copy


@dataclass(frozen=True)
class Document:
    """A document as it came, and a copy without namespaces for XPath."""

    root: etree._Element
    plain: etree._Element

    @property
    def service(self) -> str:
        """The name of the first element under NCIPMessage, empty if there is none."""
        for child in self.plain:
            if isinstance(child.tag, str):
                return child.tag
        return ""

    @property
    def is_version_1(self) -> bool:
        """Say whether the root is outside the namespace of version 2."""
        return etree.QName(self.root).namespace != NAMESPACE

    def text(self, path: str) -> str:
        """Give the text of the first element of a path, empty if there is none."""
        return (self.plain.findtext(path) or "").strip()

    def problems(self) -> list[str]:
        """List the types of all problems, of both versions."""
        found = [element.text or "" for element in self.plain.iter("ProblemType")]
        for name in ("ProcessingErrorType", "MessagingErrorType"):
            found += [element.findtext("Value") or "" for element in self.plain.iter(name)]
        return [problem.strip() for problem in found]

    @property
    def has_problem(self) -> bool:
        """Say whether there is a problem of either version."""
        names = ("Problem", "ProcessingError", "MessagingError")
        return any(self.plain.find(f".//{name}") is not None for name in names)


def read(content: bytes) -> Document:
    """Read a document, without loading anything that it names.

    Raises:
        Unreadable: if it is not well-formed, or has an entity.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(str(error) or "the document is empty") from None
    return Document(root, _without_namespaces(root))


def _without_namespaces(element: etree._Element) -> etree._Element:
    copy = etree.Element(etree.QName(element).localname)
    for attribute, value in element.attrib.items():
        copy.set(etree.QName(attribute).localname, value)
    copy.text = element.text
    for child in element:
        if isinstance(child.tag, str):
            copy.append(_without_namespaces(child))
    return copy


_SERVICE = re.compile(rb"<(?:[\w.-]+:)?([A-Z][A-Za-z]+?)(?:\s[^>]*)?/?>")
READ_ONLY = {
    "LookupUser",
    "LookupItem",
    "LookupItemSet",
    "LookupRequest",
    "LookupAgency",
    "LookupVersion",
}


def services_in(content: bytes) -> set[str]:
    """Name the services whose elements stand anywhere in a body, even a damaged one."""
    names = {name.decode() for name in _SERVICE.findall(content)}
    return names & SERVICES


SERVICES = READ_ONLY | {
    *("AcceptItem", "CancelRecallItem", "CancelRequestItem", "CheckInItem", "CheckOutItem"),
    *("CirculationStatusChangeReported", "CirculationStatusUpdated", "CreateAgency"),
    *("CreateItem", "CreateUser", "CreateUserFiscalTransaction", "DeleteItem", "DeleteUser"),
    *("ItemCheckedIn", "ItemCheckedOut", "ItemCreated", "ItemRecallCancelled", "ItemRecalled"),
    *("ItemReceived", "ItemRenewed", "ItemRequestCancelled", "ItemRequestUpdated"),
    *("ItemRequested", "ItemShipped", "ItemUpdated", "RecallItem", "RenewItem"),
    *("ReportCirculationStatusChange", "RequestItem", "SendUserNotice", "UndoCheckOutItem"),
    *("UpdateAgency", "UpdateCirculationStatus", "UpdateItem", "UpdateRequestItem"),
    *("UpdateUser", "UserCreated", "UserFiscalTransactionCreated", "UserNoticeSent"),
    *("UserUpdated", "AgencyCreated", "AgencyUpdated"),
}
