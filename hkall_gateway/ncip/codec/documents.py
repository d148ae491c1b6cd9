"""Decodes NCIP documents to messages, and encodes messages to documents.

The decoder ignores prefixes and element order, and does not validate. Each tolerance is needed by a real peer. The message
carries a note about each tolerance that loses data. An NCIP 1 document becomes the equivalent NCIP 2 message.
The encoder writes valid documents. A reply uses the request's version (NCIP 1 or 2.x). Other documents use 2.02.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec import ncip1, ncip2
from hkall_gateway.ncip.codec.dialects import NcipDialect, minor, version_1
from hkall_gateway.ncip.codec.messages import BadDocument, NcipMessage
from hkall_gateway.ncip.codec.niso_xml import NISO, SYNTAX, read_header
from hkall_gateway.xml.reader import (
    PARSER,
    REPLY,
    BadXml,
    DocumentLimits,
    Notes,
    TooLarge,
    check_tree,
    decode_body,
    local_name,
    parse_xml,
    read_attribute,
    without_control_characters,
)
from hkall_gateway.xml.tree import Coded, Fields, many

# LookupVersion is the only service outside NCIPMessage. Its separate schema, the same for all versions, uses the element names
# of NCIP 1. Source: ncip_version.xsd.
ROOT: Final = "NCIPVersionMessage"
LOOKUP_VERSION: Final = frozenset({"LookupVersion", "LookupVersionResponse"})
SCHEMA: Final = "http://www.niso.org/ncip/v1_0/imp1/xsd/ncip_version.xsd"
LISTS: Final = ("VersionSupported", "ServiceSupported")
_NO_SCHEME: Final = "NCIP Unique Agency Id"


def is_lookup_version(root: etree._Element) -> bool:
    """Check whether a document is a LookupVersion or LookupVersionResponse, also inside NCIPMessage (Koha, Evergreen)."""
    return local_name(root.tag) == ROOT or (
        local_name(root.tag) == "NCIPMessage" and any(local_name(node.tag) in LOOKUP_VERSION for node in root)
    )


def read_lookup_version(root: etree._Element, notes: Notes) -> NcipMessage:
    """Decode a LookupVersion document. Put the agencies into an InitiationHeader or ResponseHeader, as in other messages."""
    if local_name(root.tag) != ROOT:
        notes.add("LookupVersion inside NCIPMessage")
    found = [node for node in root if local_name(node.tag) in LOOKUP_VERSION]
    if len(found) != 1:
        raise BadDocument(SYNTAX, f"{ROOT} holds {len(found)} services", header=read_header(root))
    service = local_name(found[0].tag)
    sides = {name: side for name in ("FromAgencyId", "ToAgencyId") if (side := _read_agency(found[0], name))}
    texts = {name: [(node.text or "").strip() for node in found[0].iter(f"{{*}}{name}")] for name in LISTS}
    lists = {name: kept for name, found_texts in texts.items() if (kept := [text for text in found_texts if text])}
    fields: Fields = {**({_header_name(service): sides} if sides else {}), **lists}
    return NcipMessage(
        service=service, fields=fields, version=read_attribute(root, "version"), namespaced=False, notes=tuple(notes)
    )


def write_lookup_version(message: NcipMessage) -> bytes:
    """Encode a LookupVersion or LookupVersionResponse."""
    root = etree.Element(ROOT, version=SCHEMA)
    node = etree.SubElement(root, message.service)
    for name in ("FromAgencyId", "ToAgencyId"):
        _write_agency(etree.SubElement(node, name), message, f"{_header_name(message.service)}/{name}/AgencyId")
    for name in LISTS:
        for text in many(message.fields.get(name, ())):
            etree.SubElement(node, name).text = without_control_characters(str(text))
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _header_name(service: str) -> str:
    return "ResponseHeader" if service.endswith("Response") else "InitiationHeader"


def _read_agency(service: etree._Element, name: str) -> Fields:
    agency = next(service.iter(f"{{*}}{name}"), None)
    if agency is None:
        return {}
    value = _find_text(agency, "Value") or _find_text(agency, "AgencyId")
    return {"AgencyId": Coded(value, _find_text(agency, "Scheme") or None)} if value else {}


def _find_text(node: etree._Element, name: str) -> str:
    return next(((found.text or "").strip() for found in node.iter(f"{{*}}{name}")), "")


def _write_agency(side: etree._Element, message: NcipMessage, path: str) -> None:
    value = next(iter(message.texts(path)), "")
    agency = etree.SubElement(side, "UniqueAgencyId")
    scheme = value.scheme if isinstance(value, Coded) else None
    etree.SubElement(agency, "Scheme").text = without_control_characters(scheme or _NO_SCHEME)
    etree.SubElement(agency, "Value").text = without_control_characters(value)


__all__ = ["NISO", "BadDocument", "Coded", "Fields", "NcipMessage", "decode", "encode"]


_DECLARATION: Final = "<?xml version='1.0' encoding='UTF-8'?>\n"


def decode(body: bytes, charset: str | None = None, limits: DocumentLimits = REPLY) -> NcipMessage:
    """Decode a document to a message. No external resource is ever fetched.

    Args:
        body: The document as received.
        charset: Charset in the HTTP Content-Type, which takes precedence over the XML declaration.
        limits: Size limits, checked before parsing.

    Raises:
        BadDocument: The document is not well-formed, is too large, declares entities, is not NCIP, or lacks an element that
            the service requires. `BadDocument.version` is a `Dtd` for NCIP 1, so that the reply is written in NCIP 1.
    """
    notes = Notes()
    try:
        text = decode_body(body, charset, notes)
    except BadXml as bad:
        raise BadDocument(SYNTAX, bad.detail) from bad
    root = _parse_tree(text, notes, limits)
    dtd = None if str(root.tag).startswith("{") else ncip1.dtd(root)  # a namespace means NCIP 2
    try:
        _check_tree(root, text, limits)
        if is_lookup_version(root):
            return read_lookup_version(root, notes)
        if dtd is not None:
            return ncip2.read_message(ncip1.convert_to_ncip2(root, notes.add), dtd, notes, ncip1.KNOWN)
        return ncip2.read_message(root, _read_version(root, notes), notes)
    except BadDocument as bad:
        bad.version = _read_version(root, notes) if dtd is None else dtd
        raise


def encode(message: NcipMessage, dialect: NcipDialect) -> bytes:
    """Encode `message`, with children in schema order regardless of the order of the fields.

    Use the message's version if it is NCIP 1 or a known 2.x (a reply has the request's version), else the dialect's version.
    Omit elements added in later versions, and "", False and empty lists.
    Raises ValueError, with the path, for a field outside the content model, and for a dialect with an unknown version.
    """
    if message.service in LOOKUP_VERSION:
        return write_lookup_version(message)
    spoken = version_1(message.version)
    if spoken is None and minor(message.version) is None:
        spoken = version_1(dialect.version)
    if spoken is not None:
        document = ncip2.write_document(replace(message, extension=False), prefix="", level=2)
        return ncip1.write_document(etree.fromstring(document.encode(), PARSER), spoken)
    version = message.version if minor(message.version) is not None else dialect.version
    level = minor(version)
    if level is None:
        raise ValueError(f"dialect {dialect.name!r} writes {version!r}, for which there is no table of elements")
    # An NCIP 1 dialect has no namespace, but an NCIP 2 message for such a peer is still written with its namespace.
    bare = dialect.minor is not None and (not dialect.namespaced or (dialect.mirrors and not message.namespaced))
    prefix = "" if bare else dialect.prefix
    return (_DECLARATION + ncip2.write_document(message, prefix, level, version, bare=bare, apart=dialect.apart)).encode()


def _parse_tree(text: str, notes: Notes, limits: DocumentLimits) -> etree._Element:
    try:
        return parse_xml(text, limits)
    except BadXml as bad:
        if not ncip1.is_likely(text):
            raise BadDocument(SYNTAX, bad.detail) from bad
        mended = ncip1.mend_schemes(text)
        if isinstance(bad, TooLarge) or mended == text:
            raise _unreadable_ncip1(bad) from bad
    notes.add("bare & or < escaped")
    try:
        return parse_xml(mended, limits)
    except BadXml as bad:
        raise _unreadable_ncip1(bad) from bad


def _unreadable_ncip1(bad: BadXml) -> BadDocument:
    refused = BadDocument(SYNTAX, bad.detail)
    refused.version = ncip1.STANDARD
    return refused


def _check_tree(root: etree._Element, text: str, limits: DocumentLimits) -> None:
    try:
        check_tree(root, text, limits)
    except BadXml as bad:
        raise BadDocument(SYNTAX, bad.detail, header=read_header(root)) from bad


def _read_version(root: etree._Element, notes: Notes) -> str:
    """Return the version as received, or "" if an NCIP 2 document claims an NCIP 1 version."""
    version = read_attribute(root, "version")
    if version_1(version) is None:
        return version
    notes.add(f"version {version} in NCIP 2")
    return ""
