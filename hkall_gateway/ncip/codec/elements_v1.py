"""The content model of NCIP 1.0 and 1.01 as data: the grammar of each element, its default scheme, and its name in NCIP 2.

1.0 has a DTD, and 2.0 a schema with other names (UniqueItemId became ItemId); in 1.0 Scheme and Value are children. The
alternatives of the DTD are kept, since every document of NCIP 1 is written to be valid against it. The grammar is in
content_1_0.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

from hkall_gateway.ncip.codec.elements import ELEMENTS, Kind, read_content, split_rows


@dataclass(frozen=True, slots=True)
class ContentPart:
    """One place in a content model: an element by name, or (without a name) a group of `parts`.

    Of a group all parts stand in order, or one of them when it is `either`. `late` places came with 1.01.
    """

    name: str = ""
    required: bool = True
    repeats: bool = False
    late: bool = False
    parts: tuple[ContentPart, ...] = ()
    either: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The elements that may stand here."""
        inside = (part.names for part in self.parts)
        return frozenset((self.name,)) if self.name else frozenset().union(*inside)


FILLING: Final[Mapping[Kind, str]] = MappingProxyType({"integer": "0", "count": "0", "ordinal": "1"})
"""Values written for required numbers without data; other required texts are left empty."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UniqueAgencyId":            "AgencyId",
        "UniqueBibliographicId":     "BibliographicId",
        "UniqueItemId":              "ItemId",
        "UniqueRequestId":           "RequestId",
        "UniqueUserId":              "UserId",
        "VisibleItemId":             "ItemId",
        "VisibleItemIdentifier":     "ItemIdentifierValue",
        "VisibleItemIdentifierType": "ItemIdentifierType",
        "VisibleUserId":             "UserId",
        "VisibleUserIdentifier":     "UserIdentifierValue",
        "VisibleUserIdentifierType": "UserIdentifierType",
        "AuthenticateUser":          "LookupUser",
        "AuthenticateUserResponse":  "LookupUserResponse",
    }
)  # fmt: skip
"""NCIP 1 name -> NCIP 2 name, where they differ. NCIP 2 replaced AuthenticateUser by a LookupUser with credentials."""

ERRORS: Final[Mapping[str, str]] = MappingProxyType({"MessagingError": "Messaging", "ProcessingError": "Processing"})
"""The error elements of NCIP 1, which are a Problem in NCIP 2, with the prefix of their children's names."""

VISIBLE: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("UserOptionalFields", "VisibleUserId"): "UserId",
        ("CreateUser",         "VisibleUserId"): "Ext/UserId",
        ("UserCreated",        "VisibleUserId"): "Ext/UserId",
        ("AddUserFields",      "VisibleUserId"): "Ext/UserId",
        ("DeleteUserFields",   "VisibleUserId"): "Ext/UserId",
        ("ItemDescription",    "VisibleItemId"): "Ext/ItemId",
    }
)  # fmt: skip
"""Path in NCIP 2 of a printed number (VisibleUserId, VisibleItemId), by parent element; elsewhere it is UserId or ItemId."""

# Most schemes are filed under the element's own name, some of them outside imp1. Source: the schemes of profile "imp1".
_NISO: Final = "http://www.niso.org/ncip/v1_0/"
_OWN_LIST = """
    AgencyAddressRoleType AuthenticationInputType BibliographicItemIdentifierCode BibliographicLevel
    BibliographicRecordIdentifierCode CirculationStatus ComponentIdentifierType FiscalActionType FiscalTransactionType
    ItemDescriptionLevel ItemUseRestrictionType LocationType MediumType OrganizationNameType PaymentMethodType
    PhysicalAddressType PhysicalConditionType RequestScopeType RequestStatusType RequestType RequestedActionType
    SecurityMarker UnstructuredAddressType UserAddressRoleType VisibleItemIdentifierType VisibleUserIdentifierType
"""
_OWN_LIST_OUTSIDE_IMP1 = "AgencyElementType ItemElementType MessagingErrorType RequestElementType UserElementType"
# No list was ever published; peers write such words (seen: "NCIP Unique Agency Id" behind INN-Reach).
_NO_LIST = """
    AgencyUserPrivilegeType ApplicationProfileSupportedType ApplicationProfileType AuthenticationPromptType
    ConsortiumAgreement FromSystemId NoticeType ToSystemId UniqueAgencyId UserPrivilegeStatusType
"""

SCHEMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AcknowledgedItemUseRestrictionType": f"{_NISO}imp1/schemes/itemuserestrictiontype/itemuserestrictiontype.scm",
        "RequiredItemUseRestrictionType":     f"{_NISO}imp1/schemes/itemuserestrictiontype/itemuserestrictiontype.scm",
        "BlockOrTrapType":                    "http://www.niso.org/ncip/v2_0/imp1/schemes/blockortraptype/blockortraptype.scm",
        "ProcessingErrorType":                f"{_NISO}schemes/processingerrortype/generalprocessingerror.scm",
        "AuthenticationDataFormatType":       "http://www.iana.org/assignments/media-types",
        "ElectronicDataFormatType":           "http://www.iana.org/assignments/media-types",
        "ElectronicAddressType":              "http://www.iana.org/assignments/uri-schemes",
        "CurrencyCode":  "http://www.bsi-global.com/Technical+Information/Publications/_Publications/tig90x.doc",
        "Language":      "http://lcweb.loc.gov/standards/iso639-2/bibcodes.html",
        "UserLanguage":  "http://lcweb.loc.gov/standards/iso639-2/bibcodes.html",
        **{name: f"{_NISO}imp1/schemes/{name.lower()}/{name.lower()}.scm" for name in _OWN_LIST.split()},
        **{name: f"{_NISO}schemes/{name.lower()}/{name.lower()}.scm" for name in _OWN_LIST_OUTSIDE_IMP1.split()},
        **{name: re.sub(r"(?=[A-Z])", " ", f"NCIP{name}").replace(" N C I P", "NCIP") for name in _NO_LIST.split()},
    }
)  # fmt: skip
"""The scheme of a value that came without one: NCIP 1 wants a Scheme before every Value."""


def parse_content(content: str) -> ContentPart:
    """Parse the content of a row to a group."""
    return _parse_group(iter(re.findall(r"\(|\)[?*+]?|\||\w+[?*+]?(?:@1\.01)?", content)))


def _parse_group(words: Iterator[str]) -> ContentPart:
    parts: list[ContentPart] = []
    either, mark = False, ""
    for word in words:
        if word.startswith(")"):
            mark = word[1:]
            break
        if word == "|":
            either = True
        else:
            parts.append(_parse_group(words) if word == "(" else _parse_element(word))
    return ContentPart(required=mark in ("", "+"), repeats=mark in ("*", "+"), parts=tuple(parts), either=either)


def _parse_element(word: str) -> ContentPart:
    marked, _, version = word.partition("@")
    name = marked.rstrip("?*+")
    mark = marked[len(name) :]
    return ContentPart(name, required=mark in ("", "+"), repeats=mark in ("*", "+"), late=bool(version))


def _parse_sections(*sections: str) -> Mapping[str, ContentPart]:
    """Parse the content model of each element in these sections."""
    described = [row for section in sections for row in split_rows(_GRAMMAR[section])]
    return MappingProxyType(
        {name: part for names, words in described for part in [parse_content(" ".join(words))] for name in names}
    )


_GRAMMAR: Final = read_content("1_0")
CONTENT: Final = _parse_sections("initiations", "responses", "parts")
"""The content model of each element with children."""
SERVICES: Final = _parse_sections("initiations", "responses").keys()
"""The elements allowed under NCIPMessage."""

_OWN_KINDS: Final = {name: cast(Kind, kind) for (kind,), names in split_rows(_GRAMMAR["leaves"]) for name in names}
_LEAVES: Final = {name for part in CONTENT.values() for name in part.names} - CONTENT.keys()
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {name: ELEMENTS[RENAMED.get(name, name)].kind for name in _LEAVES - _OWN_KINDS.keys()} | _OWN_KINDS
)
"""The kind of each other element: a scheme is a pair of Scheme and Value, the others are as in NCIP 2 but for a few."""
