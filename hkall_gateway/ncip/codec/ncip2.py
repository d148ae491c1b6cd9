"""Converts NCIP 2 from an XML tree to a message, and from a message to text.

The reader ignores namespaces, prefixes and element order. The writer puts children in schema order, and raises an error with
the path of any misplaced field. The writer emits text directly, since building a tree would take five times as long.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.elements import ELEMENTS, GENERIC, SERVICES, Child, Element, find_place
from hkall_gateway.ncip.codec.messages import SHAPES, BadDocument, NcipMessage
from hkall_gateway.ncip.codec.niso_xml import NISO, SYNTAX, read_header, serialize_foreign
from hkall_gateway.xml.reader import BadXml, Notes, local_name, parse_xml, read_attribute, without_control_characters
from hkall_gateway.xml.tree import STRUCTURE, Coded, Fields, Value, many

FOREIGN: Final = 256
"""Maximum number of foreign elements in a document's Ext elements. Each foreign element is serialized separately."""


OLD_ERRORS: Final = {"ProcessingError": "ProcessingErrorType", "MessagingError": "MessagingErrorType"}
"""NCIP 1 error element that NCIPServer writes into an NCIP 2 Problem -> name of the type element (run 2026-11-27)."""


def read_message(root: etree._Element, version: str, notes: Notes, services: Collection[str] = SERVICES) -> NcipMessage:
    """Read the message in a tree. `services` names the services in the peer's NCIP version. Raises BadDocument."""
    # For some failures, mod-ncip replies with a root element <Problem> instead of NCIPMessage.
    inside = [root] if local_name(root.tag) == "Problem" else list(root)
    if local_name(root.tag) not in ("NCIPMessage", "Problem"):
        raise BadDocument(SYNTAX, f"{local_name(root.tag)[:80]} is not NCIPMessage", header=read_header(root))
    extension = bool(inside) and all(local_name(node.tag) not in services for node in inside)
    if extension and (wraps := [node for node in inside if local_name(node.tag) == "Ext"]):
        notes.add("service inside Ext")
        inside = [node for wrap in wraps for node in wrap]
    service = _find_service(inside, root, services)
    nodes = [node for node in inside if local_name(node.tag) == service]
    foreign = (node for ext in root.iter("{*}Ext") for node in ext if _is_foreign(node))
    if next(islice(foreign, FOREIGN, None), None) is not None:
        raise BadDocument(SYNTAX, f"more than {FOREIGN} foreign elements in Ext", service, read_header(root))
    fields = _read_fields(nodes if service == "Problem" else nodes[0], _find_model(service), service, notes)
    if service in SHAPES and (missing := SHAPES[service].missing(fields)):
        raise BadDocument("Needed Data Missing", f"{service} lacks {', '.join(missing)}", service, read_header(root))
    return NcipMessage(
        service=service,
        fields=fields,
        version=version,
        namespaced=str(root.tag).startswith(f"{{{NISO}}}"),
        extension=extension,
        notes=tuple(notes),
    )


_PROBLEMS = Element(name="NCIPMessage", kind="complex", children={"Problem": ELEMENTS["NCIPMessage"].children["Problem"]})


def _find_model(service: str) -> Element:
    """Return a service's content model. "Problem" stands for an NCIPMessage that contains only Problems."""
    return _PROBLEMS if service == "Problem" else ELEMENTS["ItemRequestedResponse" if service == GENERIC else service]


def _find_service(inside: list[etree._Element], root: etree._Element, services: Collection[str]) -> str:
    names = [local_name(node.tag) for node in inside]
    known = [name for name in names if name in services or name == GENERIC]
    if not names:
        raise BadDocument(SYNTAX, "NCIPMessage holds no service", header=read_header(root))
    if not known:
        raise BadDocument("Unknown Service", f"{names[0][:80]} is no service", names[0][:80], read_header(root))
    if len(known) > 1 and set(known) != {"Problem"}:
        raise BadDocument(SYNTAX, "more than one message in a document", header=read_header(root))
    return known[0]


def _read_fields(nodes: Iterable[etree._Element], element: Element, path: str, notes: Notes) -> Fields:
    single: dict[str, Value] = {}
    several: dict[str, list[Value]] = {}
    for node in nodes:
        name, at, child = _find_child(element, str(node.tag))
        if element.kind == "any" and _is_foreign(node):
            several.setdefault("Ext", []).append(serialize_foreign(node))
        elif name in OLD_ERRORS and find_place(element, "ProblemType"):
            notes.add(f"{name} in {path}")
            kind = node.find(f"{{*}}{OLD_ERRORS[name]}")
            texts = kind.itertext() if kind is not None else ()
            single.setdefault("ProblemType", Coded(" ".join("".join(map(str, texts)).split())))
        elif at is None:
            notes.add(f"unknown element {path}/{name}")
        elif (value := _read_value(node, child, path, notes)) == "":
            continue  # empty means absent
        elif at.repeats:
            several.setdefault(name, []).append(value)
        elif name in single:
            notes.add(f"repeated element {path}/{name}")
        else:
            single[name] = value
    return {**single, **several}


@lru_cache(maxsize=4096)
def _find_child(element: Element, tag: str) -> tuple[str, Child | None, Element]:
    """Return a tag's local name, the child's place in `element` (None if not allowed), and the child's content model."""
    name = local_name(tag)
    at = find_place(element, name)
    return name, at, ELEMENTS[name] if at else element


def _is_foreign(node: etree._Element) -> bool:
    """Check whether an element in an Ext is not an NCIP element, judging by the namespace and the name."""
    space = etree.QName(node).namespace
    return space not in (None, NISO) or local_name(node.tag) not in ELEMENTS


def _read_value(node: etree._Element, element: Element, parent: str, notes: Notes) -> Value:
    """Read an element's value. `parent` is the parent element's path, for notes."""
    path = f"{parent}/{element.name}"
    match element.kind:
        case "complex" | "any":
            return _read_fields(node, element, path, notes)
        case "empty":
            return True
        case "scheme":
            pair = {local_name(child.tag): child.text or "" for child in node} if len(node) else {}
            if "Value" in pair:
                notes.add(f"Scheme and Value as elements in {path}")
            value = pair.get("Value") or node.text or ""
            scheme = pair.get("Scheme") or read_attribute(node, "Scheme")
            return Coded(" ".join(value.split()), scheme.strip() or None)
        case _:
            return (node.text or "").strip()


_TEXTS: Final = frozenset({"text", "scheme", "dateTime", "integer", "count", "ordinal"})
_STRUCTURES: Final = frozenset({"complex", "any"})
QUALIFIED: Final = "ns1"
"""Attribute prefix in documents whose elements have no prefix, since the schema requires namespaced attributes."""
_ALONE: Final = ""
"""Key for the content model of a message that contains only Problems."""
_MARKUP: Final = re.compile('[&<>"\r\n\t]')
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ESCAPES: Final = str.maketrans(_ENTITIES)
_IN_QUOTES: Final = str.maketrans({**_ENTITIES, '"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def write_document(
    message: NcipMessage, prefix: str, level: int, version: str = "", *, bare: bool = True, apart: bool = False
) -> str:
    """Encode `message` without an XML declaration. Omits "", False and empty lists.

    Args:
        message: The message.
        prefix: Namespace prefix. If "", elements are in the default namespace, or in no namespace if `bare`.
        level: Minor version of NCIP 2. Elements added in later versions are omitted.
        version: Version attribute of the root element.
        bare: Whether to omit the namespace if `prefix` is "".
        apart: Whether to write the root element's tags on separate lines.

    Raises:
        ValueError: A field is not in the content model. The message contains the field's path.
    """
    mark = f"{prefix}:" if prefix else ""
    writer = _Writer(mark=mark, level=level, of_attributes=mark if prefix or bare else f"{QUALIFIED}:")
    root = f"{writer.mark}NCIPMessage"
    space = f' xmlns:{prefix}="{NISO}"' if prefix else "" if bare else f' xmlns="{NISO}" xmlns:{QUALIFIED}="{NISO}"'
    version_attribute = f' {writer.of_attributes}version="{_escape_attribute(version)}"' if version else ""
    writer.service(message)
    inside = "".join(writer.pieces)
    if message.extension:
        inside = f"<{writer.mark}Ext>{inside}</{writer.mark}Ext>"
    end = "\n" if apart else ""
    return f"<{root}{space}{version_attribute}>{end}{inside}{end}</{root}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Collects text in `pieces`. `mark` is the element prefix with a colon, and `of_attributes` the attribute prefix."""

    mark: str
    level: int
    of_attributes: str
    pieces: list[str] = field(default_factory=list)

    def service(self, message: NcipMessage) -> None:
        service = message.service
        if service not in SERVICES:
            raise ValueError(f"{service} is no NCIP service")
        if service == "Problem" and not message.has("Problem"):
            raise ValueError("Problem holds no Problem")
        try:
            if service == "Problem":
                self.fill(_content_of(_ALONE, self.mark), message.fields)
            else:
                self.structure(
                    _make_slot(Child(name=service, required=True, repeats=False), _find_model(service), self.mark),
                    message.fields,
                )
        except _Misfit as wrong:
            raise ValueError(f"{service}{wrong}") from wrong

    def structure(self, at: _Slot, fields: Fields) -> None:
        self.pieces.append(at.opens)
        begun = len(self.pieces)
        self.fill(_content_of(at.name, self.mark), fields)
        if len(self.pieces) == begun:
            self.pieces[-1] = at.empty
        else:
            self.pieces.append(at.closes)

    def fill(self, content: _Content, fields: Fields) -> None:
        name = ""
        try:
            for name in content.in_order(fields):
                at, value = content.slots[name], fields[name]
                if at.since > self.level or value == "":
                    continue
                self.each(at, many(value))
        except KeyError as unknown:
            raise _Misfit(f"/{unknown.args[0]} is not in the content model") from None
        except _Misfit as wrong:
            raise _Misfit(f"/{name}{wrong}") from None

    def each(self, at: _Slot, values: Sequence[Value]) -> None:
        if len(values) > 1 and not at.repeats:
            raise _Misfit(" may stand only once")
        for one in values:
            if one in ("", False):
                continue
            if isinstance(one, str) and at.kind in _TEXTS:
                self.text(at, one)
            elif isinstance(one, STRUCTURE) and at.kind in _STRUCTURES:
                self.structure(at, one)
            else:
                self.pieces.append(at.rare(one))

    def text(self, at: _Slot, value: str) -> None:
        if isinstance(value, Coded) and value.scheme and at.kind == "scheme":
            scheme = f'{self.of_attributes}Scheme="{_escape_attribute(value.scheme)}"'
            self.pieces.append(f"{at.opens[:-1]} {scheme}>{_escape_text(value)}{at.closes}")
        else:
            self.pieces.append(f"{at.opens}{_escape_text(value)}{at.closes}")


class _Misfit(ValueError):
    """A field does not fit the content model. The message begins with the field's path below the current element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """One child in an element's content model. `foreign` is true if the child may contain foreign XML."""

    name: str
    kind: str
    since: int
    repeats: bool
    foreign: bool
    opens: str
    closes: str
    empty: str

    def rare(self, value: Value) -> str:
        """Encode a value that is neither a text nor a structure, that is, a flag or foreign XML."""
        if self.foreign and isinstance(value, str):
            return _copy_foreign(value)
        if self.kind == "empty" and value is True:
            return self.empty
        raise _Misfit(f" is {self.kind} and cannot hold {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class _Content:
    """The children of an element and their order. `order` is None if the element allows children in any order."""

    slots: Mapping[str, _Slot]
    order: Mapping[str, int] | None

    def in_order(self, fields: Fields) -> Iterable[str]:
        """Return the field names in schema order. Raises KeyError with the name of a field that is not allowed."""
        return sorted(fields, key=self.order.__getitem__) if self.order and len(fields) > 1 else fields


@lru_cache(maxsize=4096)
def _content_of(name: str, mark: str) -> _Content:
    element = _find_model("Problem") if name == _ALONE else ELEMENTS[name]
    names = tuple(ELEMENTS) if element.kind == "any" else tuple(element.children)
    places = [at for one in names if (at := find_place(element, one))]
    slots = {
        at.name: _make_slot(at, ELEMENTS[at.name], mark, foreign=element.kind == "any" and at.name == "Ext") for at in places
    }
    return _Content(slots, None if element.kind == "any" else {one: number for number, one in enumerate(names)})


def _make_slot(at: Child, element: Element, mark: str, *, foreign: bool = False) -> _Slot:
    return _Slot(
        name=at.name,
        kind=element.kind,
        since=at.since,
        repeats=at.repeats,
        foreign=foreign,
        opens=f"<{mark}{at.name}>",
        closes=f"</{mark}{at.name}>",
        empty=f"<{mark}{at.name}/>",
    )


def _escape_text(text: str) -> str:
    cleaned = text if text.isprintable() else without_control_characters(text)
    return cleaned.translate(_ESCAPES) if _MARKUP.search(cleaned) else cleaned


def _escape_attribute(text: str) -> str:
    cleaned = without_control_characters(text)
    return cleaned.translate(_IN_QUOTES) if _MARKUP.search(cleaned) else cleaned


def _copy_foreign(text: str) -> str:
    """Encode foreign XML from an Ext unchanged."""
    try:
        return etree.tostring(parse_xml(text), encoding="unicode")
    except BadXml as bad:
        raise _Misfit(f" is not XML: {bad.detail}") from bad
