"""The local system's circuit breaker: when queries are allowed, and what is counted and logged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.task import Clock

from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.observability.metrics import Metrics
from tests.metrics import value

BEGIN = datetime(2017, 3, 1, 2, tzinfo=UTC)


class Watched:
    def __init__(self) -> None:
        self.now, self.metrics = BEGIN, Metrics()
        self.health = CircuitBreaker("relay", lambda: self.now, self.metrics)

    def misses(self, times: int) -> None:
        for _ in range(times):
            self.health.record_failure("63", "TimeoutError")


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_breaker_opens_after_three_consecutive_failures(watched: Watched) -> None:
    watched.misses(2)
    assert (watched.health.up, watched.health.may_ask()) == (True, True)
    watched.misses(1)
    assert (watched.health.up, watched.health.may_ask()) == (False, False)


def test_open_breaker_probes_every_five_seconds(watched: Watched) -> None:
    watched.misses(3)
    watched.now += timedelta(seconds=5)
    assert [watched.health.may_ask() for _ in range(3)] == [True, False, False]


def test_first_success_closes_the_breaker(watched: Watched) -> None:
    watched.misses(3)
    watched.now += timedelta(seconds=5)
    assert watched.health.may_ask()
    watched.health.record_reply("63", 0.02)
    assert [watched.health.may_ask() for _ in range(3)] == [True, True, True]
    assert watched.health.down_since is None


def test_breaker_records_when_it_opened(watched: Watched) -> None:
    watched.misses(3)
    watched.now += timedelta(minutes=5)
    watched.misses(1)
    assert watched.health.down_since == BEGIN


def test_requests_are_counted_by_outcome(watched: Watched) -> None:
    watched.health.record_reply("63", 0.02)
    watched.misses(3)
    watched.health.record_skipped("17")
    counted = {
        outcome: value(watched.metrics, "ils_calls_total", "relay", question, outcome)
        for question, outcome in (("63", "ok"), ("63", "unreachable"), ("17", "resting"))
    }
    assert counted == {"ok": 1, "unreachable": 3, "resting": 1}
    assert value(watched.metrics, "ils_up", "relay") == 0
    assert value(watched.metrics, "ils_latency_seconds", "relay") == 1


def test_opening_and_closing_are_logged_once(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    watched.misses(5)
    watched.health.record_reply("63", 0.02)
    said = capsys.readouterr().out
    assert (said.count("ils.down"), said.count("ils.up ")) == (1, 1)


def test_two_connectors_to_one_system_share_a_breaker(watched: Watched) -> None:
    other = CircuitBreaker("connector", lambda: watched.now, watched.metrics, same_as=watched.health)
    watched.misses(3)
    assert (other.up, other.may_ask(), other.down_since) == (False, False, BEGIN)
    assert [value(watched.metrics, "ils_up", channel) for channel in ("relay", "connector")] == [0, 0]
    other.record_reply("99", 0.01)
    assert (watched.health.up, watched.health.may_ask()) == (True, True)
    assert [value(watched.metrics, "ils_up", channel) for channel in ("relay", "connector")] == [1, 1]


def test_requests_fail_at_once_after_a_timeout_until_a_probe_succeeds() -> None:
    clock, tried = Clock(), list[str]()

    async def trial() -> None:
        tried.append("99")

    health = CircuitBreaker("relay", lambda: BEGIN + timedelta(seconds=clock.seconds()), timer=clock)
    health.record_failure("63", "TimeoutError", trial=trial)
    assert (health.up, health.may_ask(), tried) == (True, False, [])
    clock.advance(0)
    assert (health.may_ask(), tried) == (False, ["99"])
    health.record_reply("99", 0.01)
    assert health.may_ask()
    health.stop()
