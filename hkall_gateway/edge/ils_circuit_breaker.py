"""The health of the library's own system: a circuit breaker in memory, with metrics, and a log line at each change."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.desk.ports import ScheduledCall, cancel
from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.rules import circuit
from hkall_gateway.rules.circuit import DOWN, CircuitSettings, CircuitState

LOG = structlog.get_logger()

CIRCUIT_SETTINGS: Final = CircuitSettings(failures=3, probe_s=5)
"""After three failures in a row no call waits for the system; it is tried every five seconds."""

Trial = Callable[[], Coroutine[Any, Any, None]]
"""Sends the system a harmless query, and reports the result to its health. Never raises."""


class Timer(Protocol):
    """The part of a reactor that has `callLater`."""

    def callLater(self, delay: float, call: Callable[..., Any], /) -> Any: ...  # noqa: N802  # Twisted's own name


class CircuitBreaker:
    """Circuit breaker for the library's own system: whether it may be called now, and since when it has not answered.

    `channel` names the caller in the metrics: "connector" or "relay". `now` returns the aware UTC instant. With a `timer`, a
    system that is down is tried in the background, by the trial given with the failure, and no call waits for it; without a
    timer the next call after a pause is the trial. `beside` is the health of another connection to the same system: while that
    is down, this one is not used either.
    """

    def __init__(
        self,
        channel: str,
        now: Callable[[], datetime],
        metrics: Metrics | None = None,
        settings: CircuitSettings = CIRCUIT_SETTINGS,
        timer: Timer | None = None,
        beside: CircuitBreaker | None = None,
    ) -> None:
        self._channel, self._now, self._settings, self._timer = channel, now, settings, timer
        self._metrics, self._beside = metrics or Metrics(), beside
        self._state = CircuitState(channel)
        self._logins: dict[str, tuple[CircuitState, object]] = {}
        self._trial: Trial | None = None
        self._due: ScheduledCall | None = None

    @property
    def up(self) -> bool:
        return self._state.state != DOWN

    @property
    def down_since(self) -> datetime | None:
        return self._state.down_since

    def may_ask(self) -> bool:
        """Whether a call may be made now."""
        if self._beside is not None and not self._beside.up:
            return False
        if self.up or self._timer is not None:
            return self.up
        now = self._now()
        if not circuit.room(self._state, 1, 0, now):
            return False
        self._state = replace(self._state, rests_until=now + timedelta(seconds=self._settings.probe_s))
        return True

    def record_reply(self, question: str, took_s: float) -> None:
        """Records a reply of any content."""
        self._count(question, "ok")
        self._metrics.ils_latency.labels(self._channel).observe(took_s)
        if not self.up:
            LOG.info("ils.up", channel="ils", asked_by=self._channel, down_since=self.down_since)
        self._state = circuit.after_reply(self._state, self._now())
        self._tell()

    def record_failure(self, question: str, why: str, *, grave: bool = True, trial: Trial | None = None) -> None:
        """Records a call without a usable reply. `grave` False: the failure does not count against calls of other kinds."""
        self._count(question, "unreachable")
        LOG.info("ils.missed", channel="ils", asked_by=self._channel, question=question, why=why)
        if not grave:
            return
        was_up, self._state = self.up, circuit.after_failure(self._state, self._settings, self._now())
        if was_up and not self.up:
            LOG.warning("ils.down", channel="ils", asked_by=self._channel, why=why)
        self._tell()
        self._trial = trial or self._trial
        if not self.up:
            self._try_in(self._settings.probe_s)

    def hung_up(self, question: str, trial: Trial | None = None) -> None:
        """Records that the system closed a connection after one message, and starts a trial at once.

        That counts as this message's fault until a trial shows otherwise: a server that disconnects over a field that it does
        not accept still works for all other messages.
        """
        self._count(question, "hung_up")
        LOG.info("ils.missed", channel="ils", asked_by=self._channel, question=question, why="it ended the connection")
        self._trial = trial or self._trial
        self._try_in(0)

    def record_skipped(self, question: str) -> None:
        """Counts a call that was not made because the system is down."""
        self._count(question, "resting")

    # ---- logins: each has its own state; one that is refused does not affect the others

    def may_log_in(self, name: str, proof: object) -> bool:
        """Whether a login may be tried now: not while it rests since it was refused with this very `proof`."""
        link, refused = self._logins.get(name, (None, None))
        return link is None or refused != proof or circuit.room(link, 1, 0, self._now()) > 0

    def login_refused(self, name: str, proof: object, why: str) -> None:
        """The system does not take this login: it is tried again after five seconds, ten, and so on, up to fifteen minutes."""
        before, refused = self._logins.get(name, (None, None))
        known = before if before is not None and refused == proof else CircuitState(name)
        link = circuit.after_rejection(known, self._settings, self._now(), why)
        self._logins[name] = link, proof
        again = link.rests_until.isoformat() if link.rests_until else ""
        LOG.error("ils.login_refused", channel="ils", asked_by=self._channel, login=name, why=why, again_at=again)
        self._metrics.ils_login_refused.labels(self._channel, name).set(1)

    def login_taken(self, name: str) -> None:
        """Records an accepted login."""
        if self._logins.pop(name, None) is not None:
            LOG.info("ils.login_taken", channel="ils", asked_by=self._channel, login=name)
        self._metrics.ils_login_refused.labels(self._channel, name).set(0)

    # ---- in the background

    def stop(self) -> None:
        """Stops the trials."""
        self._timer = None
        cancel(self._due)

    def _try_in(self, seconds: float) -> None:
        if self._timer is None or self._trial is None or self._due is not None:
            return
        self._due = self._timer.callLater(seconds, self._begin_trial)

    def _begin_trial(self) -> None:
        assert self._trial is not None  # it was set with the timer
        Deferred.fromCoroutine(self._trial()).addBoth(self._tried)

    def _tried(self, result: object) -> None:
        self._due = None
        if isinstance(result, Failure):
            LOG.error("ils.trial_failed", channel="ils", asked_by=self._channel, trace=result.getTraceback())
        if not self.up:
            self._try_in(self._settings.probe_s)
        elif self._state.failures:
            self._try_in(1)

    def _count(self, question: str, outcome: str) -> None:
        self._metrics.ils_calls.labels(self._channel, question, outcome).inc()

    def _tell(self) -> None:
        self._metrics.ils_up.labels(self._channel).set(float(self.up))
