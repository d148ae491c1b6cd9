"""NCIP 1.01 as used by Danish library systems (danZIG): another DTD URL, ISIL schemes, text beside tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lxml import etree

from hkall_gateway.db.database import finished
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.peers.callers import Peer

if TYPE_CHECKING:
    from tests.ncip.conftest import World

DTD = "http://ncip.envisionware.com/documentation/ncip_v1_01.dtd"
PUBLIC = "-//NISO//NCIP DTD Version 1.01//EN"
ISIL = "http://biblstandard.dk/isil/schemes/1.1/"


def agency(code: str) -> str:
    return f"<UniqueAgencyId><Scheme>{ISIL}</Scheme><Value>{code}</Value></UniqueAgencyId>"


def coded(name: str, scheme: str, value: str) -> str:
    return (
        f"<{name}>\n\t<Scheme>http://www.niso.org/ncip/v1_0/imp1/schemes/{scheme}</Scheme>\n\t<Value>{value}</Value>\n</{name}>"
    )


def document(service: str, inside: str) -> bytes:
    header = (
        f"<InitiationHeader>\n<FromAgencyId>\n{agency('HKU-DISCOVERY')}\n</FromAgencyId>\n"
        f"<FromAgencyAuthentication>d-key</FromAgencyAuthentication>\n<ToAgencyId>{agency('HKU')}</ToAgencyId></InitiationHeader>"
    )
    begin = f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE NCIPMessage PUBLIC "{PUBLIC}" "{DTD}">\n'
    return f'{begin}<NCIPMessage version="{DTD}">\n\t<{service}>{header}{inside}</{service}>\n</NCIPMessage>'.encode()


def proof(kind: str, value: str) -> str:
    form = coded("AuthenticationDataFormatType", "media-types", "text/plain")
    kinds = coded("AuthenticationInputType", "authenticationinputtype/authenticationinputtype.scm", kind)
    return f"<AuthenticationInput><AuthenticationInputData>{value}</AuthenticationInputData>{form}{kinds}</AuthenticationInput>"


def number(value: str) -> str:
    return (
        f"<UniqueRequestId>{agency('HKU-DISCOVERY')}<RequestIdentifierValue>{value}</RequestIdentifierValue></UniqueRequestId>"
    )


def reply_to(world: World, service: str, inside: str) -> etree._Element:
    root = etree.fromstring(finished(respond(world.services, document(service, inside), None, Peer(address="10.0.0.7"))))
    about = root.getroottree().docinfo
    assert (about.public_id, root.get("version")) == (PUBLIC, DTD)
    assert about.system_url == DTD
    return root


LOOKED_AT = coded("UserElementType", "userelementtype/userelementtype.scm", "Name Information")
CARD = proof("User ID", "UG1") + proof("PIN", "1234")


def test_patron_is_looked_up_by_card_and_pin(world: World) -> None:
    root = reply_to(world, "LookupUser", CARD + LOOKED_AT)
    assert root.findtext("LookupUserResponse/UniqueUserId/UserIdentifierValue") == "UG1"


def test_request_is_looked_up_by_the_service_added_in_1_01(world: World) -> None:
    world.place("d-77")
    status = coded("RequestElementType", "requestelementtype/requestelementtype.scm", "Request Status Type")
    root = reply_to(world, "LookupRequest", number("d-77") + status)
    found = root.find("LookupRequestResponse")
    assert found is not None
    assert found.findtext("UniqueRequestId/RequestIdentifierValue") == "d-77"
    assert found.findtext("RequestStatusType/Value") == "In Process"


def test_unknown_request_gets_a_processing_error(world: World) -> None:
    root = reply_to(world, "LookupRequest", number("nobody's"))
    assert root.findtext(".//ProcessingErrorType/Value") == "Unknown Request"


@pytest.mark.parametrize("pin", ["9999", ""])
def test_wrong_pin_gets_a_processing_error(world: World, pin: str) -> None:
    root = reply_to(world, "LookupUser", proof("User ID", "UG1") + proof("PIN", pin))
    assert root.findtext(".//ProcessingErrorType/Value") == "User Authentication Failed"
