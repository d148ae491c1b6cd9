"""A one-line notation to write and compare NCIP documents: `ItemShipped request=HKU:R1-1 item=C1 due=2017-04-20`.

A key is a short name in `KEYS`, or a path in the content model (`LoanedItem/RenewalCount`). A value is one of these:

- An id, `AGENCY:VALUE` or only `VALUE`. Without an agency, the writer uses the agency in `KEYS`, and the comparison ignores
  the agency.
- A day, `2017-04-20`. The writer uses the last second of the day in Hong Kong. The comparison converts the document's time to a
  day in Hong Kong.
- A time, `2017-03-01T10:00+08:00`, which is compared to the second.
- `yes` for an empty element.
- Any other text, unchanged. In a comparison, `*` matches any text, and `none` requires that the element is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Final, Literal

from hkall_gateway.ncip.codec.elements import ELEMENTS, find_place
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage, instant
from hkall_gateway.rules import dates
from hkall_gateway.xml.tree import Value

Whose = Literal["speaker", "listener", "catalogue", ""]

CATALOGUE = "HKALL"
HEADER = "InitiationHeader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A short key.

    Attributes:
        paths: Possible paths. The writer uses the first path that is in the service's content model.
        value: Path of an id's text below `paths`, or "" if the key stands for a plain text.
        whose: Default agency for an id.
        fixed: Additional (element, text) pairs to write with an id.
    """

    name: str
    paths: tuple[str, ...]
    value: str = ""
    whose: Whose = ""
    fixed: tuple[tuple[str, str], ...] = ()


_BARCODE_ID = (("UserIdentifierType", "Barcode Id"),)
_BARCODE = (("ItemIdentifierType", "Barcode"),)
_WHEN = ("DateShipped", "DateReceived")
_DUE = ("DateDue", "ItemOptionalFields/DateDue", "LoanedItem/DateDue")
_TITLE = "BibliographicDescription/Title"

_KEYS = (
    Key(name="user", paths=("UserId",), value="UserIdentifierValue", whose="listener", fixed=_BARCODE_ID),
    Key(name="item", paths=("ItemId", "LoanedItem/ItemId"), value="ItemIdentifierValue", whose="speaker", fixed=_BARCODE),
    Key(name="request", paths=("RequestId", "RequestedItem/RequestId"), value="RequestIdentifierValue", whose="speaker"),
    Key(name="bib", paths=("BibliographicId/BibliographicRecordId",), value="BibliographicRecordIdentifier", whose="catalogue"),
    Key(name="pickup", paths=("PickupLocation", "RequestedItem/PickupLocation")),
    Key(
        name="printed",
        paths=("ItemOptionalFields/ItemDescription/Ext/ItemId",),
        value="ItemIdentifierValue",
        whose="",
        fixed=_BARCODE,
    ),
    Key(name="card", paths=("UserOptionalFields/UserId",), value="UserIdentifierValue", whose="listener", fixed=_BARCODE_ID),
    Key(name="place", paths=("ShippingInformation/PhysicalAddress/UnstructuredAddress",), value="UnstructuredAddressData"),
    Key(name="due", paths=_DUE),
    Key(name="date", paths=_WHEN),
    Key(name="renewals", paths=("RenewalCount", "LoanedItem/RenewalCount")),
    Key(name="status", paths=("ItemOptionalFields/CirculationStatus",)),
    Key(name="title", paths=(f"ItemOptionalFields/{_TITLE}", "LoanedItem/Title", "RequestedItem/Title")),
)

KEYS: Mapping[str, Key] = {key.name: key for key in _KEYS}

FILLED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "RequestItem": (("RequestType", "Loan"), ("RequestScopeType", "Bibliographic Item")),
    "CancelRequestItem": (("RequestType", "Loan"),),
    "ItemRequestCancelled": (("RequestType", "Loan"),),
}
"""Service -> (element, text) pairs that the writer always adds."""


ABOUT_VERSIONS: Final = "LookupVersion"


def make_message(service: str, words: Iterable[str], speaker: str, listener: str, secret: str, now: datetime) -> NcipMessage:
    """Make a message from a service and the key=value words. Raises ValueError for an unknown service or key."""
    agencies = {"FromAgencyId": {"AgencyId": speaker}, "ToAgencyId": {"AgencyId": listener}}
    if service == ABOUT_VERSIONS:  # contains only the two agencies, and needs no authentication
        if unknown := next(iter(words), None):
            raise ValueError(f"{ABOUT_VERSIONS} has no {split_pair(unknown)[0]}; it takes --from and --to alone")
        return NcipMessage(service=ABOUT_VERSIONS, fields={HEADER: agencies})
    if service not in SHAPES:
        raise ValueError(f"{service} is no NCIP service; {_suggest_names(service, (*SHAPES, ABOUT_VERSIONS))}")
    fields: dict[str, Value] = {HEADER: {"FromAgencyAuthentication": secret, **agencies}}
    for path, text in FILLED.get(service, ()):
        _put_value(fields, path, text)
    fields |= make_fields(service, words, speaker, listener)
    for path in _WHEN:
        if path in ELEMENTS[service].children and path not in fields:
            fields[path] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return NcipMessage(service=service, fields=fields)


def make_fields(service: str, words: Iterable[str], speaker: str, listener: str) -> dict[str, Value]:
    """Make the fields for key=value words. Raises ValueError for a key that the service does not have."""
    agencies = {"speaker": speaker, "listener": listener, "catalogue": CATALOGUE}
    fields: dict[str, Value] = {}
    for name, value in map(split_pair, words):
        key = KEYS.get(name, Key(name=name, paths=(name,)))
        path = next((path for path in key.paths if _has_place(service, path)), None)
        if path is None:
            keys = [key.name for key in _KEYS if any(_has_place(service, path) for path in key.paths)]
            elements = [element for element in ELEMENTS[service].children if element != HEADER]
            raise ValueError(f"{service} has no {name}; {_suggest_names(name, keys + elements)}")
        if not key.value:
            _put_value(fields, path, _end_of_day(value))
            continue
        agency, _, text = value.rpartition(":")
        whose = (("AgencyId", agency or agencies[key.whose]),) if key.whose else ()
        for inner, content in (*whose, *key.fixed, (key.value, text)):
            _put_value(fields, f"{path}/{inner}", content)
    return fields


def find_differences(message: NcipMessage, expected: Iterable[str]) -> list[str]:
    """List the values in a message that differ from the expected key=value words, as key=value words."""
    differing = list[str]()
    for name, wanted in map(split_pair, expected):
        key = KEYS.get(name, Key(name=name, paths=(name,)))
        found = [text for path in key.paths for text in _find_texts(message, path, key, wanted)]
        if wanted == "none" or (wanted == "yes" and not found):
            right = any(message.has(path) for path in key.paths) is (wanted == "yes")
        else:
            right = any(matches_pattern(text, wanted) for text in found)
        if not right:
            differing.append(f"{name}={'|'.join(found) or 'none'}")
    return differing


def matches_pattern(text: str, pattern: str) -> bool:
    """Check whether a text matches a pattern, in which `*` stands for any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def split_pair(word: str) -> tuple[str, str]:
    """Split a key=value word. Raises ValueError if there is no `=`."""
    key, mark, value = word.partition("=")
    if not mark:
        raise ValueError(f"{word!r} is not key=value")
    return key, value


def _suggest_names(name: str, known: Iterable[str]) -> str:
    """Suggest known names that resemble an unknown name, or list all known names."""
    folded = {one.casefold(): one for one in known}
    near = get_close_matches(name.casefold(), folded, n=3)
    return f"did you mean {' or '.join(folded[one] for one in near)}?" if near else f"one of {', '.join(folded.values())}"


def _has_place(service: str, path: str) -> bool:
    at = service
    for name in path.split("/"):
        if find_place(ELEMENTS[at], name) is None:
            return False
        at = name
    return True


def _end_of_day(value: str) -> str:
    try:
        return dates.end_of(date.fromisoformat(value)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return value


def _put_value(fields: dict[str, Value], path: str, text: str) -> None:
    *outer, last = path.split("/")
    for name in outer:
        inner = fields.setdefault(name, {})
        assert isinstance(inner, dict), f"{name} holds elements"
        fields = inner
    fields[last] = True if ELEMENTS[last].kind == "empty" and text == "yes" else text


def _find_texts(message: NcipMessage, path: str, key: Key, wanted: str) -> list[str]:
    if key.value and ":" in wanted:
        return [f"{one.text('AgencyId')}:{one.text(key.value)}" for one in message.each(path)]
    texts = message.texts(f"{path}/{key.value}" if key.value else path)
    return [_as_compared(text, wanted) for text in texts]


def _as_compared(text: str, wanted: str) -> str:
    """Convert a time to the notation of `wanted` (day or time) for comparison. Return any other text unchanged."""
    when = instant(text, dates.HONG_KONG) if re.match(r"\d{4}-\d\d-\d\d", wanted) else None
    if when is None:
        return text
    if "T" not in wanted:
        return dates.civil(when).isoformat()
    compared = instant(wanted, dates.HONG_KONG)
    return wanted if compared == when else text
