"""Wrong secrets by the way that they came: counted for a quarter of an hour, and no longer looked at beyond a number."""

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


def test_a_way_is_shut_at_its_own_number_and_no_sooner() -> None:
    assert [guessed(times).shut(WAYS, NOW) for times in (0, 1, 2, 3, 4)] == [False, False, False, True, True]


def test_another_terminal_of_the_same_address_is_shut_at_the_number_of_the_address() -> None:
    other = {"terminal b": 3, "address 10.0.0.7": 5}
    assert [guessed(times).shut(other, NOW) for times in (3, 4, 5)] == [False, False, True]


def test_it_opens_when_the_oldest_guess_is_a_quarter_of_an_hour_old() -> None:
    made = guessed(3)
    assert made.shut(WAYS, NOW + GUESSES_COUNT_FOR - TICK)
    assert not made.shut(WAYS, NOW + GUESSES_COUNT_FOR)


def test_no_more_ways_are_remembered_than_there_is_room_for() -> None:
    made = guessed(1, {"a": 1}, room=2)
    for way in ("b", "c"):
        made.count({way: 1}, NOW)
    assert [made.shut({way: 1}, NOW) for way in ("a", "b", "c")] == [False, True, True]
