"""The pages' HTTP server: Flask on a bounded pool of threads, with the limits of every port of ours.

The reactor's thread reads and writes sockets only; a page is made in a thread of the pool, one of `threads`. While pages are
made, threads give way to each other more often.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import structlog
from flask import Flask
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.wsgi import WSGIResource

from hkall_gateway.edge.bounded_http import BoundedSite, Bounds
from hkall_gateway.edge.limits.allow_list import AllowList
from hkall_gateway.edge.limits.connection_limit import ConnectionSlot
from hkall_gateway.web.bridge import DeskBridge
from hkall_gateway.web.fallback_pages import BUSY, TOO_LONG
from hkall_gateway.web.turns import SWITCH_S

LOG = structlog.get_logger()

WAITING_PER_THREAD: Final = 16
"""Requests that may wait for each thread; for one more the page says that the gateway is busy."""
GRACE_S: Final = 5.0
"""At the end, for pages that are being made; then the desk answers them "try again"."""


class PagesResource(Resource):
    """Hands each request to a thread of the pool; answers by itself where too many wait already."""

    isLeaf = True  # noqa: N815  # Twisted's own name

    def __init__(self, reactor: Any, pool: ThreadPool, app: Flask, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        made: Any = WSGIResource  # it has no types
        self._wsgi = made(reactor, pool, app)
        self._most, self._in_hand, self._idle = most, 0, list[Deferred[None]]()
        self._usual_switch_s = sys.getswitchinterval()

    def render(self, request: Any) -> Any:
        if request.too_long:
            return _plainly(request, 413, TOO_LONG)
        if self._in_hand >= self._most:
            request.setHeader(b"retry-after", b"5")
            return _plainly(request, 503, BUSY)
        self._in_hand += 1
        if self._in_hand == 1:
            sys.setswitchinterval(SWITCH_S)
        request.notifyFinish().addBoth(self._done)
        return self._wsgi.render(request)

    def idle(self) -> Deferred[None]:
        """Fires once no request is in hand."""
        if not self._in_hand:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        return waiting

    def _done(self, _reason: object) -> None:
        self._in_hand -= 1
        if not self._in_hand:
            sys.setswitchinterval(self._usual_switch_s)
        while not self._in_hand and self._idle:
            self._idle.pop().callback(None)


class WebSite(BoundedSite):
    """The site of the pages. Connections of `proxies` do not count as one address."""

    def __init__(self, root: PagesResource, bounds: Bounds, reactor: Any, proxies: AllowList, most: int) -> None:
        super().__init__(root, bounds, reactor)
        self._proxies, self._most_of_proxies = proxies, most
        self._channels: set[Any] = set()

    def enter(self, channel: Any) -> ConnectionSlot | None:
        seat = super().enter(channel)
        if seat is None:
            return None
        self._channels.add(channel)
        if self._proxies.admits(seat.address):
            seat.prove("proxy", self._most_of_proxies)
        return seat

    def leave(self, channel: Any) -> None:
        super().leave(channel)
        self._channels.discard(channel)

    def close(self) -> None:
        """Close every connection."""
        for channel in tuple(self._channels):
            channel.loseConnection()


class WebServer:
    """The pages of one gateway: started with it, drained and stopped with it."""

    def __init__(
        self, app: Flask, bridge: DeskBridge, bounds: Bounds, reactor: Any, threads: int, proxies: AllowList, most: int
    ) -> None:
        self._bridge, self._reactor = bridge, reactor
        self._pool = ThreadPool(0, threads, "web")
        self._pages = PagesResource(reactor, self._pool, app, threads * WAITING_PER_THREAD + threads)
        self.site = WebSite(self._pages, bounds, reactor, proxies, most)

    def start(self) -> None:
        """Start the threads' pool; its threads begin as pages are asked for."""
        self._pool.start()

    async def stop(self) -> None:
        """Finish the pages in hand, then end the threads. The ports must be closed already."""
        idle = self._pages.idle()
        late: Deferred[None] = Deferred()
        timer = self._reactor.callLater(GRACE_S, late.callback, None)
        await DeferredList([idle, late], fireOnOneCallback=True)
        if timer.active():
            timer.cancel()
        self._bridge.close()
        self.site.close()
        # In another thread: a page that is still being made writes by way of the reactor, which must not wait for it here.
        await deferToThread(self._pool.stop)


def _plainly(request: Any, code: int, page: bytes) -> int:
    """Answer without a thread."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/html; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(page))
    request.write(page)
    request.finish()
    return NOT_DONE_YET
