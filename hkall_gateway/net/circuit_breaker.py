"""In-memory circuit breaker for the library's own system, which updates metrics and logs state changes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.clock import ScheduledCall, cancel
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules import circuit
from hkall_gateway.rules.circuit import DOWN, CircuitSettings, CircuitState

LOG = structlog.get_logger()

CIRCUIT_SETTINGS: Final = CircuitSettings(failures=3, probe_s=5, first_trial_s=0)
"""The system counts as down after three consecutive failures, including trials. Then a trial follows every five seconds."""

Trial = Callable[[], Coroutine[Deferred[object], object, None]]
"""Sends a harmless query to the system, and records the outcome in the circuit breaker. Never raises an exception."""


class Timer(Protocol):
    """The part of a reactor that schedules calls."""

    def callLater(self, delay: float, call: Callable[..., object], /) -> ScheduledCall:  # noqa: N802  # named by Twisted
        """Call `call` after `delay` seconds."""


@dataclass(slots=True)
class _Health:
    """The state of a system, shared by its channels. `suspect` is set while the trial after a failed call is unfinished."""

    state: CircuitState
    timer: Timer | None
    channels: list[str]
    logins: dict[str, tuple[CircuitState, object]] = field(default_factory=dict)
    suspect: bool = False
    trial: Trial | None = None
    due: ScheduledCall | None = None


class CircuitBreaker:
    """Circuit breaker for the library's own system.

    Args:
        channel: Name of the caller in metrics: "connector" or "relay".
        now: Returns the current time, aware, in UTC.
        timer: Schedules trials after a failure, until which calls are rejected. If None, the next call is the trial.
        same_as: Circuit breaker of another channel to the same system, which shares its state with this circuit breaker.
    """

    def __init__(
        self,
        channel: str,
        now: Callable[[], datetime],
        metrics: Metrics | None = None,
        settings: CircuitSettings = CIRCUIT_SETTINGS,
        timer: Timer | None = None,
        same_as: CircuitBreaker | None = None,
    ) -> None:
        self._channel, self._now, self._settings = channel, now, settings
        self._metrics = metrics or Metrics()
        self._health: _Health = same_as._health if same_as is not None else _Health(CircuitState(agency=channel), timer, [])
        self._health.channels.append(channel)

    @property
    def up(self) -> bool:
        """Return whether the system counts as reachable."""
        return self._health.state.state != DOWN

    @property
    def down_since(self) -> datetime | None:
        """Return the time at which the system went down, or None if it is up."""
        return self._health.state.down_since

    def may_ask(self) -> bool:
        """Return whether the system may be called now."""
        if self._health.timer is not None:
            return self.up and not self._health.suspect
        if self.up:
            return True
        now = self._now()
        if not circuit.room(self._health.state, 1, 0, now):
            return False
        self._health.state = replace(self._health.state, rests_until=now + timedelta(seconds=self._settings.probe_s))
        return True

    def record_reply(self, question: str, took_s: float) -> None:
        """Record a reply, whatever its content."""
        self._count_call(question, "ok")
        self._metrics.ils_latency.labels(self._channel).observe(took_s)
        if not self.up:
            LOG.info("ils.up", channel="ils", asked_by=self._channel, down_since=self.down_since)
        self._health.state, self._health.suspect = circuit.after_reply(self._health.state, self._now()), False
        self._set_gauges()

    def record_failure(self, question: str, why: str, *, grave: bool = True, trial: Trial | None = None) -> None:
        """Record a call without a usable reply. If `grave` is False, only log and count the call; others stay allowed."""
        self._count_call(question, "unreachable")
        LOG.info("ils.missed", channel="ils", asked_by=self._channel, question=question, why=why)
        if not grave:
            return
        was_up, before = self.up, self._health.state
        self._health.state = circuit.after_failure(before, self._settings, self._now())
        self._health.suspect = True
        if was_up and not self.up:
            LOG.warning("ils.down", channel="ils", asked_by=self._channel, why=why)
        self._set_gauges()
        self._health.trial = trial or self._health.trial
        self._start_trial_in(0 if self.up else self._settings.probe_s)

    def hung_up(self, question: str, trial: Trial | None = None) -> None:
        """Record that the system closed the connection after a message, and start a trial immediately.

        If the trial succeeds, the message itself was the cause: some servers disconnect on a field that they do not accept, but
        still answer all other messages.
        """
        self._count_call(question, "hung_up")
        LOG.info("ils.missed", channel="ils", asked_by=self._channel, question=question, why="it ended the connection")
        self._health.trial = trial or self._health.trial
        self._start_trial_in(0)

    def record_skipped(self, question: str) -> None:
        """Count a call that was skipped because the system is down."""
        self._count_call(question, "resting")

    # ---- Logins. Each login has its own state, so that a refused login does not affect others.

    def may_log_in(self, name: str, proof: object) -> bool:
        """Return whether a login may be attempted now. Refused credentials (`proof`) must not be tried again for a while."""
        link, refused = self._health.logins.get(name, (None, None))
        return link is None or refused != proof or circuit.room(link, 1, 0, self._now()) > 0

    def login_refused(self, name: str, proof: object, why: str) -> None:
        """Record a refused login. The delay before the next try doubles from 5 seconds up to 15 minutes."""
        before, refused = self._health.logins.get(name, (None, None))
        known = before if before is not None and refused == proof else CircuitState(agency=name)
        link = circuit.after_rejection(known, self._settings, self._now(), why)
        self._health.logins[name] = link, proof
        again = link.rests_until.isoformat() if link.rests_until else ""
        LOG.error("ils.login_refused", channel="ils", asked_by=self._channel, login=name, why=why, again_at=again)
        self._metrics.ils_login_refused.labels(self._channel, name).set(1)

    def login_taken(self, name: str) -> None:
        """Record an accepted login."""
        if self._health.logins.pop(name, None) is not None:
            LOG.info("ils.login_taken", channel="ils", asked_by=self._channel, login=name)
        self._metrics.ils_login_refused.labels(self._channel, name).set(0)

    def stop(self) -> None:
        """Stop the trials."""
        self._health.timer = None
        cancel(self._health.due)

    def _start_trial_in(self, seconds: float) -> None:
        health = self._health
        if health.timer is not None and health.trial is not None and health.due is None:
            health.due = health.timer.callLater(seconds, self._begin_trial)

    def _begin_trial(self) -> None:
        assert self._health.trial is not None  # checked by _start_trial_in
        _ = Deferred.fromCoroutine(self._health.trial()).addBoth(self._end_trial)

    def _end_trial(self, result: object) -> None:
        self._health.due = None
        if isinstance(result, Failure):
            LOG.error("ils.trial_failed", channel="ils", asked_by=self._channel, trace=result.getTraceback())
        if not self.up:
            self._start_trial_in(self._settings.probe_s)
        elif self._health.state.failures:
            self._start_trial_in(1)

    def _count_call(self, question: str, outcome: str) -> None:
        self._metrics.ils_calls.labels(self._channel, question, outcome).inc()

    def _set_gauges(self) -> None:
        for channel in self._health.channels:
            self._metrics.ils_up.labels(channel).set(float(self.up))
