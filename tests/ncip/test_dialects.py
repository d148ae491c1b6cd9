"""Each dialect is one row; the schema is identified from the version string."""

from __future__ import annotations

import pytest

from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_1_0, NCIP_1_01, NCIP_2_02, SUPPORTED, Dtd, minor, version_1
from hkall_gateway.ncip.codec.documents import NISO, encode
from hkall_gateway.ncip.codec.messages import NcipMessage

VERSIONS = {
    "http://www.niso.org/schemas/ncip/v2_0/imp1/xsd/ncip_v2_0.xsd": 0,
    "http://www.niso.org/schemas/ncip/v2_0/ncip_v2_0.xsd": 0,
    "http://www.niso.org/schemas/ncip/v2_01/imp1/xsd/ncip_v2_01.xsd": 1,
    "http://www.niso.org/schemas/ncip/v2_0/imp1/xsd/ncip_v2_01.xsd": 1,
    "http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd": 2,
    "http://www.niso.org/ncip/v2_02/imp1/xsd/ncip_v2_02.xsd": 2,
    "http://www.niso.org/ncip/v1_0/imp1/dtd/ncip_v1_0.dtd": None,
    "http://www.niso.org/schemas/ncip/v2_03/ncip_v2_03.xsd": None,
    "5.6": None,
    "": None,
}


@pytest.mark.parametrize(("version", "expected"), VERSIONS.items())
def test_schema_is_identified_by_the_file_name_at_the_end_of_the_version(version: str, expected: int | None) -> None:
    assert minor(version) == expected


def test_each_dialect_has_its_flow() -> None:
    assert {name: row.flow for name, row in DIALECTS.items()} == {
        "direct": "direct",
        "broker": "broker",
        "innreach": "innreach",
        "koha": "broker",
        "openrs": "openrs",
    }


def test_every_dialect_is_found_by_its_name() -> None:
    assert [row.name for row in DIALECTS.values()] == list(DIALECTS)


def test_only_inn_reach_gets_ncip_1_without_a_namespace() -> None:
    assert {name: (row.minor, row.namespaced) for name, row in DIALECTS.items()} == {
        "direct": (2, True),
        "broker": (2, True),
        "innreach": (None, False),
        "koha": (2, True),
        "openrs": (2, True),
    }


def test_documents_use_the_prefix_clients_search_for() -> None:
    assert {row.prefix for row in DIALECTS.values() if row.name != "koha"} == {"ns1"}


def test_koha_gets_unprefixed_names_and_white_space_before_the_service() -> None:
    written = encode(NcipMessage(service="ItemShippedResponse", fields={}), DIALECTS["koha"]).decode()

    assert written.splitlines()[1:] == [
        f'<NCIPMessage xmlns="{NISO}" xmlns:ns1="{NISO}" ns1:version="{NCIP_2_02}">',
        "<ItemShippedResponse/>",
        "</NCIPMessage>",
    ]


def test_only_a_broker_gets_a_reply_without_a_namespace() -> None:
    assert {name for name, row in DIALECTS.items() if row.mirrors} == {"broker"}


def test_every_offered_version_is_known() -> None:
    assert [(minor(version), version_1(version) is not None) for version in SUPPORTED] == [
        (None, True),
        (None, True),
        (0, False),
        (1, False),
        (2, False),
    ]


NAMED = {
    NCIP_1_0: "-//NISO//NCIP DTD Version 1.0//EN",
    NCIP_1_01: "-//NISO//NCIP DTD Version 1.01//EN",
    "http://ncip.envisionware.com/documentation/ncip_v1_01.dtd": "-//NISO//NCIP DTD Version 1.01//EN",
}


@pytest.mark.parametrize(("version", "public"), NAMED.items())
def test_ncip_1_version_has_its_doctype(version: str, public: str) -> None:
    dtd = version_1(version)
    assert dtd is not None
    assert (dtd, dtd.system, dtd.public, dtd.late) == (version, version, public, "1.01" in public)


@pytest.mark.parametrize("version", ["", "5.6", "http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"])
def test_later_versions_are_not_ncip_1(version: str) -> None:
    assert version_1(version) is None


def test_doctype_version_of_a_peer_is_kept() -> None:
    received = Dtd("1", "urn:mine", "-//Mine//EN")
    assert version_1(received) is received
