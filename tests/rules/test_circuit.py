"""A channel goes down after several failures, is probed at intervals, and comes up with the first reply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.circuit import (
    DOWN,
    LONGEST_REST_S,
    UP,
    CircuitSettings,
    CircuitState,
    after_failure,
    after_rejection,
    after_reply,
    circuit,
    counts,
    explains,
    room,
)
from tests.examples import THOROUGH

NOON = datetime(2017, 3, 1, 4, tzinfo=UTC)
PATIENCE = CircuitSettings(failures=3, probe_s=60, give_up_s=600)


def after(failures: int) -> CircuitState:
    """A channel after this many failures, each of a trial after a pause. The last failure was at noon."""
    link = CircuitState(agency="CUHK")
    for left in reversed(range(failures)):
        link = after_failure(link, PATIENCE, NOON - timedelta(seconds=60 * left))
    return link


def seconds(n: int) -> datetime:
    return NOON + timedelta(seconds=n)


@pytest.mark.parametrize(("failures", "state"), [(0, UP), (2, UP), (3, DOWN), (9, DOWN)])
def test_channel_goes_down_at_the_third_consecutive_failure(failures: int, state: str) -> None:
    assert after(failures).state == state


@pytest.mark.parametrize(
    ("failures", "under_way", "at_s", "free"),
    [
        (0, 0, 0, 4),
        (0, 3, 0, 1),
        (0, 4, 0, 0),
        (1, 0, 1, 0),
        (1, 0, 2, 1),
        (1, 1, 2, 0),
        (2, 0, 3, 0),
        (2, 0, 4, 1),
        (3, 0, 0, 0),
        (3, 0, 7, 0),
        (3, 0, 8, 1),
        (3, 1, 8, 0),
        (9, 0, 59, 0),
        (9, 0, 60, 1),
        (999, 0, 60, 1),
    ],
)
def test_number_of_messages_allowed_follows_the_state(failures: int, under_way: int, at_s: int, free: int) -> None:
    assert room(after(failures), 4, under_way, seconds(at_s)) == free


@pytest.mark.parametrize(
    ("failures", "at_s", "word"), [(0, 0, "closed"), (1, 0, "closed"), (3, 0, "open"), (3, 8, "half-open")]
)
def test_circuit_breaker_states_have_their_usual_names(failures: int, at_s: int, word: str) -> None:
    assert circuit(after(failures), seconds(at_s)) == word


def test_reply_brings_the_channel_up_and_resets_its_failures() -> None:
    link = after_reply(after(5), seconds(10))
    assert (link.state, link.failures, link.down_since, link.heard_at) == (UP, 0, None, seconds(10))


def test_down_since_is_kept_through_later_attempts() -> None:
    assert after_failure(after(3), PATIENCE, seconds(400)).down_since == NOON


@pytest.mark.parametrize("at_s", [0, 1])
def test_failures_of_one_moment_count_once(at_s: int) -> None:
    assert after_failure(after(1), PATIENCE, seconds(at_s)) == after(1)
    assert after_failure(after(2), PATIENCE, seconds(at_s)) == after(2)


def test_pause_asked_for_by_one_of_several_failures_is_kept() -> None:
    assert after_failure(after(1), PATIENCE, NOON, retry_after_s=120).rests_until == seconds(120)


@pytest.mark.parametrize(
    ("failures", "tries", "explained"),
    [(0, 1, False), (1, 1, True), (1, 2, False), (2, 2, True), (3, 1, False)],
)
def test_message_waits_for_the_channel_alone_if_it_failed_only_with_it(failures: int, tries: int, explained: bool) -> None:
    assert explains(after(failures), tries) is explained


def test_failure_at_a_partner_that_refuses_us_does_not_shorten_the_pause() -> None:
    assert after_failure(refused(1), PATIENCE, seconds(60)).rests_until == seconds(120)


def test_pause_requested_by_a_busy_server_is_kept_while_the_channel_is_up() -> None:
    link = after_failure(CircuitState(agency="CUHK"), PATIENCE, NOON, retry_after_s=120)
    assert (link.state, room(link, 4, 0, seconds(119)), room(link, 4, 0, seconds(120))) == (UP, 0, 1)


@pytest.mark.parametrize(("failures", "at_s", "counted"), [(1, 0, True), (3, 0, False), (3, 599, False), (3, 600, True)])
def test_failure_uses_an_attempt_only_while_the_channel_is_up_or_given_up(failures: int, at_s: int, counted: bool) -> None:
    assert counts(after(failures), PATIENCE, seconds(at_s)) is counted


@settings(max_examples=THOROUGH)
@given(st.lists(st.booleans(), max_size=30))
def test_channel_goes_down_on_the_third_consecutive_failure(answers: list[bool]) -> None:
    link, row = CircuitState(agency="CUHK"), 0
    for number, answered in enumerate(answers):
        at = seconds(60 * number)
        link = after_reply(link, at) if answered else after_failure(link, PATIENCE, at)
        row = 0 if answered else row + 1
        assert (link.state == DOWN) is (row >= PATIENCE.failures)


# ---- a partner that rejects our messages


def refused(times: int) -> CircuitState:
    link = after(2)
    for _ in range(times):
        link = after_rejection(link, PATIENCE, NOON, "Agency Authentication Failed")
    return link


def test_channel_is_down_at_once_when_the_partner_refuses_us() -> None:
    assert (refused(1).state, refused(1).fault, refused(1).down_since) == (DOWN, "Agency Authentication Failed", NOON)


@pytest.mark.parametrize(("times", "wait_s"), [(1, 60), (2, 120), (3, 240), (5, LONGEST_REST_S), (99, LONGEST_REST_S)])
def test_probes_become_less_frequent(times: int, wait_s: int) -> None:
    assert [room(refused(times), 4, 0, seconds(at_s)) for at_s in (wait_s - 1, wait_s)] == [0, 1]


def test_messages_keep_their_attempt_counts_and_the_first_reply_brings_the_channel_up() -> None:
    assert counts(refused(1), PATIENCE, seconds(599)) is False
    assert (after_reply(refused(3), NOON).state, after_reply(refused(3), NOON).fault) == (UP, "")


def test_reply_ends_every_pause_and_fault() -> None:
    assert after_reply(refused(3), NOON) == CircuitState(agency="CUHK", heard_at=NOON)


def test_shorter_pause_does_not_replace_a_longer_one() -> None:
    busy = after_failure(CircuitState(agency="CUHK"), PATIENCE, NOON, retry_after_s=120)
    assert after_failure(busy, PATIENCE, NOON, retry_after_s=10).rests_until == seconds(120)


def test_channel_keeps_counting_failures_while_it_is_down() -> None:
    assert [after(n).failures for n in (2, 3, 4, 9)] == [2, 3, 4, 9]


def test_failure_counts_as_an_attempt_unless_the_channel_went_down_recently() -> None:
    assert counts(CircuitState(agency="CUHK", down_since=NOON), PATIENCE, NOON)
    assert counts(CircuitState(agency="CUHK", state=DOWN), PATIENCE, NOON)
