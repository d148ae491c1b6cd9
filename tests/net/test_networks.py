"""The network by which every limit counts an address."""

from __future__ import annotations

import pytest

from hkall_gateway.net.limits.allow_list import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:3:3::4", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_ipv6_addresses_are_grouped_by_network(address: str, network: str) -> None:
    assert network_of(address) == network
