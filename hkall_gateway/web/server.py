"""The HTTP server of the pages: Flask on a bounded pool of threads, with the connection limits of every port.

The reactor's thread reads and writes sockets only; a page is made in a thread of the pool, one of `threads`, which gives way to
the reactor much sooner than the reactor to it. Searches and titles, for which nobody has to log in, get at most half of the
threads: the pages of staff never wait behind them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

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
from hkall_gateway.web.precedence import Precedence

WAITING_PER_THREAD: Final = 16
"""Requests that may wait for each thread; for one more the page says that the gateway is busy."""
GRACE_S: Final = 5.0
"""At the end, for pages that are being made; then the desk answers them "try again"."""

PUBLIC: Final = (b"/search", b"/openurl", b"/title/", b"/api/v1/search", b"/api/v1/titles/")
"""Beginnings of the paths that cost a query of the catalogue and need no login."""


class ThreadShare:
    """A part of the pool for one kind of pages: at most `at_once` are made, and a bounded number wait.

    A page counts until its thread has ended, also where its caller has gone. Used in the reactor's thread.
    """

    def __init__(self, reactor: Any, pool: ThreadPool, app: Flask, at_once: int, precedence: Precedence) -> None:
        made: Any = WSGIResource  # it has no types
        self._reactor, self._pool, self._at_once, self._precedence = reactor, pool, at_once, precedence
        self._wsgi = made(reactor, self, app)
        self._making, self._waiting = 0, deque[Any]()

    @property
    def full(self) -> bool:
        return self._making + len(self._waiting) >= self._at_once * (1 + WAITING_PER_THREAD)

    def render(self, request: Any) -> None:
        """Queue the page for a free thread. It is dropped if the caller disconnects first."""
        self._waiting.append(request)
        request.notifyFinish().addBoth(self._forget, request)
        self._next()

    def callInThread(self, work: Callable[[], None]) -> None:  # noqa: N802  # the name that WSGIResource calls
        """Run the application for one page in a thread of the pool."""

        def make() -> None:
            self._precedence.prepare_page()
            work()

        self._pool.callInThreadWithCallback(lambda *_: self._reactor.callFromThread(self._made), make)

    def _next(self) -> None:
        while self._waiting and self._making < self._at_once:
            self._making += 1
            self._precedence.begin()
            try:
                self._wsgi.render(self._waiting.popleft())
            except BaseException:
                self._making -= 1
                self._precedence.end()
                raise

    def _made(self) -> None:
        self._making -= 1
        self._next()
        self._precedence.end()

    def _forget(self, _reason: object, request: Any) -> None:
        if request in self._waiting:
            self._waiting.remove(request)


class PagesResource(Resource):
    """Hands each request to a thread of the pool; answers by itself where too many wait already."""

    isLeaf = True  # noqa: N815  # Twisted's own name

    def __init__(self, reactor: Any, pool: ThreadPool, app: Flask, threads: int, precedence: Precedence) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._public = ThreadShare(reactor, pool, app, max(1, threads // 2), precedence)
        self._others = ThreadShare(reactor, pool, app, threads, precedence)
        self._in_hand, self._idle = 0, list[Deferred[None]]()

    def render(self, request: Any) -> Any:
        if request.too_long:
            return _plainly(request, 413, TOO_LONG)
        share = self._public if request.path.startswith(PUBLIC) else self._others
        if share.full:
            request.setHeader(b"retry-after", b"5")
            return _plainly(request, 503, BUSY)
        self._in_hand += 1
        request.notifyFinish().addBoth(self._done)
        share.render(request)
        return NOT_DONE_YET

    def idle(self) -> Deferred[None]:
        """Fires once no request is in hand."""
        if not self._in_hand:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        return waiting

    def _done(self, _reason: object) -> None:
        self._in_hand -= 1
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


def no_work() -> None:
    """The default of `at_end`."""


class WebServer:
    """The pages of one gateway: started with it, drained and stopped with it. `at_end` is called at the end."""

    def __init__(
        self,
        app: Flask,
        bridge: DeskBridge,
        bounds: Bounds,
        reactor: Any,
        threads: int,
        proxies: AllowList,
        most: int,
        precedence: Precedence,
        at_end: Callable[[], None] = no_work,
    ) -> None:
        self._bridge, self._reactor, self._at_end, self._precedence = bridge, reactor, at_end, precedence
        self._pool = ThreadPool(0, threads, "web")
        self._pages = PagesResource(reactor, self._pool, app, threads, precedence)
        self.site = WebSite(self._pages, bounds, reactor, proxies, most)

    def start(self) -> bool:
        """Start the threads' pool; its threads begin as pages are asked for. Called in the reactor's thread.

        Return whether the system grants the reactor real-time priority while pages are made.
        """
        self._pool.start()
        return self._precedence.start()

    async def stop(self) -> None:
        """Finish the pages in hand, then end the threads. The ports must be closed already."""
        idle = self._pages.idle()
        late: Deferred[None] = Deferred()
        timer = self._reactor.callLater(GRACE_S, late.callback, None)
        await DeferredList([idle, late], fireOnOneCallback=True)
        if timer.active():
            timer.cancel()
        self._bridge.close()
        self._at_end()
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
