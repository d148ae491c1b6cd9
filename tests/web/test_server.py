"""The pages' HTTP server under Twisted: threads that are bounded, limits, an orderly end."""

from __future__ import annotations

import ctypes
import http.client
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.edge.bounded_http import Bounds
from hkall_gateway.edge.limits.allow_list import AllowList
from hkall_gateway.edge.limits.body_budget import BodyBudget
from hkall_gateway.edge.limits.connection_limit import ConnectionLimit
from hkall_gateway.web import server
from hkall_gateway.web.bridge import TRY_AGAIN, DeskBridge
from hkall_gateway.web.precedence import SWITCH_S, Precedence
from hkall_gateway.web.server import WAITING_PER_THREAD, WebServer

THREADS = 2


class Silent:
    """A counter of refusals that ignores them."""

    def note(self, *_: str) -> None:
        """Ignored."""


@dataclass
class Pages:
    """A server with pages that wait until they may go on."""

    port: int
    go_on: threading.Event
    inside: threading.Semaphore
    server: WebServer
    listening: Any
    reactor: Any
    stopped: bool = False

    def get(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST" if body is not None else "GET", path, body)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True

        async def stopping() -> None:
            await self.listening.stopListening()
            await self.server.stop()

        in_reactor: Any = blockingCallFromThread  # its types know no coroutine
        in_reactor(self.reactor, lambda: ensureDeferred(stopping()))


@pytest.fixture
def pages(reactor: Any) -> Iterator[Pages]:
    go_on, inside, precedence = threading.Event(), threading.Semaphore(0), Precedence(real_time=True)
    bridge = DeskBridge(reactor, None, create_engine("sqlite://"), None, 60.0, precedence)  # type: ignore[arg-type]  # these pages ask no database
    app = Flask(__name__)

    @app.route("/slow", methods=["GET", "POST"])
    def slow() -> str:
        inside.release()
        assert go_on.wait(30)
        return "slow"

    @app.route("/search")
    def search() -> str:
        return slow()

    @app.route("/quick", methods=["GET", "POST"])
    def quick() -> str:
        return "quick"

    @app.route("/late")
    def late() -> str:
        return str(late_ns())

    @app.route("/asks")
    def asks() -> str:
        async def never() -> None:
            await Deferred()

        inside.release()
        return "try again" if bridge.ask(never()) is TRY_AGAIN else "done"

    bounds = Bounds(ConnectionLimit(200, 200, 200), BodyBudget(1 << 20), Silent(), 1000)  # type: ignore[arg-type]
    made = WebServer(app, bridge, bounds, reactor, THREADS, AllowList(()), 200, precedence)

    async def listen() -> Any:
        made.start()
        endpoint: Any = TCP4ServerEndpoint  # it has no types
        return await endpoint(reactor, 0, interface="127.0.0.1").listen(made.site)

    listening: Any = blockingCallFromThread(reactor, lambda: ensureDeferred(listen()))
    found = Pages(listening.getHost().port, go_on, inside, made, listening, reactor)
    yield found
    go_on.set()
    found.stop()


def test_a_slow_page_does_not_hold_up_the_reactor(pages: Pages) -> None:
    with ThreadPoolExecutor(THREADS) as browsers:
        waiting = [browsers.submit(pages.get, "/slow") for _ in range(THREADS)]
        for _ in waiting:
            assert pages.inside.acquire(timeout=10)
        began = time.monotonic()
        for _ in range(100):
            blockingCallFromThread(pages.reactor, lambda: None)
        took = time.monotonic() - began
        pages.go_on.set()
        assert [one.result(10) for one in waiting] == [(200, b"slow")] * THREADS
    assert took < 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a thread choose how late it wakes")
def test_a_page_asks_for_the_interpreter_s_lock_much_later_than_the_reactor(pages: Pages) -> None:
    of_the_reactor: Any = blockingCallFromThread(pages.reactor, late_ns)
    of_a_page = int(pages.get("/late")[1])
    assert of_the_reactor < 1000
    assert of_a_page > 10 * SWITCH_S * 1e9


def test_the_reactor_comes_first_while_a_page_is_made_and_no_longer(pages: Pages) -> None:
    usual = sys.getswitchinterval()
    with ThreadPoolExecutor(1) as browser:
        waiting = browser.submit(pages.get, "/slow")
        assert pages.inside.acquire(timeout=10)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
        pages.go_on.set()
        assert waiting.result(10) == (200, b"slow")
    assert until(lambda: sys.getswitchinterval() == usual)
    assert usual > 2 * SWITCH_S


def test_the_reactor_no_longer_comes_first_after_a_page_that_could_not_begin(pages: Pages) -> None:
    usual = sys.getswitchinterval()

    class Broken:
        def render(self, _request: object) -> None:
            raise ZeroDivisionError

    pages.server._pages._others._wsgi = Broken()
    assert pages.get("/quick")[0] == 500
    assert sys.getswitchinterval() == usual


def until(happened: Callable[[], bool]) -> bool:
    """Whether it happens within ten seconds."""
    end = time.monotonic() + 10
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)
    return happened()


def late_ns() -> int:
    """How late the kernel lets this thread wake, in nanoseconds."""
    get_timerslack = 30  # source: prctl(2), <linux/prctl.h>
    found: int = ctypes.CDLL(None).prctl(get_timerslack)
    return found


def test_no_more_pages_than_threads_are_made_at_the_same_time(pages: Pages) -> None:
    with ThreadPoolExecutor(6) as browsers:
        waiting = [browsers.submit(pages.get, "/slow") for _ in range(6)]
        for _ in range(THREADS):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        pages.go_on.set()
        assert {one.result(10) for one in waiting} == {(200, b"slow")}


def test_beyond_a_bounded_queue_the_answer_comes_at_once(pages: Pages) -> None:
    most = THREADS * (WAITING_PER_THREAD + 1)
    with ThreadPoolExecutor(most) as browsers:
        waiting = [browsers.submit(pages.get, "/slow") for _ in range(most)]
        while pages.server._pages._in_hand < most:
            time.sleep(0.005)
        code, page = pages.get("/quick")
        pages.go_on.set()
        assert {one.result(20)[0] for one in waiting} == {200}
    assert code == 503
    assert b"Not available just now" in page
    assert "暫時未能提供服務".encode() in page


def test_searches_leave_half_of_the_threads_to_the_other_pages(pages: Pages) -> None:
    with ThreadPoolExecutor(8) as browsers:
        waiting = [browsers.submit(pages.get, "/search") for _ in range(8)]
        for _ in range(THREADS // 2):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        assert pages.get("/quick") == (200, b"quick")
        pages.go_on.set()
        assert {one.result(10) for one in waiting} == {(200, b"slow")}


def test_more_searches_than_may_wait_are_answered_at_once_and_other_pages_are_made(pages: Pages) -> None:
    most = THREADS // 2 * (WAITING_PER_THREAD + 1)
    with ThreadPoolExecutor(most) as browsers:
        waiting = [browsers.submit(pages.get, "/search") for _ in range(most)]
        while pages.server._pages._in_hand < most:
            time.sleep(0.005)
        assert pages.get("/search")[0] == 503
        assert pages.get("/quick") == (200, b"quick")
        pages.go_on.set()
        assert {one.result(20)[0] for one in waiting} == {200}


def test_a_search_whose_caller_has_gone_still_counts_while_it_is_made_and_is_not_made_later(pages: Pages) -> None:
    def ask_and_go() -> None:
        with socket.create_connection(("127.0.0.1", pages.port), 10) as line:
            line.sendall(b"GET /search HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)

    ask_and_go()
    assert pages.inside.acquire(timeout=10)
    for _ in range(3):
        ask_and_go()
    while pages.server._pages._in_hand:
        time.sleep(0.005)
    assert not pages.inside.acquire(timeout=0.2)
    pages.go_on.set()
    assert pages.get("/search") == (200, b"slow")
    assert pages.inside.acquire(timeout=10)
    assert not pages.inside.acquire(timeout=0.2)


def test_a_body_beyond_the_limit_is_refused_by_the_server_itself(pages: Pages) -> None:
    code, page = pages.get("/quick", b"x" * 1001)
    assert code == 413
    assert b"That was too much" in page


def test_the_end_waits_for_the_pages_in_hand(pages: Pages) -> None:
    with ThreadPoolExecutor(2) as threads:
        page = threads.submit(pages.get, "/slow")
        assert pages.inside.acquire(timeout=10)
        stopping = threads.submit(pages.stop)
        time.sleep(0.1)
        assert not stopping.done()
        pages.go_on.set()
        assert page.result(10) == (200, b"slow")
        stopping.result(10)


def test_the_end_does_not_wait_for_a_desk_that_never_answers(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    with ThreadPoolExecutor(1) as browsers:
        page = browsers.submit(pages.get, "/asks")
        assert pages.inside.acquire(timeout=10)
        pages.stop()
        with pytest.raises(http.client.HTTPException):
            page.result(10)
    assert [t.name for t in threading.enumerate() if "web" in t.name] == []
