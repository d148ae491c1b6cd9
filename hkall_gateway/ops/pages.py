"""What operators' tools open: /healthz = the process answers, /readyz = it can do its work, /metrics = Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web import pages, resource
from twisted.web.server import NOT_DONE_YET

from hkall_gateway.desk.ports import Clock
from hkall_gateway.edge.bounded_http import BoundedSite, Bounds
from hkall_gateway.edge.counters import Counters
from hkall_gateway.ops.gauges import Rows
from hkall_gateway.store.database import Store
from hkall_gateway.store.unit import Unit

Look = Callable[[Unit], Mapping[str, Rows]]


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    code: int
    content_type: bytes
    body: bytes


EVERY_S: Final = 0.1
"""A page is made at most once in so long: one costs some milliseconds, and anybody may ask."""


class Paced:
    """A page that is made ten times a second at most. Who asks sooner waits; all who wait get the same one, freshly made."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Page]], clock: Clock) -> None:
        self._make, self._clock = make, clock
        self._free_s = 0.0
        self._waiting: list[Deferred[Page]] = []

    def __call__(self) -> Deferred[Page]:
        """The page."""
        asked: Deferred[Page] = Deferred()
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            wait_s = self._free_s - self._clock.seconds()
            if wait_s > 0:
                self._clock.callLater(wait_s, self._begin)
            else:
                self._begin()
        return asked

    def _begin(self) -> None:
        ensureDeferred(self._make()).addCallback(self._tell)

    def _tell(self, page: Page) -> None:
        self._free_s = self._clock.seconds() + EVERY_S
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            asked.callback(page)


def _later(request: Any, making: Deferred[Page]) -> int:
    """Answer once the page is made. A balancer that did not wait for it has hung up, and gets none."""
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def answer(page: Page) -> None:
        if gone:
            return
        request.setResponseCode(page.code)
        request.setHeader(b"content-type", page.content_type)
        request.write(page.body)
        request.finish()

    making.addCallback(answer)
    return NOT_DONE_YET


class Root(resource.Resource):
    """The three pages and nothing else."""

    def getChild(self, _path: bytes, _request: Any) -> Any:  # noqa: N802
        return pages.notFound()


class Health(resource.Resource):
    """The process answers."""

    def render_GET(self, request: Any) -> bytes:  # noqa: N802  # Twisted's own name
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"ok\n"


class Ready(resource.Resource):
    """The database answers and the doors are open; 503 while they are not."""

    def __init__(self, store: Store, listening: Callable[[], bool], clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._store, self._listening = store, listening
        self._page = Paced(self._answer, clock)

    def render_GET(self, request: Any) -> int:  # noqa: N802
        return _later(request, self._page())

    async def _answer(self) -> Page:
        try:
            await self._store.read(Unit.request, "")
            await self._store.run(_nothing)
            missing = [] if self._listening() else ["listeners"]
        except Exception:  # noqa: BLE001  # whatever keeps the database from answering, we are not ready
            missing = ["database"]
        text = "not ready: " + ", ".join(missing) if missing else "ready"
        return Page(503 if missing else 200, b"text/plain; charset=utf-8", text.encode() + b"\n")


def _nothing(_unit: Unit) -> None:
    """Asks only whether the writer's own connection is there; a transaction that wrote nothing costs the disk nothing."""


class Metrics(resource.Resource):
    """The counters of this process, and what the database knows now."""

    def __init__(self, store: Store, counters: Counters, gauges: Look, clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._store, self._counters, self._gauges = store, counters, gauges
        self._page = Paced(self._answer, clock)
        self._told: Mapping[str, Rows] = {}

    def render_GET(self, request: Any) -> int:  # noqa: N802
        return _later(request, self._page())

    async def _answer(self) -> Page:
        try:
            self._told = await self._store.read(self._gauges)
        except Exception:  # noqa: BLE001  # /readyz says that; what this process counted is told all the same
            self._told = {name: {} for name in self._told}
        for name, rows in self._told.items():
            self._counters.replace(name, rows)
        return Page(200, b"text/plain; version=0.0.4; charset=utf-8", self._counters.text().encode())


def ops_site(
    store: Store, counters: Counters, gauges: Look, listening: Callable[[], bool], bounds: Bounds, reactor: Any
) -> BoundedSite:
    """The whole little site; `gauges` looks at what the database knows."""
    root: Any = Root()  # type: ignore[no-untyped-call]
    root.putChild(b"healthz", Health())  # type: ignore[no-untyped-call]
    root.putChild(b"readyz", Ready(store, listening, reactor))
    root.putChild(b"metrics", Metrics(store, counters, gauges, reactor))
    return BoundedSite(root, bounds, reactor)
