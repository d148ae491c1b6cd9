"""A dialect is one row, and a version string is read for the schema it names."""

from __future__ import annotations

import pytest

from hkall_gateway.ncip.dialects import DIALECTS, minor

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
def test_the_file_at_the_end_of_a_version_says_which_schema_it_is(version: str, expected: int | None) -> None:
    assert minor(version) == expected


def test_the_configuration_can_name_three_dialects() -> None:
    assert {name: row.flow for name, row in DIALECTS.items()} == {
        "direct": "direct",
        "broker": "broker",
        "innreach": "innreach",
    }


def test_every_row_is_found_by_its_own_name() -> None:
    assert [row.name for row in DIALECTS.values()] == list(DIALECTS)


def test_only_inn_reach_is_spoken_to_in_ncip_1_and_without_a_namespace() -> None:
    assert {name: (row.minor, row.namespaced) for name, row in DIALECTS.items()} == {
        "direct": (2, True),
        "broker": (2, True),
        "innreach": (None, False),
    }


def test_the_prefix_is_the_one_that_clients_search_for() -> None:
    assert {row.prefix for row in DIALECTS.values()} == {"ns1"}
