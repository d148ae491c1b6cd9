"""What is counted, and how Prometheus reads it."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.edge.counters import METRICS, MOST_SERIES, Counters, Kind

LINE = re.compile(r'hkall_[a-z0-9_]+(\{([a-z]+="([^"\\\n]|\\[\\"n])*",?)+\})? ([0-9.e+-]+|\+Inf)')


def test_a_counter_adds_up_for_each_set_of_labels() -> None:
    counters = Counters()
    counters.add("transitions_total", "NEW", "REQUESTED")
    counters.add("transitions_total", "NEW", "REQUESTED", by=2)
    counters.add("transitions_total", "REQUESTED", "IN_TRANSIT")
    assert counters.text() == (
        "# HELP hkall_transitions_total Moves of requests between positions.\n"
        "# TYPE hkall_transitions_total counter\n"
        'hkall_transitions_total{from="NEW",to="REQUESTED"} 3\n'
        'hkall_transitions_total{from="REQUESTED",to="IN_TRANSIT"} 1\n'
    )


def test_a_gauge_is_what_it_was_put_to_last() -> None:
    counters = Counters()
    counters.put("sip2_sessions", 7)
    counters.put("sip2_sessions", 6.5)
    assert "hkall_sip2_sessions 6.5\n" in counters.text()


def test_series_that_are_replaced_are_gone() -> None:
    counters = Counters()
    counters.put("outbox_depth", 4, "CUHK")
    counters.replace("outbox_depth", {("HKUST",): 2})
    assert counters.read("outbox_depth", "CUHK") == 0
    assert counters.read("outbox_depth", "HKUST") == 2


def test_a_histogram_counts_what_is_not_above_each_bound() -> None:
    counters = Counters()
    for seconds in (0.001, 0.02, 99.0):
        counters.observe("sip2_latency_seconds", seconds, "63")
    text = counters.text()
    assert 'hkall_sip2_latency_seconds_bucket{msg="63",le="0.001"} 1\n' in text
    assert 'hkall_sip2_latency_seconds_bucket{msg="63",le="0.025"} 2\n' in text
    assert 'hkall_sip2_latency_seconds_bucket{msg="63",le="30"} 2\n' in text
    assert 'hkall_sip2_latency_seconds_bucket{msg="63",le="+Inf"} 3\n' in text
    assert 'hkall_sip2_latency_seconds_sum{msg="63"} 99.021\n' in text
    assert 'hkall_sip2_latency_seconds_count{msg="63"} 3\n' in text


def test_nothing_touched_is_nothing_written() -> None:
    assert Counters().text() == ""


def test_labels_with_quotation_marks_backslashes_and_lines_are_escaped() -> None:
    counters = Counters()
    counters.add("decline_total", "CU\\HK", 'not "suitable"\nat all')
    assert r'{partner="CU\\HK",reason="not \"suitable\"\nat all"} 1' in counters.text()


@pytest.mark.parametrize(
    ("name", "labels"),
    [("no_such_total", ()), ("sip2_sessions", ()), ("transitions_total", ("NEW",)), ("transitions_total", ("a", "b", "c"))],
)
def test_what_the_table_does_not_have_cannot_be_counted(name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        Counters().add(name, *labels)


def test_a_peer_that_invents_labels_does_not_fill_the_memory() -> None:
    counters = Counters()
    for n in range(MOST_SERIES + 50):
        counters.add("sip2_events_total", f"invented-{n}")
    assert counters.read("sip2_events_total", "other") == 50
    counters.add("sip2_events_total", "invented-0")
    assert counters.read("sip2_events_total", "invented-0") == 2


def test_the_table_is_sound() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert metric.help.endswith(".")
        assert "\n" not in metric.help
        assert name.endswith("_total") is (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) is (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert "le" not in metric.labels


@given(st.data())
def test_whatever_is_counted_every_line_can_be_read(data: st.DataObject) -> None:
    counters = Counters()
    for metric in METRICS.values():
        labels = data.draw(st.tuples(*[st.text(max_size=5) for _ in metric.labels]))
        value = data.draw(st.floats(0, 1e9))
        match metric.kind:
            case Kind.COUNTER:
                counters.add(metric.name, *labels, by=value)
            case Kind.GAUGE:
                counters.put(metric.name, value, *labels)
            case Kind.HISTOGRAM:
                counters.observe(metric.name, value, *labels)
    lines = counters.text().split("\n")
    assert lines.pop() == ""
    assert all(line.startswith(("# HELP hkall_", "# TYPE hkall_")) or LINE.fullmatch(line) for line in lines)


@given(st.lists(st.floats(0, 1e7), max_size=30))
def test_the_buckets_of_a_histogram_only_grow_and_end_with_all(seconds: list[float]) -> None:
    counters = Counters()
    for each in seconds:
        counters.observe("age_seconds", each, "ON_LOAN")
    counts = [int(line.rsplit(" ", 1)[1]) for line in counters.text().splitlines() if "_bucket{" in line]
    assert counts == sorted(counts)
    assert (counts[-1] if counts else 0) == len(seconds) == counters.read("age_seconds", "ON_LOAN")
    total = [float(line.rsplit(" ", 1)[1]) for line in counters.text().splitlines() if "_sum{" in line]
    assert math.isclose(sum(total), sum(seconds), rel_tol=1e-9)
