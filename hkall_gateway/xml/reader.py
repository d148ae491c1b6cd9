"""Parses XML within size limits, without entities or network access. Tolerates padding and wrong charset labels."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from lxml import etree

from hkall_gateway.rules.plain_text import fault_of_text, without_faults

# Limits for XML documents, checked before parsing by counting characters that may be markup.


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLimits:
    """Maximum counts for one document.

    Attributes:
        elements: Elements, comments, processing instructions and CDATA sections.
        attributes: Attributes in the whole document.
        namespaces: Namespace declarations in the whole document.
        references: Entity and character references (`&…;`).
        attributes_each: Attributes in one element.
        depth: Levels of nesting.
    """

    elements: int
    attributes: int
    namespaces: int
    references: int
    attributes_each: int = 64
    depth: int = 64


QUESTION: Final = DocumentLimits(elements=1_000, attributes=2_000, namespaces=250, references=10_000)
"""Limits for a peer's request. The largest sample from any system has 600 elements. Reading 1,000 elements takes 3 ms."""
REPLY: Final = DocumentLimits(elements=10_000, attributes=20_000, namespaces=2_000, references=65_536)
"""Limits for a peer's reply, such as a patron with a few hundred loans, or a title with a few hundred items."""


def find_exceeded_limit(document: bytes, limits: DocumentLimits) -> str:
    """Describe the limit that a UTF-8 document exceeds. Return "" if the document is within all limits.

    Counts are upper bounds, since characters in comments, CDATA sections and texts are counted too. In well-formed XML no "<"
    occurs inside a tag, so an element's attributes lie between the element's "<" and the next "<". The cost is one
    `bytes.count` for each kind of markup, plus one step for each "<" in documents that pass these counts.
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
    """Return an upper bound for the attributes in a piece. Each attribute has an equals sign and two quotation marks."""
    signs = piece.count(b"=")
    return min(signs, (piece.count(b'"') + piece.count(b"'")) // 2) if signs else 0


def _depth_step(tag: bytes) -> int:
    """Return by how much a tag changes the nesting depth (-1, 0 or 1). `tag` is the tag without the leading "<"."""
    first = tag[:1]
    if first == b"/":
        return -1
    end = tag.find(b">")
    return 0 if first in (b"!", b"?") or tag[end - 1 : end] == b"/" else 1


NOTES: Final = 32

# Python has further codecs (idna, punycode, unicode_escape), which no peer needs.
CHARSETS: Final = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "iso8859-15", "cp1252"}
    | {"big5", "big5hkscs", "cp950", "gb2312", "gbk", "gb18030", "shift_jis", "euc_jp", "euc_kr"}
)
_MARKS: Final[Mapping[bytes, str]] = MappingProxyType(
    {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
)
_BARE_UTF16: Final[Mapping[bytes, str]] = MappingProxyType({b"<\0": "utf-16-le", b"\0<": "utf-16-be"})
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.-]{1,40})""")
# All quantifiers are possessive, so that no prologue can cause backtracking. A DOCTYPE has at most two quoted texts.
_SUBSET: Final = re.compile(
    r"""(?>\s++|<\?(?>.*?\?>)|<!--(?>.*?-->))*+<!DOCTYPE(?>[^\[>"']++|"[^"]*+"|'[^']*+'){0,9}+\[(?!\s*+\])""",
    re.DOTALL,
)
"""Matches a DOCTYPE with declarations. Does not match an empty internal subset, `"…ncip_v1_0.dtd"[]>`, as .NET writes it."""
PARSER: Final = etree.XMLParser(
    encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
)  # huge_tree stays off, so that libxml2's own limits on depth and amplification apply


class BadXml(Exception):
    """A document that is not read. `detail` explains why, without quoting the document."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TooLarge(BadXml):
    """A document that exceeds a limit and was rejected before parsing."""


class Notes(dict[str, None]):
    """The tolerances used, in order and without duplicates. Limited in number and length, so that no document fills the log."""

    def add(self, note: str) -> None:
        """Add a note, truncated to 200 characters. Ignore the note if there are NOTES notes already."""
        if len(self) < NOTES:
            self[note[:200]] = None


def decode_body(body: bytes, charset: str | None, notes: Notes) -> str:
    """Decode a document to text, and strip padding such as BOM, NUL and ^D. `charset` is the charset in the HTTP header."""
    # libxml2 rejects a blank before the XML declaration and a ^D or NUL after the end, which real peers send.
    try:
        text = body.decode(_choose_charset(body, charset)).strip("\ufeff\0\x04 \t\r\n")
    except UnicodeDecodeError as error:
        raise BadXml(f"byte {error.start} is not {error.encoding}") from error
    if "\x04" in text:
        notes.add("^D removed")
        text = text.replace("\x04", "")
    return text


def parse_xml(text: str, limits: DocumentLimits = REPLY) -> etree._Element:
    """Parse text to a tree, without fetching resources or resolving entities. Raises BadXml, or TooLarge."""
    document = text.encode()
    if why := find_exceeded_limit(document, limits):
        raise TooLarge(why)
    if _SUBSET.match(text):
        raise BadXml("a DOCTYPE with declarations of its own is refused")
    try:
        return etree.fromstring(document, PARSER)
    except etree.XMLSyntaxError as error:
        raise BadXml(describe_syntax_error(error)) from None  # libxml2's own message quotes the document


def describe_syntax_error(error: etree.XMLSyntaxError) -> str:
    """Describe a syntax error by type and position, since libxml2's own message may quote secrets or names."""
    line, column = error.position
    last = error.error_log.last_error
    return f"not well-formed: {last.type_name if last else 'error'} ({error.code}) in line {line}, column {column}"


def check_tree(root: etree._Element, text: str, limits: DocumentLimits = REPLY) -> None:
    """Raise BadXml for a tree with entities, forbidden characters or too many levels. `text` is the document's text."""
    # The limits were checked before parsing. Without references, all characters in the tree are also in `text`.
    if "&" not in text and not fault_of_text(text, lines=True):
        return
    # The parser leaves entities unresolved. Without this check, their text would be lost silently.
    if next(root.iter(etree.Entity), None) is not None:
        raise BadXml("entities are refused")
    level, depth, count = [root], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > limits.depth or count > limits.elements:
            raise BadXml(f"deeper than {limits.depth} or more than {limits.elements} elements")
        texts = (text for node in level for text in (node.text or "", node.tail or "", *map(str, node.attrib.values())))
        if fault := next(filter(None, (fault_of_text(text, lines=True) for text in texts)), ""):
            raise BadXml(f"a text is refused: {fault}")
        level = [child for node in level for child in node]


def read_attribute(node: etree._Element, name: str) -> str:
    """Return the attribute with the local name `name`, or ""."""
    return next((str(value) for key, value in node.items() if local_name(key) == name), "")


def local_name(name: object) -> str:
    """Return the name of a tag or attribute without the namespace."""
    return str(name).rpartition("}")[2]


def without_control_characters(text: str) -> str:
    """Replace each character that is forbidden in documents with a blank."""
    return text if text.isprintable() else without_faults(text)


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
        raise BadXml(f"character set {named[:40]!r} is not read here")
    return known
