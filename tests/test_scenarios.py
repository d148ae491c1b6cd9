"""Every scenario file is a test, on every available database; and the NCIP documents sent in them are valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine

from hkall_gateway.cli import main
from hkall_gateway.cli.tools.simulations import command_line
from hkall_gateway.simulator.scenario.runner import play

FILES = sorted((Path(__file__).parent.parent / "fixtures" / "scenarios").glob("*.txt"))
XSDS = Path(__file__).parents[2] / "shared/ncip/xsd"
NISO = "http://www.niso.org/2008/ncip"
COMMANDS = command_line(main)


class Schemas:
    """Validates documents by their version."""

    def __init__(self, folder: Path) -> None:
        self._xsd = {name: etree.XMLSchema(etree.parse(folder / f"ncip_{name}.xsd")) for name in ("v2_01", "v2_02", "version")}
        self._xsd["v2_0"] = etree.XMLSchema(etree.parse(folder / "ncip_v2_0_official.xsd"))
        self._dtd = etree.DTD(str(folder / "ncip_v1_0.dtd"))

    def errors(self, body: bytes) -> list[str]:
        root = etree.fromstring(body)
        if root.getroottree().docinfo.doctype:
            return [] if self._dtd.validate(root) else [str(self._dtd.error_log)]
        said = str(next(iter(root.attrib.values())))
        schema = self._xsd[next(name for name in ("version", "v2_02", "v2_01", "v2_0") if f"{name}.xsd" in said)]
        return [] if schema.validate(namespaced(root)) else [str(schema.error_log)]


def namespaced(root: etree._Element) -> etree._Element:
    """Return the tree in the NCIP 2 namespace: a peer without a namespace is answered without one."""
    if str(root.tag).startswith("{") or root.tag == "NCIPVersionMessage":
        return root
    for node in root.iter():
        node.tag = etree.QName(NISO, str(node.tag))
        for name, value in [(str(name), value) for name, value in node.attrib.items()]:
            del node.attrib[name]
            node.set(etree.QName(NISO, name), value)
    return root


BLOCKS_ALONE = "vufind-without-a-pin"
"""The scenario of replies without the UserId that the schema requires: VuFind treats a reply with one as a login."""


def with_user(body: bytes) -> bytes:
    """Return the document, with a UserId added to a LookupUserResponse that has neither UserId nor Problem."""
    root = etree.fromstring(body)
    for reply in root.iter(f"{{{NISO}}}LookupUserResponse"):
        names = [etree.QName(part).localname for part in reply]
        if "UserId" not in names and "Problem" not in names:
            user = etree.Element(f"{{{NISO}}}UserId")
            etree.SubElement(user, f"{{{NISO}}}UserIdentifierValue").text = "UG1"
            reply.insert(names.index("ResponseHeader") + 1 if "ResponseHeader" in names else 0, user)
    return etree.tostring(root)


@pytest.fixture(scope="module")
def schemas() -> Schemas | None:
    """Returns None on a machine without the schemas; the test below reports that."""
    return Schemas(XSDS) if XSDS.exists() else None


def test_schemas_detect_invalid_documents(schemas: Schemas | None) -> None:
    if schemas is None:
        pytest.skip(f"the schemas of NCIP are not at {XSDS}: no document of a scenario is validated")
    wrong = (
        f'<NCIPMessage xmlns="{NISO}" version="http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"><Wrong/></NCIPMessage>'
    )
    assert len(schemas.errors(wrong.encode())) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_gateway_behaves_as_the_scenario_says(file: Path, engine: Engine, schemas: Schemas | None) -> None:
    """Every document sent and every reply must also be valid."""
    world = play(file, engine, command_line=COMMANDS)
    replies = map(with_user, world.replies) if file.stem == BLOCKS_ALONE else world.replies
    bodies = (*world.peers.bodies, *replies)
    world.close()
    assert schemas is None or [error for body in bodies for error in schemas.errors(body)] == []


def test_scenarios_are_found() -> None:
    assert len(FILES) >= 11
