"""The increasing delay after wrong passwords."""

from __future__ import annotations

from hkall_gateway.web.limits import FORGOTTEN_S, LONGEST_S, LoginThrottle


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_wait_is_limited_to_fifteen_minutes() -> None:
    throttle = LoginThrottle(Time())
    for _ in range(60):
        throttle.wrong("a", "clerk")
    assert throttle.wait_s("a", "clerk") == LONGEST_S


def test_addresses_of_one_ipv6_network_are_throttled_together() -> None:
    throttle = LoginThrottle(Time())
    for number in range(30):
        throttle.wrong(f"2001:db8::{number:x}", f"name {number}")
    assert throttle.wait_s("2001:db8::ffff", "another") > 0
    assert throttle.wait_s("2001:db8:0:1::1", "another") == 0


def test_attempts_are_forgotten_after_an_hour() -> None:
    time = Time()
    throttle = LoginThrottle(time)
    for _ in range(10):
        throttle.wrong("a", "clerk")
    time.now += FORGOTTEN_S + 1
    throttle.wrong("a", "clerk")
    assert throttle.wait_s("a", "clerk") == 0


def test_names_are_compared_case_insensitively() -> None:
    throttle = LoginThrottle(Time())
    for name in ("clerk", "Clerk", "CLERK"):
        throttle.wrong("a", name)
    assert throttle.wait_s("a", "cLERK") == 2


def test_number_of_tracked_names_is_bounded() -> None:
    throttle = LoginThrottle(Time(), room=100)
    for number in range(1000):
        throttle.wrong(f"address {number}", "clerk")
    assert len(throttle._wrong) == 100
