"""The pages' HTTP server under Twisted: bounded threads, limits, graceful shutdown."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from sqlalchemy import create_engine
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.net.bounded_http import Bounds
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.connection_limit import ConnectionLimit
from hkall_gateway.net.limits.fair_reads import BodyBudget
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.web import server
from hkall_gateway.web.bridge import TRY_AGAIN, DeskBridge
from hkall_gateway.web.callers import STRANGER, Share, WebCaller
from hkall_gateway.web.server import WAITING_PER_THREAD, WebServer
from tests.ports import free_ports
from tests.programs import program

THREADS = 2
MOST_CONNECTIONS = 200


class ByHeader:
    """Identifies the caller by a header."""

    async def find(self, request: Any) -> WebCaller:
        who = (request.getHeader(b"who") or b"").decode()
        return WebCaller(Share(who), f"one of {who}") if who else STRANGER


class Silent:
    """A counter of refusals that ignores them."""

    def note(self, *_: str) -> None:
        """Ignored."""


@dataclass
class Pages:
    """A server whose pages wait until released."""

    port: int
    go_on: threading.Event
    inside: threading.Semaphore
    server: WebServer
    listening: Any
    reactor: Any
    proxies: list[AllowList]
    stopped: bool = False

    def get(self, path: str, body: bytes | None = None, who: str = "staff", **headers: str) -> tuple[int, bytes]:
        """Send a request, as staff by default; `who` may be "patrons" or "" for a visitor."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST" if body is not None else "GET", path, body, {**named, "Who": who})
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
    go_on, inside = threading.Event(), threading.Semaphore(0)
    bridge = DeskBridge(reactor, None, create_engine("sqlite://"), None, Timeout(reactor, 60.0))  # type: ignore[arg-type]  # these pages ask no database
    app = Flask(__name__)

    @app.route("/caller")
    def caller() -> str:
        forwarded = sorted(name for name in request.environ if "FORWARDED" in name)
        return f"{request.remote_addr} {request.scheme} {forwarded}"

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

    @app.route("/asks")
    def asks() -> str:
        async def never() -> None:
            await Deferred()

        inside.release()
        return "try again" if bridge.run(never()) is TRY_AGAIN else "done"

    limit, refusals = ConnectionLimit(MOST_CONNECTIONS, 10 * MOST_CONNECTIONS, 10 * MOST_CONNECTIONS), Silent()
    bounds = Bounds(connections=limit, bodies=BodyBudget(1 << 20), refusals=refusals, max_body_bytes=1000)  # type: ignore[arg-type]
    proxies = [AllowList(())]
    threads = {Share.STAFF: THREADS, Share.PATRONS: THREADS // 2, Share.STRANGERS: THREADS // 2}
    callers: Any = ByHeader()
    most = (MOST_CONNECTIONS, MOST_CONNECTIONS)
    made = WebServer(app, bridge, bounds, reactor, threads, lambda: proxies[0], *most, callers, lambda: None)

    async def listen() -> Any:
        made.start()
        endpoint: Any = TCP4ServerEndpoint  # it has no types
        return await endpoint(reactor, 0, interface="127.0.0.1").listen(made.site)

    listening: Any = blockingCallFromThread(reactor, lambda: ensureDeferred(listen()))
    found = Pages(listening.getHost().port, go_on, inside, made, listening, reactor, proxies)
    yield found
    go_on.set()
    found.stop()


def test_slow_page_does_not_block_the_reactor(pages: Pages) -> None:
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


def test_page_that_fails_to_start_is_answered_and_releases_its_thread(pages: Pages) -> None:
    class Broken:
        def render(self, _request: object) -> None:
            raise ZeroDivisionError

    shares = pages.server._pages._shares
    broken: Any = Broken()
    working, shares[Share.STAFF]._wsgi = shares[Share.STAFF]._wsgi, broken
    assert [pages.get("/quick")[0] for _ in range(THREADS + 1)] == [500] * (THREADS + 1)
    shares[Share.STAFF]._wsgi = working
    assert pages.get("/quick")[0] == 200


def until(happened: Callable[[], bool]) -> bool:
    """Whether the condition becomes true within ten seconds."""
    end = time.monotonic() + 10
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)
    return happened()


def test_number_of_concurrent_pages_equals_the_number_of_threads(pages: Pages) -> None:
    with ThreadPoolExecutor(6) as browsers:
        waiting = [browsers.submit(pages.get, "/slow") for _ in range(6)]
        for _ in range(THREADS):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        pages.go_on.set()
        assert {one.result(10) for one in waiting} == {(200, b"slow")}


def test_requests_beyond_the_queue_are_refused_at_once(pages: Pages) -> None:
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


@pytest.mark.parametrize("path", ["/slow", "/search", "//slow", "/%73low"])
@pytest.mark.parametrize("crowd", ["", "patrons"])
def test_crowded_route_delays_only_callers_in_the_same_group(pages: Pages, crowd: str, path: str) -> None:
    most = THREADS // 2 * (WAITING_PER_THREAD + 1)
    with ThreadPoolExecutor(most) as browsers:
        waiting = [browsers.submit(pages.get, path, who=crowd) for _ in range(most)]
        while pages.server._pages._in_hand < most:
            time.sleep(0.005)
        assert pages.get("/quick", who=crowd)[0] == 503
        for other in {"", "patrons", "staff"} - {crowd}:
            assert pages.get("/quick", who=other) == (200, b"quick")
        pages.go_on.set()
        assert {one.result(20)[0] for one in waiting} == {200}


def test_visitors_get_half_of_the_threads(pages: Pages) -> None:
    with ThreadPoolExecutor(8) as browsers:
        waiting = [browsers.submit(pages.get, "/search", who="") for _ in range(8)]
        for _ in range(THREADS // 2):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        pages.go_on.set()
        assert {one.result(10) for one in waiting} == {(200, b"slow")}


def test_search_by_a_disconnected_caller_occupies_its_slot_only_if_already_running(pages: Pages) -> None:
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
    assert pages.get("/search", who="") == (200, b"slow")
    assert pages.inside.acquire(timeout=10)
    assert not pages.inside.acquire(timeout=0.2)


def test_body_over_the_limit_is_refused_by_the_server_itself(pages: Pages) -> None:
    code, page = pages.get("/quick", b"x" * 1001)
    assert code == 413
    assert b"That was too much" in page


def test_stop_waits_for_running_pages(pages: Pages) -> None:
    with ThreadPoolExecutor(2) as threads:
        page = threads.submit(pages.get, "/slow")
        assert pages.inside.acquire(timeout=10)
        stopping = threads.submit(pages.stop)
        time.sleep(0.1)
        assert not stopping.done()
        pages.go_on.set()
        assert page.result(10) == (200, b"slow")
        stopping.result(10)


def test_stop_does_not_wait_for_an_unanswered_command(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    with ThreadPoolExecutor(1) as browsers:
        page = browsers.submit(pages.get, "/asks")
        assert pages.inside.acquire(timeout=10)
        pages.stop()
        with pytest.raises(http.client.HTTPException):
            page.result(10)
    assert [t.name for t in threading.enumerate() if "web" in t.name] == []


def test_known_caller_is_not_displaced_by_a_visitor(pages: Pages) -> None:
    known = http.client.HTTPConnection("127.0.0.1", pages.port, timeout=30)
    known.request("GET", "/quick", headers={"Who": "staff"})
    assert known.getresponse().read() == b"quick"
    socket_of_known = known.sock
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS + 5):
            stack.enter_context(socket.create_connection(("127.0.0.1", pages.port), 10))
        assert pages.get("/quick", who="patrons") == (200, b"quick")
        known.request("GET", "/quick", headers={"Who": "staff"})
        assert known.getresponse().read() == b"quick"
        assert known.sock is socket_of_known  # not opened again
    known.close()


# ---- behind a reverse proxy

SPOOFED = {"X_Forwarded_For": "203.0.113.1", "X-Forwarded_For": "203.0.113.2", "X-Forwarded-For": "203.0.113.3"}
"""Headers that an attacker sends to pretend another address."""
CALLER = "127.0.0.5"
WEB_PAGE = Path(__file__).parents[2] / "docs" / "web.md"


def caller(port: int, *headers: tuple[str, str]) -> str:
    """The caller that a page sees, requested from CALLER with these headers, which may be repeated."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(CALLER, 0))
    connection.putrequest("GET", "/caller")
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


def test_proxy_headers_from_other_addresses_are_dropped(pages: Pages) -> None:
    assert caller(pages.port, *SPOOFED.items(), ("X-Forwarded-Proto", "https")) == f"{CALLER} http []"


def test_last_address_reported_by_a_trusted_proxy_is_the_caller(pages: Pages) -> None:
    pages.proxies[0] = AllowList([f"{CALLER}/32"])
    one_line = ("X-Forwarded-For", "203.0.113.1, 2001:db8::1"), ("X-Forwarded-Proto", "https")
    assert caller(pages.port, *one_line) == "2001:db8::1 https []"
    two_lines = ("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "198.51.100.9"), ("X_Forwarded_For", "203.0.113.2")
    assert caller(pages.port, *two_lines) == "198.51.100.9 http []"
    assert caller(pages.port, ("X-Forwarded-For", "unknown")) == f"{CALLER} http []"


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
def test_address_behind_a_proxy_cannot_be_forged(pages: Pages, tmp_path: Path, kind: str) -> None:
    pages.proxies[0] = AllowList(["127.0.0.1/32"])
    (port,) = free_ports(1)
    with running(kind, documented(kind).replace("127.0.0.1:8090", f"127.0.0.1:{pages.port}"), port, tmp_path):
        assert caller(port, *SPOOFED.items(), ("X-Forwarded-Proto", "https")) == f"{CALLER} http []"
        assert caller(port) == f"{CALLER} http []"


def documented(kind: str) -> str:
    """Return the block of docs/web.md for this proxy."""
    (block,) = re.findall(rf"```{kind}\n(.*?)```", WEB_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


@contextmanager
def running(kind: str, block: str, port: int, folder: Path) -> Iterator[None]:
    """Run the real proxy with this configuration block in front of the pages."""
    file = folder / "proxy.conf"
    command: list[str | Path]
    if kind == "haproxy":
        times = "timeout connect 5s\ntimeout client 30s\ntimeout server 30s\n"
        file.write_text(f"defaults\n{times}\nfrontend test\nmode http\nbind 127.0.0.1:{port}\ndefault_backend hkall\n{block}")
        command = [program("haproxy", "haproxy"), "-db", "-f", file]
    else:
        paths = "".join(f"{name}_temp_path {folder};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        server = f"server {{ listen 127.0.0.1:{port}; {block} }}"
        head = f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}"
        file.write_text(f"{head}\nhttp {{ access_log off; {paths} {server} }}")
        command = [program("nginx", "nginx"), "-c", file]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "errors").open("wb"))
    try:
        assert until(lambda: accepts(port)), (folder / "errors").read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


def accepts(port: int) -> bool:
    """Whether something listens at this port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
