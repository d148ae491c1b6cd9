"""Documents from other systems, and invalid documents: each is answered by the right response."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec.documents import BadDocument, decode
from hkall_gateway.ncip.codec.messages import SHAPES
from hkall_gateway.ncip.handlers import HANDLERS, respond
from hkall_gateway.peers.callers import Peer

if TYPE_CHECKING:
    from tests.ncip.conftest import World

SHARED = Path(__file__).parents[3] / "shared/ncip"
OURS = Path(__file__).parents[2] / "fixtures" / "ncip"
HERE = Peer(address="10.0.0.7")


def service_of(file: Path) -> str:
    """The service of an initiation message, implemented or not; "" for every other file."""
    try:
        service = decode(file.read_bytes()).service
    except BadDocument as bad:
        service = bad.service or ""
    return service if service in SHAPES else ""


OUR_FILES = (*OURS.glob("*.xml"), *(OURS / "v1").glob("*.xml"))
FILES = sorted([*(SHARED / "samples").rglob("*.xml"), *(SHARED / "examples").glob("*.xml"), *OUR_FILES])
DOCUMENTS = [file for file in FILES if service_of(file)]
CALLERS = {"HKU-DISCOVERY": "d-key", "CUHK": "c-key", "RESHARE": "b-key", "HKALL1": "i-key"}

# Documents that lack what their service cannot do without: their own response says what. All others can be acted upon.
# fmt: off
INCOMPLETE = {
    "resources_mockncip-cancelRequestItem-missingUser": "CancelRequestItem lacks UserId or AuthenticationInput",
    "resources_mockncip-createUserFiscalTransactionNoTrans": "CreateUserFiscalTransaction lacks FiscalTransactionInformation",
    "resources_mockncip-deleteItem-missingItem": "DeleteItem lacks ItemId",
}
# fmt: on


def presented(body: bytes, agency: str, secret: str) -> bytes:
    """The document with a known caller's identity inserted, in its own version."""
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
    """Service and problem of the reply, which must be valid."""
    reply = world.send(body, HERE)
    return reply.service, reply.text("Problem/ProblemType")


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
def test_documents_from_other_systems_are_present() -> None:
    assert len(DOCUMENTS) >= 25


@pytest.mark.parametrize("file", [d for d in DOCUMENTS if SHARED in d.parents], ids=lambda file: file.stem[-60:])
def test_unknown_caller_gets_the_response_to_its_service(world: World, file: Path) -> None:
    service, problem = answered(world, file.read_bytes())
    assert service == SHAPES[service_of(file)].reply
    assert problem in {"Unknown Agency", "Agency Authentication Failed", "Needed Data Missing"}


@pytest.mark.parametrize("agency", CALLERS)
@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem[-60:])
def test_known_caller_gets_the_response_to_its_service(world: World, file: Path, agency: str) -> None:
    service, problem = answered(world, presented(file.read_bytes(), agency, CALLERS[agency]))
    asked = service_of(file)
    assert service == SHAPES[asked].reply
    assert problem not in {"Agency Authentication Failed", "Temporary Processing Failure"}
    assert (problem == "Unsupported Service") == (asked not in HANDLERS)


@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_document_gets_a_problem_naming_the_missing_element(world: World, name: str) -> None:
    file = next((file for file in DOCUMENTS if file.stem == name), None)
    if file is None:
        pytest.skip(f"{SHARED} is not on this machine")
    reply = world.send(presented(file.read_bytes(), "RESHARE", "b-key"), HERE)
    assert (reply.text("Problem/ProblemType"), reply.text("Problem/ProblemDetail")) == ("Needed Data Missing", INCOMPLETE[name])


def test_table_of_incomplete_documents_is_complete() -> None:
    found = {file.stem for file in DOCUMENTS if SHARED / "samples" in file.parents and _incomplete(file)}
    assert found == (INCOMPLETE.keys() if SHARED.exists() else set())


def _incomplete(file: Path) -> bool:
    try:
        decode(file.read_bytes())
    except BadDocument:
        return True
    return False


REPLIES = [file for file in FILES if SHARED / "samples" in file.parents and not service_of(file)]


@pytest.mark.parametrize("file", REPLIES, ids=lambda file: file.stem[-60:])
def test_unexpected_response_is_a_protocol_error(world: World, file: Path) -> None:
    reply = world.send(file.read_bytes(), HERE)
    assert reply.text("Problem/ProblemType") == "Protocol Error"


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
    "UTF-16": ("<NCIPMessage><Dance/></NCIPMessage>".encode("utf-16"), "Unknown Service"),
    "a charset that there is not": (b'<?xml version="1.0" encoding="klingon"?><NCIPMessage/>', "Invalid Message Syntax Error"),
    "another charset than it says": (
        b'<?xml version="1.0"?><NCIPMessage>\xff\xfe</NCIPMessage>',
        "Invalid Message Syntax Error",
    ),
    "an external DTD": (
        OPEN + b'SYSTEM "http://192.0.2.1/evil.dtd"><NCIPMessage><Dance/></NCIPMessage>',
        "Unknown Service",
    ),
    "2 MB": (b"<NCIPMessage>" + b"x" * 2_000_000 + b"</NCIPMessage>", "Invalid Message Syntax Error"),
    "truncated": ((OURS / "request-item.xml").read_bytes()[:700], "Invalid Message Syntax Error"),
    "no service": (b"<NCIPMessage><Dance/></NCIPMessage>", "Unknown Service"),
    "another standard": (b"<SOAP/>", "Invalid Message Syntax Error"),
    "an answer": ((OURS / "item-shipped-response.xml").read_bytes(), "Protocol Error"),
    "a problem": ((OURS / "problem.xml").read_bytes(), "Protocol Error"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_unanswerable_document_gets_a_problem_message(world: World, name: str) -> None:
    body, problem = HOSTILE[name]
    assert answered(world, body) == ("Problem", problem)
    assert world.ask("CUHK", "LookupItem", ItemId={"AgencyId": "HKU", "ItemIdentifierValue": "K9"}).has("ItemOptionalFields")


def test_incomplete_service_is_answered_by_its_own_response(world: World) -> None:
    body = b"<NCIPMessage><RequestItem><RequestType>Loan</RequestType></RequestItem></NCIPMessage>"
    assert answered(world, body) == ("RequestItemResponse", "Needed Data Missing")


def test_reply_has_the_version_of_the_request(world: World) -> None:
    body = presented((OURS / "lookup-user.xml").read_bytes(), "HKU-DISCOVERY", "d-key").replace(b"v2_02", b"v2_01")
    assert b'ns1:version="http://www.niso.org/schemas/ncip/v2_01/ncip_v2_01.xsd"' in finished(
        respond(world.services, body, None, HERE)
    )


def test_service_inside_ext_is_answered_inside_ext(world: World) -> None:
    root = etree.fromstring(presented((OURS / "lookup-user.xml").read_bytes(), "HKU-DISCOVERY", "d-key"))
    wrap = etree.SubElement(root, "{http://www.niso.org/2008/ncip}Ext")
    wrap.append(root[0])
    reply = decode(finished(respond(world.services, etree.tostring(root), None, HERE)))
    assert (reply.service, reply.extension) == ("LookupUserResponse", True)


def test_transport_charset_takes_precedence_over_the_declaration(world: World) -> None:
    body = world.document("HKU-DISCOVERY", "LookupUser", UserId={"UserIdentifierValue": "貓"})
    mistaken = body.replace(b"encoding='UTF-8'", b"encoding='ISO-8859-1'")
    reply = decode(finished(respond(world.services, mistaken, "utf-8", HERE)))
    assert reply.text("Problem/ProblemValue") == "貓"
