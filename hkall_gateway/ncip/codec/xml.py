"""Parses XML within limits, without entities or network access, and tolerates deviations of transport and charset."""

from __future__ import annotations

import codecs
import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.messages import BadDocument, Header
from hkall_gateway.rules.plain_text import fault_of_text, without_faults

# ---- Limits of an XML document, checked on its bytes before parsing, by counting possible markup.


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The most that one document may hold.

    `elements` also counts comments, processing instructions and CDATA sections. `attributes` and `namespaces` are in all,
    `attributes_each` on one element. `references` are `&…;`. `depth` is levels.
    """

    elements: int
    attributes: int
    namespaces: int
    references: int
    attributes_each: int = 64
    depth: int = 64


QUESTION: Final = DocumentLimits(elements=1_000, attributes=2_000, namespaces=250, references=10_000)
"""Limits of a peer's request. The largest sample of any system has 600 elements; reading 1,000 takes about 3 ms."""
REPLY: Final = DocumentLimits(elements=10_000, attributes=20_000, namespaces=2_000, references=65_536)
"""Limits of a peer's reply: a patron's record with some hundred loans, a set of some hundred copies."""


def find_exceeded_limit(document: bytes, limits: DocumentLimits) -> str:
    """Return which limit a document in UTF-8 exceeds, in words. "" for none.

    Each count is at least the true one: characters in a comment, a CDATA section or a text count too. In well-formed XML
    no "<" stands inside a tag, so that the attributes of an element lie between its "<" and the next. The work is one pass
    of `bytes.count` for each kind, and then, for a document that has passed these, one step for each "<".
    """
    opened = document.count(b"<") - document.count(b"</")
    counted = (
        (opened, limits.elements, "elements"),
        (document.count(b"xmlns"), limits.namespaces, "namespace declarations"),
        (document.count(b"&"), limits.references, "references"),
    )
    found = next((f"more than {most} {what}" for count, most, what in counted if count > most), "")
    if found or (opened <= limits.depth and _count_attributes(document) <= limits.attributes_each):
        return found
    tags = document.split(b"<")[1:]
    if max(accumulate(map(_depth_step, tags)), default=0) > limits.depth:
        return f"deeper than {limits.depth} levels"
    each = list(map(_count_attributes, tags))
    if max(each, default=0) > limits.attributes_each:
        return f"more than {limits.attributes_each} attributes in one element"
    return f"more than {limits.attributes} attributes" if sum(each) > limits.attributes else ""


def _count_attributes(piece: bytes) -> int:
    """Count the attributes that can be here at most. Each has an equals sign and two quotation marks."""
    signs = piece.count(b"=")
    return min(signs, (piece.count(b'"') + piece.count(b"'")) // 2) if signs else 0


def _depth_step(tag: bytes) -> int:
    """How many levels further down the document is behind this tag, given without its "<"."""
    first = tag[:1]
    if first == b"/":
        return -1
    end = tag.find(b">")
    return 0 if first in (b"!", b"?") or tag[end - 1 : end] == b"/" else 1


NISO: Final = "http://www.niso.org/2008/ncip"
NOTES: Final = 32
SYNTAX: Final = "Invalid Message Syntax Error"

# Codecs that Python knows and no peer needs (idna, punycode, unicode_escape) stay outside.
CHARSETS: Final = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "iso8859-15", "cp1252"}
    | {"big5", "big5hkscs", "cp950", "gb2312", "gbk", "gb18030", "shift_jis", "euc_jp", "euc_kr"}
)
_MARKS: Final[Mapping[bytes, str]] = MappingProxyType(
    {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
)
_BARE_UTF16: Final[Mapping[bytes, str]] = MappingProxyType({b"<\0": "utf-16-le", b"\0<": "utf-16-be"})
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.-]{1,40})""")
# Possessive throughout: a peer's prologue must not be able to make this backtrack. A DOCTYPE has two quoted texts at most.
_SUBSET: Final = re.compile(
    r"""(?>\s++|<\?(?>.*?\?>)|<!--(?>.*?-->))*+<!DOCTYPE(?>[^\[>"']++|"[^"]*+"|'[^']*+'){0,9}+\[(?!\s*+\])""",
    re.DOTALL,
)
"""A DOCTYPE with declarations; .NET writes one with an empty subset, `"…ncip_v1_0.dtd"[]>`, which declares nothing."""
PARSER: Final = etree.XMLParser(
    encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
)  # huge_tree stays off: libxml2's own bounds on depth and amplification hold


class TooLarge(BadDocument):
    """A document that was refused before parsing, since it exceeds a limit."""


class Notes(dict[str, None]):
    """Tolerances used, in order, each once; limited in number and length, so that no document fills the log."""

    def add(self, note: str) -> None:
        """Add a note, cut to 200 characters; ignored once there are NOTES of them."""
        if len(self) < NOTES:
            self[note[:200]] = None


def decode_body(body: bytes, charset: str | None, notes: Notes) -> str:
    """Decode a document to text, without padding such as BOM, NUL and ^D. `charset` is the one that HTTP names."""
    # libxml2 refuses a blank before the XML declaration and a ^D or NUL behind the end; both arrive from real peers.
    try:
        text = body.decode(_choose_charset(body, charset)).strip("\ufeff\0\x04 \t\r\n")
    except UnicodeDecodeError as error:
        raise BadDocument(SYNTAX, f"byte {error.start} is not {error.encoding}") from error
    if "\x04" in text:
        notes.add("^D removed")
        text = text.replace("\x04", "")
    return text


def parse_xml(text: str, limits: DocumentLimits = REPLY) -> etree._Element:
    """Parse a text to a tree. No resource is fetched, no entity is resolved, and a DOCTYPE with declarations is refused.

    Raises TooLarge, before parsing, for a text that exceeds the `limits`.
    """
    document = text.encode()
    if why := find_exceeded_limit(document, limits):
        raise TooLarge(SYNTAX, why)
    if _SUBSET.match(text):
        raise BadDocument(SYNTAX, "a DOCTYPE with declarations of its own is refused")
    try:
        return etree.fromstring(document, PARSER)
    except etree.XMLSyntaxError as error:
        raise BadDocument(SYNTAX, describe_syntax_error(error)) from None  # the first error quotes the document


def describe_syntax_error(error: etree.XMLSyntaxError) -> str:
    """Describe a syntax error by type and position, without libxml2's own text, which may quote a secret or a name."""
    line, column = error.position
    last = error.error_log.last_error
    return f"not well-formed: {last.type_name if last else 'error'} ({error.code}) in line {line}, column {column}"


def check_tree(root: etree._Element, text: str, limits: DocumentLimits = REPLY) -> None:
    """Refuse a tree that is too deep or too large, or holds an entity or a text that may not enter. `text` is its document."""
    # The document was counted before it was parsed. Without references its texts have no other characters than it has.
    if "&" not in text and not fault_of_text(text, lines=True):
        return
    # The parser leaves entities unresolved; without this check their text would be lost silently.
    if next(root.iter(etree.Entity), None) is not None:
        raise BadDocument(SYNTAX, "entities are refused", header=read_header(root))
    level, depth, count = [root], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > limits.depth or count > limits.elements:
            raise BadDocument(
                SYNTAX, f"deeper than {limits.depth} or more than {limits.elements} elements", header=read_header(root)
            )
        texts = (text for node in level for text in (node.text or "", node.tail or "", *map(str, node.attrib.values())))
        if fault := next(filter(None, (fault_of_text(text, lines=True) for text in texts)), ""):
            raise BadDocument(SYNTAX, f"a text is refused: {fault}", header=read_header(root))
        level = [child for node in level for child in node]


def read_header(root: etree._Element) -> Header:
    """Read the sender and the addressee of a document of any version. "" if not found."""
    return Header(_find_agency(root, "FromAgencyId"), _find_agency(root, "ToAgencyId"))


def read_attribute(node: etree._Element, name: str) -> str:
    """Return an attribute by its local name. "" when it is absent."""
    return next((str(value) for key, value in node.items() if local_name(key) == name), "")


def local_name(name: object) -> str:
    """Return the name of a tag or an attribute without its namespace."""
    return str(name).rpartition("}")[2]


def without_control_characters(text: str) -> str:
    """Replace every character that no document may have by a blank."""
    return text if text.isprintable() else without_faults(text)


def serialize_foreign(node: etree._Element) -> str:
    """Serialize an element of another vocabulary with only the namespaces that it uses, so that its context does not matter."""
    alone = copy.deepcopy(node)
    ours = etree.Element(f"{{{NISO}}}Ext", nsmap={"ns1": NISO})
    ours.append(alone)  # from here on NCIP's own namespace has the prefix that we write
    ours.remove(alone)
    etree.cleanup_namespaces(alone, keep_ns_prefixes=["xsi", "xs", "xsd"])  # those may be used inside a value
    return etree.tostring(alone, encoding="unicode", with_tail=False)


def _choose_charset(body: bytes, charset: str | None) -> str:
    marked = next((name for mark, name in _MARKS.items() if body.startswith(mark)), None)
    declared = _DECLARED.match(body)
    by_declaration = declared[1].decode("ascii", "replace") if declared else "utf-8"
    named = marked or (charset or "").strip("\"' ") or _BARE_UTF16.get(body[:2]) or by_declaration
    try:
        known = codecs.lookup(named).name
    except (LookupError, ValueError):
        known = ""
    if known not in CHARSETS:
        raise BadDocument(SYNTAX, f"character set {named[:40]!r} is not read here")
    return known


def _find_agency(root: etree._Element, side: str) -> str:
    """Find the first agency named inside an element `side`.

    Each node is visited once, however deeply such elements are nested.
    """
    waiting: list[tuple[etree._Element, bool]] = [(root, False)]
    while waiting:
        node, inside = waiting.pop()
        name = local_name(node.tag)
        # NCIP 1 has UniqueAgencyId with Scheme and Value.
        if inside and name in ("AgencyId", "Value") and (text := (node.text or "").strip()):
            return text[:200]
        waiting.extend((child, inside or name == side) for child in reversed(node))
    return ""
