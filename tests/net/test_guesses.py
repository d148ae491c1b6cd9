"""Wrong secrets by login and address: counted for fifteen minutes, and locked out beyond a number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hkall_gateway.net.limits.rate_limiter import GUESSES_COUNT_FOR, Guesses

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
WAYS = {"terminal a": 3, "address 10.0.0.7": 5}
TICK = timedelta(microseconds=1)


def guessed(times: int, ways: dict[str, int] | None = None, room: int = 100) -> Guesses:
    made = Guesses(room)
    for _ in range(times):
        made.count(ways or WAYS, NOW)
    return made


def test_login_is_locked_at_its_own_limit() -> None:
    assert [guessed(times).shut(WAYS, NOW) for times in (0, 1, 2, 3, 4)] == [False, False, False, True, True]


def test_address_is_locked_at_its_own_limit() -> None:
    other = {"terminal b": 3, "address 10.0.0.7": 5}
    assert [guessed(times).shut(other, NOW) for times in (3, 4, 5)] == [False, False, True]


def test_lock_ends_when_the_oldest_guess_is_fifteen_minutes_old() -> None:
    made = guessed(3)
    assert made.shut(WAYS, NOW + GUESSES_COUNT_FOR - TICK)
    assert not made.shut(WAYS, NOW + GUESSES_COUNT_FOR)


def test_number_of_tracked_logins_is_bounded() -> None:
    made = guessed(1, {"a": 1}, room=2)
    for way in ("b", "c"):
        made.count({way: 1}, NOW)
    assert [made.shut({way: 1}, NOW) for way in ("a", "b", "c")] == [False, True, True]
