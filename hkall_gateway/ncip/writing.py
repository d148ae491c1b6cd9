"""A message to the text of NCIP 2: children in schema order, and a mistake of ours named by its path.

The text is put together as it goes; a tree of XML in between costs five times as much as all the rest of an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from hkall_gateway.ncip.elements import ELEMENTS, SERVICES, Child, Element, model, place
from hkall_gateway.ncip.messages import STRUCTURE, BadMessage, Coded, Fields, Message, Value, many
from hkall_gateway.ncip.trees import NISO, clean, parsed

_TEXTS: Final = frozenset({"text", "scheme", "dateTime", "integer", "count", "ordinal"})
_STRUCTURES: Final = frozenset({"complex", "any"})
_MARKUP: Final = re.compile('[&<>"\r\n\t]')
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ESCAPES: Final = str.maketrans(_ENTITIES)
_IN_QUOTES: Final = str.maketrans({**_ENTITIES, '"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def document(message: Message, prefix: str, level: int, version: str = "") -> str:
    """The document that says `message` in NCIP 2.`level`, without its declaration; without a namespace when `prefix` is "".

    Places younger than `level` are left out; "", False and an empty list are not written. `version` is what its root says
    of itself. Raises ValueError, naming the path, for what the model does not know.
    """
    writer = _Writer(f"{prefix}:" if prefix else "", level)
    root = f"{writer.mark}NCIPMessage"
    space = f' xmlns:{prefix}="{NISO}"' if prefix else ""
    told = f' {writer.mark}version="{_quoted(version)}"' if version else ""
    writer.service(message)
    inside = "".join(writer.pieces)
    if message.extension:
        inside = f"<{writer.mark}Ext>{inside}</{writer.mark}Ext>"
    return f"<{root}{space}{told}>{inside}</{root}>"


@dataclass(frozen=True, slots=True)
class _Writer:
    """`mark` stands in front of every name; `pieces` is the text so far."""

    mark: str
    level: int
    pieces: list[str] = field(default_factory=list)

    def service(self, message: Message) -> None:
        if message.service not in SERVICES:
            raise ValueError(f"{message.service} is no NCIP service")
        if message.service == "Problem" and not message.has("Problem"):
            raise ValueError("Problem holds no Problem")
        if message.service == "Problem":
            self.fill(model("Problem"), message.fields, message.service)
        else:
            self.structure(message.service, model(message.service), message.fields, message.service)

    def structure(self, name: str, element: Element, fields: Fields, path: str) -> None:
        begun = len(self.pieces)
        self.pieces.append(f"<{self.mark}{name}>")
        self.fill(element, fields, path)
        if len(self.pieces) == begun + 1:
            self.pieces[begun] = f"<{self.mark}{name}/>"
        else:
            self.pieces.append(f"</{self.mark}{name}>")

    def fill(self, element: Element, fields: Fields, path: str) -> None:
        for at in _places(element, fields, path):
            if at.since <= self.level:
                self.put(element, at, fields[at.name], f"{path}/{at.name}")

    def put(self, element: Element, at: Child, value: Value, path: str) -> None:
        values = many(value)
        if len(values) > 1 and not at.repeats:
            raise ValueError(f"{path} may stand only once")
        for one in values:
            if one in ("", False):
                continue
            if element.kind == "any" and at.name == "Ext" and isinstance(one, str):
                self.pieces.append(_foreign(one, path))
            else:
                self.one(at.name, ELEMENTS[at.name], one, path)

    def one(self, name: str, element: Element, value: Value, path: str) -> None:
        if isinstance(value, str) and element.kind in _TEXTS:
            scheme = value.scheme if isinstance(value, Coded) and element.kind == "scheme" else ""
            told = f' {self.mark}Scheme="{_quoted(scheme)}"' if scheme else ""
            self.pieces.append(f"<{self.mark}{name}{told}>{_escaped(value)}</{self.mark}{name}>")
        elif isinstance(value, STRUCTURE) and element.kind in _STRUCTURES:
            self.structure(name, element, value, path)
        elif element.kind == "empty" and value is True:
            self.pieces.append(f"<{self.mark}{name}/>")
        else:
            raise ValueError(f"{path} is {element.kind} and cannot hold {type(value).__name__}")


def _places(element: Element, fields: Fields, path: str) -> list[Child]:
    """Where the fields stand, in schema order; those of an Ext, where anything may stand, in their own."""
    if element.kind == "any":
        found = [at for name in fields if (at := place(element, name)) is not None]
    else:
        found = [at for name, at in element.children.items() if name in fields]
    if len(found) < len(fields):
        wrong = next(name for name in fields if place(element, name) is None)
        raise ValueError(f"{path}/{wrong} is not in the content model")
    return found


def _escaped(text: str) -> str:
    said = clean(text)
    return said.translate(_ESCAPES) if _MARKUP.search(said) else said


def _quoted(text: str) -> str:
    said = clean(text)
    return said.translate(_IN_QUOTES) if _MARKUP.search(said) else said


def _foreign(text: str, path: str) -> str:
    """What a peer put into an Ext, as it came."""
    try:
        return etree.tostring(parsed(text), encoding="unicode")
    except BadMessage as bad:
        raise ValueError(f"{path} is not XML: {bad.detail}") from bad
