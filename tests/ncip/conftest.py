"""What the tests of the NCIP room share: the standard's schemas where they are at hand, and equality with schemes in sight."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from hkall_gateway.ncip.messages import Coded

SHARED = Path("/work/shared/ncip")


def at_hand(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not on this machine")
    return SHARED / name


@pytest.fixture(scope="session")
def xsd() -> etree.XMLSchema:
    """The schema of 2.02."""
    return etree.XMLSchema(etree.parse(at_hand("xsd/ncip_v2_02.xsd")))


@pytest.fixture(scope="session")
def xsd_of_2_0() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(at_hand("xsd/ncip_v2_0_official.xsd")))


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    """The content model of every 2.02 element, as the schema nests it."""
    elements: dict[str, Any] = json.loads(at_hand("schema_2_02.json").read_text())["elements"]
    return elements


@pytest.fixture(scope="session")
def spelled() -> Callable[[object], object]:
    """A value with its schemes in sight, which equality passes over."""

    def spell(value: object) -> object:
        if isinstance(value, Mapping):
            return {name: spell(one) for name, one in value.items()}
        if isinstance(value, list):
            return [spell(one) for one in value]
        return (str(value), value.scheme) if isinstance(value, Coded) else value

    return spell
