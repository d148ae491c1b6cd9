"""What is counted and measured, kept in memory and written as Prometheus text."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

PREFIX: Final = "hkall_"
MOST_SERIES: Final = 2000
"""Label values come from peers too, so a metric has at most so many series; what is beyond counts under "other"."""

Labels: TypeAlias = tuple[str, ...]


class Kind(StrEnum):
    """A counter only grows, a gauge is as it is now, a histogram says how often something took how long."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SIZES: Final = tuple(float(2**n) for n in range(9))
_DAYS: Final = tuple(days * 86400.0 for days in (0.25, 1, 2, 3, 5, 7, 14, 30, 60))


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: its name without the prefix, its labels in order, what it means, the upper bounds of its buckets."""

    name: str
    kind: Kind
    labels: Labels
    help: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, labels: str, told: str) -> Metric:
    return Metric(name, Kind.COUNTER, tuple(labels.split()), told)


def _gauge(name: str, labels: str, told: str) -> Metric:
    return Metric(name, Kind.GAUGE, tuple(labels.split()), told)


def _timing(name: str, labels: str, told: str, buckets: tuple[float, ...] = _FAST) -> Metric:
    return Metric(name, Kind.HISTOGRAM, tuple(labels.split()), told, buckets)


# fmt: off
_ROWS: Final = (
    _counter("requests_total",             "side partner outcome",  "Requests by how they ended or were refused."),
    _counter("transitions_total",          "from to",               "Moves of requests between positions."),
    _gauge(  "open_by_position",           "side partner position", "Open requests."),
    _timing( "age_seconds",                "position",              "How long requests stood in a position.", _DAYS),
    _timing( "ncip_latency_seconds",       "partner service dir",   "From a document to its answer, in or out."),
    _counter("ncip_errors_total",          "partner class",         "Failures: dns connect tls timeout http xml problem."),
    _gauge(  "outbox_depth",               "partner",               "Messages that wait to be sent."),
    _gauge(  "outbox_oldest_seconds",      "partner",               "Age of the oldest message that waits."),
    _gauge(  "dead_letters",               "partner",               "Messages given up, for staff to settle."),
    _gauge(  "gateways",                   "state",                 "Gateways on this database: up, left, gone."),
    _gauge(  "partner_up",                 "partner",               "1 if the last attempt reached the partner, else 0."),
    _gauge(  "partner_fault",              "partner",               "1 while it refuses our agency, version or service."),
    _gauge(  "circuit_state",              "partner",               "0 sending, 1 trying again, 2 resting."),
    _gauge(  "sip2_sessions",              "",                      "Terminals connected."),
    _timing( "sip2_latency_seconds",       "msg",                   "From a SIP2 message to its answer."),
    _counter("sip2_messages_total",        "terminal msg outcome",  "SIP2 messages by what came of them."),
    _counter("sip2_events_total",          "event",                 "What sessions count: received, replayed and so on."),
    _counter("wrong_proofs_total",         "partner",               "Documents whose proof did not fit."),
    _counter("patron_lookups_total",       "partner told",          "Patrons looked up: whole, or eligibility alone."),
    _counter("wrong_pins_total",           "door who",              "Wrong PINs by terminal, or by partner or client."),
    _counter("connections_refused_total",  "door why",              "Connections that were not let in."),
    _gauge(  "ils_snapshot_age_seconds",   "",                      "Age of the loaded patron file."),
    _gauge(  "ils_up",                     "channel",               "1 while the local system answers; by connector or relay."),
    _counter("ils_calls_total",            "channel msg outcome",   "To the local system: ok unreachable hung_up resting."),
    _counter("ils_hang_ups_total",         "terminal msg",          "Messages over which the local system ended the line."),
    _gauge(  "ils_login_refused",          "channel login",         "1 while the local system refuses this login of ours."),
    _timing( "ils_latency_seconds",        "channel",               "From a question to the local system to its answer."),
    _counter("notices_total",              "kind result",           "Letters, and what became of them."),
    _gauge(  "timer_lag_seconds",          "job",                   "How late a round ran last."),
    _gauge(  "fill_rate",                  "",                      "Part of our requests that a lender filled."),
    _counter("decline_total",              "partner reason",        "Requests that a lender declined."),
    _gauge(  "lend_borrow_balance",        "partner",               "Books lent to a partner less books borrowed."),
    _gauge(  "closure_calendar_days_left", "",                      "Days until the closure calendar ends."),
    _timing( "db_latency_seconds",         "lane",                  "From the begin of a group of units to its commit."),
    _counter("log_dropped_total",          "",                      "Lines of the log that nobody took in time."),
    _timing( "reactor_lag_seconds",        "",                      "How late a timer of the main loop rang.", _LAG),
    _timing( "group_units",                "lane",                  "Units of work in one group, with one commit.", _SIZES),
)
# fmt: on

METRICS: Final[Mapping[str, Metric]] = {row.name: row for row in _ROWS}
"""Every metric. Source: operations.md 7.2; `db_latency` carries its unit, as Prometheus wants it."""


@dataclass(slots=True)
class _Tally:
    """One series of a histogram: how many fell in each bucket (the last has no bound), their sum."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class _Series:
    """All series of all metrics, by metric and label values."""

    values: dict[str, dict[Labels, float]] = field(default_factory=dict)
    tallies: dict[str, dict[Labels, _Tally]] = field(default_factory=dict)


class Counters:
    """The numbers of this process. Labels are given in the order of the metric's row in METRICS.

    A name, a kind or a number of labels that METRICS does not have is a bug and raises ValueError. Safe from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all = _Series()
        self._sources: list[Callable[[], None]] = []

    def ask(self, source: Callable[[], None]) -> None:
        """From here on `source` is called before a number is read, to add what it has counted for itself until then."""
        self._sources.append(source)

    def _collect(self) -> None:
        for source in self._sources:
            source()

    def add(self, name: str, *labels: str, by: float = 1) -> None:
        """`by` more of a counter."""
        _checked(name, Kind.COUNTER, labels)
        with self._lock:
            series = self._all.values.setdefault(name, {})
            key = _room(series, labels)
            series[key] = series.get(key, 0) + by

    def put(self, name: str, value: float, *labels: str) -> None:
        """A gauge is `value` now."""
        _checked(name, Kind.GAUGE, labels)
        with self._lock:
            series = self._all.values.setdefault(name, {})
            series[_room(series, labels)] = value

    def replace(self, name: str, rows: Mapping[Labels, float]) -> None:
        """All series of a gauge at once; those that are not in `rows` are gone."""
        for labels in rows:
            _checked(name, Kind.GAUGE, labels)
        with self._lock:
            self._all.values[name] = dict(rows)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """A histogram has one more observation."""
        metric = _checked(name, Kind.HISTOGRAM, labels)
        with self._lock:
            series = self._all.tallies.setdefault(name, {})
            room = _room(series, labels)
            tally = series.get(room) or series.setdefault(room, _Tally([0] * (len(metric.buckets) + 1)))
            tally.counts[bisect_left(metric.buckets, value)] += 1
            tally.total += value

    def read(self, name: str, *labels: str) -> float:
        """A counter or gauge as it stands, 0 if it was never touched; of a histogram the number of observations."""
        self._collect()
        with self._lock:
            tally = self._all.tallies.get(name, {}).get(labels)
            return sum(tally.counts) if tally else self._all.values.get(name, {}).get(labels, 0)

    def text(self) -> str:
        """All that was touched, in Prometheus text format 0.0.4."""
        self._collect()
        with self._lock:
            return "".join(f"{line}\n" for metric in _ROWS for line in _written(metric, self._all))


def _checked(name: str, kind: Kind, labels: Labels) -> Metric:
    metric = METRICS.get(name)
    if metric is None or metric.kind is not kind:
        raise ValueError(f"no {kind} {name!r} in METRICS")
    if len(labels) != len(metric.labels):
        raise ValueError(f"{name} has the labels {metric.labels}, not {labels}")
    return metric


def _room(series: Mapping[Labels, object], labels: Labels) -> Labels:
    return labels if labels in series or len(series) < MOST_SERIES else ("other",) * len(labels)


def _written(metric: Metric, series: _Series) -> Iterable[str]:
    values, tallies = series.values.get(metric.name, {}), series.tallies.get(metric.name, {})
    if not values and not tallies:
        return
    name = PREFIX + metric.name
    yield f"# HELP {name} {metric.help}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, value in values.items():
        yield f"{name}{_braces(metric.labels, labels)} {_number(value)}"
    for labels, tally in tallies.items():
        yield from _histogram(name, metric, labels, tally)


def _histogram(name: str, metric: Metric, labels: Labels, tally: _Tally) -> Iterable[str]:
    below = 0
    for bound, count in zip((*metric.buckets, float("inf")), tally.counts, strict=True):
        below += count
        yield f"{name}_bucket{_braces((*metric.labels, 'le'), (*labels, _number(bound)))} {below}"
    yield f"{name}_sum{_braces(metric.labels, labels)} {_number(tally.total)}"
    yield f"{name}_count{_braces(metric.labels, labels)} {below}"


def _braces(names: Labels, values: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
