"""Every scenario file is a test, on every database that there is; and what leaves us in them is valid NCIP."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine

from hkall_gateway.lab.scenario import play

FILES = sorted((Path(__file__).parent.parent / "fixtures" / "scenarios").glob("*.txt"))
XSD = Path("/work/shared/ncip/xsd/ncip_v2_02.xsd")


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    if not XSD.exists():
        pytest.skip(f"the schema of NCIP 2.02 is not at {XSD}")
    return etree.XMLSchema(etree.parse(XSD))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_gateway_does_what_the_scenario_says(file: Path, engine: Engine) -> None:
    play(file, engine).close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_document_that_leaves_is_valid(file: Path, schema: etree.XMLSchema) -> None:
    world = play(file)
    errors = [str(schema.error_log) for body in world.peers.bodies if not schema.validate(etree.fromstring(body))]
    world.close()

    assert errors == []


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 11
