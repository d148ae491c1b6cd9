"""LookupVersion is read and written in the schema that all versions share."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, SUPPORTED
from hkall_gateway.ncip.codec.documents import NISO, Coded, Fields, NcipMessage, decode, encode

OURS = Path(__file__).parents[2] / "fixtures" / "ncip" / "v1"
SCHEMA = Path(__file__).parents[3] / "shared/ncip/xsd/ncip_version.xsd"
DIRECT = DIALECTS["direct"]
FIXTURES = ("lookup-version.xml", "lookup-version-response.xml")


@pytest.fixture(scope="session")
def schema() -> etree.XMLSchema:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is not on this machine")
    return etree.XMLSchema(etree.parse(SCHEMA))


@pytest.mark.parametrize("name", FIXTURES)
def test_own_document_round_trips(name: str) -> None:
    message = decode((OURS / name).read_bytes())
    again = decode(encode(message, DIRECT))
    assert (again, again.version, again.notes) == (message, message.version, ())


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FIXTURES)
def test_written_document_is_valid_in_every_dialect(name: str, dialect: str, schema: etree.XMLSchema) -> None:
    ours = (OURS / name).read_bytes()
    for document in (ours, encode(decode(ours), DIALECTS[dialect])):
        assert schema.validate(etree.fromstring(document)), schema.error_log


def test_sender_and_recipient_are_where_every_service_has_them() -> None:
    message = decode((OURS / "lookup-version.xml").read_bytes())
    agency = message.each("InitiationHeader/FromAgencyId")[0].fields["AgencyId"]
    assert isinstance(agency, Coded)
    assert (message.service, agency, agency.scheme) == ("LookupVersion", "CUHK", "NCIP Unique Agency Id")
    assert message.text("InitiationHeader/ToAgencyId/AgencyId") == "HKU"


def test_versions_and_services_are_lists() -> None:
    message = decode((OURS / "lookup-version-response.xml").read_bytes())
    assert (len(message.texts("VersionSupported")), message.texts("ServiceSupported")) == (2, ("LookupUser",))


def test_supported_versions_can_be_written(schema: etree.XMLSchema) -> None:
    header: Fields = {"FromAgencyId": {"AgencyId": "HKU"}, "ToAgencyId": {"AgencyId": "CUHK"}}
    body = encode(
        NcipMessage(service="LookupVersionResponse", fields={"ResponseHeader": header, "VersionSupported": list(SUPPORTED)}),
        DIRECT,
    )
    schema.assertValid(etree.fromstring(body))
    assert decode(body).texts("VersionSupported") == SUPPORTED


@pytest.mark.parametrize(
    "body",
    [
        "<NCIPMessage><LookupVersion/></NCIPMessage>",
        f'<n:NCIPMessage xmlns:n="{NISO}" n:version="x"><n:LookupVersion/></n:NCIPMessage>',
    ],
)
def test_lookup_version_inside_an_ncip_message_is_understood(body: str) -> None:
    message = decode(body.encode())
    assert (message.service, message.fields, message.notes) == ("LookupVersion", {}, ("LookupVersion inside NCIPMessage",))


def test_lookup_version_without_a_sender_has_empty_agencies(schema: etree.XMLSchema) -> None:
    body = encode(NcipMessage(service="LookupVersion", fields={}), DIRECT)
    schema.assertValid(etree.fromstring(body))
    assert decode(body).fields == {}
