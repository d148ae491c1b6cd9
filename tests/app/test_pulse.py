"""The delay of the main loop, as shown by /metrics."""

from __future__ import annotations

from twisted.internet.task import Clock

from hkall_gateway.app.gauges import BEAT_S, Pulse
from hkall_gateway.observability.metrics import Metrics
from tests.metrics import page, value


def test_delay_of_each_beat_is_measured() -> None:
    clock, metrics = Clock(), Metrics()
    Pulse(clock, metrics).start()
    clock.advance(BEAT_S)
    clock.advance(BEAT_S + 0.04)
    assert value(metrics, "reactor_lag_seconds") == 2
    assert 'hkall_reactor_lag_seconds_bucket{le="0.03"} 1.0\n' in page(metrics)
    assert 'hkall_reactor_lag_seconds_bucket{le="0.05"} 2.0\n' in page(metrics)


def test_stopped_pulse_leaves_no_timer() -> None:
    clock, metrics = Clock(), Metrics()
    pulse = Pulse(clock, metrics)
    pulse.stop()
    pulse.start()
    pulse.stop()
    clock.advance(10 * BEAT_S)
    assert (clock.getDelayedCalls(), value(metrics, "reactor_lag_seconds")) == ([], 0)
