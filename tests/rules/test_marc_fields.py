"""Sources of MARC data as a site writes them in its configuration."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.marc_fields import MarcSource, source


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("245abnp", MarcSource(tag="245", codes="abnp", first=None, last=None)),
        ("010a", MarcSource(tag="010", codes="a", first=None, last=None)),
        ("001", MarcSource(tag="001", codes="", first=None, last=None)),
        ("008/35-37", MarcSource(tag="008", codes="", first=35, last=37)),
        ("008/23", MarcSource(tag="008", codes="", first=23, last=23)),
    ],
)
def test_source_names_a_field_and_its_subfields_or_positions(text: str, parsed: MarcSource) -> None:
    assert source(text) == parsed


@pytest.mark.parametrize("text", ["", "245", "010", "001a", "24", "245/3", "008/", "0080/1"])
def test_malformed_source_is_an_error_that_shows_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is no MARC field with subfields"):
        source(text)
