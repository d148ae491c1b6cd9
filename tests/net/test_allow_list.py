"""Which addresses an allow list admits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.net.limits.allow_list import AllowList

HOUSE = AllowList(["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "fe80::/10"])

# fmt: off
ADDRESSES = (
    ("10.1.0.0",           True),
    ("10.1.255.255",       True),
    ("10.2.0.0",           False),
    ("192.0.2.7",          True),
    ("192.0.2.8",          False),
    ("2001:db8::1",        True),
    ("2001:db9::1",        False),
    ("::ffff:10.1.0.7",    True),   # 10.1.0.7 as reported by a dual-stack socket
    ("::ffff:10.2.0.7",    False),
    ("::FFFF:0a01:0007",   True),
    ("fe80::1%eth0",       True),
    ("",                   False),
    ("/run/gateway.sock",  False),
    ("10.1.0.7:6001",      False),
    ("010.001.000.007",    False),  # leading zeros are ambiguous: octal or decimal
)
# fmt: on


@pytest.mark.parametrize(("address", "admitted"), ADDRESSES)
def test_address_is_admitted_when_a_network_contains_it(address: str, admitted: bool) -> None:
    assert HOUSE.admits(address) is admitted


def test_empty_list_admits_no_address() -> None:
    assert not AllowList([]).admits("127.0.0.1")


def test_mapped_network_equals_its_ipv4_network() -> None:
    assert AllowList(["::ffff:10.0.0.0/104"]).admits("10.9.9.9")


def test_whole_ipv6_network_does_not_admit_ipv4() -> None:
    assert not AllowList(["2000::/3"]).admits("::ffff:127.0.0.1")


@pytest.mark.parametrize("cidr", ["10.1.2.3/8", "10.0.0.0/33", "library.example", ""])
def test_invalid_network_is_refused(cidr: str) -> None:
    with pytest.raises(ValueError):
        AllowList([cidr])


@given(st.text())
def test_address_parsing_never_raises(text: str) -> None:
    assert AllowList(["0.0.0.0/0", "::/0"]).admits(text) in (True, False)


@given(st.ip_addresses(v=4))
def test_whole_ipv4_network_admits_every_ipv4_address_in_both_notations(address: object) -> None:
    everywhere = AllowList(["0.0.0.0/0"])
    assert everywhere.admits(str(address))
    assert everywhere.admits(f"::ffff:{address}")
