"""Health, readiness and metrics pages, queried like a monitoring tool does."""

from __future__ import annotations

import gc
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from hkall_gateway.app.gauges import Gauges
from hkall_gateway.app.health_pages import EVERY_S, METRICS_EVERY_S, CachedPage, HttpPage, Monitored, ops_site
from hkall_gateway.net.bounded_http import BoundedSite
from hkall_gateway.observability.metrics import Metrics
from tests.bounds import bounds

NOW = datetime(2017, 3, 1, 4, tzinfo=UTC)


class Store:
    """A store that answers at once, or is unavailable."""

    def __init__(self, broken: bool = False, gauges: Any = None) -> None:
        self._broken, self.gauges = broken, gauges or {}

    def read(self, query: Any, **_options: Any) -> Deferred[Any]:
        return fail(OSError("disk")) if self._broken else succeed(self.gauges)

    def write(self, work: Any, *_options: Any, **_named: Any) -> Deferred[Any]:
        return self.read(work)


def made(
    store: Store,
    *,
    listening: bool = True,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
    writable: bool = True,
) -> BoundedSite:
    gauges, registry, limits = Gauges("HKU", lambda: NOW), (metrics or Metrics()).registry, bounds(protocol="ops", idle_s=30)
    reader: Any = store
    seen = Monitored(
        store=reader,
        gauges=gauges,
        clock=clock or Clock(),
        listening=lambda: listening,
        writable=lambda: writable,
        ils_away=lambda: False,
        pages=None,
    )
    return ops_site(seen, registry, limits)


def ask(site: BoundedSite, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    """Status, Content-Type and body of a page."""
    protocol = site.buildProtocol(None)  # type: ignore[no-untyped-call]  # twisted.web has no types
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted has no types here
    protocol.makeConnection(transport)
    protocol.dataReceived(f"GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n".encode())
    head, _, body = transport.value().partition(b"\r\n\r\n")
    (kind,) = re.findall(r"(?im)^content-type: ([^\r]*)", head.decode())
    return int(head.split()[1]), kind, body.decode()


def get(
    path: str, store: Store, *, listening: bool = True, metrics: Metrics | None = None, writable: bool = True
) -> tuple[int, str]:
    status, _, page = ask(made(store, listening=listening, metrics=metrics, writable=writable), path)
    return status, page


def test_health_is_ok_regardless_of_the_database() -> None:
    assert get("/healthz", Store(broken=True)) == (200, "ok\n")


def test_gateway_is_ready_with_database_and_listeners() -> None:
    assert get("/readyz", Store()) == (200, "ready\n")


class SlowStore(Store):
    """A store that answers only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[Any]] = []

    def read(self, query: Any, **_options: Any) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_early_disconnect_of_the_load_balancer_causes_no_error(path: str) -> None:
    store = SlowStore()
    protocol = made(store).buildProtocol(None)  # type: ignore[no-untyped-call]  # twisted.web has no types
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted has no types here
    protocol.makeConnection(transport)
    protocol.dataReceived(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    gc.collect()  # errors that earlier tests left are not this page's
    errors: list[Any] = []
    observer: Any = errors.append
    globalLogPublisher.addObserver(observer)
    while store.waiting:
        store.waiting.pop().callback({})
    gc.collect()  # an error that nobody took is told when its Deferred goes
    globalLogPublisher.removeObserver(observer)
    assert transport.value() == b""
    assert errors == []


def test_gateway_is_not_ready_within_two_seconds_when_the_database_does_not_answer() -> None:
    clock: Any = Clock()
    protocol = made(SlowStore(), clock=clock).buildProtocol(None)  # type: ignore[no-untyped-call]
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    protocol.makeConnection(transport)
    protocol.dataReceived(b"GET /readyz HTTP/1.0\r\n\r\n")
    assert transport.value() == b""
    clock.advance(2)
    assert transport.value().startswith(b"HTTP/1.0 503")


def test_metrics_are_there_within_two_seconds_when_the_database_does_not_answer() -> None:
    """The first page waits for the database, and the next pages do not, as long as it still has not answered."""
    clock: Any = Clock()
    store = SlowStore()
    site = made(store, clock=clock)

    def asked() -> Any:
        protocol = site.buildProtocol(None)  # type: ignore[no-untyped-call]
        transport: Any = StringTransport()  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n")
        return transport

    first = asked()
    assert first.value() == b""
    clock.advance(2)
    assert b"hkall_sip2_sessions" in first.value()
    assert b"\nhkall_database_up 0.0\n" in first.value()
    assert b"hkall_timer_lag_seconds" not in first.value()

    clock.advance(15)
    assert b"\nhkall_database_up 0.0\n" in asked().value()
    assert len(store.waiting) == 1

    store.waiting.pop().callback({})
    clock.advance(15)
    asked()
    assert len(store.waiting) == 1  # the database is read again


def test_ready_lists_stalled_channels() -> None:
    store = Store(gauges=frozenset({"PolyU", "CUHK"}))
    assert get("/readyz", store) == (200, "ready\nno message leaves for: CUHK, PolyU\n")


def test_gateway_is_not_ready_without_the_database() -> None:
    assert get("/readyz", Store(broken=True)) == (503, "not ready: database\n")


def test_metrics_are_served_during_a_database_outage() -> None:
    metrics = Metrics()
    metrics.transitions.labels("NEW", "REQUESTED").inc()
    status, page = get("/metrics", Store(broken=True), metrics=metrics)
    assert (status, 'hkall_transitions_total{from="NEW",to="REQUESTED"} 1.0\n' in page) == (200, True)
    assert "hkall_outbox_depth{" not in page


def test_gateway_is_not_ready_while_the_database_is_read_only() -> None:
    assert get("/readyz", Store(), writable=False) == (503, "not ready: database\n")


def test_gateway_is_not_ready_while_the_listeners_are_closed() -> None:
    assert get("/readyz", Store(), listening=False) == (503, "not ready: listeners\n")


def test_metrics_include_counters_and_queue_lengths() -> None:
    metrics = Metrics()
    metrics.transitions.labels("NEW", "REQUESTED").inc()
    store = Store(gauges={"outbox_depth": {("CUHK",): 3}, "dead_letters": {("mail",): 1}})
    status, text = get("/metrics", store, metrics=metrics)
    assert status == 200
    assert 'hkall_transitions_total{from="NEW",to="REQUESTED"} 1.0\n' in text
    assert 'hkall_outbox_depth{partner="CUHK"} 3.0\n' in text
    assert 'hkall_dead_letters{partner="mail"} 1.0\n' in text


def test_gauge_without_rows_disappears_from_the_next_scrape() -> None:
    clock, store = Clock(), Store(gauges={"outbox_depth": {("CUHK",): 4}})
    site = made(store, clock=clock)
    assert 'hkall_outbox_depth{partner="CUHK"} 4.0\n' in ask(site, "/metrics")[2]
    store.gauges = {"outbox_depth": {("HKUST",): 2}}
    clock.advance(METRICS_EVERY_S)
    lines = ask(site, "/metrics")[2].splitlines()
    assert [line for line in lines if line.startswith("hkall_outbox")] == ['hkall_outbox_depth{partner="HKUST"} 2.0']


PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,*/*;q=0.1"
READERS = {
    "*/*": ("text/plain; version=0.0.4; charset=utf-8", text_string_to_metric_families),
    "text/plain;version=x": ("text/plain; version=0.0.4; charset=utf-8", text_string_to_metric_families),
    PROMETHEUS: ("application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics_families),
}


@pytest.mark.parametrize("accept", READERS)
def test_openmetrics_is_served_only_when_accepted(accept: str) -> None:
    metrics = Metrics()
    metrics.transitions.labels("NEW", "REQUESTED").inc()
    metrics.sip2_latency.labels("63").observe(0.002)
    expected, read = READERS[accept]
    site = made(Store(gauges={"dead_letters": {("mail",): 1}}), metrics=metrics)
    status, kind, page = ask(site, "/metrics", accept)
    families = {family.name: family for family in read(page)}
    assert (status, kind) == (200, expected)
    assert families["hkall_transitions"].samples[0].value == 1
    assert families["hkall_sip2_latency_seconds"].type == "histogram"
    assert families["hkall_dead_letters"].samples[0].labels == {"partner": "mail"}


def test_unknown_path_is_not_found() -> None:
    status, _ = get("/nothing", Store())
    assert status == 404


def test_slow_request_head_is_disconnected() -> None:
    clock = Clock()
    site = made(Store(), clock=clock)
    line: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted has no types here
    protocol = site.buildProtocol(None)  # type: ignore[no-untyped-call]  # nor has twisted.web
    protocol.callLater = clock.callLater
    protocol.makeConnection(line)
    protocol.dataReceived(b"GET /metrics HTTP/1.1\r\n")
    for _ in range(31):
        protocol.dataReceived(b"X-More: and more\r\n")
        clock.advance(1)
    assert line.disconnecting


def test_concurrent_scrapes_share_a_page_and_later_scrapes_get_a_new_page() -> None:
    made, clock = list[Deferred[HttpPage]](), Clock()

    async def make() -> HttpPage:
        made.append(Deferred())
        return await made[-1]

    page, heard = CachedPage(make, clock), list[bytes]()
    for _ in range(5):
        page().addCallback(lambda found: heard.append(found.body))
    made[0].callback(HttpPage(code=200, content_type=b"text/plain", body=b"one"))
    page().addCallback(lambda found: heard.append(found.body))
    assert (len(made), heard) == (1, [b"one"] * 5)
    clock.advance(EVERY_S)
    made[1].callback(HttpPage(code=200, content_type=b"text/plain", body=b"two"))
    assert heard[5:] == [b"two"]
