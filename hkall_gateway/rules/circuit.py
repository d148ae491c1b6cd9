"""Circuit breaker for a channel to another system, as pure functions of its state.

A channel goes down after several consecutive failures. Then one message per interval is sent as a trial, and any reply brings
the channel up again. If the partner rejects our agency, version or service, which a person must fix, the channel goes down at
once, and trials follow at growing intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

UP, DOWN = "up", "down"
STALLED = "stalled"
"""The displayed state of a channel that is up although due messages are not sent. It is never stored."""
LONGEST_REST_S = 900
"""Maximum interval between trials at a partner that rejects us. Peers lock out clients that keep sending wrong secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """Settings of a circuit breaker.

    Attributes:
        failures: Number of consecutive failures after which the channel is down.
        probe_s: Interval between trials while the channel is down.
        give_up_s: Downtime after which failed trials count as delivery attempts of their messages.
    """

    failures: int = 5
    probe_s: int = 60
    give_up_s: int = 259_200


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitState:
    """The state of the channel to one partner.

    `failures` counts failures since the last reply, which arrived at `heard_at`. No message may be sent before `rests_until`.
    `fault` is the partner's problem with our agency, version or service while it rejects us, else "".
    """

    agency: str
    state: str = UP
    failures: int = 0
    down_since: datetime | None = None
    heard_at: datetime | None = None
    rests_until: datetime | None = None
    fault: str = ""


def after_reply(channel: CircuitState, now: datetime) -> CircuitState:
    """Return the state after a reply."""
    return replace(channel, state=UP, failures=0, down_since=None, heard_at=now, rests_until=None, fault="")


def after_failure(channel: CircuitState, settings: CircuitSettings, now: datetime, retry_after_s: int = 0) -> CircuitState:
    """Return the state after a message without a reply, or with the reply "busy" and its `retry_after_s`."""
    failures = channel.failures + 1
    wait_s = retry_after_s
    if failures < settings.failures:
        return replace(channel, failures=failures, rests_until=_later_of(channel.rests_until, now, wait_s))
    wait_s = max(wait_s, settings.probe_s)
    since = channel.down_since or now
    return replace(channel, state=DOWN, failures=failures, down_since=since, rests_until=_later_of(None, now, wait_s))


def after_rejection(channel: CircuitState, settings: CircuitSettings, now: datetime, fault: str) -> CircuitState:
    """Return the state after a rejection by the partner: down. Each rejection doubles the trial interval, from `probe_s` on."""
    failures = channel.failures + 1 if channel.fault else 1
    wait_s = min(settings.probe_s * 2 ** (failures - 1), max(LONGEST_REST_S, settings.probe_s))
    rests = {"rests_until": _later_of(None, now, wait_s), "down_since": channel.down_since or now}
    return replace(channel, state=DOWN, failures=failures, fault=fault, **rests)  # type: ignore[arg-type]  # both values are datetimes


def room(channel: CircuitState, in_flight: int, under_way: int, now: datetime) -> int:
    """Return how many more messages may be sent now, if `under_way` messages are waiting for a reply."""
    if channel.rests_until is not None and channel.rests_until > now:
        return 0
    limit = 1 if channel.state == DOWN else in_flight
    return max(limit - under_way, 0)


def circuit(channel: CircuitState, now: datetime) -> str:
    """Return the state in circuit breaker terms: closed (up), open (down) or half-open (one trial may be sent)."""
    if channel.state != DOWN:
        return "closed"
    return "open" if channel.rests_until is not None and channel.rests_until > now else "half-open"


def counts(channel: CircuitState, settings: CircuitSettings, now: datetime) -> bool:
    """Check whether a failure counts as a delivery attempt: the channel is up, or has been down for `give_up_s`."""
    if channel.state != DOWN or channel.down_since is None:
        return True
    return now - channel.down_since >= timedelta(seconds=settings.give_up_s)


def _later_of(until: datetime | None, now: datetime, wait_s: int) -> datetime | None:
    named = now + timedelta(seconds=wait_s) if wait_s else None
    return max((at for at in (until, named) if at is not None), default=None)
