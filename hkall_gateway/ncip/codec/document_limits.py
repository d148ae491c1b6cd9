"""Limits of an XML document, checked on its bytes before parsing, by counting possible markup."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The most that one document may hold.

    `elements` also counts comments, processing instructions and CDATA sections; `attributes` and `namespaces` are in all,
    `attributes_each` on one element; `references` are `&…;`; `depth` is levels.
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


def exceeded(document: bytes, limits: DocumentLimits) -> str:
    """Return which limit a document in UTF-8 exceeds, in words; "" for none.

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
    return found or _tag_by_tag(document, limits)


def _tag_by_tag(document: bytes, limits: DocumentLimits) -> str:
    tags = document.split(b"<")[1:]
    if len(tags) > limits.depth and max(accumulate(map(_step, tags))) > limits.depth:
        return f"deeper than {limits.depth} levels"
    if _attributes(document) <= limits.attributes_each:
        return ""
    each = list(map(_attributes, tags))
    if max(each, default=0) > limits.attributes_each:
        return f"more than {limits.attributes_each} attributes in one element"
    return f"more than {limits.attributes} attributes" if sum(each) > limits.attributes else ""


def _attributes(piece: bytes) -> int:
    """The most attributes that can be here: each has an equals sign and two quotation marks."""
    signs = piece.count(b"=")
    return min(signs, (piece.count(b'"') + piece.count(b"'")) // 2) if signs else 0


def _step(tag: bytes) -> int:
    """How many levels further down the document is behind this tag, given without its "<"."""
    first = tag[:1]
    if first == b"/":
        return -1
    end = tag.find(b">")
    return 0 if first in (b"!", b"?") or tag[end - 1 : end] == b"/" else 1
