"""The figures of one run and of several rounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Run, Spread, middle, quantile, run_of

TIMES = st.lists(st.floats(0, 100, allow_nan=False), min_size=1)


def test_run_counts_replies_and_divides_the_cpu_time_among_them() -> None:
    run = run_of(2.0, [n / 1000 for n in range(1, 201)], cpu_s=0.1, generator_s=0.5)
    assert (run.answered, run.rate, run.generator) == (200, 100.0, 0.25)
    assert (round(run.p50_ms), round(run.p99_ms), round(run.cpu_us)) == (100, 198, 500)


def test_run_without_a_reply_has_no_figures() -> None:
    with pytest.raises(ValueError, match="nothing"):
        run_of(1.0, [])


@given(TIMES, st.sampled_from([0.5, 0.9, 0.99]))
def test_quantile_is_one_of_the_measured_times_and_covers_its_share(times: list[float], share: float) -> None:
    found = quantile(sorted(times), share)
    assert found in times
    assert sum(time <= found for time in times) >= share * len(times) - 1e-6
    assert sum(time < found for time in times) < share * len(times) + 1e-6


def test_summary_of_rounds_has_their_medians_and_the_total_of_replies() -> None:
    runs = [Run(10, 100.0, 1.0, 9.0), Run(30, 300.0, 3.0, 7.0), Run(20, 900.0, 2.0, 8.0)]
    assert middle(runs) == Run(60, 300.0, 2.0, 8.0)


def test_median_of_a_spread_is_between_its_bounds() -> None:
    spread = Spread((3.0, 1.0, 2.0, 9.0, 2.5))
    assert (spread.lowest, spread.median, spread.highest) == (1.0, 2.5, 9.0)
