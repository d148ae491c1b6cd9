"""Documents that others really wrote, and documents that nobody should: each is answered, and by the right response."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from hkall_gateway.ncip.codec import BadMessage, decode
from hkall_gateway.ncip.handlers import HANDLERS, Peer, respond
from hkall_gateway.ncip.messages import SHAPES
from hkall_gateway.store.database import finished

if TYPE_CHECKING:
    from tests.ncip.conftest import World

SHARED = Path("/work/shared/ncip")
OURS = Path(__file__).parents[2] / "fixtures" / "ncip"
HERE = Peer("10.0.0.7")


def service_of(file: Path) -> str:
    """The service of an initiation, whether it is done here or not; "" for every other file."""
    try:
        service = decode(file.read_bytes()).service
    except BadMessage as bad:
        service = bad.service or ""
    return service if service in SHAPES else ""


OUR_FILES = (*OURS.glob("*.xml"), *(OURS / "v1").glob("*.xml"))
FILES = sorted([*(SHARED / "samples").rglob("*.xml"), *(SHARED / "examples").glob("*.xml"), *OUR_FILES])
DOCUMENTS = [file for file in FILES if service_of(file)]
CALLERS = {"HKU-DISCOVERY": "d-key", "CUHK": "c-key", "RESHARE": "b-key", "HKALL1": "i-key"}

# What is no initiation that anybody could answer by a service's own response, and what it gets instead.
# fmt: off
UNANSWERABLE = {
    "ole_lib_ncip_client/templates": "a form with {{blanks}} and no document",
}
# fmt: on


def presented(body: bytes, agency: str, secret: str) -> bytes:
    """The document with a known caller's identity put in, in its own version."""
    root = etree.fromstring(body)
    names = SHAPES.keys() | {"AuthenticateUser"}
    service = next(node for node in root.iter() if isinstance(node.tag, str) and etree.QName(node).localname in names)
    space = f"{{{etree.QName(service).namespace}}}" if etree.QName(service).namespace else ""
    for old in service.findall(f"{space}InitiationHeader"):
        service.remove(old)
    header = etree.Element(f"{space}InitiationHeader")
    first = root.find(".//UniqueAgencyId") is not None
    for name, text in (("FromAgencyId", agency), ("FromAgencyAuthentication", secret), ("ToAgencyId", "HKU")):
        node = etree.SubElement(header, space + name)
        inner = node if name == "FromAgencyAuthentication" else etree.SubElement(node, _AGENCY[first].format(space))
        if first and inner is not node:
            etree.SubElement(inner, "Scheme").text = "s"
            inner = etree.SubElement(inner, "Value")
        inner.text = text
    service.insert(0, header)
    return etree.tostring(root.getroottree())


_AGENCY = {True: "{}UniqueAgencyId", False: "{}AgencyId"}


def answered(world: World, body: bytes) -> tuple[str, str]:
    """The service and the problem of the reply, which must be valid."""
    reply = world.send(body, HERE)
    return reply.service, reply.text("Problem/ProblemType")


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
def test_there_are_documents_of_others() -> None:
    assert len(DOCUMENTS) >= 25


@pytest.mark.parametrize("file", [d for d in DOCUMENTS if SHARED in d.parents], ids=lambda file: file.stem[-60:])
def test_a_stranger_is_answered_by_the_services_own_response(world: World, file: Path) -> None:
    service, problem = answered(world, file.read_bytes())
    assert service == SHAPES[service_of(file)].reply
    assert problem in {"Unknown Agency", "Agency Authentication Failed", "Needed Data Missing"}


@pytest.mark.parametrize("agency", CALLERS)
@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem[-60:])
def test_a_known_caller_is_answered_by_the_services_own_response(world: World, file: Path, agency: str) -> None:
    service, problem = answered(world, presented(file.read_bytes(), agency, CALLERS[agency]))
    asked = service_of(file)
    assert service == SHAPES[asked].reply
    assert problem not in {"Agency Authentication Failed", "Temporary Processing Failure"}
    assert (problem == "Unsupported Service") == (asked not in HANDLERS)


OPEN = b'<?xml version="1.0"?><!DOCTYPE NCIPMessage '
HOSTILE = {
    "nothing": (b"", "Invalid Message Syntax Error"),
    "no XML": (b"+OK hello", "Invalid Message Syntax Error"),
    "a bomb": (OPEN + b'[<!ENTITY a "b">]><NCIPMessage>&a;</NCIPMessage>', "Invalid Message Syntax Error"),
    "a file of ours": (
        OPEN + b'[<!ENTITY f SYSTEM "file:///etc/passwd">]><NCIPMessage>&f;</NCIPMessage>',
        "Invalid Message Syntax Error",
    ),
    "250,000 elements": (b"<NCIPMessage>" + b"<b/>" * 250_000 + b"</NCIPMessage>", "Invalid Message Syntax Error"),
    "100,000 levels": (b"<NCIPMessage>" + b"<a>" * 100_000, "Invalid Message Syntax Error"),
    "truncated": ((OURS / "request-item.xml").read_bytes()[:700], "Invalid Message Syntax Error"),
    "no service": (b"<NCIPMessage><Dance/></NCIPMessage>", "Unknown Service"),
    "another standard": (b"<SOAP/>", "Invalid Message Syntax Error"),
    "an answer": ((OURS / "item-shipped-response.xml").read_bytes(), "Protocol Error"),
    "a problem": ((OURS / "problem.xml").read_bytes(), "Protocol Error"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_answered_gets_a_problem_of_its_own(world: World, name: str) -> None:
    body, problem = HOSTILE[name]
    assert answered(world, body) == ("Problem", problem)


def test_a_service_that_lacks_something_is_answered_by_its_own_response(world: World) -> None:
    body = b"<NCIPMessage><RequestItem><RequestType>Loan</RequestType></RequestItem></NCIPMessage>"
    assert answered(world, body) == ("RequestItemResponse", "Needed Data Missing")


def test_the_reply_is_written_in_the_version_that_was_asked_in(world: World) -> None:
    body = presented((OURS / "lookup-user.xml").read_bytes(), "HKU-DISCOVERY", "d-key").replace(b"v2_02", b"v2_01")
    assert b'ns1:version="http://www.niso.org/schemas/ncip/v2_01/ncip_v2_01.xsd"' in finished(
        respond(world.door, body, None, HERE)
    )


def test_a_service_inside_ext_is_answered_inside_ext(world: World) -> None:
    root = etree.fromstring(presented((OURS / "lookup-user.xml").read_bytes(), "HKU-DISCOVERY", "d-key"))
    wrap = etree.SubElement(root, "{http://www.niso.org/2008/ncip}Ext")
    wrap.append(root[0])
    reply = decode(finished(respond(world.door, etree.tostring(root), None, HERE)))
    assert (reply.service, reply.extension) == ("LookupUserResponse", True)


def test_the_charset_of_the_transport_goes_before_the_documents_own(world: World) -> None:
    body = world.document("HKU-DISCOVERY", "LookupUser", UserId={"UserIdentifierValue": "貓"})
    mistaken = body.replace(b"encoding='UTF-8'", b"encoding='ISO-8859-1'")
    reply = decode(finished(respond(world.door, mistaken, "utf-8", HERE)))
    assert reply.text("Problem/ProblemValue") == "貓"
