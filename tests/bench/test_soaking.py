"""Evaluation of many samples of a daemon: its growth, and the delay of its main loop."""

from __future__ import annotations

import pytest

from bench.gateways import parse
from bench.situations.soaking import growth, lag
from hkall_gateway.observability.metrics import Metrics
from tests.metrics import page


def beats(metrics: Metrics, *lags_s: float) -> dict[str, float]:
    for late_s in lags_s:
        metrics.reactor_lag.observe(late_s)
    return parse(page(metrics))


def test_lag_is_the_quantile_of_beats_since_the_first_sample() -> None:
    metrics = Metrics()
    before = beats(metrics, *[3.0] * 50)
    after = beats(metrics, *[0.0004] * 98, 0.018, 0.2)
    assert lag(before, after, 0.98) == 0.001
    assert lag(before, after, 0.99) == 0.02
    assert lag(before, after, 1.0) == 0.25


# fmt: off
SEEN = [
    ([9.0] * 10 + [5.0] * 90,                    1.0),   # warming up does not count
    ([5.0] * 90 + [10.0] * 10,                   2.0),   # what grew at the end does
    ([5.0] * 90 + [5.0] * 7 + [500.0] * 3,       1.0),   # a single look does not
    ([4.0],                                      1.0),
]
# fmt: on


@pytest.mark.parametrize(("seen", "grew"), SEEN)
def test_growth_compares_the_last_tenth_with_the_second(seen: list[float], grew: float) -> None:
    assert growth(seen) == grew
