"""Circuit breaker for a channel to another system, as plain values: its state, and how many messages may leave now.

A channel goes down after a number of failures in a row. Then one message per interval tries it, the first one due; any answer,
even a refusal, brings it up again. If the partner rejects our agency, version or service, the channel is down at once: a person
must correct that, and the channel is tried at growing intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

UP, DOWN = "up", "down"
STALLED = "stalled"
"""The state of a channel for people: it counts as up, and yet messages that are due do not leave. It is not stored."""
LONGEST_REST_S = 900
"""The longest interval between two tries at a partner that rejects us: peers lock out a client that keeps sending wrong
secrets.
"""


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """When a channel counts as down, and how often it is then tried.

    While the channel is down, a failed try is no attempt of its message until `give_up_s` seconds have passed.
    """

    failures: int = 5
    probe_s: int = 60
    give_up_s: int = 259_200


@dataclass(frozen=True, slots=True)
class CircuitState:
    """The channel to one partner. `failures` in a row since `heard_at`; no message leaves before `rests_until`.

    `fault`: the partner's statement about our agency, version or service while it rejects us; "" for none.
    """

    agency: str
    state: str = UP
    failures: int = 0
    down_since: datetime | None = None
    heard_at: datetime | None = None
    rests_until: datetime | None = None
    fault: str = ""


def after_reply(channel: CircuitState, now: datetime) -> CircuitState:
    """Return the channel after an answer of the partner."""
    return replace(channel, state=UP, failures=0, down_since=None, heard_at=now, rests_until=None, fault="")


def after_failure(channel: CircuitState, settings: CircuitSettings, now: datetime, retry_after_s: int = 0) -> CircuitState:
    """Return the channel after a message without an answer, or with the answer "busy": for `retry_after_s` seconds if given."""
    failures = channel.failures + 1
    wait_s = retry_after_s
    if failures < settings.failures:
        return replace(channel, failures=failures, rests_until=_later_of(channel.rests_until, now, wait_s))
    wait_s = max(wait_s, settings.probe_s)
    since = channel.down_since or now
    return replace(channel, state=DOWN, failures=failures, down_since=since, rests_until=_later_of(None, now, wait_s))


def after_rejection(channel: CircuitState, settings: CircuitSettings, now: datetime, fault: str) -> CircuitState:
    """Return the channel after the partner rejected us: down at once, tried after `probe_s`, twice that, and so on."""
    failures = channel.failures + 1 if channel.fault else 1
    wait_s = min(settings.probe_s * 2 ** (failures - 1), max(LONGEST_REST_S, settings.probe_s))
    rests = {"rests_until": _later_of(None, now, wait_s), "down_since": channel.down_since or now}
    return replace(channel, state=DOWN, failures=failures, fault=fault, **rests)  # type: ignore[arg-type]  # instants, both


def room(channel: CircuitState, in_flight: int, under_way: int, now: datetime) -> int:
    """Return how many more messages may leave now, given that `under_way` were sent and are not answered."""
    if channel.rests_until is not None and channel.rests_until > now:
        return 0
    limit = 1 if channel.state == DOWN else in_flight
    return max(limit - under_way, 0)


def circuit(channel: CircuitState, now: datetime) -> str:
    """Return the breaker's state in the standard terms: closed (messages pass), open (none does), half-open (one may try)."""
    if channel.state != DOWN:
        return "closed"
    return "open" if channel.rests_until is not None and channel.rests_until > now else "half-open"


def counts(channel: CircuitState, settings: CircuitSettings, now: datetime) -> bool:
    """Return whether a failed try counts as an attempt of its message: not while the channel is at fault."""
    if channel.state != DOWN or channel.down_since is None:
        return True
    return now - channel.down_since >= timedelta(seconds=settings.give_up_s)


def _later_of(until: datetime | None, now: datetime, wait_s: int) -> datetime | None:
    named = now + timedelta(seconds=wait_s) if wait_s else None
    return max((at for at in (until, named) if at is not None), default=None)
