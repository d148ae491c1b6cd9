"""Converts a tree of NCIP 2 to a document of NCIP 1 that is always valid against its DTD.

Of several alternatives, the one that holds the most data is written. Elements that 1.0 does not have are left out. Required
elements without data are written empty, and read as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.dialects import Dtd
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

_OLD_NAME: Final[Mapping[str, str]] = MappingProxyType({new: old for old, new in RENAMED.items() if old.startswith("Unique")})
_PATH_STEPS: Final = 8

# The form of an id (Unique or Visible) that a lookup is written with; only the Visible one has a place for the type.
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


def written(root: etree._Element, spoken: Dtd) -> bytes:
    """Convert a tree of NCIP 2 (without a namespace) to a document of NCIP 1, valid against its DTD.

    A Problem without a service, and one in the reply to a service that NCIP 1 does not have, is written as
    ItemRequestedResponse, as iNCIPit does: NCIP 1 has no place for an error that belongs to no service.
    Raises ValueError for every other service that NCIP 1 does not have.
    """
    message = etree.Element("NCIPMessage", version=spoken.system)
    message.append(_service(root, spoken))
    return etree.tostring(message, xml_declaration=True, encoding="UTF-8", doctype=_doctype(spoken))


def _doctype(spoken: Dtd) -> str:
    quote = "'" if '"' in spoken.system else '"'
    system = f"{quote}{spoken.system}{quote}"
    return (
        f'<!DOCTYPE NCIPMessage PUBLIC "{spoken.public}" {system}>'
        if spoken.public
        else f"<!DOCTYPE NCIPMessage SYSTEM {system}>"
    )


def _service(root: etree._Element, spoken: Dtd) -> etree._Element:
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
        """The element `name` of NCIP 1 with the content of `source`; for None, with the least content that its DTD allows."""
        made = etree.Element(name)
        match KINDS.get(name):
            case "empty":
                pass
            case "scheme":
                etree.SubElement(made, "Scheme").text = _scheme(source) or SCHEMES[name]
                etree.SubElement(made, "Value").text = _text(source)
            case None:
                self.fill(made, name, source)
            case kind:
                made.text = _text(source) or FILLING.get(kind, "")
        return made

    def fill(self, made: etree._Element, name: str, source: etree._Element | None) -> None:
        if name.endswith("ErrorElement"):
            _nest(made, source)
            return
        held = {child: _sources(name, child, source) for child in CONTENT[name].names}
        for part in _chosen(CONTENT[name], held):
            several = held[part.name] if part.repeats else held[part.name][:1]
            for one in () if part.late and not self.late else several or (None,):
                made.append(self.element(part.name, one))


_Held = Mapping[str, list[etree._Element]]


def _chosen(part: ContentPart, held: _Held) -> Iterator[ContentPart]:
    """The places of a content model to write: those with data, and those that the DTD requires."""
    if not part.required and not _covered(part, held):
        return
    if part.name:
        yield part
        return
    for inner in [max(part.parts, key=lambda way: _merit(way, held))] if part.either else part.parts:
        yield from _chosen(inner, held)


def _merit(way: ContentPart, held: _Held) -> tuple[bool, bool, int, bool]:
    """Sort key of an alternative: a Problem comes before a result, then a complete one, then the one that holds more data."""
    problem = "Problem" in way.names
    return problem and bool(held["Problem"]), _complete(way, held), _covered(way, held), not problem


def _covered(part: ContentPart, held: _Held) -> int:
    return sum(bool(held[name]) for name in part.names)


def _complete(part: ContentPart, held: _Held) -> bool:
    if not part.required and not _covered(part, held):
        return True
    if part.name:
        return bool(held[part.name])
    inside = (_complete(inner, held) for inner in part.parts)
    return any(inside) if part.either else all(inside)


def _sources(name: str, child: str, node: etree._Element | None) -> list[etree._Element]:
    """The elements in `node` (of NCIP 2, written as `name`) from which the child `child` of NCIP 1 is written."""
    if node is None:
        return []
    problems = node.findall("Problem")
    if child == "Problem":
        return [node] if problems else []
    if child in ERRORS:
        return problems if name != "Problem" or child == _error(problems) else []
    if name in ERRORS:
        return node.findall("ProblemType") if child.endswith("Type") else [node]
    path = _SOURCES.get((name, child)) or RENAMED.get(child, child)
    return [found for found in node.xpath(path) if isinstance(found, etree._Element)]


def _error(problems: list[etree._Element]) -> str:
    """The name of the NCIP 1 error for these Problems: MessagingError if all types are of its scheme, else ProcessingError."""
    types = (problem.find("ProblemType") for problem in problems)
    return "MessagingError" if all("messagingerror" in _scheme(said) for said in types) else "ProcessingError"


def _nest(made: etree._Element, problem: etree._Element | None) -> None:
    """The path of a ProblemElement as elements within each other, the ProblemValue in the innermost."""
    path = _text(problem.find("ProblemElement")) if problem is not None else ""
    value = _text(problem.find("ProblemValue")) if problem is not None else ""
    node, name = made, str(made.tag)
    for depth, step in enumerate([step for step in path.split("/") if step][:_PATH_STEPS] or [""]):
        node = etree.SubElement(node, name) if depth else node
        etree.SubElement(node, "ElementName").text = _OLD_NAME.get(step, step)
    if value:
        etree.SubElement(node, name.replace("ErrorElement", "ErrorValue")).text = value


def _text(node: etree._Element | None) -> str:
    return (node.text or "") if node is not None else ""


def _scheme(node: etree._Element | None) -> str:
    return node.get("Scheme", "") if node is not None else ""
