"""Measures the lag of the main loop: how late a periodic timer fires."""

from __future__ import annotations

from typing import Any, Final

from hkall_gateway.observability.metrics import Metrics

BEAT_S: Final = 0.05
"""Short enough to catch brief stalls of the event loop, long enough to cost no measurable time."""


class Pulse:
    """Observes `reactor_lag_seconds` once a beat. `clock` has Twisted's `seconds` and `callLater`."""

    def __init__(self, clock: Any, metrics: Metrics) -> None:
        self._clock, self._metrics = clock, metrics
        self._due, self._timer = 0.0, None

    def start(self) -> None:
        """The first beat comes BEAT_S from now."""
        self._due = self._clock.seconds() + BEAT_S
        self._timer = self._clock.callLater(BEAT_S, self._ring)

    def stop(self) -> None:
        """No more beats. Harmless where it was never started."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._metrics.reactor_lag.observe(max(0.0, self._clock.seconds() - self._due))
        self.start()
