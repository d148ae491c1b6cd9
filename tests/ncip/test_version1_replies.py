"""An NCIP 1 partner is answered in NCIP 1, by the response to the requested service."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from hkall_gateway.db import fines
from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec.dialects import Dtd
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.vocabulary import Actor, Position

if TYPE_CHECKING:
    from tests.ncip.conftest import World

OURS = Path(__file__).parents[2] / "fixtures" / "ncip" / "v1"
HERE = Peer(address="10.0.0.7")
CLIENT, PARTNER, STRANGER = ("HKU-DISCOVERY", "d-key"), ("CUHK", "c-key"), ("NOBODY", "x")
QUESTIONS = ("lookup-user", "authenticate-user", "request-item", "item-requested", "item-shipped", "accept-item")


def reply(world: World, name: str, who: tuple[str, str]) -> bytes:
    """The reply to one of our documents, sent by another agency."""
    body = (OURS / f"{name}.xml").read_bytes()
    for agency, secret in ((b"CENTR", b"central-key"), (b"CUHK", b"c-key")):
        header, end, rest = body.partition(b"</InitiationHeader>")
        header = header.replace(agency, who[0].encode()).replace(secret, who[1].encode())
        body = header + end + rest
    return finished(respond(world.services, body, None, HERE))


@pytest.mark.parametrize("who", [CLIENT, PARTNER, STRANGER], ids=["client", "partner", "stranger"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_reply_is_valid_against_the_dtd_and_matches_its_service(
    world: World, name: str, who: tuple[str, str], dtd: etree.DTD
) -> None:
    body = reply(world, name, who)
    root = etree.fromstring(body)
    service = "".join(word.capitalize() for word in name.split("-"))
    assert dtd.validate(root), dtd.error_log
    assert (root[0].tag, isinstance(decode(body).version, Dtd)) == (f"{service}Response", True)


@pytest.mark.parametrize("name", QUESTIONS)
def test_reply_header_is_addressed_to_the_requester(world: World, name: str) -> None:
    message = decode(reply(world, name, PARTNER))
    sides = [message.text(f"ResponseHeader/{side}/AgencyId") for side in ("FromAgencyId", "ToAgencyId")]
    assert sides == ["HKU", "CUHK"]


def test_loans_charges_and_names_are_valid_in_ncip_1(world: World, dtd: etree.DTD) -> None:
    loan = world.put(Position.ON_LOAN, due=date(2017, 3, 16), patron="UG1")
    world.store.now(fines.charge, loan, "replacement", 1250, "R45", world.now, Actor(who="test", channel="world"))
    body = (OURS / "lookup-user.xml").read_bytes()
    for old, new in (
        (b"CENTR", b"HKU-DISCOVERY"),
        (b"central-key", b"d-key"),
        (b"PG2040", b"UG1"),
        (b"<LoanedItemsDesired/>", b"<LoanedItemsDesired/><UserFiscalAccountDesired/>"),
    ):
        body = body.replace(old, new)
    root = etree.fromstring(finished(respond(world.services, body, None, HERE)))
    assert dtd.validate(root), dtd.error_log
    assert (len(root.findall(".//LoanedItem")), len(root.findall(".//AccountDetails"))) == (1, 1)


def test_unknown_scheme_is_returned_with_its_name(world: World) -> None:
    root = etree.fromstring(reply(world, "lookup-user", STRANGER))
    scheme = root.findtext(".//ToAgencyId/UniqueAgencyId/Scheme")
    assert scheme == "http://central.test:6601/IRCIRCD?target=get_scheme_values&scheme=UniqueAgencyId"
