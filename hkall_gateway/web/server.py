"""HTTP server for the pages: Flask on a bounded thread pool, with the same connection limits as the other ports.

The reactor's thread reads and writes sockets, and checks limits. Pages are rendered in a thread pool. Each group of callers
(staff, programs, patrons, strangers) has separate threads, so that a request never waits for another group's requests. Within
a group callers take turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final, Protocol

from flask import Flask
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.wsgi import WSGIResource

from hkall_gateway.clock import Clock
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.net.bounded_http import BoundedChannel, BoundedRequest, BoundedSite, Bounds
from hkall_gateway.net.limits.allow_list import AllowList, CountedCaller
from hkall_gateway.net.limits.connection_limit import ConnectionSlot
from hkall_gateway.net.limits.fair_queue import FairQueue, QueuedWork, QueueRefusal
from hkall_gateway.net.limits.fair_reads import mark_authenticated
from hkall_gateway.web.bridge import CirculationBridge
from hkall_gateway.web.callers import Callers, Share, WebCaller
from hkall_gateway.web.errors import AWAY, BUSY, PROBLEM, TOO_LONG, TOO_MANY, PlainPage
from hkall_gateway.web.limits import CALLBACKS, PageLimits
from hkall_gateway.web.middleware import HEADERS
from hkall_gateway.web.paths import API_ROOT

PROXY: Final = "proxy"
"""Key under which the connection limits count all reverse proxies."""
IPV6: Final = 6
GRACE_S: Final = 5.0
"""Seconds that running pages have to finish at shutdown. After that, their commands get TRY_AGAIN."""

API: Final = f"{API_ROOT}/".encode()
HTML: Final = "text/html; charset=utf-8"
RETRY_S: Final = 5
"""Seconds after which a caller that finds the gateway busy should try again."""
FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port",
                    b"x-forwarded-prefix")  # fmt: skip
"""Headers set by reverse proxies, which are removed before a page sees the request."""


class PagesReactor(Clock, Protocol):
    """The part of the reactor's interface that the web server uses."""

    def callFromThread(self, call: Callable[..., object], *args: object) -> object:  # noqa: N802  # Twisted's own name
        """Call a function in the reactor's thread."""
        ...


Work = QueuedWork[BoundedRequest]


class ThreadShare:
    """One caller group's share of the thread pool, in which callers take turns.

    A page counts until the thread has finished, even if the caller has disconnected. Used in the reactor's thread.
    """

    def __init__(self, reactor: PagesReactor, pool: ThreadPool, app: Flask, at_once: int) -> None:
        self._reactor, self._pool = reactor, pool
        self._wsgi = WSGIResource(reactor, self, app)  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._queue = FairQueue[BoundedRequest](at_once)
        self._starting: Work | None = None

    def refusal(self, caller: Sequence[CountedCaller]) -> QueueRefusal | None:
        """Return why no more requests of this caller may wait, or None if they may."""
        return self._queue.refusal(caller)

    def render(self, work: Work) -> None:
        """Queue a request until a thread is free. Drop the request if the caller disconnects first."""
        self._queue.add(work)
        _ = work.item.notifyFinish().addBoth(lambda _: self._queue.remove(work))
        self._start_next()

    def callInThread(self, work: Callable[[], None]) -> None:  # noqa: N802  # the name that WSGIResource calls
        """Run the application for one page in a pool thread."""
        assert self._starting is not None, "WSGIResource calls this only in `_start_next`"
        made = partial(self._page_made, self._starting)
        self._pool.callInThreadWithCallback(lambda *_: self._reactor.callFromThread(made), work)

    def _start_next(self) -> None:
        while work := self._queue.start_next():
            self._starting = work
            try:
                self._wsgi.render(work.item)  # type: ignore[no-untyped-call]
            except BaseException:
                self._queue.finish(work)
                raise

    def _page_made(self, work: Work) -> None:
        self._queue.finish(work)
        self._start_next()


class PagesResource(Resource):
    """Passes each request to the threads for the caller's group, or refuses it before it takes a thread."""

    isLeaf = True  # noqa: N815  # Twisted's own name

    def __init__(
        self,
        reactor: PagesReactor,
        pool: ThreadPool,
        app: Flask,
        threads: Mapping[Share, int],
        callers: Callers,
        limits: PageLimits,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._callers, self._limits = callers, limits
        self._shares = {share: ThreadShare(reactor, pool, app, number) for share, number in threads.items()}
        self._in_hand, self._idle = 0, list[Deferred[None]]()

    def render(self, request: BoundedRequest) -> int:
        """Answer 413 if the request is too long. Otherwise identify the caller and queue the request."""
        if request.too_long:
            return _answer_plainly(request, 413, TOO_LONG)
        self._in_hand += 1
        _ = request.notifyFinish().addBoth(self._request_done)
        _ = Deferred.fromCoroutine(self._hand_over(request)).addErrback(request.processingFailed)
        return NOT_DONE_YET

    async def _hand_over(self, request: BoundedRequest) -> None:
        try:
            caller = await self._callers.find(request)
        except Unavailable:
            if not request.gone:
                _answer_plainly(request, 503, AWAY, retry_s=RETRY_S)
            return
        if request.gone:
            return
        request.channel.site.prove(request.channel, caller)

        # Check the limits before the queue, so that a refused page takes neither a waiting place nor a thread.
        address, page = request.client_address, self._limits.page(request.path)
        work = QueuedWork(item=request, caller=caller.names(address), one_at_a_time=page in CALLBACKS)
        share = self._shares[caller.share]
        refusal = self._limits.refusal(caller, address, page)
        full = share.refusal(work.caller)
        if refusal is not None:
            self._limits.count(caller, address, page, refusal.why)
            _answer_plainly(request, 429, TOO_MANY, retry_s=refusal.wait_s)
        elif full is not None:
            self._limits.count(caller, address, page, full)
            _answer_plainly(request, 503, BUSY, retry_s=RETRY_S)
        else:
            self._limits.count(caller, address, page)
            share.render(work)

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires once no request is being processed."""
        if not self._in_hand:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        return waiting

    def _request_done(self, _reason: object) -> None:
        self._in_hand -= 1
        while not self._in_hand and self._idle:
            self._idle.pop().callback(None)


class WebRequest(BoundedRequest):
    """A request that evaluates proxy headers before any other check.

    WSGI does not distinguish `-` and `_` in header names, so headers with `_` are dropped. On a connection from a
    configured reverse proxy, the caller's address is the last in X-Forwarded-For. From other peers, proxy headers are ignored.
    """

    client: IPv4Address | IPv6Address
    _https_at_proxy = False

    def process(self) -> None:
        """Evaluate the proxy headers, and remove them before the page sees the request."""
        raw = self.requestHeaders
        for name in [name for name, _ in raw.getAllRawHeaders() if b"_" in name]:
            raw.removeHeader(name)
        if self.channel.site.proxies().admits(self.client_address):
            self._read_caller_address(raw.getRawHeaders(b"x-forwarded-for", ()))
            self._https_at_proxy = _last_value(raw.getRawHeaders(b"x-forwarded-proto", ())).lower() == "https"
        for name in FORWARDED:
            raw.removeHeader(name)
        super().process()  # type: ignore[no-untyped-call]  # twisted.web has no types

    def _read_caller_address(self, values: Sequence[bytes]) -> None:
        """Take the caller's address from X-Forwarded-For. Report a header without a valid address, but not an absent one."""
        if not values:  # such as a health check by the proxy itself
            return
        text = _last_value(values)
        address = _address_without_port(text)
        try:
            known = ip_address(address)
        except ValueError:
            self.channel.site.report_unreadable(self.client_address)
            return
        kind = IPv6Address if known.version == IPV6 else IPv4Address
        self.client = kind("TCP", address, 0)

    def isSecure(self) -> bool:  # noqa: N802  # Twisted's own name
        """Check whether the caller uses HTTPS, either to the gateway or to a configured reverse proxy."""
        return self._https_at_proxy or bool(super().isSecure())  # type: ignore[no-untyped-call]


class WebSite(BoundedSite):
    """The Twisted site for the pages. Counts connections from `proxies` under PROXY instead of their IP address.

    `report_unreadable` is called with the address of a proxy whose X-Forwarded-For names no address.
    """

    def __init__(
        self,
        root: PagesResource,
        bounds: Bounds,
        reactor: PagesReactor,
        proxies: Callable[[], AllowList],
        most: int,
        most_of_one: int,
        report_unreadable: Callable[[str], object],
    ) -> None:
        super().__init__(root, bounds, reactor, WebRequest)
        self.proxies, self._most_of_proxies, self._most_of_one = proxies, most, most_of_one
        self.report_unreadable = report_unreadable
        self._channels: set[BoundedChannel] = set()

    def enter(self, channel: BoundedChannel) -> ConnectionSlot | None:
        """Return a slot for this connection, or None if the connection limit is reached."""
        seat = super().enter(channel)
        if seat is None:
            return None
        self._channels.add(channel)
        if self.proxies().admits(seat.address):
            seat.prove(PROXY, self._most_of_proxies)
        return seat

    def prove(self, channel: BoundedChannel, caller: WebCaller) -> None:
        """Count the connection for the identified caller, with precedence over connections from strangers."""
        seat = channel.seat
        if seat and caller.row and seat.row != PROXY and seat.prove(caller.row, self._most_of_one):
            mark_authenticated(channel.transport, f"web {caller.row}")

    def leave(self, channel: BoundedChannel) -> None:
        """Free the slot of this connection."""
        super().leave(channel)
        self._channels.discard(channel)

    def close(self) -> None:
        """Close every connection."""
        for channel in tuple(self._channels):
            channel.loseConnection()


_WITH_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")
"""Matches an IPv4 address or a bracketed IPv6 address, with the port that some proxies append."""


def _address_without_port(text: str) -> str:
    found = _WITH_PORT.fullmatch(text)
    return found[1] or found[2] or "" if found else text


def _last_value(values: Sequence[bytes]) -> str:
    """Return the last value of a header that may have several lines with several values each."""
    return values[-1].decode("latin-1").rpartition(",")[2].strip() if values else ""


class WebServer:
    """The gateway's web server. `stop` drains the pages and calls `at_end`."""

    def __init__(
        self,
        app: Flask,
        bridge: CirculationBridge,
        bounds: Bounds,
        reactor: PagesReactor,
        threads: Mapping[Share, int],
        proxies: Callable[[], AllowList],
        most: int,
        most_of_one: int,
        callers: Callers,
        limits: PageLimits,
        report_unreadable: Callable[[str], object],
        at_end: Callable[[], None],
    ) -> None:
        self._bridge, self._reactor, self._at_end = bridge, reactor, at_end
        self._pool = ThreadPool(0, sum(threads.values()), "web")
        self._pages = PagesResource(reactor, self._pool, app, threads, callers, limits)
        self.site = WebSite(self._pages, bounds, reactor, proxies, most, most_of_one, report_unreadable)

    def start(self) -> None:
        """Start the thread pool. Threads are created as requests arrive. Call this in the reactor's thread."""
        self._pool.start()

    async def stop(self) -> None:
        """Finish the running pages, then stop the threads. The ports must already be closed."""
        idle = self._pages.idle()
        late: Deferred[None] = Deferred()
        timer = self._reactor.callLater(GRACE_S, partial(late.callback, None))
        await DeferredList([idle, late], fireOnOneCallback=True)
        if timer.active():
            timer.cancel()
        self._bridge.close()
        self._at_end()
        self.site.close()
        # Stop the pool in another thread, since pages that are still rendering need the reactor to send their output.
        await deferToThread(self._pool.stop)


def _answer_plainly(request: BoundedRequest, code: int, page: PlainPage, retry_s: int = 0) -> int:
    """Answer a request without taking a thread from the pool. A program gets a problem instead of a page."""
    content, kind = page.content, HTML
    if request.path.startswith(API):
        content, kind = page.problem, PROBLEM
    request.setResponseCode(code)
    headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}
    if retry_s:
        headers["Retry-After"] = str(retry_s)
    for name, value in headers.items():
        request.setHeader(name.encode(), value.encode())  # type: ignore[no-untyped-call]  # twisted.web has no types
    request.write(content)  # type: ignore[no-untyped-call]
    request.finish()  # type: ignore[no-untyped-call]
    return NOT_DONE_YET
