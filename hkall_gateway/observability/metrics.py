"""The metrics of one gateway, in a separate prometheus_client registry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # `_created` series can only be disabled globally

NAMESPACE: Final = "hkall"
MAX_SERIES: Final = 2000
"""Maximum number of series per metric, since peers can choose label values. Further values are counted as "other"."""

# Upper bounds of histogram buckets, in the metric's unit.
_FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_S: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_UNITS: Final = tuple(2.0**n for n in range(9))
_DAYS_S: Final = tuple(days * 86400.0 for days in (0.25, 1, 2, 3, 5, 7, 14, 30, 60))

M = TypeVar("M", bound=MetricWrapperBase)


_EXCHANGE: Final = "protocol partner service dir"


class Labelled(Generic[M]):
    """A metric with labels and at most MAX_SERIES series.

    Caches the series by label values, since prometheus_client's own `labels()` checks, converts and locks, which takes longer
    than counting (bench row `sip2_63_vs_echo`).
    """

    __slots__ = ("_children", "_lock", "_metric")

    def __init__(self, metric: M) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], M] = {}
        self._lock = threading.Lock()

    def labels(self, *values: str) -> M:
        """Return the series for label values, in the order of the label names. Raises ValueError if a value is missing."""
        child = self._children.get(values)
        return self._add_series(values) if child is None else child

    def samples(self) -> list[tuple[tuple[str, ...], float]]:
        """Return the label values and the value of each series of a gauge or counter."""
        collected = [sample for metric in self._metric.collect() for sample in metric.samples]
        return [(tuple(sample.labels.values()), sample.value) for sample in collected]

    def _add_series(self, values: tuple[str, ...]) -> M:
        with self._lock:
            if len(self._children) >= MAX_SERIES and values not in self._children:
                values = ("other",) * len(values)
            child = self._children[values] = self._metric.labels(*values)
            return child


class _Refresher(Collector):
    """A collector without metrics that calls functions before each collection."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], None]] = []

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for source in self.sources:
            source()
        return ()


class Metrics:
    """The metrics that the gateway counts or measures itself. Thread-safe. `app.gauges` has the metrics from the database."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._refresher = _Refresher()
        self.registry.register(self._refresher)  # register first, because collection follows the order of registration
        own: dict[str, Any] = {"namespace": NAMESPACE, "registry": self.registry}

        def counter(name: str, labels: str, text: str) -> Labelled[Counter]:
            return Labelled(Counter(name, text, labels.split(), **own))

        def gauge(name: str, labels: str, text: str) -> Labelled[Gauge]:
            return Labelled(Gauge(name, text, labels.split(), **own))

        def histogram(name: str, labels: str, text: str, buckets: tuple[float, ...] = _FAST_S) -> Labelled[Histogram]:
            return Labelled(Histogram(name, text, labels.split(), buckets=buckets, **own))

        # fmt: off
        self.requests            = counter("requests_total", "side partner outcome", "Ended requests by outcome.")
        self.transitions         = counter("transitions_total", "from to", "Moves of requests between positions.")
        self.ages                = histogram("age_seconds", "position", "How long requests stood in a position.", _DAYS_S)
        self.declines            = counter("decline_total", "partner reason", "Requests that a lender declined.")
        self.notices             = counter("notices_total", "kind result", "Letters by outcome.")
        self.ncip_latency        = histogram("ncip_latency_seconds", "partner service dir", "From a document to its answer.")
        self.ncip_errors         = counter("ncip_errors_total", "partner class", "Dns connect tls timeout http xml problem.")
        self.partner_latency     = histogram("partner_latency_seconds", _EXCHANGE, "From a document to its answer.")
        self.partner_errors      = counter("partner_errors_total", "protocol partner class", "Failed exchanges, by kind.")
        self.secret_last_used    = gauge("secret_last_used_timestamp_seconds", "partner variable", "Its last right secret.")
        self.wrong_proofs        = counter("wrong_proofs_total", "partner", "Documents with a wrong secret.")
        self.patron_lookups      = counter("patron_lookups_total", "partner told", "Patron answers in full, or eligibility.")
        self.sip2_sessions       = Gauge("sip2_sessions", "Terminals connected.", **own)
        self.sip2_latency        = histogram("sip2_latency_seconds", "msg", "From a SIP2 message to its answer.")
        self.sip2_messages       = counter("sip2_messages_total", "terminal msg outcome", "SIP2 messages by their outcome.")
        self.sip2_events         = counter("sip2_events_total", "event", "Lines received, replayed, too long and so on.")
        self.commands_expired    = counter("commands_expired_total", "door why", "Commands never begun: late, or caller gone.")
        self.wrong_pins          = counter("wrong_pins_total", "door who", "Wrong PINs by terminal, partner or client.")
        self.connections_refused = counter("connections_refused_total", "door why", "Connections refused.")
        self.ils_up              = gauge("ils_up", "channel", "1 while the local system answers; by connector or relay.")
        self.ils_calls           = counter("ils_calls_total", "channel msg outcome", "Ok unreachable hung_up resting.")
        self.ils_hang_ups        = counter("ils_hang_ups_total", "terminal msg", "Messages that the local system hung up on.")
        self.ils_login_refused   = gauge("ils_login_refused", "channel login", "1 while the local system refuses this login.")
        self.ils_latency         = histogram("ils_latency_seconds", "channel", "From a question to its answer.")
        self.web_latency         = histogram("web_latency_seconds", "page code", "From a browser's request to its answer.")
        self.web_logins          = counter("web_logins_total", "who outcome", "Logins on the web: admitted, wrong, throttled.")
        self.pages_refused       = counter("pages_refused_total", "who why", "Pages refused before they took a thread.")
        self.gateways            = gauge("gateways", "state", "Gateways on this database: up, left, gone.")
        self.db_latency          = histogram("db_latency_seconds", "lane", "From the start of a group of units to its commit.")
        self.group_units         = histogram("group_units", "lane", "Units of work in one group, with one commit.", _UNITS)
        self.reactor_lag         = Histogram("reactor_lag_seconds", "How late a timer fired.", buckets=_LAG_S, **own)
        self.log_dropped         = Counter("log_dropped_total", "Log lines dropped because the log could not keep up.", **own)
        # fmt: on

    def before_collection(self, source: Callable[[], None]) -> None:
        """Call `source` at the start of each collection, so that it can update metrics."""
        self._refresher.sources.append(source)
