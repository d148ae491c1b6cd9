"""The content model of NCIP 1.0 and 1.01 as data: each element's grammar, default scheme, and NCIP 2 name.

NCIP 1 is defined by a DTD, and NCIP 2 by a schema with different names (UniqueItemId became ItemId). In NCIP 1, Scheme and
Value are child elements. The grammar in content_1_0.txt keeps the alternatives of the DTD, to write valid documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

from hkall_gateway.ncip.codec.elements import ELEMENTS, Kind, read_content, split_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPart:
    """One part of a content model: either an element with a `name`, or a group of `parts`.

    A group is a sequence, or a choice between the parts if `either` is True. A `late` part was added in 1.01.
    """

    name: str = ""
    required: bool = True
    repeats: bool = False
    late: bool = False
    parts: tuple[ContentPart, ...] = ()
    either: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Names of all elements that this part may contain."""
        inside = (part.names for part in self.parts)
        return frozenset((self.name,)) if self.name else frozenset().union(*inside)


FILLING: Final[Mapping[Kind, str]] = MappingProxyType({"integer": "0", "count": "0", "ordinal": "1"})
"""Default values for required numbers without data. Other required texts are written empty."""

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
"""NCIP 1 name -> NCIP 2 name, if different. NCIP 2 replaced AuthenticateUser by LookupUser with credentials."""

ERRORS: Final[Mapping[str, str]] = MappingProxyType({"MessagingError": "Messaging", "ProcessingError": "Processing"})
"""NCIP 1 error element -> prefix of its child elements' names. Both errors became Problem in NCIP 2."""

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
"""(NCIP 1 parent, VisibleUserId or VisibleItemId) -> path in NCIP 2. Under other parents the path is UserId or ItemId."""

# Most scheme URLs contain the element's name. Some lack the folder imp1. Source: the schemes of profile "imp1".
_NISO: Final = "http://www.niso.org/ncip/v1_0/"
_OWN_LIST = """
    AgencyAddressRoleType AuthenticationInputType BibliographicItemIdentifierCode BibliographicLevel
    BibliographicRecordIdentifierCode CirculationStatus ComponentIdentifierType FiscalActionType FiscalTransactionType
    ItemDescriptionLevel ItemUseRestrictionType LocationType MediumType OrganizationNameType PaymentMethodType
    PhysicalAddressType PhysicalConditionType RequestScopeType RequestStatusType RequestType RequestedActionType
    SecurityMarker UnstructuredAddressType UserAddressRoleType VisibleItemIdentifierType VisibleUserIdentifierType
"""
_OWN_LIST_OUTSIDE_IMP1 = "AgencyElementType ItemElementType MessagingErrorType RequestElementType UserElementType"
# NISO never published these schemes. Peers write the element's name in words (seen: "NCIP Unique Agency Id", INN-Reach).
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
"""Default scheme for each element, since NCIP 1 requires a Scheme before every Value."""


def parse_content(content: str) -> ContentPart:
    """Parse the content in a grammar row to a group of parts."""
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
    return ContentPart(name=name, required=mark in ("", "+"), repeats=mark in ("*", "+"), late=bool(version))


def _parse_sections(*sections: str) -> Mapping[str, ContentPart]:
    """Parse these sections of the grammar. Return the content models by element name."""
    described = [row for section in sections for row in split_rows(_GRAMMAR[section])]
    return MappingProxyType(
        {name: part for names, words in described for part in [parse_content(" ".join(words))] for name in names}
    )


_GRAMMAR: Final = read_content("1_0")
CONTENT: Final = _parse_sections("initiations", "responses", "parts")
"""The content model of each element with children."""
SERVICES: Final = _parse_sections("initiations", "responses").keys()
"""Elements allowed under NCIPMessage."""

_OWN_KINDS: Final = {name: cast(Kind, kind) for (kind,), names in split_rows(_GRAMMAR["leaves"]) for name in names}
_LEAVES: Final = {name for part in CONTENT.values() for name in part.names} - CONTENT.keys()
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {name: ELEMENTS[RENAMED.get(name, name)].kind for name in _LEAVES - _OWN_KINDS.keys()} | _OWN_KINDS
)
"""Kind of each element without children, the same as in NCIP 2 unless the NCIP 1 grammar lists another kind."""
