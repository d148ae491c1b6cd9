"""Encodes a message to the text of NCIP 2: children in schema order; a field that does not fit is reported by its path.

The text is built directly; an XML tree in between would cost five times as much as the rest of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.elements import ELEMENTS, SERVICES, Child, Element, model, place
from hkall_gateway.ncip.codec.messages import STRUCTURE, BadDocument, Coded, Fields, NcipMessage, Value, many
from hkall_gateway.ncip.codec.xml import NISO, clean, parsed

_TEXTS: Final = frozenset({"text", "scheme", "dateTime", "integer", "count", "ordinal"})
_STRUCTURES: Final = frozenset({"complex", "any"})
QUALIFIED: Final = "ns1"
"""The prefix of attributes where elements have none: the schema wants both in the namespace."""
_ALONE: Final = ""
"""The key for the content of a message that has only Problems and no service."""
_MARKUP: Final = re.compile('[&<>"\r\n\t]')
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ESCAPES: Final = str.maketrans(_ENTITIES)
_IN_QUOTES: Final = str.maketrans({**_ENTITIES, '"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def document(
    message: NcipMessage, prefix: str, level: int, version: str = "", *, bare: bool = True, apart: bool = False
) -> str:
    """Encode `message` in NCIP 2.`level`, without an XML declaration.

    Without a `prefix` its elements are in the default namespace, or if `bare` in none. `apart`: the root's tags stand on lines
    of their own.
    Places younger than `level` are left out; "", False and an empty list are not written. `version` is the version attribute
    of the root. Raises ValueError, naming the path, for a field that is not in the content model.
    """
    mark = f"{prefix}:" if prefix else ""
    writer = _Writer(mark, level, mark if prefix or bare else f"{QUALIFIED}:")
    root = f"{writer.mark}NCIPMessage"
    space = f' xmlns:{prefix}="{NISO}"' if prefix else "" if bare else f' xmlns="{NISO}" xmlns:{QUALIFIED}="{NISO}"'
    told = f' {writer.of_attributes}version="{_quoted(version)}"' if version else ""
    writer.service(message)
    inside = "".join(writer.pieces)
    if message.extension:
        inside = f"<{writer.mark}Ext>{inside}</{writer.mark}Ext>"
    end = "\n" if apart else ""
    return f"<{root}{space}{told}>{end}{inside}{end}</{root}>"


@dataclass(frozen=True, slots=True)
class _Writer:
    """Collects the text: `mark` is the prefix of element names, `of_attributes` that of attributes, `pieces` the output."""

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
                self.fill(_content(_ALONE, self.mark), message.fields)
            else:
                self.structure(_slot(Child(service, required=True, repeats=False), model(service), self.mark), message.fields)
        except _Misfit as wrong:
            raise ValueError(f"{service}{wrong}") from wrong

    def structure(self, at: _Slot, fields: Fields) -> None:
        self.pieces.append(at.opens)
        begun = len(self.pieces)
        self.fill(_content(at.name, self.mark), fields)
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
                if type(value) is str and at.kind in _TEXTS:  # these two are nearly all that there is
                    self.pieces.append(f"{at.opens}{value if value.isalnum() else _escaped(value)}{at.closes}")
                elif type(value) is dict and at.kind in _STRUCTURES:
                    self.structure(at, value)
                else:
                    self.each(at, (value,) if isinstance(value, str) else many(value))
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
            scheme = f'{self.of_attributes}Scheme="{_quoted(value.scheme)}"'
            self.pieces.append(f"{at.opens[:-1]} {scheme}>{_escaped(value)}{at.closes}")
        else:
            self.pieces.append(f"{at.opens}{_escaped(value)}{at.closes}")


class _Misfit(ValueError):
    """A field that does not fit the content model; its text begins with the path below the element being written."""


# ---- the content model of an element, with its tags as text


@dataclass(frozen=True, slots=True)
class _Slot:
    """One place in an element's content; `foreign` if XML of other vocabularies is allowed."""

    name: str
    kind: str
    since: int
    repeats: bool
    foreign: bool
    opens: str
    closes: str
    empty: str

    def rare(self, value: Value) -> str:
        """The text of a value that is neither a text nor a structure: a flag, or a peer's own XML."""
        if self.foreign and isinstance(value, str):
            return _foreign(value)
        if self.kind == "empty" and value is True:
            return self.empty
        raise _Misfit(f" is {self.kind} and cannot hold {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class _Content:
    """The places of an element and their order; `order` is None if all elements are allowed, in any order."""

    slots: Mapping[str, _Slot]
    order: Mapping[str, int] | None

    def in_order(self, fields: Fields) -> Iterable[str]:
        """The names of the fields in schema order; KeyError names one that has no place."""
        return sorted(fields, key=self.order.__getitem__) if self.order and len(fields) > 1 else fields


@lru_cache(maxsize=4096)
def _content(name: str, mark: str) -> _Content:
    element = model("Problem") if name == _ALONE else ELEMENTS[name]
    names = tuple(ELEMENTS) if element.kind == "any" else tuple(element.children)
    places = [at for one in names if (at := place(element, one))]
    slots = {at.name: _slot(at, ELEMENTS[at.name], mark, foreign=element.kind == "any" and at.name == "Ext") for at in places}
    return _Content(slots, None if element.kind == "any" else {one: number for number, one in enumerate(names)})


def _slot(at: Child, element: Element, mark: str, *, foreign: bool = False) -> _Slot:
    tags = f"<{mark}{at.name}>", f"</{mark}{at.name}>", f"<{mark}{at.name}/>"
    return _Slot(at.name, element.kind, at.since, at.repeats, foreign, *tags)


# ---- texts


def _escaped(text: str) -> str:
    said = clean(text)
    return said.translate(_ESCAPES) if _MARKUP.search(said) else said


def _quoted(text: str) -> str:
    said = clean(text)
    return said.translate(_IN_QUOTES) if _MARKUP.search(said) else said


def _foreign(text: str) -> str:
    """A peer's own XML from an Ext, unchanged."""
    try:
        return etree.tostring(parsed(text), encoding="unicode")
    except BadDocument as bad:
        raise _Misfit(f" is not XML: {bad.detail}") from bad
