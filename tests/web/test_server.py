"""The pages' HTTP server under Twisted: bounded threads, limits, graceful shutdown."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
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
from hkall_gateway.net.limits.fair_queue import WAITING_PER_THREAD
from hkall_gateway.net.limits.fair_reads import BodyBudget
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.web import server
from hkall_gateway.web.bridge import TRY_AGAIN, CirculationBridge
from hkall_gateway.web.callers import STRANGER, Share, WebCaller
from hkall_gateway.web.limits import PageLimits, shared
from hkall_gateway.web.server import WebServer
from tests.ports import free_ports
from tests.programs import program

THREADS = 4
MOST_CONNECTIONS = 200
NOW = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)


class ByHeader:
    """Identifies the caller by a header: the share and a name, such as "patrons UG1"."""

    async def find(self, request: Any) -> WebCaller:
        who = (request.getHeader(b"who") or b"").decode()
        if not who:
            return STRANGER
        share = Share(who.partition(" ")[0])
        return WebCaller(share, who, is_limited=share in (Share.PATRONS, Share.STRANGERS))


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
    metrics: Metrics
    pages_per_minute: list[int]
    unreadable: list[str]
    stopped: bool = False

    def get(self, path: str, body: bytes | None = None, who: str = "staff", source: str = "127.0.0.1") -> tuple[int, bytes]:
        """Send a request, as staff by default; `who` may be "patrons UG1" or "" for a visitor."""
        answer, content = self.answer(path, body, who, source)
        return answer.status, content

    def answer(
        self, path: str, body: bytes | None = None, who: str = "staff", source: str = "127.0.0.1"
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request; return the response and its content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(source, 0))
        connection.request("POST" if body is not None else "GET", path, body, {"Who": who})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def refused(self, who: str, why: str) -> float:
        """The number of refused pages in the metrics."""
        return self.metrics.registry.get_sample_value("hkall_pages_refused_total", {"who": who, "why": why}) or 0.0

    def crowd(self, browsers: ThreadPoolExecutor, path: str, callers: Iterable[str]) -> list[Future[tuple[int, bytes]]]:
        """Request a page for each of the callers at once, and wait until the server has all requests in hand."""
        before = self.server._pages._in_hand
        asked = [browsers.submit(self.get, path, who=who) for who in callers]
        assert until(lambda: self.server._pages._in_hand == before + len(asked))
        return asked

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
    bridge = CirculationBridge(reactor, None, create_engine("sqlite://"), None, Timeout(reactor, 60.0))  # type: ignore[arg-type]  # these pages ask no database
    app = Flask(__name__, static_folder=None)

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

    @app.route("/static/<name>")
    def static(name: str) -> str:
        return name

    @app.route("/login/sso/back", endpoint="patron_oidc.back")
    def back() -> str:
        return slow()

    @app.route("/asks")
    def asks() -> str:
        async def never() -> None:
            await Deferred()

        inside.release()
        return "try again" if bridge.run(never()) is TRY_AGAIN else "done"

    limit, refusals = ConnectionLimit(MOST_CONNECTIONS, 10 * MOST_CONNECTIONS, 10 * MOST_CONNECTIONS), Silent()
    bounds = Bounds(connections=limit, bodies=BodyBudget(1 << 20), refusals=refusals, max_body_bytes=1000)  # type: ignore[arg-type]
    proxies = [AllowList(())]
    threads = {share: THREADS if share is Share.STAFF else THREADS // 2 for share in Share}
    callers: Any = ByHeader()
    most = (MOST_CONNECTIONS, MOST_CONNECTIONS)
    metrics, pages_per_minute, unreadable = Metrics(), [0], list[str]()
    services: Any = SimpleNamespace(seconds=lambda: 0.0)
    app.extensions |= shared(services)
    page_limits = PageLimits(app, lambda: pages_per_minute[0], metrics, lambda: NOW)
    made = WebServer(
        app, bridge, bounds, reactor, threads, lambda: proxies[0], *most, callers, page_limits, unreadable.append, lambda: None
    )

    async def listen() -> Any:
        made.start()
        endpoint: Any = TCP4ServerEndpoint  # it has no types
        return await endpoint(reactor, 0, interface="127.0.0.1").listen(made.site)

    listening: Any = blockingCallFromThread(reactor, lambda: ensureDeferred(listen()))
    found = Pages(
        listening.getHost().port, go_on, inside, made, listening, reactor, proxies, metrics, pages_per_minute, unreadable
    )
    yield found
    go_on.set()
    found.stop()


def test_slow_page_does_not_block_the_reactor(pages: Pages) -> None:
    with ThreadPoolExecutor(THREADS) as browsers:
        waiting = pages.crowd(browsers, "/slow", [f"staff {n}" for n in range(THREADS)])
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
    with ThreadPoolExecutor(8) as browsers:
        waiting = pages.crowd(browsers, "/slow", [f"staff {n}" for n in range(8)])
        for _ in range(THREADS):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        pages.go_on.set()
        assert {one.result(10) for one in waiting} == {(200, b"slow")}


def test_one_caller_uses_half_of_the_threads_and_a_quarter_of_the_waiting_places(pages: Pages) -> None:
    half, quarter = THREADS // 2, THREADS * WAITING_PER_THREAD // 4
    with ThreadPoolExecutor(half + quarter) as browsers:
        waiting = pages.crowd(browsers, "/slow", ["staff 1"] * (half + quarter))
        for _ in range(half):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        code, page = pages.get("/quick", who="staff 1")
        assert pages.get("/quick", who="staff 2") == (200, b"quick")
        pages.go_on.set()
        assert {one.result(20)[0] for one in waiting} == {200}
    assert code == 503
    assert b"Not available just now" in page
    assert "暫時未能提供服務".encode() in page
    assert pages.refused("staff", "caller_queue") == 1


def test_callers_take_turns(pages: Pages) -> None:
    order = list[str]()

    def ask(who: str) -> None:
        assert pages.get("/quick", who=who)[0] == 200
        order.append(who)

    with ThreadPoolExecutor(8) as browsers:
        first = pages.crowd(browsers, "/slow", ["patrons busy", "patrons other"])
        for _ in first:
            assert pages.inside.acquire(timeout=10)
        waiting = list[Future[None]]()
        for who in ("patrons busy", "patrons busy", "patrons busy", "patrons calm"):
            before = pages.server._pages._in_hand
            waiting.append(browsers.submit(ask, who))
            assert until(lambda before=before: pages.server._pages._in_hand == before + 1)  # type: ignore[misc]
        pages.go_on.set()
        assert {one.result(10)[0] for one in first} == {200}
        for one in waiting:
            one.result(10)
    # Its turn is the second of four. Two threads answer at once, so the first and the third may overtake it.
    assert order.index("patrons calm") <= 2


def test_requests_beyond_the_queue_are_refused_at_once(pages: Pages) -> None:
    most = THREADS * (WAITING_PER_THREAD + 1)
    with ThreadPoolExecutor(most) as browsers:
        waiting = pages.crowd(browsers, "/slow", [f"staff {n}" for n in range(most)])
        code, page = pages.get("/quick")
        pages.go_on.set()
        assert {one.result(20)[0] for one in waiting} == {200}
    assert code == 503
    assert b"Not available just now" in page
    assert pages.refused("staff", "queue") == 1


@pytest.mark.parametrize("path", ["/slow", "/search", "//slow", "/%73low"])
@pytest.mark.parametrize("crowd", ["strangers", "patrons", "programs"])
def test_crowded_route_delays_only_callers_in_the_same_group(pages: Pages, crowd: str, path: str) -> None:
    most = THREADS // 2 * (WAITING_PER_THREAD + 1)
    with ThreadPoolExecutor(most) as browsers:
        waiting = pages.crowd(browsers, path, [f"{crowd} {n}" for n in range(most)])
        assert pages.get("/quick", who=crowd)[0] == 503
        for other in {"strangers", "patrons", "programs", "staff"} - {crowd}:
            assert pages.get("/quick", who=other) == (200, b"quick")
        pages.go_on.set()
        assert {one.result(20)[0] for one in waiting} == {200}


def test_each_group_but_staff_gets_half_of_the_threads(pages: Pages) -> None:
    with ThreadPoolExecutor(8) as browsers:
        waiting = pages.crowd(browsers, "/search", [f"strangers {n}" for n in range(8)])
        for _ in range(THREADS // 2):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        pages.go_on.set()
        assert {one.result(10) for one in waiting} == {(200, b"slow")}


def test_page_over_the_limit_is_refused_while_every_thread_is_busy(pages: Pages) -> None:
    pages.pages_per_minute[0] = 2
    with ThreadPoolExecutor(3) as browsers:
        waiting = pages.crowd(browsers, "/slow", ["patrons UG1", "patrons UG2", "patrons UG3"])
        answer, page = pages.answer("/quick", who="patrons UG3")
        pages.go_on.set()
        assert {one.result(10)[0] for one in waiting} == {200}
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Cache-Control"]) == (429, "30", "no-store")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert b"Too many pages at once" in page
    assert pages.refused("patrons", "page_limit") == 1


def test_page_limit_applies_to_patrons_and_networks_of_strangers_but_not_to_staff_and_programs(pages: Pages) -> None:
    pages.pages_per_minute[0] = 4

    def codes(who: str, path: str = "/quick", source: str = "127.0.0.1") -> list[int]:
        return [pages.get(path, who=who, source=source)[0] for _ in range(3)]

    assert codes("patrons UG1") == [200, 200, 429]
    assert codes("patrons UG1", source="127.0.0.2") == [429, 429, 429]
    assert codes("patrons UG2") == [200, 200, 429]
    assert codes("") == [200, 200, 429]
    assert codes("", "/nowhere") == [429, 429, 429]
    assert codes("", "/static/style.css") == [200, 200, 200]
    assert codes("", source="127.0.0.2") == [200, 200, 429]
    for who in ("staff 1", "programs discovery"):
        assert codes(who) == [200, 200, 200]
    assert pages.refused("strangers", "page_limit") == 5


def test_program_gets_a_refusal_as_a_problem(pages: Pages) -> None:
    pages.pages_per_minute[0] = 2
    assert pages.answer("/api/v1/search", who="")[0].status == 404
    answer, content = pages.answer("/api/v1/search", who="")
    assert (answer.status, answer.headers["Content-Type"]) == (429, "application/problem+json")
    assert json.loads(content)["status"] == 429


@pytest.mark.parametrize("path", ["/login/sso/back", "/login/%73so/back?state=x"])
def test_one_network_has_one_callback_of_the_identity_provider_in_flight(pages: Pages, path: str) -> None:
    with ThreadPoolExecutor(4) as browsers:
        waiting = pages.crowd(browsers, path, ["staff 1"] * 3 + ["staff 2"])
        for _ in range(2):
            assert pages.inside.acquire(timeout=10)
        assert not pages.inside.acquire(timeout=0.2)
        assert pages.get("/quick", who="staff 1") == (200, b"quick")
        pages.go_on.set()
        assert {one.result(10)[0] for one in waiting} == {200}


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


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("198.51.100.9:443", "198.51.100.9"),
        ("203.0.113.1, 198.51.100.9:65535", "198.51.100.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),  # without brackets the last group belongs to the address
    ],
)
def test_port_in_a_forwarded_address_is_ignored(pages: Pages, header: str, address: str) -> None:
    pages.proxies[0] = AllowList([f"{CALLER}/32"])
    assert caller(pages.port, ("X-Forwarded-For", header)) == f"{address} http []"
    assert pages.unreadable == []


@pytest.mark.parametrize(
    "header", ["unknown", "", "198.51.100.9,", "_hidden:443", "198.51.100.9:443:1", "[198.51.100", "256.1.1.1"]
)
def test_proxy_whose_forwarded_address_cannot_be_read_is_reported(pages: Pages, header: str) -> None:
    pages.proxies[0] = AllowList([f"{CALLER}/32"])
    assert caller(pages.port, ("X-Forwarded-For", header)) == f"{CALLER} http []"
    assert pages.unreadable == [CALLER]
    assert caller(pages.port) == f"{CALLER} http []"  # such as a check of the proxy's own
    assert pages.unreadable == [CALLER]


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
