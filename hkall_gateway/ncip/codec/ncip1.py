"""Converts NCIP 1.0 and 1.01 documents to the names and structure of NCIP 2 and back, so that one reader serves both versions.

The reader keeps all data that NCIP 2 can represent. The number printed on a book (VisibleItemId, in INN-Reach the real
barcode) becomes ItemOptionalFields/ItemDescription/Ext/ItemId.
The writer always writes documents that are valid against the DTD. It chooses the alternative with the most data, omits
elements that NCIP 1 lacks, and writes required elements without data as empty elements, which the reader ignores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.dialects import NCIP_1_0, Dtd, public
from hkall_gateway.ncip.codec.elements_v1 import (
    CONTENT,
    ERRORS,
    FILLING,
    KINDS,
    RENAMED,
    SCHEMES,
    SERVICES,
    VISIBLE,
    ContentPart,
)
from hkall_gateway.ncip.codec.niso_xml import NISO
from hkall_gateway.xml.reader import local_name, read_attribute

KNOWN: Final = frozenset({RENAMED.get(name, name) for name in SERVICES} | {"Problem"})
"""NCIP 2 names of the services in NCIP 1."""

_MUTE_WHEN_EMPTY: Final = frozenset(
    {name for name, kind in KINDS.items() if kind != "empty"} | CONTENT.keys() - SERVICES - {"Pending", "ItemReportedReturned"}
)
"""Elements that are dropped if empty. Flags, services, and results such as Pending have a meaning even if empty."""

STANDARD: Final = Dtd(NCIP_1_0, NCIP_1_0, public(NCIP_1_0))

_SYSTEM_LENGTH: Final = 300
"""A reply repeats the peer's system identifier only if the identifier is shorter than this."""


def dtd(root: etree._Element) -> Dtd | None:
    """Return the NCIP 1 version of a document without a namespace, or None for NCIP 2 and LookupVersion.

    A document is NCIP 1 if the version attribute or the DOCTYPE says so, or if there is an element UniqueAgencyId.
    """
    if local_name(root.tag) == "NCIPVersionMessage":
        return None
    named, version = root.getroottree().docinfo, read_attribute(root, "version")
    signs = (version, named.public_id or "", named.system_url or "")
    if not any(re.search(r"v1_|NCIP DTD Version 1", text) for text in signs) and root.find(".//UniqueAgencyId") is None:
        return None
    service = next((tag for node in root if (tag := local_name(node.tag).removesuffix("Response")) == "AuthenticateUser"), "")
    system, public_id = _choose_identifiers(named.system_url or "", named.public_id or "", version)
    return Dtd(version or system, system, public_id, service)


def _choose_identifiers(system: str, public_id: str, version: str) -> tuple[str, str]:
    """Return the received DTD identifiers, or the standard identifiers if the reply cannot repeat the received identifiers."""
    if 0 < len(system) < _SYSTEM_LENGTH and not {"'", '"'} <= set(system):
        return system, public_id
    named = version if "v1_" in version and len(version) < _SYSTEM_LENGTH else NCIP_1_0
    return named, public(named)


# Repair of NCIP 1 documents that are not well-formed XML. libxml2's recovery mode would truncate a document at the error.
HEAD: Final = 4_096
"""Number of characters to search for signs of NCIP 1 at the start of a document."""
LONGEST_MENDED: Final = 32_768
"""Maximum length of a document to repair. Documents from INN-Reach have a few thousand characters."""
_LIKELY: Final = re.compile(r"<!DOCTYPE[^>]{0,300}NCIP DTD Version 1|<NCIPMessage[^>]{0,300}v1_|<UniqueAgencyId")
_BARE: Final = re.compile(r"&(?!#?\w{1,32};)")
_SCHEME: Final = re.compile(r"<Scheme([^<>]{0,100})>(.{0,500}?)</Scheme>", re.DOTALL)


def is_likely(text: str) -> bool:
    """Check whether a text that is not well-formed XML looks like NCIP 1."""
    head = text[:HEAD]
    return NISO not in head and _LIKELY.search(head) is not None


def mend_schemes(text: str) -> str:
    """Escape markup inside Scheme elements, and bare ampersands.

    INN-Reach writes `…IRCIRCD?target=…&scheme=…`, and leaves the placeholder `<DCB SERVER>` in documents.
    """
    return _BARE.sub("&amp;", _SCHEME.sub(_escape_scheme, text)) if len(text) <= LONGEST_MENDED else text


def _escape_scheme(scheme: re.Match[str]) -> str:
    return f"<Scheme{scheme[1]}>{scheme[2].replace('<', '&lt;').replace('>', '&gt;')}</Scheme>"


# Reading.


def convert_to_ncip2(root: etree._Element, note: Callable[[str], None]) -> etree._Element:
    """Convert a document to NCIP 2, without a namespace. Call `note` with a text for each tolerance used."""
    made = etree.Element(local_name(root.tag))
    made.extend(_convert_children(root, note))
    return made


def _convert_children(node: etree._Element, note: Callable[[str], None]) -> list[etree._Element]:
    """Convert the children of a node to NCIP 2 elements."""
    names = {local_name(child.tag) for child in node}
    return [made for child in node for made in _convert_element(child, names, note)]


def _convert_element(node: etree._Element, beside: Collection[str], note: Callable[[str], None]) -> list[etree._Element]:
    """Convert one node to NCIP 2 elements. `beside` holds the names of the node and its siblings."""
    name = local_name(node.tag)
    if name in ERRORS:
        return [_convert_error(node, ERRORS[name])]
    if name in ("VisibleUserId", "VisibleItemId"):
        return [_convert_visible_id(node, name, beside, note)]
    if name == "UserTransaction" or (name == "Problem" and any(local_name(child.tag) in ERRORS for child in node)):
        return _convert_children(node, note)
    made = _copy_renamed(node, RENAMED.get(name, name), note)
    # Peers often send empty elements because NCIP 1 requires them. Drop these elements.
    kept = name not in _MUTE_WHEN_EMPTY or len(made) > 0 or (made.text or "").strip()
    return [made] if kept else []


def _copy_renamed(node: etree._Element, name: str, note: Callable[[str], None]) -> etree._Element:
    made = etree.Element(name)
    made.text = node.text
    pair = {local_name(child.tag): child.text for child in node if local_name(child.tag) in ("Scheme", "Value")}
    if pair:
        made.text = pair.get("Value", node.text)
        made.set("Scheme", pair.get("Scheme") or "")
        return made
    first: etree._Element | None = None
    for child in _convert_children(node, note):
        if child.tag == "Ext" and first is not None:
            first.extend(list(child))  # move the content of a second Ext into the first Ext
            continue
        first = child if child.tag == "Ext" else first
        made.append(child)
    return made


def _convert_visible_id(
    node: etree._Element, name: str, beside: Collection[str], note: Callable[[str], None]
) -> etree._Element:
    around = node.getparent()
    assert around is not None
    new = RENAMED[name]
    made = _copy_renamed(node, new, note)
    unique = name.replace("Visible", "Unique") in beside
    where = VISIBLE.get((local_name(around.tag), name), f"Ext/{new}" if unique else "")
    if not where:
        note(f"{name} read as {new}")
    if not where.startswith("Ext/"):
        return made
    wrap = etree.Element("Ext")
    wrap.append(made)
    return wrap


def _convert_error(error: etree._Element, kind: str) -> etree._Element:
    """Convert a MessagingError or ProcessingError to a Problem. Convert nested element names to a path in ProblemElement."""
    steps: list[str] = []
    values: list[str | None] = []
    node = error.find(f"{kind}ErrorElement")
    while node is not None:
        step = (node.findtext("ElementName") or "").strip()
        steps.append(RENAMED.get(step, step))
        values.append(node.findtext(f"{kind}ErrorValue"))
        node = node.find(f"{kind}ErrorElement")
    problem = etree.Element("Problem")
    problem.extend(_copy_renamed(one, "ProblemType", lambda _: None) for one in error.findall(f"{kind}ErrorType"))
    _add_text(problem, "ProblemDetail", error.findtext(f"{kind}ErrorDetail"))  # not in NCIP 1, but Koha sent it until 2019
    _add_text(problem, "ProblemElement", "/".join(filter(None, steps)))
    _add_text(problem, "ProblemValue", next(filter(None, values), None))
    return problem


def _add_text(parent: etree._Element, name: str, text: str | None) -> None:
    if text:
        etree.SubElement(parent, name).text = text


_OLD_NAME: Final[Mapping[str, str]] = MappingProxyType({new: old for old, new in RENAMED.items() if old.startswith("Unique")})
_PATH_STEPS: Final = 8

# (NCIP 1 parent, child) -> XPath of the data in NCIP 2. In a look-up, an id with a type is written as Visible…Id, which has an
# element for the type. An id without a type is written as Unique…Id.
_SOURCES: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        **VISIBLE,
        ("LookupUser", "UniqueUserId"):  "UserId[not(UserIdentifierType)]",
        ("LookupUser", "VisibleUserId"): "UserId[UserIdentifierType]",
        ("LookupItem", "UniqueItemId"):  "ItemId[AgencyId or not(ItemIdentifierType)]",
        ("LookupItem", "VisibleItemId"): "ItemId[ItemIdentifierType and not(AgencyId)]",
        ("LookupUserResponse", "UserTransaction"): "self::*[RequestedItem or LoanedItem]",
    }
)  # fmt: skip


def write_document(root: etree._Element, spoken: Dtd) -> bytes:
    """Convert an NCIP 2 tree (without a namespace) to an NCIP 1 document that is valid against the DTD.

    NCIP 1 cannot express a Problem without a service. Write such a Problem, and a Problem in reply to a service that NCIP 1
    lacks, as an ItemRequestedResponse, as iNCIPit does. Raises ValueError for any other service that NCIP 1 lacks.
    """
    message = etree.Element("NCIPMessage", version=spoken.system)
    message.append(_write_service(root, spoken))
    quote = "'" if '"' in spoken.system else '"'
    kind = f'PUBLIC "{spoken.public}"' if spoken.public else "SYSTEM"
    doctype = f"<!DOCTYPE NCIPMessage {kind} {quote}{spoken.system}{quote}>"
    return etree.tostring(message, xml_declaration=True, encoding="UTF-8", doctype=doctype)


def _write_service(root: etree._Element, spoken: Dtd) -> etree._Element:
    node, writer = root[0], _Writer(spoken.late)
    name = str(node.tag)
    if spoken.asked and name.removesuffix("Response") == RENAMED[spoken.asked]:
        name = name.replace(RENAMED[spoken.asked], spoken.asked)
    if name in SERVICES:
        return writer.element(name, node)
    if node.find("Problem") is None and name != "Problem":
        raise ValueError(f"{name} is not in NCIP 1")
    return writer.element("ItemRequestedResponse", root if name == "Problem" else node)


@dataclass(frozen=True, slots=True)
class _Writer:
    late: bool

    def element(self, name: str, source: etree._Element | None) -> etree._Element:
        """Make the NCIP 1 element `name` with the content of `source`. If `source` is None, add only what the DTD requires."""
        made = etree.Element(name)
        match KINDS.get(name):
            case "empty":
                pass
            case "scheme":
                etree.SubElement(made, "Scheme").text = _scheme_of(source) or SCHEMES[name]
                etree.SubElement(made, "Value").text = _text_of(source)
            case None:
                self.fill(made, name, source)
            case kind:
                made.text = _text_of(source) or FILLING.get(kind, "")
        return made

    def fill(self, made: etree._Element, name: str, source: etree._Element | None) -> None:
        if name.endswith("ErrorElement"):
            _nest_problem_path(made, source)
            return
        held = {child: _find_sources(name, child, source) for child in CONTENT[name].names}
        for part in _choose_places(CONTENT[name], held):
            several = held[part.name] if part.repeats else held[part.name][:1]
            for one in () if part.late and not self.late else several or (None,):
                made.append(self.element(part.name, one))


_Held = Mapping[str, list[etree._Element]]


def _choose_places(part: ContentPart, held: _Held) -> Iterator[ContentPart]:
    """Yield the parts of a content model to write, which are the parts with data and the parts that the DTD requires."""
    if not part.required and not _count_data(part, held):
        return
    if part.name:
        yield part
        return
    for inner in [max(part.parts, key=lambda way: _rank_alternative(way, held))] if part.either else part.parts:
        yield from _choose_places(inner, held)


def _rank_alternative(way: ContentPart, held: _Held) -> tuple[bool, bool, int, bool]:
    """Rank an alternative. Prefer a Problem with data, then a complete alternative, then the one with the most data."""
    problem = "Problem" in way.names
    return problem and bool(held["Problem"]), _is_complete(way, held), _count_data(way, held), not problem


def _count_data(part: ContentPart, held: _Held) -> int:
    return sum(bool(held[name]) for name in part.names)


def _is_complete(part: ContentPart, held: _Held) -> bool:
    if not part.required and not _count_data(part, held):
        return True
    if part.name:
        return bool(held[part.name])
    inside = (_is_complete(inner, held) for inner in part.parts)
    return any(inside) if part.either else all(inside)


def _find_sources(name: str, child: str, node: etree._Element | None) -> list[etree._Element]:
    """Find the data for the child `child` of the NCIP 1 element `name` in `node`, the NCIP 2 counterpart of `name`."""
    if node is None:
        return []
    problems = node.findall("Problem")
    if child == "Problem":
        return [node] if problems else []
    if child in ERRORS:
        # Write a MessagingError if every ProblemType has a messaging error scheme, else a ProcessingError.
        messaging = all("messagingerror" in _scheme_of(problem.find("ProblemType")) for problem in problems)
        return problems if name != "Problem" or child == ("MessagingError" if messaging else "ProcessingError") else []
    if name in ERRORS:
        return node.findall("ProblemType") if child.endswith("Type") else [node]
    path = _SOURCES.get((name, child)) or RENAMED.get(child, child)
    return [found for found in node.xpath(path) if isinstance(found, etree._Element)]


def _nest_problem_path(made: etree._Element, problem: etree._Element | None) -> None:
    """Write the path in ProblemElement as nested elements, with the ProblemValue in the innermost element."""
    path = _text_of(problem.find("ProblemElement")) if problem is not None else ""
    value = _text_of(problem.find("ProblemValue")) if problem is not None else ""
    node, name = made, str(made.tag)
    for depth, step in enumerate([step for step in path.split("/") if step][:_PATH_STEPS] or [""]):
        node = etree.SubElement(node, name) if depth else node
        etree.SubElement(node, "ElementName").text = _OLD_NAME.get(step, step)
    if value:
        etree.SubElement(node, name.replace("ErrorElement", "ErrorValue")).text = value


def _text_of(node: etree._Element | None) -> str:
    return (node.text or "") if node is not None else ""


def _scheme_of(node: etree._Element | None) -> str:
    return node.get("Scheme", "") if node is not None else ""
