"""Converts a tree with the names of NCIP 2 to a message; namespace, prefix and order are ignored."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec import xml
from hkall_gateway.ncip.codec.elements import ELEMENTS, GENERIC, SERVICES, Element, model, place
from hkall_gateway.ncip.codec.messages import SHAPES, BadDocument, Coded, Fields, NcipMessage, Value
from hkall_gateway.ncip.codec.xml import NISO, SYNTAX, Notes, attribute, header, local

FOREIGN: Final = 256
"""Maximum elements of other vocabularies in the Ext elements of a document: each is serialized to a text of its own."""


OLD_ERRORS: Final = {"ProcessingError": "ProcessingErrorType", "MessagingError": "MessagingErrorType"}
"""Errors of NCIP 1 that stand in a Problem of NCIP 2, and their types: NCIPServer writes so (run 2026-11-27)."""


def message(root: etree._Element, version: str, notes: Notes, services: Collection[str] = SERVICES) -> NcipMessage:
    """The message in a tree, its `services` being those of the peer's version. Raises BadMessage where there is none."""
    # mod-ncip's last resort is a bare <Problem> without NCIPMessage around it.
    inside = [root] if local(root.tag) == "Problem" else list(root)
    if local(root.tag) not in ("NCIPMessage", "Problem"):
        raise BadDocument(SYNTAX, f"{local(root.tag)[:80]} is not NCIPMessage", header=header(root))
    extension = bool(inside) and all(local(node.tag) not in services for node in inside)
    if extension and (wraps := [node for node in inside if local(node.tag) == "Ext"]):
        notes.add("service inside Ext")
        inside = [node for wrap in wraps for node in wrap]
    service = _service(inside, root, services)
    nodes = [node for node in inside if local(node.tag) == service]
    if not _few_foreign(root):
        raise BadDocument(SYNTAX, f"more than {FOREIGN} foreign elements in Ext", service, header(root))
    fields = _fields(nodes if service == "Problem" else nodes[0], model(service), service, notes)
    if service in SHAPES and (missing := SHAPES[service].missing(fields)):
        raise BadDocument("Needed Data Missing", f"{service} lacks {', '.join(missing)}", service, header(root))
    return NcipMessage(service, fields, version, str(root.tag).startswith(f"{{{NISO}}}"), extension, tuple(notes))


def _service(inside: list[etree._Element], root: etree._Element, services: Collection[str]) -> str:
    names = [local(node.tag) for node in inside]
    known = [name for name in names if name in services or name == GENERIC]
    if not names:
        raise BadDocument(SYNTAX, "NCIPMessage holds no service", header=header(root))
    if not known:
        raise BadDocument("Unknown Service", f"{names[0][:80]} is no service", names[0][:80], header(root))
    if len(known) > 1 and set(known) != {"Problem"}:
        raise BadDocument(SYNTAX, "more than one message in a document", header=header(root))
    return known[0]


def _fields(nodes: Iterable[etree._Element], element: Element, path: str, notes: Notes) -> Fields:
    single: dict[str, Value] = {}
    several: dict[str, list[Value]] = {}
    for node in nodes:
        name = local(node.tag)
        if element.kind == "any" and _foreign(node):
            several.setdefault("Ext", []).append(xml.foreign(node))
        elif name in OLD_ERRORS and place(element, "ProblemType"):
            notes.add(f"{name} in {path}")
            single.setdefault("ProblemType", _old_type(node, OLD_ERRORS[name]))
        elif (at := place(element, name)) is None:
            notes.add(f"unknown element {path}/{name}")
        elif (value := _value(node, ELEMENTS[name], f"{path}/{name}", notes)) == "":
            continue  # empty means absent
        elif at.repeats:
            several.setdefault(name, []).append(value)
        elif single.setdefault(name, value) is not value:
            notes.add(f"repeated element {path}/{name}")
    return {**single, **several}


def _old_type(error: etree._Element, name: str) -> Coded:
    """The type that an error of NCIP 1 names."""
    found = error.find(f"{{*}}{name}")
    return Coded(" ".join("".join(map(str, found.itertext() if found is not None else ())).split()))


def _few_foreign(root: etree._Element) -> bool:
    foreign = (node for ext in root.iter("{*}Ext") for node in ext if _foreign(node))
    return next(islice(foreign, FOREIGN, None), None) is None


def _foreign(node: etree._Element) -> bool:
    """Whether something in an Ext is not NCIP's own: another namespace, or a name that the standard does not have."""
    space = etree.QName(node).namespace
    return space not in (None, NISO) or local(node.tag) not in ELEMENTS


def _value(node: etree._Element, element: Element, path: str, notes: Notes) -> Value:
    match element.kind:
        case "complex" | "any":
            return _fields(node, element, path, notes)
        case "empty":
            return True
        case "scheme":
            return _coded(node, path, notes)
        case _:
            return (node.text or "").strip()


def _coded(node: etree._Element, path: str, notes: Notes) -> Coded:
    pair = {local(child.tag): child.text or "" for child in node} if len(node) else {}
    if "Value" in pair:
        notes.add(f"Scheme and Value as elements in {path}")
    value = pair.get("Value") or node.text or ""
    scheme = pair.get("Scheme") or attribute(node, "Scheme")
    return Coded(" ".join(value.split()), scheme.strip() or None)
