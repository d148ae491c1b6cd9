"""The growing pause after wrong passwords."""

from __future__ import annotations

from hkall_gateway.web.limits import FORGOTTEN_S, LONGEST_S, LoginThrottle


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_pause_stops_growing_at_a_quarter_of_an_hour() -> None:
    throttle = LoginThrottle(Time())
    for _ in range(60):
        throttle.wrong("a", "clerk")
    assert throttle.wait_s("a", "clerk") == LONGEST_S


def test_the_addresses_of_one_ipv6_network_are_one_guesser() -> None:
    throttle = LoginThrottle(Time())
    for number in range(30):
        throttle.wrong(f"2001:db8::{number:x}", f"name {number}")
    assert throttle.wait_s("2001:db8::ffff", "another") > 0
    assert throttle.wait_s("2001:db8:0:1::1", "another") == 0


def test_an_hour_later_all_is_forgotten() -> None:
    time = Time()
    throttle = LoginThrottle(time)
    for _ in range(10):
        throttle.wrong("a", "clerk")
    time.now += FORGOTTEN_S + 1
    throttle.wrong("a", "clerk")
    assert throttle.wait_s("a", "clerk") == 0


def test_letters_in_capitals_are_the_same_name() -> None:
    throttle = LoginThrottle(Time())
    for name in ("clerk", "Clerk", "CLERK"):
        throttle.wrong("a", name)
    assert throttle.wait_s("a", "cLERK") == 2


def test_a_stranger_cannot_fill_the_memory() -> None:
    throttle = LoginThrottle(Time(), room=100)
    for number in range(1000):
        throttle.wrong(f"address {number}", "clerk")
    assert len(throttle._wrong) == 100
