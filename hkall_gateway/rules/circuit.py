"""Circuit breaker for a channel to another system, as pure functions of its state.

After a failure the channel pauses, and then one message is sent as a trial. The first trial follows after a few
seconds, so that a short interruption delays few messages, and each failed trial doubles the pause. After several
consecutive failures the channel is down. Any reply brings it up again.

If the partner rejects our agency, version or service, which a person must fix, the channel goes down at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

UP, DOWN = "up", "down"
STALLED = "stalled"
"""The displayed state of a channel that is up although due messages are not sent. It is never stored."""
LONGEST_REST_S = 900
"""Maximum interval between trials at a partner that rejects us. Peers lock out clients that keep sending wrong secrets."""

MOST_DOUBLINGS = 16
"""Maximum number of times that a pause is doubled, so that it stays a small number however long a partner is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """Settings of a circuit breaker.

    Attributes:
        failures: Number of consecutive failures after which the channel is down.
        probe_s: Maximum interval between trials.
        give_up_s: Downtime after which failed trials count as delivery attempts of their messages.
        first_trial_s: Pause after the first failure. 0 stands for no pause while the channel is up, and for `probe_s` after.
    """

    failures: int = 5
    probe_s: int = 60
    give_up_s: int = 259_200
    first_trial_s: int = 2

    def pause_s(self, failures: int) -> int:
        """Return the pause in seconds after this many consecutive failures, at least one."""
        if not self.first_trial_s:
            return self.probe_s if failures >= self.failures else 0
        doublings = min(failures - 1, MOST_DOUBLINGS)
        return min(self.first_trial_s << doublings, self.probe_s)


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
    if channel.state != DOWN and _is_resting(channel, now):
        # The message left before the failure that began the pause. Failures of one moment count once.
        return replace(channel, rests_until=_later_of(channel.rests_until, now, retry_after_s))

    failures = channel.failures + 1
    pause_s = settings.probe_s if channel.fault else settings.pause_s(failures)
    rests_until = _later_of(None, now, max(retry_after_s, pause_s))
    if failures < settings.failures:
        return replace(channel, failures=failures, rests_until=rests_until)
    since = channel.down_since or now
    return replace(channel, state=DOWN, failures=failures, down_since=since, rests_until=rests_until)


def after_rejection(channel: CircuitState, settings: CircuitSettings, now: datetime, fault: str) -> CircuitState:
    """Return the state after a rejection by the partner: down. Each rejection doubles the trial interval, from `probe_s` on."""
    failures = channel.failures + 1 if channel.fault else 1
    wait_s = min(settings.probe_s * 2 ** (failures - 1), max(LONGEST_REST_S, settings.probe_s))
    rests = {"rests_until": _later_of(None, now, wait_s), "down_since": channel.down_since or now}
    return replace(channel, state=DOWN, failures=failures, fault=fault, **rests)  # type: ignore[arg-type]  # both values are datetimes


def room(channel: CircuitState, in_flight: int, under_way: int, now: datetime) -> int:
    """Return how many more messages may be sent now, if `under_way` messages are waiting for a reply."""
    if _is_resting(channel, now):
        return 0
    is_trial = channel.state == DOWN or channel.failures > 0
    limit = 1 if is_trial else in_flight
    return max(limit - under_way, 0)


def explains(channel: CircuitState, tries: int) -> bool:
    """Check whether the channel's present failures explain why a message has failed `tries` times.

    If they do, the message need only wait for the channel. If not, the partner answers other messages but not this one.
    """
    return channel.state != DOWN and tries <= channel.failures


def circuit(channel: CircuitState, now: datetime) -> str:
    """Return the state in circuit breaker terms: closed (up), open (down) or half-open (one trial may be sent)."""
    if channel.state != DOWN:
        return "closed"
    return "open" if _is_resting(channel, now) else "half-open"


def counts(channel: CircuitState, settings: CircuitSettings, now: datetime) -> bool:
    """Check whether a failure counts as a delivery attempt: the channel is up, or has been down for `give_up_s`."""
    if channel.state != DOWN or channel.down_since is None:
        return True
    return now - channel.down_since >= timedelta(seconds=settings.give_up_s)


def _is_resting(channel: CircuitState, now: datetime) -> bool:
    return channel.rests_until is not None and channel.rests_until > now


def _later_of(until: datetime | None, now: datetime, wait_s: int) -> datetime | None:
    named = now + timedelta(seconds=wait_s) if wait_s else None
    return max((at for at in (until, named) if at is not None), default=None)
