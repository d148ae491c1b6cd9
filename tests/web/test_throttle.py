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


def test_networks_of_one_ipv6_site_are_throttled_together_with_a_higher_limit() -> None:
    throttle = LoginThrottle(Time())
    for number in range(300):
        address = f"2001:db8:1:{number % 12:x}00::1"
        if throttle.wait_s(address, f"card {number}") > 0:
            break
        throttle.wrong(address, f"card {number}")
    assert number == 120
    assert throttle.wait_s("2001:db8:1:ff00::1", "another") > 0
    assert throttle.wait_s("2001:db8:2::1", "another") == 0


def test_clients_behind_nat64_are_throttled_by_their_ipv4_address() -> None:
    throttle = LoginThrottle(Time())
    for number in range(30):
        throttle.wrong("64:ff9b::192.0.2.1", f"name {number}")
    assert throttle.wait_s("192.0.2.1", "another") > 0
    assert throttle.wait_s("64:ff9b::192.0.2.2", "another") == 0


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
