"""A limit on calls per minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.net.limits.rate_limiter import WINDOW, LineLimit, RateLimiter

START = datetime(2017, 3, 1, tzinfo=UTC)


def test_caller_without_a_limit_is_always_admitted() -> None:
    rate = RateLimiter()
    assert all(rate.admits("A", 0, START) for _ in range(1000))


@given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=40))
def test_limit_holds_in_every_minute(most: int, pauses: list[float]) -> None:
    rate, now, let_in = RateLimiter(), START, list[datetime]()
    for pause in pauses:
        now += timedelta(seconds=pause)
        if rate.admits("A", most, now):
            let_in.append(now)
    assert all(sum(start <= when < start + WINDOW for when in let_in) <= most for start in let_in)


def test_limits_of_callers_are_independent() -> None:
    rate = RateLimiter()
    assert [rate.admits(name, 1, START) for name in ("A", "A", "B")] == [True, False, True]


def test_suppressed_log_lines_are_counted_in_the_next_line() -> None:
    limit = LineLimit(2)
    assert [limit.left_out("A", START) for _ in range(5)] == [0, 0, None, None, None]
    assert limit.left_out("B", START) == 0
    assert [limit.left_out("A", START + WINDOW) for _ in range(3)] == [3, 0, None]
