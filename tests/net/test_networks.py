"""The network by which every limit counts an address."""

from __future__ import annotations

import pytest

from hkall_gateway.net.limits.allow_list import network_of, networks_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:3:3::4", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("64:ff9b:1::192.0.2.1", "64:ff9b:1::/64"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_ipv6_addresses_are_grouped_by_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_ipv6_address_also_counts_for_the_networks_of_its_site_with_higher_limits() -> None:
    assert networks_of("2001:db8:1:2ff::4") == (("2001:db8:1:2ff::/64", 1), ("2001:db8:1:200::/56", 2), ("2001:db8:1::/48", 4))


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::c000:201"])
def test_ipv4_address_counts_once_however_it_is_reported(address: str) -> None:
    assert networks_of(address) == (("192.0.2.1", 1),)
