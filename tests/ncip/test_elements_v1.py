"""The NCIP 1 tables match the DTD, and every NCIP 1 element maps to NCIP 2."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.ncip.codec.elements import ELEMENTS, read_content, split_rows
from hkall_gateway.ncip.codec.elements_v1 import (
    CONTENT,
    ERRORS,
    FILLING,
    KINDS,
    RENAMED,
    SCHEMES,
    SERVICES,
    VISIBLE,
    ContentPart,
)

SHARED = Path(__file__).parents[3] / "shared/ncip"
DATATYPES = {
    "string": "text",
    "dateTime": "dateTime",
    "integer": "integer",
    "nonNegativeInteger": "count",
    "positiveInteger": "ordinal",
}
PAIR = "(Scheme, Value)"

# What the change history of 1.01 adds to 1.0.
LATER_ELEMENTS = {"LookupRequest", "LookupRequestResponse", "PaidFeeAmount", "RequestElementType"}
LATER_PLACES = {
    ("CancelRequestItem", "AcknowledgedFeeAmount"),
    ("CancelRequestItem", "PaidFeeAmount"),
    ("CheckOutItem", "PaidFeeAmount"),
    ("RenewItem", "PaidFeeAmount"),
    ("RequestItem", "PaidFeeAmount"),
    ("AddRequestFields", "PaidFeeAmount"),
    ("DeleteRequestFields", "PaidFeeAmount"),
}

# Names that NCIP 2 has nothing like: the two kinds of error become one Problem, a wrapper and a pair of children go.
GONE = {"MessagingError", "ProcessingError", "UserTransaction", "Scheme", "Value", "ElementName"}
GONE |= {f"{kind}Error{part}" for kind in ERRORS.values() for part in ("Type", "Element", "Value")}


def schema(name: str) -> dict[str, Any]:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not on this machine")
    found: dict[str, Any] = json.loads((SHARED / name).read_text())
    return found


def elements() -> dict[str, Any]:
    found: dict[str, Any] = schema("schema_1_0.json")["elements"]
    return found


def rendered(part: ContentPart) -> str:
    """A content part of 1.0 in DTD syntax."""
    mark = {(True, False): "", (False, False): "?", (False, True): "*", (True, True): "+"}[part.required, part.repeats]
    if part.name:
        return part.name + mark
    return f"({(' | ' if part.either else ', ').join(rendered(inner) for inner in part.parts if not inner.late)}){mark}"


def late(part: ContentPart) -> set[str]:
    inside = {name for inner in part.parts for name in late(inner)}
    return inside | ({part.name} if part.late else set())


def test_tables_have_every_element_of_the_dtd() -> None:
    assert (CONTENT.keys() | KINDS.keys()) - LATER_ELEMENTS == elements().keys() - {"NCIPMessage"}


def test_element_content_matches_the_dtd() -> None:
    dtd = {name: elements()[name]["dtd"] for name in CONTENT.keys() - LATER_ELEMENTS}
    assert {name: rendered(CONTENT[name]) for name in dtd} == {
        name: grammar if grammar.startswith("(") else f"({grammar})" for name, grammar in dtd.items()
    }


def test_kind_of_a_simple_element_matches_the_dtd() -> None:
    other = {"empty": "empty", PAIR: "scheme"}
    dtd = {name: elements()[name] for name in KINDS.keys() - LATER_ELEMENTS}
    assert {name: KINDS[name] for name in dtd} == {
        name: other.get(row["dtd"]) or DATATYPES[row["attributes"]["datatype"]["value"]] for name, row in dtd.items()
    }


def test_services_are_the_elements_under_the_root_plus_two_of_1_01() -> None:
    said = elements()["NCIPMessage"]["dtd"].strip("()").split(" | ")
    assert {*said, "LookupRequest", "LookupRequestResponse"} == SERVICES


def test_elements_introduced_by_1_01_are_marked() -> None:
    assert {(name, inner) for name, part in CONTENT.items() for inner in late(part)} == LATER_PLACES


def test_every_child_has_its_own_row() -> None:
    assert {name for part in CONTENT.values() for name in part.names} <= CONTENT.keys() | KINDS.keys()


def test_every_row_is_used() -> None:
    used = {name for part in CONTENT.values() for name in part.names} | SERVICES | {"Scheme", "Value"}
    assert CONTENT.keys() | KINDS.keys() == used


def test_element_names_are_unique() -> None:
    sections = [(section, row) for section, text in read_content("1_0").items() for row in split_rows(text)]
    written = Counter(name for section, (margin, words) in sections for name in (words if section == "leaves" else margin))
    assert [name for name, times in written.items() if times > 1] == []


def test_every_ncip_1_element_maps_to_an_ncip_2_element() -> None:
    every = CONTENT.keys() | KINDS.keys()
    assert {name for name in every if RENAMED.get(name, name) not in ELEMENTS} == every & GONE


def test_mapped_content_is_allowed_in_ncip_2() -> None:
    places = {(name, child) for name in CONTENT.keys() - GONE - {"Problem"} for child in CONTENT[name].names - GONE}
    wrong = [
        (name, child)
        for name, child in places - VISIBLE.keys()
        if RENAMED.get(child, child) not in ELEMENTS[RENAMED.get(name, name)].children
    ]
    assert wrong == []


def test_mapped_value_has_the_same_kind_in_ncip_2() -> None:
    same = {name: KINDS[name] for name in KINDS.keys() - GONE}
    loosened = {"ReminderLevel": "count"}  # 2.02: 0 is a level too
    assert {name: ELEMENTS[RENAMED.get(name, name)].kind for name in same} == same | loosened


@pytest.mark.parametrize(("at", "path"), VISIBLE.items())
def test_visible_elements_exist_in_both_versions(at: tuple[str, str], path: str) -> None:
    holder, name = at
    assert name in CONTENT[holder].names
    assert path.partition("/")[0] in ELEMENTS[holder].children
    assert path.rpartition("/")[2] == RENAMED[name]


def test_every_renamed_element_exists() -> None:
    assert RENAMED.keys() <= CONTENT.keys() | KINDS.keys()
    assert set(RENAMED.values()) <= ELEMENTS.keys()


def test_every_value_with_a_scheme_has_a_default() -> None:
    assert SCHEMES.keys() == {name for name, kind in KINDS.items() if kind == "scheme"}


def test_numeric_placeholder_matches_its_type() -> None:
    assert {kind: str(int(kind == "ordinal")) for kind in ("integer", "count", "ordinal")} == FILLING


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_default_scheme_is_the_published_one(name: str) -> None:
    theirs = {"VisibleUserIdentifierType": "UserIdentifierType", "VisibleItemIdentifierType": "ItemIdentifierType"}
    theirs |= {"ProcessingErrorType": "GeneralProcessingError", "MessagingErrorType": "MessagingError"}
    listed = schema("schemes_v1.json").get(f"Version1{theirs.get(name, name)}")
    if listed is None or name == "UserAddressRoleType":  # filed under v2_0 by one toolkit, under v1_0 by peers of NCIP 1
        assert SCHEMES[name].startswith(("NCIP ", "http"))
    else:
        assert SCHEMES[name] in listed["uris"]
