"""The table of elements is exactly the standard's content model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.ncip.codec.elements import (
    ELEMENTS,
    PERSONAL,
    SECRET,
    Child,
    parse_elements,
    read_content,
    split_rows,
)

SHARED = Path(__file__).parents[3] / "shared/ncip"
VERSIONS = ("schema_2_0.json", "schema_2_01.json", "schema_2_02.json")
KINDS = {
    "xs:string": "text",
    "xs:token": "text",
    "xs:dateTime": "dateTime",
    "xs:integer": "integer",
    "xs:nonNegativeInteger": "count",
    "xs:positiveInteger": "ordinal",
    "SchemeValuePair": "scheme",
    None: "empty",
}

Model = dict[str, Any]  # a content model as the schema_*.json pages write it


@cache
def schema(version: str) -> dict[str, Model]:
    if not (SHARED / version).exists():
        pytest.skip(f"{SHARED / version} is not on this machine")
    elements: dict[str, Model] = json.loads((SHARED / version).read_text())["elements"]
    return elements


def bounds(model: Model) -> dict[str, tuple[int, float]]:
    """The minimum and maximum occurrences of each child in a valid document."""
    low, high = model["min"], float("inf") if model["max"] is None else model["max"]
    if model["k"] == "el":
        return {model["n"]: (low, high)}
    inner = [bounds(part) for part in model["c"]]
    found = {}
    for name in {name for part in inner for name in part}:
        each = [part.get(name, (0, 0)) for part in inner]
        least, most = zip(*each, strict=True)
        join = (sum, sum) if model["k"] == "seq" else (min, max)
        found[name] = (join[0](least) * low, join[1](most) * high)
    return found


def names(model: Model) -> list[str]:
    return [model["n"]] if model["k"] == "el" else [name for part in model["c"] for name in names(part)]


def before(model: Model) -> Iterator[tuple[str, str]]:
    """Every pair of names that the schema requires in this order."""
    parts = model.get("c", [])
    yield from chain.from_iterable(before(part) for part in parts)
    if model["k"] == "seq":
        for at, part in enumerate(parts):
            yield from ((first, then) for first in names(part) for rest in parts[at + 1 :] for then in names(rest))


def test_table_has_every_element_of_the_schema() -> None:
    assert ELEMENTS.keys() == schema("schema_2_02.json").keys()


COMPLEX = {name: element for name, element in ELEMENTS.items() if element.kind == "complex"}


def test_element_kind_matches_the_schema() -> None:
    assert {name: element.kind for name, element in ELEMENTS.items()} == {
        name: "any" if name == "Ext" else "complex" if row["kind"] == "complex" else KINDS[row.get("type")]
        for name, row in schema("schema_2_02.json").items()
    }


def test_element_children_match_the_schema() -> None:
    places = {
        (name, child): (low > 0, high > 1) if child != "Ext" else (False, False)  # of the two in EnumerationLevelInstance one
        for name in COMPLEX
        for child, (low, high) in bounds(schema("schema_2_02.json")[name]["model"]).items()
    }
    assert places == {
        (name, row.name): (row.required, row.repeats) for name, element in COMPLEX.items() for row in element.children.values()
    }


@pytest.mark.parametrize("name", sorted(COMPLEX))
def test_child_order_is_valid_in_the_schema(name: str) -> None:
    order = list(ELEMENTS[name].children)
    wanted = {pair for pair in before(schema("schema_2_02.json")[name]["model"]) if pair[0] != pair[1]}
    settled = {pair for pair in wanted if (pair[1], pair[0]) not in wanted}
    wrong = [(first, then) for first, then in settled if first != "Ext" and order.index(first) > order.index(then)]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(COMPLEX))
def test_child_names_the_version_that_introduced_it(name: str) -> None:
    history = [schema(version) for version in VERSIONS]
    known = [set(names(version[name]["model"])) if name in version else None for version in history]
    first = {
        child: next(minor for minor, held in enumerate(known) if held is not None and child in held)
        for child in ELEMENTS[name].children
    }
    born = next(minor for minor, held in enumerate(known) if held is not None)
    assert {child: place.since for child, place in ELEMENTS[name].children.items()} == {
        child: minor if minor > born else 0 for child, minor in first.items()
    }


def test_every_child_has_its_own_row() -> None:
    assert {child for element in ELEMENTS.values() for child in element.children} <= ELEMENTS.keys()


def test_element_names_are_unique() -> None:
    sections = [(section, row) for section, text in read_content("2_02").items() for row in split_rows(text)]
    written = Counter(name for section, (margin, words) in sections for name in (words if section == "leaves" else margin))
    assert [name for name, times in written.items() if times > 1] == []


def test_only_complex_elements_have_children() -> None:
    assert {element.kind for element in ELEMENTS.values() if element.children} == {"complex"}


def test_passwords_are_marked_secret_and_names_personal() -> None:
    assert {name for name, element in ELEMENTS.items() if element.secret} == set(SECRET)
    assert {name for name, element in ELEMENTS.items() if element.personal} == set(PERSONAL.split())


def test_secret_and_personal_elements_are_hidden() -> None:
    shown = [ELEMENTS[name].hidden for name in ("AuthenticationInputData", "Surname", "ElectronicAddressData", "Title")]
    assert shown == [True, True, True, False]


def test_each_version_has_its_own_table() -> None:
    first = parse_elements(
        "UniqueItemId\n    UniqueAgencyId ItemIdentifierValue\n", "text\n    UniqueAgencyId ItemIdentifierValue\n"
    )
    assert first["UniqueItemId"].children["ItemIdentifierValue"] == Child(
        name="ItemIdentifierValue", required=True, repeats=False
    )
