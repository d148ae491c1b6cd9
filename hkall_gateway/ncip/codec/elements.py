"""The content model of NCIP 2.02 as data: the children of each element, their order, and the elements to redact.

`ELEMENTS` is read from content_2_02.txt at import. NCIP 1 has a separate grammar in content_1_0.txt, since the DTD has
different element names and alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal, cast

Kind = Literal["complex", "any", "text", "scheme", "empty", "dateTime", "integer", "count", "ordinal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One child element in a parent's content model.

    Attributes:
        required: Whether the child is mandatory in a valid document.
        repeats: Whether the child may occur more than once.
        since: Minor version (0, 1, 2 for 2.0, 2.01, 2.02) that added the child to an existing parent.
    """

    name: str
    required: bool
    repeats: bool
    since: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Element:
    """The content model of one element.

    Attributes:
        kind: "complex" (with children), "any" (Ext, which may contain any elements), "scheme" (text with a Scheme attribute)
            or "empty" (a flag). All other kinds are text. A "count" is 0 or more, an "ordinal" 1 or more.
        children: Child elements by name, in schema order.
        secret: Whether the text is a credential, which must not be logged.
        personal: Whether the text is personal data, which must not be logged.
    """

    name: str
    kind: Kind
    children: Mapping[str, Child] = field(default_factory=dict)
    secret: bool = False
    personal: bool = False

    @property
    def hidden(self) -> bool:
        """Whether to redact the value in logs."""
        return self.secret or self.personal


def read_content(version: str) -> Mapping[str, str]:
    """Read a content model file. Return the text of each section by section name, such as "leaves"."""
    text = (files(__package__) / f"content_{version}.txt").read_text(encoding="ascii")
    _, *parts = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def split_rows(section: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each row of a section as (element names at the margin, words of the indented content)."""
    for names, content in re.findall(r"((?:^\S.*\n)+)((?:^ .*\n)+)", section, re.MULTILINE):
        yield names.split(), content.split()


CONTENT: Final = read_content("2_02")

SECRET = ("AuthenticationInputData", "FromAgencyAuthentication", "FromSystemAuthentication")

# UserIdentifierValue is a full card number; ProblemValue and NoticeContent repeat data from or for a patron.
PERSONAL = """
    Prefix GivenName Initials Surname Suffix UnstructuredPersonalUserName DateOfBirth UserIdentifierValue
    LocationWithinBuilding HouseName Street PostOfficeBox District Line1 Line2 Locality Region Country PostalCode CareOf
    UnstructuredAddressData ElectronicAddressData NoticeContent ProblemValue
"""

SINCE = {"": 0, "2.01": 1, "2.02": 2}


def parse_elements(content: str, leaves: str) -> Mapping[str, Element]:
    """Parse `content` (elements with children) and `leaves` (names by kind). Return the elements by name."""
    found = {
        name: Element(name=name, kind="complex", children=_parse_children(places))
        for names, places in split_rows(content)
        for name in names
    }
    personal = PERSONAL.split()
    for (kind,), names in split_rows(leaves):
        for name in names:
            found[name] = Element(name=name, kind=cast(Kind, kind), secret=name in SECRET, personal=name in personal)
    return MappingProxyType(found)


def _parse_children(places: Iterable[str]) -> Mapping[str, Child]:
    children = dict[str, Child]()
    for place in places:
        marked, _, version = place.partition("@")
        child = marked.rstrip("?*+")
        mark = marked[len(child) :]
        children[child] = Child(name=child, required=mark in ("", "+"), repeats=mark in ("*", "+"), since=SINCE[version])
    return MappingProxyType(children)


ELEMENTS = parse_elements("".join(text for section, text in CONTENT.items() if section != "leaves"), CONTENT["leaves"])

SERVICES = ELEMENTS["NCIPMessage"].children.keys() - {"Ext"}
"""Elements allowed under NCIPMessage: every initiation, every response, and Problem."""

GENERIC: Final = "Response"
"""Element with which Alma replies to notifications instead of the standard response element (seen in NCIP-Relay)."""


def find_place(element: Element, name: str) -> Child | None:
    """Return the child `name` in the content model of `element`, or None if that child is not allowed."""
    if element.kind == "any" and name in ELEMENTS:
        return Child(name=name, required=False, repeats=True)
    return element.children.get(name)
