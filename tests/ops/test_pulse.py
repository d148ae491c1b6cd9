"""How late the main loop is, as /metrics tells it."""

from __future__ import annotations

from twisted.internet.task import Clock

from hkall_gateway.edge.counters import Counters
from hkall_gateway.ops.pulse import BEAT_S, Pulse


def test_each_beat_is_observed_with_how_late_it_rang() -> None:
    clock, counters = Clock(), Counters()
    Pulse(clock, counters).start()
    clock.advance(BEAT_S)
    clock.advance(BEAT_S + 0.04)
    assert counters.read("reactor_lag_seconds") == 2
    assert 'hkall_reactor_lag_seconds_bucket{le="0.03"} 1\n' in counters.text()
    assert 'hkall_reactor_lag_seconds_bucket{le="0.05"} 2\n' in counters.text()


def test_a_pulse_that_was_stopped_leaves_no_timer() -> None:
    clock, counters = Clock(), Counters()
    pulse = Pulse(clock, counters)
    pulse.stop()
    pulse.start()
    pulse.stop()
    clock.advance(10 * BEAT_S)
    assert (clock.getDelayedCalls(), counters.read("reactor_lag_seconds")) == ([], 0)
