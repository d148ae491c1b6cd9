"""A message to a tree of NCIP 2: children in schema order, and a mistake of ours named by its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from hkall_gateway.ncip.elements import ELEMENTS, SERVICES, Child, Element, model, place
from hkall_gateway.ncip.messages import BadMessage, Coded, Fields, Message, Value, many
from hkall_gateway.ncip.trees import NISO, clean, parsed


def tree(message: Message, prefix: str, level: int) -> etree._Element:
    """The document that says `message` in NCIP 2.`level`; without a namespace when `prefix` is "".

    Places younger than `level` are left out; "", False and an empty list are not written. Raises ValueError, naming the
    path, for what the model does not know.
    """
    writer = _Writer(f"{{{NISO}}}" if prefix else "", level)
    root = etree.Element(f"{writer.space}NCIPMessage", nsmap={prefix: NISO} if prefix else None)
    writer.service(etree.SubElement(root, f"{writer.space}Ext") if message.extension else root, message)
    return root


@dataclass(frozen=True, slots=True)
class _Writer:
    space: str
    level: int

    def service(self, parent: etree._Element, message: Message) -> None:
        if message.service not in SERVICES:
            raise ValueError(f"{message.service} is no NCIP service")
        if message.service == "Problem" and not message.has("Problem"):
            raise ValueError("Problem holds no Problem")
        if message.service != "Problem":
            parent = etree.SubElement(parent, self.space + message.service)
        self.fill(parent, model(message.service), message.fields, message.service)

    def fill(self, parent: etree._Element, element: Element, fields: Fields, path: str) -> None:
        unknown = [name for name in fields if place(element, name) is None]
        if unknown:
            raise ValueError(f"{path}/{unknown[0]} is not in the content model")
        for name in fields if element.kind == "any" else element.children:
            at = place(element, name)
            if name in fields and at is not None and at.since <= self.level:
                self.put(parent, element, at, fields[name], f"{path}/{name}")

    def put(self, parent: etree._Element, element: Element, at: Child, value: Value, path: str) -> None:
        values = many(value)
        if len(values) > 1 and not at.repeats:
            raise ValueError(f"{path} may stand only once")
        for one in values:
            if one in ("", False):
                continue
            if element.kind == "any" and at.name == "Ext" and isinstance(one, str):
                parent.append(_foreign(one, path))
            else:
                self.one(etree.SubElement(parent, self.space + at.name), ELEMENTS[at.name], one, path)

    def one(self, node: etree._Element, element: Element, value: Value, path: str) -> None:
        match element.kind, value:
            case (("complex" | "any"), Mapping()):
                self.fill(node, element, value, path)
            case "empty", True:
                pass
            case (("text" | "scheme" | "dateTime" | "integer" | "count" | "ordinal"), str()):
                node.text = clean(value)
                if isinstance(value, Coded) and value.scheme and element.kind == "scheme":
                    node.set(self.space + "Scheme", clean(value.scheme))
            case _:
                raise ValueError(f"{path} is {element.kind} and cannot hold {type(value).__name__}")


def _foreign(text: str, path: str) -> etree._Element:
    """What a peer put into an Ext, as it came."""
    try:
        return parsed(text)
    except BadMessage as bad:
        raise ValueError(f"{path} is not XML: {bad.detail}") from bad
