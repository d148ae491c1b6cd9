"""The gateway's metrics, and how a Prometheus parser reads them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from hkall_gateway.app.gauges import GAUGES
from hkall_gateway.observability.metrics import MAX_SERIES, NAMESPACE, Labelled, Metrics
from tests.metrics import page, value

PACKAGE = Path(__file__).parents[2] / "hkall_gateway"
# fmt: off
WIRE = {
    "requests_total":            {"side", "partner", "outcome"},
    "transitions_total":         {"from", "to"},
    "open_by_position":          {"side", "partner", "position"},
    "age_seconds":               {"position"},
    "ncip_latency_seconds":      {"partner", "service", "dir"},
    "ncip_errors_total":         {"partner", "class"},
    "partner_latency_seconds":   {"protocol", "partner", "service", "dir"},
    "partner_errors_total":      {"protocol", "partner", "class"},
    "outbox_depth":              {"partner"},
    "outbox_oldest_seconds":     {"partner"},
    "dead_letters":              {"partner"},
    "outbox_unreadable":         {"partner"},
    "disk_free_bytes":           {"folder"},
    "load_refused_timestamp_seconds": {"kind"},
    "secret_last_used_timestamp_seconds": {"partner", "variable"},
    "database_up":               set(),
    "gateways":                  {"state"},
    "partner_up":                {"partner"},
    "partner_fault":             {"partner"},
    "circuit_state":             {"partner"},
    "sip2_sessions":             set(),
    "sip2_latency_seconds":      {"msg"},
    "sip2_messages_total":       {"terminal", "msg", "outcome"},
    "sip2_events_total":         {"event"},
    "wrong_proofs_total":        {"partner"},
    "patron_lookups_total":      {"partner", "told"},
    "commands_expired_total":    {"door", "why"},
    "wrong_pins_total":          {"door", "who"},
    "connections_refused_total": {"door", "why"},
    "ils_snapshot_age_seconds":  set(),
    "ils_up":                    {"channel"},
    "ils_calls_total":           {"channel", "msg", "outcome"},
    "ils_hang_ups_total":        {"terminal", "msg"},
    "ils_login_refused":         {"channel", "login"},
    "ils_latency_seconds":       {"channel"},
    "notices_total":             {"kind", "result"},
    "timer_lag_seconds":         {"job"},
    "fill_rate":                 set(),
    "decline_total":             {"partner", "reason"},
    "lend_borrow_balance":       {"partner"},
    "closure_calendar_left_seconds": set(),
    "nightly_last_success_timestamp_seconds": {"work"},
    "doctor_failed_checks":      set(),
    "db_latency_seconds":        {"lane"},
    "log_dropped_total":         set(),
    "reactor_lag_seconds":       set(),
    "group_units":               {"lane"},
    "web_latency_seconds":       {"page", "code"},
    "web_logins_total":          {"who", "outcome"},
    "pages_refused_total":       {"who", "why"},
}
"""Metric names and labels that sites use in dashboards and alerts, and which must not change."""
# fmt: on


def own(metrics: Metrics) -> dict[str, MetricWrapperBase]:
    """The gateway's own metrics by attribute name."""
    made = {name: one._metric if isinstance(one, Labelled) else one for name, one in vars(metrics).items()}
    return {name: one for name, one in made.items() if isinstance(one, MetricWrapperBase)}


def families(metrics: Metrics) -> dict[str, Metric]:
    """The metric families that prometheus_client's parser reads from the page."""
    return {family.name: family for family in text_string_to_metric_families(page(metrics))}


def test_counter_is_kept_per_label_set() -> None:
    metrics = Metrics()
    metrics.transitions.labels("NEW", "REQUESTED").inc()
    metrics.transitions.labels("NEW", "REQUESTED").inc(2)
    metrics.transitions.labels("REQUESTED", "IN_TRANSIT").inc()
    assert (
        "# HELP hkall_transitions_total Moves of requests between positions.\n"
        "# TYPE hkall_transitions_total counter\n"
        'hkall_transitions_total{from="NEW",to="REQUESTED"} 3.0\n'
        'hkall_transitions_total{from="REQUESTED",to="IN_TRANSIT"} 1.0\n'
    ) in page(metrics)


def test_histogram_buckets_are_cumulative_and_include_their_bound() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.02, 99.0):
        metrics.sip2_latency.labels("63").observe(seconds)
    shown = page(metrics)
    assert 'hkall_sip2_latency_seconds_bucket{le="0.001",msg="63"} 1.0\n' in shown
    assert 'hkall_sip2_latency_seconds_bucket{le="0.025",msg="63"} 2.0\n' in shown
    assert 'hkall_sip2_latency_seconds_bucket{le="30.0",msg="63"} 2.0\n' in shown
    assert 'hkall_sip2_latency_seconds_bucket{le="+Inf",msg="63"} 3.0\n' in shown
    assert 'hkall_sip2_latency_seconds_sum{msg="63"} 99.021\n' in shown
    assert 'hkall_sip2_latency_seconds_count{msg="63"} 3.0\n' in shown


def test_registries_of_two_gateways_are_separate() -> None:
    one, other = Metrics(), Metrics()
    one.log_dropped.inc(5)
    assert (value(one, "log_dropped_total"), value(other, "log_dropped_total")) == (5, 0)


def test_metric_names_and_labels_are_stable() -> None:
    counters = {f"{one._name}_total" if isinstance(one, Counter) else one._name: one for one in own(Metrics()).values()}
    labels = {name.removeprefix(f"{NAMESPACE}_"): set(one._labelnames) for name, one in counters.items()}
    assert labels | {name: set(row[0].split()) for name, row in GAUGES.items()} == WIRE


def test_created_timestamps_are_not_exposed() -> None:
    metrics = Metrics()
    metrics.sip2_latency.labels("63").observe(1)
    assert "_created" not in page(metrics)


@pytest.mark.parametrize("labels", [(), ("NEW",), ("a", "b", "c")])
def test_wrong_number_of_labels_raises(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics().transitions.labels(*labels)


def test_number_of_label_values_from_peers_is_bounded() -> None:
    metrics = Metrics()
    for n in range(MAX_SERIES + 50):
        metrics.sip2_events.labels(f"invented-{n}").inc()
    assert value(metrics, "sip2_events_total", "other") == 50
    metrics.sip2_events.labels("invented-0").inc()
    assert value(metrics, "sip2_events_total", "invented-0") == 2
    assert len(families(metrics)["hkall_sip2_events"].samples) == MAX_SERIES + 1


def test_metric_source_runs_before_each_collection() -> None:
    metrics = Metrics()
    metrics.before_collection(metrics.sip2_events.labels("received").inc)
    assert [value(metrics, "sip2_events_total", "received") for _ in range(3)] == [1, 2, 3]


def test_every_metric_has_a_help_text_and_is_updated() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    for name, metric in own(Metrics()).items():
        assert re.search(rf"metrics\.{name}\b", code), name
        assert metric._documentation.endswith(".")
    assert all(text.endswith(".") for _, text in GAUGES.values())


@given(st.data())
def test_labels_round_trip(data: st.DataObject) -> None:
    metrics, given_labels = Metrics(), {}
    for name, metric in own(metrics).items():
        labels = tuple(data.draw(st.text(max_size=5)) for _ in metric._labelnames)
        child: Any = getattr(metrics, name).labels(*labels) if labels else metric
        act = child.inc if isinstance(metric, Counter) else child.set if isinstance(metric, Gauge) else child.observe
        act(data.draw(st.floats(0, 1e9)))
        given_labels[metric._name] = dict(zip(metric._labelnames, labels, strict=True))
    read = families(metrics)
    assert set(read) == set(given_labels)
    for name, labels_of in given_labels.items():
        found = [{key: text for key, text in sample.labels.items() if key != "le"} for sample in read[name].samples]
        assert found
        assert all(one == labels_of for one in found)


@given(st.lists(st.floats(0, 1e7), max_size=30))
def test_histogram_buckets_are_monotonic_and_end_with_inf(seconds: list[float]) -> None:
    metrics = Metrics()
    for each in seconds:
        metrics.ages.labels("ON_LOAN").observe(each)
    samples = families(metrics)["hkall_age_seconds"].samples
    counts = [one.value for one in samples if one.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert (counts[-1] if counts else 0) == len(seconds) == value(metrics, "age_seconds", "ON_LOAN")
    assert math.isclose(sum(one.value for one in samples if one.name.endswith("_sum")), sum(seconds), rel_tol=1e-9)
