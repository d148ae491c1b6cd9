"""Costly documents: excessive ones are refused before parsing, and accepted ones are traversed once.

The work is counted, not timed: the calls made while reading, and the nodes that each lxml lookup visits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from xml.parsers import expat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from hkall_gateway.ncip.codec.documents import BadDocument, decode
from hkall_gateway.xml import reader as xml
from hkall_gateway.xml.reader import QUESTION, REPLY, DocumentLimits, TooLarge, find_exceeded_limit
from tests.examples import example_count

LIMITS = DocumentLimits(elements=300, attributes=200, namespaces=40, references=400, attributes_each=16, depth=16)
V1 = "http://www.niso.org/ncip/v1_0/imp1/dtd/ncip_v1_0.dtd"
CALLS_A_NODE = 60
"""Maximum number of Python and C calls per node or attribute; there are about twenty."""
CALLS_AT_ALL = 2_000


# ---- monsters by grammar


PLAIN = ("a", "b" * 40, "n:a", "UserId", "AgencyId", "FromAgencyId", "InitiationHeader", "Ext", "Value", "Scheme", "Problem")
OLDER = ("VisibleItemId", "VisibleUserId", "UniqueUserId", "UserTransaction", "ItemOptionalFields", "UserElementType")
NAMES = st.sampled_from(PLAIN + OLDER)
COUNTS = st.integers(0, 400)


@st.composite
def _attributes(draw: st.DrawFn) -> str:
    each = draw(st.sampled_from([' x{}="{}"', " x{}='>{}'", ' xmlns:x{}="u{}"', ' Scheme{}="a/>{}"', " x{} = '\"{}'"]))
    return "".join(each.format(n, n) for n in range(draw(st.integers(0, 60))))


LEAVES = st.one_of(
    st.builds(lambda n: "<!--<a>-->" * n, COUNTS),
    st.builds(lambda n: "<?p a?>" * n, COUNTS),
    st.builds(lambda n: "<![CDATA[<a]]>" * n, COUNTS),
    st.builds(lambda n: "&lt;" * n, COUNTS),
    st.builds(lambda n: "&#x4e2d;" * n, COUNTS),
    st.builds(lambda n: "t=\"'>" * n, COUNTS),
    st.builds(lambda name, said, n: f"<{name}{said}/>" * n, NAMES, _attributes(), COUNTS),
    st.builds(lambda name, n: f"<{name}>x</{name}>" * n, NAMES, COUNTS),
)


def _around(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda name, said, body: f"<{name}{said}>{body}</{name}>", NAMES, _attributes(), inside),
        st.builds(lambda name, deep, body: f"<{name}>" * deep + body + f"</{name}>" * deep, NAMES, st.integers(1, 40), inside),
        st.builds(lambda one, two: one + two, inside, inside),
    )


BODIES = st.recursive(LEAVES, _around, max_leaves=6)
SERVICES = st.sampled_from(["LookupUser", "RequestItem", "Nonsense", "Problem"])


@st.composite
def monsters(draw: st.DrawFn) -> bytes:
    """A mostly well-formed document whose parts come in hundreds."""
    service, body = draw(SERVICES), draw(BODIES)
    version = draw(st.sampled_from(["", f' version="{V1}"']))
    return f'<NCIPMessage xmlns:n="urn:n"{version}><{service}>{body}</{service}></NCIPMessage>'.encode()


# ---- an independent count


class Counted:
    """The node counts that expat, an independent parser, finds in a document."""

    def __init__(self, document: bytes) -> None:
        self.elements = self.attributes = self.attributes_each = self.depth = self.others = self.namespaces = 0
        self._level = 0
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CommentHandler = parser.ProcessingInstructionHandler = parser.StartCdataSectionHandler = self._other
        parser.Parse(document, True)

    def _start(self, _name: str, attributes: dict[str, str]) -> None:
        self._level += 1
        self.elements, self.depth = self.elements + 1, max(self.depth, self._level)
        self.attributes += len(attributes)
        self.attributes_each = max(self.attributes_each, len(attributes))
        self.namespaces += sum(name.startswith("xmlns") for name in attributes)

    def _end(self, _name: str) -> None:
        self._level -= 1

    def _other(self, *_: object) -> None:
        self.others += 1


@settings(max_examples=example_count(150))
@given(document=monsters())
def test_accepted_document_is_within_every_limit_according_to_another_parser(document: bytes) -> None:
    if find_exceeded_limit(document, LIMITS):
        return
    try:
        found = Counted(document)
    except expat.ExpatError:
        return
    assert found.elements + found.others <= LIMITS.elements
    assert found.attributes <= LIMITS.attributes
    assert found.attributes_each <= LIMITS.attributes_each
    assert found.namespaces <= LIMITS.namespaces


@settings(max_examples=example_count(150))
@given(document=monsters())
def test_small_document_is_accepted(document: bytes) -> None:
    try:
        found = Counted(document)
    except expat.ExpatError:
        return
    if b"<!--<a>" in document or b"[<a]" in document:  # a tag in a comment or in CDATA counts as one
        return
    marks = document.count(b"&"), document.count(b"=") + document.count(b"'") + document.count(b'"')
    few = found.elements + found.others <= 100 and document.count(b"<") <= 100 and found.depth <= 8 and max(marks) <= 16
    assert not (few and find_exceeded_limit(document, LIMITS))


# ---- counted work


class Walks:
    """The number of nodes that lxml visited for the lookups."""

    def __init__(self) -> None:
        self.nodes = 0


WALKS = Walks()


class Watched(etree.ElementBase):
    """An element whose lookups count the nodes visited in C, which no profiler sees."""

    def find(self, path: str, namespaces: Any = None) -> Any:  # type: ignore[override]
        WALKS.nodes += sum(1 for _ in self.iter()) if path.startswith(".//") else len(self)
        return super().find(path, namespaces)

    def findall(self, path: str, namespaces: Any = None) -> Any:  # type: ignore[override]
        WALKS.nodes += len(self)
        return super().findall(path, namespaces)

    def items(self) -> Any:
        WALKS.nodes += len(self.attrib) ** 2  # each value is searched among all of them
        return super().items()


@contextmanager
def watched() -> Iterator[None]:
    xml.PARSER.set_element_class_lookup(etree.ElementDefaultClassLookup(element=Watched))
    try:
        yield
    finally:
        xml.PARSER.set_element_class_lookup(None)


def calls(work: Callable[[], object]) -> int:
    """The number of Python and C calls made by some work."""
    made = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return made


def read(document: bytes, limits: DocumentLimits) -> None:
    with suppress(BadDocument):
        decode(document, None, limits)


@settings(max_examples=example_count(100))
@given(document=monsters())
def test_parser_takes_a_bounded_number_of_steps_per_node(document: bytes) -> None:
    WALKS.nodes = 0
    nodes = document.count(b"<") + document.count(b"=") + 1
    with watched():
        made = calls(lambda: read(document, REPLY))
    assert made <= CALLS_AT_ALL + CALLS_A_NODE * nodes
    assert WALKS.nodes <= 100 + (REPLY.attributes_each + 4) * nodes


MONSTERS = {
    "attributes": b"<NCIPMessage " + b" ".join(b"b%d='x'" % n for n in range(40_000)) + b"/>",
    "namespaces": b"<NCIPMessage " + b" ".join(b"xmlns:b%d='b'" % n for n in range(32_500)) + b"/>",
    "elements": b"<NCIPMessage>" + b"<a/>" * 200_000,
    "comments": b"<NCIPMessage>" + b"<!---->" * 100_000,
    "instructions": b"<?a?>" * 100_000,
    "levels": b"<NCIPMessage>" + b"<a>" * 200_000,
    "references": b"<NCIPMessage>" + b"&lt;" * 200_000,
    "visible identifiers": f'<NCIPMessage version="{V1}"><LookupItem>'.encode() + b"<VisibleItemId/>" * 19_000,
    "agencies in agencies": b"<FromAgencyId>" * 60 + b"<a/>" * 19_000,
}


@pytest.mark.parametrize("name", MONSTERS)
def test_excessive_document_is_refused_before_parsing(name: str) -> None:
    made = calls(lambda: read(MONSTERS[name], QUESTION))
    assert made < 40_000, f"{made} calls for {len(MONSTERS[name])} bytes"
    with pytest.raises(BadDocument) as refused:
        decode(MONSTERS[name], None, QUESTION)
    assert isinstance(refused.value.__cause__, TooLarge)


@pytest.mark.parametrize(
    ("piece", "most", "said"),
    [
        (b"<a/>", 300, "more than 300 elements"),
        (b"<a x='1'/>", 200, "more than 200 attributes"),
        (b" xmlns ", 40, "more than 40 namespace declarations"),
        (b"&lt;", 400, "more than 400 references"),
        (b"<a>", 16, "deeper than 16 levels"),
    ],
)
def test_value_at_the_limit_is_accepted(piece: bytes, most: int, said: str) -> None:
    assert (find_exceeded_limit(piece * most, LIMITS), find_exceeded_limit(piece * (most + 1), LIMITS)) == ("", said)


def test_attributes_are_limited_per_element() -> None:
    one = b" ".join(b'a%d="1"' % n for n in range(17))
    assert find_exceeded_limit(b"<a " + one[: one.rindex(b" ")] + b"/>", LIMITS) == ""
    assert find_exceeded_limit(b"<a " + one + b"/>", LIMITS) == "more than 16 attributes in one element"


def test_equals_signs_and_apostrophes_in_text_are_not_counted_as_attributes() -> None:
    assert find_exceeded_limit(b"<a>" + b"=" * 5_000 + b"</a><b>" + b"don't " * 5_000 + b"</b>", LIMITS) == ""


@pytest.mark.parametrize(("limits", "items"), [(QUESTION, 300), (REPLY, 3_000)])
def test_limits_exceed_documents_seen_in_practice(limits: DocumentLimits, items: int) -> None:
    """The largest sample of any system, a reply, has 600 elements and 150 attributes."""
    item = b'<ns1:LoanedItem><ns1:ItemId ns1:x="a"><ns1:AgencyId>A</ns1:AgencyId></ns1:ItemId></ns1:LoanedItem>'
    assert find_exceeded_limit(b"<ns1:NCIPMessage xmlns:ns1='n'>" + item * items + b"</ns1:NCIPMessage>", limits) == ""


@pytest.mark.parametrize("piece", ["xmlns ", "&amp;"])
@pytest.mark.parametrize("beside", ["", "<!-- a comment -->", "<Ext/>", "<UserId>&amp;</UserId>"])
def test_limit_counts_text_the_same_in_every_document(piece: str, beside: str) -> None:
    """A text is counted as markup, since counting comes before parsing, whatever stands beside it and came before it."""

    def document(times: int) -> bytes:
        value = f"<UserIdentifierValue>{piece * times}a</UserIdentifierValue>"
        user = f"<LookupUser><UserId>{value}</UserId>{beside}</LookupUser>"
        return f"<NCIPMessage xmlns='http://www.niso.org/2008/ncip'>{user}</NCIPMessage>".encode()

    decode(document(1), "utf-8", LIMITS)
    for _ in range(2):
        with pytest.raises(BadDocument) as refused:
            decode(document(500), "utf-8", LIMITS)
        assert isinstance(refused.value.__cause__, TooLarge)
