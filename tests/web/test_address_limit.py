"""The limit of pages for one address."""

from __future__ import annotations

import pytest

from hkall_gateway.web.address_limit import BURST_S, AddressLimit, network

MOST = 60


class Clock:
    """Seconds that stand still until they are moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def burst(limit: AddressLimit, address: str, most: int = MOST) -> int:
    """How many pages this address gets at once."""
    found = 0
    while not limit.wait_s(address, most) and found < 1000:
        found += 1
    return found


def test_half_a_minutes_pages_may_be_asked_for_at_once() -> None:
    assert burst(AddressLimit(Clock()), "192.0.2.1") == MOST / 60 * BURST_S


def test_one_more_says_after_how_many_seconds_there_is_one() -> None:
    clock = Clock()
    limit = AddressLimit(clock)
    burst(limit, "192.0.2.1")
    assert limit.wait_s("192.0.2.1", MOST) == pytest.approx(1.0)
    clock.now += 0.5
    assert limit.wait_s("192.0.2.1", MOST) == pytest.approx(0.5)
    clock.now += 0.6
    assert limit.wait_s("192.0.2.1", MOST) == 0
    assert limit.wait_s("192.0.2.1", MOST) > 0


def test_after_half_a_minute_all_is_as_before_and_not_more() -> None:
    clock = Clock()
    limit = AddressLimit(clock)
    first = burst(limit, "192.0.2.1")
    clock.now += 3600
    assert burst(limit, "192.0.2.1") == first


def test_each_address_has_its_own() -> None:
    limit = AddressLimit(Clock())
    burst(limit, "192.0.2.1")
    assert limit.wait_s("192.0.2.2", MOST) == 0


def test_nought_is_no_limit() -> None:
    assert burst(AddressLimit(Clock()), "192.0.2.1", 0) == 1000


def test_a_small_number_is_still_one_page() -> None:
    assert burst(AddressLimit(Clock()), "192.0.2.1", 1) == 1


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_an_address_of_ipv6_counts_with_its_network(address: str, name: str) -> None:
    assert network(address) == name


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    limit = AddressLimit(Clock(), room=2)
    burst(limit, "192.0.2.1")
    for last in range(2, 10):
        assert limit.wait_s(f"192.0.2.{last}", MOST) == 0
    assert limit.wait_s("192.0.2.1", MOST) == 0  # forgotten
    assert len(limit._left) == 2
