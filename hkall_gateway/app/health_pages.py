"""Monitoring endpoints: /healthz (the process is alive), /readyz (the gateway can do its work) and /metrics (Prometheus)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.web import pages, resource
from twisted.web.server import NOT_DONE_YET

from hkall_gateway.app.gauges import Gauges, Rows
from hkall_gateway.app.pages_process import PagesProcess
from hkall_gateway.clock import Clock
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.locks import unlocked
from hkall_gateway.net.bounded_http import BoundedSite, Bounds
from hkall_gateway.net.limits.timeout import Timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPage:
    """An HTTP response."""

    code: int
    content_type: bytes
    body: bytes


EVERY_S: Final = 0.1
DATABASE_S: Final = 1.5
"""Time limit for the database's answer, in seconds. Load balancers usually wait for two seconds."""
METRICS_EVERY_S: Final = 0.5
"""Minimum seconds between two renderings of /metrics in one format, since 1,900 lines block the reactor for 15 ms."""


class CachedPage:
    """A page that is rendered at most once per `every_s` seconds. Earlier requests wait, and then share the next rendering."""

    def __init__(
        self, make: Callable[[], Coroutine[Deferred[object], object, HttpPage]], clock: Clock, every_s: float = EVERY_S
    ) -> None:
        self._make, self._clock, self._every_s = make, clock, every_s
        self._free_s = 0.0
        self._waiting: list[Deferred[HttpPage]] = []

    def __call__(self) -> Deferred[HttpPage]:
        """Return a Deferred for the page."""
        answer: Deferred[HttpPage] = Deferred()
        self._waiting.append(answer)
        if len(self._waiting) == 1:
            wait_s = self._free_s - self._clock.seconds()
            if wait_s > 0:
                self._clock.callLater(wait_s, self._start_making)
            else:
                self._start_making()
        return answer

    def _start_making(self) -> None:
        _ = ensureDeferred(self._make()).addCallback(self._send_page)

    def _send_page(self, page: HttpPage) -> None:
        self._free_s = self._clock.seconds() + self._every_s
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer.callback(page)


def _answer_later(request: Any, making: Deferred[HttpPage]) -> int:
    """Send a page when rendered, unless the client has disconnected."""
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def answer(page: HttpPage) -> None:
        if gone:
            return
        request.setResponseCode(page.code)
        request.setHeader(b"content-type", page.content_type)
        request.write(page.body)
        request.finish()

    _ = making.addCallback(answer)
    return NOT_DONE_YET


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """The monitored parts of the gateway.

    Attributes:
        listening: Returns whether the ports are open.
        writable: Returns whether the last write to the database succeeded.
        ils_away: Returns whether the local system is unreachable.
        pages: Web process. It has no monitoring port, so this process reports its state and metrics.
    """

    store: Store
    gauges: Gauges
    clock: Clock
    listening: Callable[[], bool]
    writable: Callable[[], bool]
    ils_away: Callable[[], bool]
    pages: PagesProcess | None


class Root(resource.Resource):
    """The parent resource of the three pages. Answers 404 for any other path."""

    def getChild(self, _path: bytes, _request: object) -> resource.Resource:  # noqa: N802  # Twisted's own name
        """Return the 404 page for an unknown path."""
        return pages.notFound()


class HealthPage(resource.Resource):
    """/healthz shows that the process is alive."""

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        """Answer 200."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"ok\n"


class Ready(resource.Resource):
    """/readyz answers 200 if the database answers and accepts writes and the ports are open, otherwise 503.

    The text also names recipients with stalled messages, an unreachable local system and an unresponsive web process. None of
    these is a reason to send terminals to another gateway, so the status stays 200. Load balancers for browsers use
    /readyz/pages, which answers 503 if the web process does not respond.
    """

    def __init__(self, monitored: Monitored, *, needs_pages: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._monitored, self._needs_pages = monitored, needs_pages
        self._within, self._page = Timeout(monitored.clock, DATABASE_S), CachedPage(self._text_page, monitored.clock)

    def render_GET(self, request: Any) -> int:  # noqa: N802
        """Send the page as soon as the state is known."""
        return _answer_later(request, self._page())

    async def _query_database(self) -> frozenset[str]:
        store, gauges = self._monitored.store, self._monitored.gauges
        stalled = await store.read(gauges.stalled, is_long=True)
        # Tests the writer's connection without writing to disk.
        await store.write(lambda _unit: None, unlocked("the unit does nothing"))
        return stalled

    async def _text_page(self) -> HttpPage:
        seen = self._monitored
        stalled: frozenset[str] = frozenset()
        pages_state = Deferred.fromCoroutine(seen.pages.is_ready()) if seen.pages else succeed(True)
        try:
            stalled = await self._within.run(self._query_database())
            missing = [] if seen.writable() else ["database"]
            missing += [] if seen.listening() else ["listeners"]
        except Exception:  # noqa: BLE001  # any error means "not ready"
            missing = ["database"]
        pages_ready = await pages_state
        missing += ["pages"] if self._needs_pages and not pages_ready else []
        text = "not ready: " + ", ".join(missing) if missing else "ready"
        text += "" if pages_ready or self._needs_pages else "\nthe pages' process does not answer"
        text += f"\nno message leaves for: {', '.join(sorted(stalled))}" if stalled else ""
        text += "\nthe library's own system is away" if seen.ils_away() else ""
        return HttpPage(code=503 if missing else 200, content_type=b"text/plain; charset=utf-8", body=text.encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Format:
    """A Prometheus exposition format: the Content-Type and the encoder."""

    content_type: str
    encode: Callable[[Collector], bytes]


TEXT: Final = Format(exposition.CONTENT_TYPE_PLAIN_0_0_4, exposition.generate_latest)
OPENMETRICS: Final = Format(openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest)


class MetricsPage(resource.Resource):
    """/metrics shows all metrics of this process and the web process, including the gauges from the database.

    While the database does not answer, the gauges that are read from it are absent, and `database_up` is 0.
    """

    def __init__(self, monitored: Monitored, registry: CollectorRegistry) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._monitored, self._registry = monitored, registry
        self._within, self._is_reading = Timeout(monitored.clock, DATABASE_S), False
        self._text, self._openmetrics = (
            CachedPage(partial(self._metrics_page, form), monitored.clock, METRICS_EVERY_S) for form in (TEXT, OPENMETRICS)
        )

    def render_GET(self, request: Any) -> int:  # noqa: N802
        """Send the page as soon as the gauges have been read."""
        accepted = request.getHeader(b"accept") or b""
        return _answer_later(request, self._openmetrics() if b"application/openmetrics-text" in accepted else self._text())

    async def _metrics_page(self, form: Format) -> HttpPage:
        seen, gauges = self._monitored, self._monitored.gauges
        shown = Deferred.fromCoroutine(seen.pages.add_metrics(self._registry)) if seen.pages else succeed(self._registry)
        gauges.rows = {}
        if not self._is_reading:  # an earlier reading still waits for a database that does not answer
            with suppress(Exception):  # /readyz reports the error, and the other metrics are still exported
                gauges.rows = await self._within.run(self._read_gauges())
        return HttpPage(code=200, content_type=form.content_type.encode(), body=form.encode(await shown))

    async def _read_gauges(self) -> Mapping[str, Rows]:
        self._is_reading = True
        try:
            return await self._monitored.store.read(self._monitored.gauges.read, is_long=True)
        finally:
            self._is_reading = False


def ops_site(monitored: Monitored, registry: CollectorRegistry, bounds: Bounds) -> BoundedSite:
    """Create the monitoring site, and register the gauges."""
    registry.register(monitored.gauges)
    root: Any = Root()  # type: ignore[no-untyped-call]
    root.putChild(b"healthz", HealthPage())  # type: ignore[no-untyped-call]
    ready: Any = Ready(monitored)
    if monitored.pages is not None:
        ready.putChild(b"pages", Ready(monitored, needs_pages=True))
    root.putChild(b"readyz", ready)
    root.putChild(b"metrics", MetricsPage(monitored, registry))
    return BoundedSite(root, bounds, monitored.clock)
