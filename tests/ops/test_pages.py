"""Health, readiness and metrics, asked the way a monitoring tool asks."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from hkall_gateway.edge.counters import Counters
from hkall_gateway.ops.pages import EVERY_S, Paced, Page, ops_site
from tests.bounds import bounds


class Store:
    """A store that answers at once, or cannot."""

    def __init__(self, broken: bool = False, gauges: Any = None) -> None:
        self._broken, self._gauges = broken, gauges or {}

    def read(self, work: Any, *args: Any) -> Deferred[Any]:
        return fail(OSError("disk")) if self._broken else succeed(self._gauges)

    def glance(self, work: Any, *args: Any, patron: str = "") -> Deferred[Any]:
        return self.read(work, *args)

    def run(self, work: Any, *args: Any, locks: Any = None, repeatable: bool = False, short: bool = False) -> Deferred[Any]:
        return self.read(work, *args)


def nothing(_unit: Any) -> Any:
    """What the database knows is the store's answer here."""
    raise AssertionError("the store of this test asks nobody")


def get(path: str, store: Store, *, listening: bool = True, counters: Counters | None = None) -> tuple[int, str]:
    site = ops_site(store, counters or Counters(), nothing, lambda: listening, bounds(protocol="ops"), Clock())
    protocol = site.buildProtocol(None)  # type: ignore[no-untyped-call]  # twisted.web has no types
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted has no types here
    protocol.makeConnection(transport)
    protocol.dataReceived(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = transport.value().partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_health_says_that_the_process_answers_whatever_the_database_does() -> None:
    assert get("/healthz", Store(broken=True)) == (200, "ok\n")


def test_ready_when_the_database_and_the_doors_are() -> None:
    assert get("/readyz", Store()) == (200, "ready\n")


class SlowStore(Store):
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[Any]] = []

    def read(self, work: Any, *args: Any) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_a_balancer_that_hangs_up_before_it_is_answered_does_no_harm(path: str) -> None:
    store = SlowStore()
    protocol = ops_site(store, Counters(), nothing, lambda: True, bounds(protocol="ops"), Clock()).buildProtocol(None)  # type: ignore[no-untyped-call]  # twisted.web has no types
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted has no types here
    protocol.makeConnection(transport)
    protocol.dataReceived(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    errors: list[Any] = []
    observer: Any = errors.append
    globalLogPublisher.addObserver(observer)
    while store.waiting:
        store.waiting.pop().callback({})
    gc.collect()  # an error that nobody took is told when its Deferred goes
    globalLogPublisher.removeObserver(observer)
    assert transport.value() == b""
    assert errors == []


def test_not_ready_without_the_database() -> None:
    assert get("/readyz", Store(broken=True)) == (503, "not ready: database\n")


def test_what_was_counted_is_told_also_while_the_database_is_away() -> None:
    counters = Counters()
    counters.add("transitions_total", "NEW", "REQUESTED")
    status, page = get("/metrics", Store(broken=True), counters=counters)
    assert (status, 'hkall_transitions_total{from="NEW",to="REQUESTED"} 1' in page) == (200, True)
    assert "hkall_outbox_depth{" not in page


def test_not_ready_while_the_doors_are_closed() -> None:
    assert get("/readyz", Store(), listening=False) == (503, "not ready: listeners\n")


def test_metrics_show_what_was_counted_and_what_waits() -> None:
    counters = Counters()
    counters.add("transitions_total", "NEW", "REQUESTED")
    store = Store(gauges={"outbox_depth": {("CUHK",): 3}, "dead_letters": {("mail",): 1}})
    status, text = get("/metrics", store, counters=counters)
    assert status == 200
    assert 'hkall_transitions_total{from="NEW",to="REQUESTED"} 1' in text
    assert 'hkall_outbox_depth{partner="CUHK"} 3' in text
    assert 'hkall_dead_letters{partner="mail"} 1' in text


def test_another_page_is_not_found() -> None:
    status, _ = get("/nothing", Store())
    assert status == 404


def test_a_head_that_drips_is_hung_up_on() -> None:
    clock = Clock()
    site = ops_site(Store(), Counters(), nothing, lambda: True, bounds(protocol="ops", idle_s=30), clock)
    line: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted has no types here
    protocol = site.buildProtocol(None)  # type: ignore[no-untyped-call]  # nor has twisted.web
    protocol.callLater = clock.callLater
    protocol.makeConnection(line)
    protocol.dataReceived(b"GET /metrics HTTP/1.1\r\n")
    for _ in range(31):
        protocol.dataReceived(b"X-More: and more\r\n")
        clock.advance(1)
    assert line.disconnecting


def test_all_who_ask_at_the_same_time_get_one_page_and_who_asks_soon_again_waits_for_a_fresh_one() -> None:
    made, clock = list[Deferred[Page]](), Clock()

    async def make() -> Page:
        made.append(Deferred())
        return await made[-1]

    page, heard = Paced(make, clock), list[bytes]()
    for _ in range(5):
        page().addCallback(lambda found: heard.append(found.body))
    made[0].callback(Page(200, b"text/plain", b"one"))
    page().addCallback(lambda found: heard.append(found.body))
    assert (len(made), heard) == (1, [b"one"] * 5)
    clock.advance(EVERY_S)
    made[1].callback(Page(200, b"text/plain", b"two"))
    assert heard[5:] == [b"two"]
