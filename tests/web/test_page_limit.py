"""The page rate limit per caller, and the counts of recent pages."""

from __future__ import annotations

import pytest

from hkall_gateway.net.limits.allow_list import networks_of
from hkall_gateway.web.callers import Share
from hkall_gateway.web.limits import BURST_S, NOTICED, CallerUse, PageLimit, PageUse

MOST = 60


class Clock:
    """A clock that is set manually, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def wait_s(limit: PageLimit, address: str, most: int = MOST) -> float:
    """The seconds that this address has to wait for its next page."""
    return limit.wait_s(networks_of(address), most)


def burst(limit: PageLimit, address: str, most: int = MOST) -> int:
    """The number of pages this address gets at once."""
    found = 0
    while not wait_s(limit, address, most) and found < 1000:
        found += 1
    return found


def test_burst_of_thirty_seconds_worth_of_pages_is_admitted() -> None:
    assert burst(PageLimit(Clock()), "192.0.2.1") == MOST / 60 * BURST_S


def test_page_over_the_limit_is_refused_with_a_retry_time() -> None:
    clock = Clock()
    limit = PageLimit(clock)
    burst(limit, "192.0.2.1")
    assert wait_s(limit, "192.0.2.1") == pytest.approx(1.0)
    clock.now += 0.5
    assert wait_s(limit, "192.0.2.1") == pytest.approx(0.5)
    clock.now += 0.6
    assert wait_s(limit, "192.0.2.1") == 0
    assert wait_s(limit, "192.0.2.1") > 0


def test_allowance_of_an_idle_address_never_exceeds_one_burst() -> None:
    clock = Clock()
    limit = PageLimit(clock)
    first = burst(limit, "192.0.2.1")
    clock.now += 3600
    assert burst(limit, "192.0.2.1") == first


def test_addresses_are_limited_separately() -> None:
    limit = PageLimit(Clock())
    burst(limit, "192.0.2.1")
    assert wait_s(limit, "192.0.2.2") == 0


def test_zero_means_no_limit() -> None:
    assert burst(PageLimit(Clock()), "192.0.2.1", 0) == 1000


def test_small_limit_admits_at_least_one_page() -> None:
    assert burst(PageLimit(Clock()), "192.0.2.1", 1) == 1


def test_number_of_tracked_addresses_is_bounded() -> None:
    limit = PageLimit(Clock(), room=2)
    burst(limit, "192.0.2.1")
    for last in range(2, 10):
        assert wait_s(limit, f"192.0.2.{last}") == 0
    assert wait_s(limit, "192.0.2.1") == 0  # forgotten
    assert len(limit._left) == 2


def test_networks_of_one_ipv6_site_share_a_higher_limit() -> None:
    limit = PageLimit(Clock())
    one = MOST / 60 * BURST_S
    assert [burst(limit, f"2001:db8:1:{number:x}00::1") for number in range(6)] == [one, one, one, one, 0, 0]
    assert burst(limit, "2001:db8:2::1") == one


def test_refused_page_takes_no_token() -> None:
    clock = Clock()
    limit = PageLimit(clock)
    burst(limit, "2001:db8:1:1::1")
    for _ in range(100):
        assert wait_s(limit, "2001:db8:1:1::1") > 0
    assert burst(limit, "2001:db8:1:2::1") == MOST / 60 * BURST_S


def test_caller_with_most_of_the_recent_pages_is_reported_for_five_minutes() -> None:
    clock = Clock()
    use = PageUse(clock)
    for number in range(NOTICED):
        use.count(Share.PATRONS, "patron UG1", refused=number % 3 == 0)
    for _ in range(NOTICED - 1):
        use.count(Share.STAFF, "staff clerk", refused=False)
    busiest = CallerUse(Share.PATRONS, "patron UG1", NOTICED, NOTICED // 3, 2 * NOTICED - 1)
    assert use.busiest() == busiest
    clock.now += 240
    assert use.busiest() == busiest
    use.count(Share.STAFF, "staff clerk", refused=False)
    assert use.busiest() is None  # half of the pages is not most
    clock.now += 60
    use.count(Share.STAFF, "staff clerk", refused=False)
    assert use.busiest() is None


def test_few_pages_are_not_reported() -> None:
    use = PageUse(Clock())
    for _ in range(NOTICED - 1):
        use.count(Share.PATRONS, "patron UG1", refused=False)
    assert use.busiest() is None
