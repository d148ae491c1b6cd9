"""The page rate limit per caller."""

from __future__ import annotations

import pytest

from hkall_gateway.web.limits import BURST_S, PageLimit

MOST = 60


class Clock:
    """A clock that is set manually, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def burst(limit: PageLimit, address: str, most: int = MOST) -> int:
    """The number of pages this address gets at once."""
    found = 0
    while not limit.wait_s(address, most) and found < 1000:
        found += 1
    return found


def test_burst_of_thirty_seconds_worth_of_pages_is_admitted() -> None:
    assert burst(PageLimit(Clock()), "192.0.2.1") == MOST / 60 * BURST_S


def test_page_over_the_limit_is_refused_with_a_retry_time() -> None:
    clock = Clock()
    limit = PageLimit(clock)
    burst(limit, "192.0.2.1")
    assert limit.wait_s("192.0.2.1", MOST) == pytest.approx(1.0)
    clock.now += 0.5
    assert limit.wait_s("192.0.2.1", MOST) == pytest.approx(0.5)
    clock.now += 0.6
    assert limit.wait_s("192.0.2.1", MOST) == 0
    assert limit.wait_s("192.0.2.1", MOST) > 0


def test_allowance_of_an_idle_address_never_exceeds_one_burst() -> None:
    clock = Clock()
    limit = PageLimit(clock)
    first = burst(limit, "192.0.2.1")
    clock.now += 3600
    assert burst(limit, "192.0.2.1") == first


def test_addresses_are_limited_separately() -> None:
    limit = PageLimit(Clock())
    burst(limit, "192.0.2.1")
    assert limit.wait_s("192.0.2.2", MOST) == 0


def test_zero_means_no_limit() -> None:
    assert burst(PageLimit(Clock()), "192.0.2.1", 0) == 1000


def test_small_limit_admits_at_least_one_page() -> None:
    assert burst(PageLimit(Clock()), "192.0.2.1", 1) == 1


def test_number_of_tracked_addresses_is_bounded() -> None:
    limit = PageLimit(Clock(), room=2)
    burst(limit, "192.0.2.1")
    for last in range(2, 10):
        assert limit.wait_s(f"192.0.2.{last}", MOST) == 0
    assert limit.wait_s("192.0.2.1", MOST) == 0  # forgotten
    assert len(limit._left) == 2
