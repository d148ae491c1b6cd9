"""The content model of NCIP 2.02 as data: the children of each element, their order, and the elements to redact.

The codec looks elements up in `ELEMENTS`, which is read from content_2_02.txt once, at import. NCIP 1 has a grammar of its own
in content_1_0.txt: it has alternatives to keep apart, and other names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal, cast

Kind = Literal["complex", "any", "text", "scheme", "empty", "dateTime", "integer", "count", "ordinal"]


@dataclass(frozen=True, slots=True)
class Child:
    """One place in an element's content.

    `required` holds when no valid document may lack it. `since` is the minor version (0, 1, 2 for 2.0, 2.01, 2.02) in
    which the place appeared in an element that was there before it.
    """

    name: str
    required: bool
    repeats: bool
    since: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """The content model of one element.

    `children` stand in schema order. Kinds: complex (children), any (Ext: every element, any number), scheme (a value
    with the scheme it comes from), empty (its presence is its meaning). The others are text, a count being 0 or more, an
    ordinal 1 or more. `secret` is a credential (a password), `personal` is personal data; neither may reach a log.
    """

    name: str
    kind: Kind
    children: Mapping[str, Child] = field(default_factory=dict)
    secret: bool = False
    personal: bool = False

    @property
    def hidden(self) -> bool:
        """Whether the value may not reach a log."""
        return self.secret or self.personal


def read_content(version: str) -> Mapping[str, str]:
    """Read the sections of a content model: the rows of services, of their parts, and of elements without children."""
    text = (files(__package__) / f"content_{version}.txt").read_text(encoding="ascii")
    _, *parts = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def split_rows(section: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the names at the margin of each row, and the words of their content."""
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
    """Parse the rows of `content` and of `leaves` (names by kind) to elements by name."""
    found = {name: Element(name, "complex", _parse_children(places)) for names, places in split_rows(content) for name in names}
    personal = PERSONAL.split()
    for (kind,), names in split_rows(leaves):
        for name in names:
            found[name] = Element(name, cast(Kind, kind), secret=name in SECRET, personal=name in personal)
    return MappingProxyType(found)


def _parse_children(places: Iterable[str]) -> Mapping[str, Child]:
    children = dict[str, Child]()
    for place in places:
        marked, _, version = place.partition("@")
        child = marked.rstrip("?*+")
        mark = marked[len(child) :]
        children[child] = Child(child, required=mark in ("", "+"), repeats=mark in ("*", "+"), since=SINCE[version])
    return MappingProxyType(children)


ELEMENTS = parse_elements("".join(text for section, text in CONTENT.items() if section != "leaves"), CONTENT["leaves"])

SERVICES = ELEMENTS["NCIPMessage"].children.keys() - {"Ext"}
"""The elements allowed under NCIPMessage: every initiation, every response, and Problem."""

_PROBLEMS = Element("NCIPMessage", "complex", {"Problem": ELEMENTS["NCIPMessage"].children["Problem"]})


GENERIC: Final = "Response"
"""No element of NCIP: Alma's answer to an event, where ItemRequestedResponse belongs (seen in CSUSM's NCIP-Relay)."""


def find_model(service: str) -> Element:
    """Return the content model of a service. For "Problem" it is that of an NCIPMessage without a service."""
    return _PROBLEMS if service == "Problem" else ELEMENTS["ItemRequestedResponse" if service == GENERIC else service]


def find_place(element: Element, name: str) -> Child | None:
    """Return the place of `name` inside `element`. None if it is not allowed there."""
    if element.kind == "any" and name in ELEMENTS:
        return Child(name, required=False, repeats=True)
    return element.children.get(name)
