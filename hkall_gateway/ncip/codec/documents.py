"""Decodes NCIP documents to messages and encodes messages: tolerant in reading, valid against the schema in writing.

Reading ignores prefixes, element order and the schema: each tolerance is needed by a real peer, and is noted on the message
if data is lost by it. A document of NCIP 1 becomes the equivalent message of NCIP 2.
Writing is valid: 2.02, the older 2.x or the NCIP 1 of the document that is answered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec import lookup_version, parse, serialize, v1_reader, v1_writer, xml
from hkall_gateway.ncip.codec.dialects import Dtd, NcipDialect, minor, version_1
from hkall_gateway.ncip.codec.messages import BadDocument, Coded, Fields, NcipMessage
from hkall_gateway.ncip.codec.xml import NISO, REPLY, DocumentLimits, Notes, TooLarge

__all__ = ["NISO", "BadDocument", "Coded", "Fields", "NcipMessage", "decode", "encode"]


_DECLARATION: Final = "<?xml version='1.0' encoding='UTF-8'?>\n"


def decode(body: bytes, charset: str | None = None, limits: DocumentLimits = REPLY) -> NcipMessage:
    """Decode a document to a message; `charset` is the one named by HTTP and takes precedence over the document's own.

    A document that exceeds the `limits` is refused before it is parsed.

    `version` of a message in NCIP 1 is a `Dtd`, and so is that of the BadMessage, so that the reply can be written likewise.
    Raises BadMessage for a document that is not well-formed, is too large, declares entities, is not NCIP, or lacks an element
    that its service needs. No external resource is ever fetched.
    """
    notes = Notes()
    text = xml.unwrapped(body, charset, notes)
    root = _tree(text, notes, limits)
    dtd = v1_reader.dtd(root)
    try:
        xml.measure(root, limits)
        return _message(root, dtd, notes)
    except BadDocument as bad:
        bad.version = _version(root, notes) if dtd is None else dtd
        raise


def encode(message: NcipMessage, dialect: NcipDialect) -> bytes:
    """Encode `message`, with children in schema order regardless of the order of the fields.

    The version is the message's own when it names NCIP 1 or a known 2.x (a reply has the version of the question), else the
    dialect's; places that are younger than that version are left out. "", False and an empty list are not written.
    Raises ValueError, naming the path, for a field that is not in the content model, and for a dialect of unknown version.
    """
    if message.service in lookup_version.SERVICES:
        return lookup_version.written(message)
    spoken = version_1(message.version)
    if spoken is None and minor(message.version) is None:
        spoken = version_1(dialect.version)
    if spoken is not None:
        said = serialize.document(replace(message, extension=False), prefix="", level=2)
        return v1_writer.written(etree.fromstring(said.encode(), xml.PARSER), spoken)
    return _written(message, dialect)


def _written(message: NcipMessage, dialect: NcipDialect) -> bytes:
    version = message.version if minor(message.version) is not None else dialect.version
    level = minor(version)
    if level is None:
        raise ValueError(f"dialect {dialect.name!r} writes {version!r}, for which there is no table of elements")
    # A dialect of NCIP 1 has no namespace; a document of NCIP 2 that reached its peer's row has one all the same.
    bare = dialect.minor is not None and (not dialect.namespaced or (dialect.mirrors and not message.namespaced))
    prefix = "" if bare else dialect.prefix
    return (_DECLARATION + serialize.document(message, prefix, level, version, bare=bare, apart=dialect.apart)).encode()


def _tree(text: str, notes: Notes, limits: DocumentLimits) -> etree._Element:
    try:
        return xml.parsed(text, limits)
    except BadDocument as bad:
        if not v1_reader.likely(text):
            raise
        bad.version = v1_reader.STANDARD
        if isinstance(bad, TooLarge) or (mended := v1_reader.mended(text)) == text:
            raise
    notes.add("bare & or < escaped")
    try:
        return xml.parsed(mended, limits)
    except BadDocument as bad:
        bad.version = v1_reader.STANDARD
        raise


def _message(root: etree._Element, dtd: Dtd | None, notes: Notes) -> NcipMessage:
    if lookup_version.asked(root):
        return lookup_version.message(root, notes)
    if dtd is not None:
        return parse.message(v1_reader.modern(root, notes.add), dtd, notes, v1_reader.KNOWN)
    return parse.message(root, _version(root, notes), notes)


def _version(root: etree._Element, notes: Notes) -> str:
    """The version as received; "" for a version of NCIP 1 in a document with the namespace of NCIP 2."""
    version = xml.attribute(root, "version")
    if version_1(version) is None:
        return version
    notes.add(f"version {version} in NCIP 2")
    return ""
