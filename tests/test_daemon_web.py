"""The pages of a running gateway, requested by curl: in the gateway's process, and in a separate one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from demo.socket_terminal import SocketTerminal
from hkall_gateway.clock import now
from hkall_gateway.db import cards
from hkall_gateway.db.loads import loading
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Holding
from tests.company import COMMAND, PATIENCE_S, Gateway, stamp, until

pytestmark = pytest.mark.long

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
LOGIN = demo_setup.STAFF[0]["login"]


class Curl:
    """A browser that keeps its cookies in a file. Curl sends secure cookies to localhost without TLS, as browsers do."""

    def __init__(self, port: int, folder: Path) -> None:
        self._base, self._jar = f"http://localhost:{port}", folder / "cookies"

    def __call__(self, path: str, *words: str) -> tuple[int, str]:
        """Return status code, and the headers with the body, of a response."""
        fixed = ["curl", "-s", "-i", "-m", "20", "-4", "-b", str(self._jar), "-c", str(self._jar)]
        done = subprocess.run([*fixed, *words, f"{self._base}{path}"], capture_output=True, text=True, check=False)
        found = re.match(r"HTTP/1.1 (\d+)", done.stdout)
        return int(found[1]) if found else 0, done.stdout

    def log_in(self) -> tuple[int, str]:
        return self.post("/staff/login", "/staff/login", f"login={LOGIN}", f"password={demo_setup.PASSWORD}")

    def post(self, path: str, at: str, *fields: str) -> tuple[int, str]:
        _, page = self(at)
        token = TOKEN.search(page)
        assert token, page
        named = [f"csrf_token={token[1]}", *fields]
        return self(path, *(word for field in named for word in ("--data-urlencode", field)))


@pytest.fixture(scope="module")
def gateway(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path_factory.mktemp("web"), pages=True)
    made.start()
    yield made
    made.end()


@pytest.fixture
def curl(gateway: Gateway, tmp_path: Path) -> Curl:
    return Curl(gateway.ports.web, tmp_path)


def lines(log: str, event: str) -> list[dict[str, Any]]:
    return [line for text in log.splitlines() if text.startswith("{") and (line := json.loads(text))["event"] == event]


def test_clerk_logs_in_sees_the_dashboard_and_logs_out(curl: Curl) -> None:
    assert curl("/staff/")[0] == 303
    assert curl.log_in()[0] == 303
    code, page = curl("/staff/")
    assert (code, "To fetch from our shelves" in page) == (200, True)
    assert curl.post("/staff/logout", "/staff/")[0] == 303
    assert curl("/staff/")[0] == 303


def test_list_is_downloaded_as_a_file(curl: Curl) -> None:
    curl.log_in()
    code, told = curl("/staff/lists/pull.csv?sort=call-number")
    assert (code, "text/csv; charset=utf-8" in told) == (200, True)
    assert "\ufeffRequest,Title,Title in the original script,Author" in told


def test_wrong_password_is_refused(curl: Curl) -> None:
    code, page = curl.post("/staff/login", "/staff/login", "login=head", "password=wrong")
    assert (code, "Login or password is wrong." in page) == (401, True)


def test_form_without_a_csrf_token_is_refused(curl: Curl) -> None:
    assert curl("/staff/login", "-d", "login=x&password=y")[0] == 400


def test_oversized_body_is_refused(curl: Curl) -> None:
    assert curl("/staff/login", "-d", "login=" + "x" * 70_000)[0] == 413


def test_visitors_from_many_addresses_do_not_block_pages_for_a_clerk(gateway: Gateway, curl: Curl, tmp_path: Path) -> None:
    curl.log_in()
    words = [sys.executable, "-m", "tests.attacks.floods.strangers", str(gateway.ports.web), "5", "110", "0", "/help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as crowd:
        until(lambda: [one for one in lines(gateway.log(), "web.answered") if one["peer"].startswith("127.8.")], "the crowd")
        assert {curl("/staff/")[0] for _ in range(20)} == {200}
        found = json.loads(crowd.communicate(timeout=60)[0])
    assert found["503"]  # more visitors than may wait
    (tmp_path / "stranger").mkdir()
    stranger = Curl(gateway.ports.web, tmp_path / "stranger")
    until(lambda: stranger("/help")[0] == 200, "strangers are served again")


def test_every_page_has_its_content_security_policy(curl: Curl) -> None:
    _, page = curl("/help")
    assert "Content-Security-Policy: default-src 'self'" in page
    assert page.count("Content-Security-Policy") == 1


def test_page_request_is_logged_in_one_line_with_an_id(gateway: Gateway, curl: Curl) -> None:
    curl("/help?q=Chan+Tai+Man")
    of_curl = {"page": "/help", "peer": "127.0.0.1"}
    (*_, line) = until(
        lambda: [one for one in lines(gateway.log(), "web.answered") if one.items() >= of_curl.items()], "the line"
    )
    assert line.keys() == {"ts", "hkt_date", "level", "event", "channel", "corr_id", "verb", "page", "code", "peer", "ms"}
    assert (line["verb"], line["page"], line["code"], line["peer"]) == ("GET", "/help", "200", "127.0.0.1")
    assert re.fullmatch("[2-9A-Z]{8}", line["corr_id"])
    assert "Chan" not in gateway.log()


def test_metrics_count_the_requests(gateway: Gateway, curl: Curl) -> None:
    curl("/help")
    page = Curl(gateway.ports.ops, gateway.path.parent)("/metrics")[1]
    assert 'hkall_web_latency_seconds_count{code="200",page="/help"}' in page


def test_stop_closes_idle_browser_connections(reactor: Any, tmp_path: Path) -> None:
    made = Gateway(reactor, tmp_path, pages=True)
    try:
        made.start()
        with socket.create_connection(("127.0.0.1", made.ports.web), 20) as idle:
            idle.sendall(b"GET /help HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            assert made.stop() == 0  # `stop` allows five seconds
        assert "daemon.stopped" in made.log()
    finally:
        made.end()


@pytest.mark.parametrize("address", ["b/9%3Fx%23y%25", "b%2F9%3Fx%23y%25"])
def test_title_with_a_slash_in_its_id_has_working_pages(gateway: Gateway, curl: Curl, address: str) -> None:
    copy = Holding(agency="CUHK", barcode="Z1", bib_id="b/9?x#y%", title="Zymurgy for beginners")

    def load(unit: UnitOfWork) -> None:
        loading.write(unit, "holdings", [copy], loading.begin(unit, "holdings"))

    gateway.plant(load)
    for path in (f"/title/{address}", f"/title/{address}/request", f"/api/v1/titles/{address}"):
        code, page = curl(path)
        assert (code, copy.title in page) == (200, True), path


# ---- patrons


def pin(curl: Curl, card: str, typed: str) -> tuple[int, str]:
    return curl.post("/login", "/login", f"barcode={card}", f"pin={typed}")


def lock(gateway: Gateway, terminal: SocketTerminal, card: str) -> None:
    """Lock a card by five wrong PINs at a terminal."""
    for _ in range(5):
        assert "|CQN|" in gateway.ask(terminal, f"23000{stamp()}AOHKU|AA{card}|AC|AD9999|")
    until(lambda: gateway.plant(lambda unit: cards.is_locked(unit, card, now())), "the lock of the card")


def test_wrong_pins_on_the_web_do_not_lock_the_card_at_terminals(gateway: Gateway, curl: Curl) -> None:
    tries = [pin(curl, "P0004", "0000")[0] for _ in range(7)]
    assert tries[:3] == [401] * 3
    assert 429 in tries
    others = [pin(curl, f"P00{n}", "0000")[0] for n in range(10, 20)]
    assert others == [401] * 10
    terminal = gateway.counter()
    for card in ("P0004", "P0010"):
        assert "|CQY|" in gateway.ask(terminal, f"23000{stamp()}AOHKU|AA{card}|AC|AD1234|")


def test_card_locked_by_wrong_pins_at_a_terminal_is_locked_on_the_web(gateway: Gateway, curl: Curl) -> None:
    terminal = gateway.counter()
    lock(gateway, terminal, "P0005")
    code, page = pin(curl, "P0005", "1234")
    assert (code, "Card or PIN is wrong." in page) == (401, True)
    assert pin(curl, "P0006", "1234")[0] == 303


def test_refusing_an_unknown_card_takes_as_long_as_refusing_a_wrong_pin(gateway: Gateway, tmp_path: Path) -> None:
    """The shortest of several response times: a hash takes some 20 ms, a page without one a few."""

    def posts() -> list[float]:
        """Return the form submissions in the log, which is written later, in order, so a last page request is awaited."""
        marks = len(answered("/robots.txt"))
        Curl(gateway.ports.web, tmp_path)("/robots.txt")
        until(lambda: len(answered("/robots.txt")) > marks, "the line of the last answer")
        return [float(line["ms"]) for line in answered("/login") if line["verb"] == "POST"]

    def answered(page: str) -> list[dict[str, Any]]:
        return [line for line in lines(gateway.log(), "web.answered") if line["page"] == page]

    def took(card: str) -> float:
        before = len(posts())
        browser = Curl(gateway.ports.web, tmp_path / card)
        browser._jar.parent.mkdir()
        assert pin(browser, card, "0000")[0] == 401
        (duration,) = posts()[before:]
        return duration

    # The two take turns, so that a busy moment of the machine slows down both.
    pairs = [(took(f"P002{n}"), took(f"NOBODY{n}")) for n in range(5)]
    known = min(pair[0] for pair in pairs)
    unknown = min(pair[1] for pair in pairs)
    assert unknown > known / 3
    assert known > unknown / 3


# ---- a separate pages process


@pytest.fixture
def two_processes(reactor: Any, tmp_path: Path) -> Iterator[tuple[Gateway, subprocess.Popen[bytes]]]:
    """A gateway without pages and a separate pages process, on one SQLite file."""
    made = Gateway(reactor, tmp_path, pages=True)
    made.start("--without", "web")
    with (tmp_path / "web.jsonl").open("wb") as log:
        web = subprocess.Popen(
            [COMMAND, "serve", "--only", "web", "--config", made.path], stdout=log, stderr=log, env=made.environ
        )
    until(lambda: "daemon.started" in (tmp_path / "web.jsonl").read_text(), "the start of the pages")
    yield made, web
    web.kill()
    web.wait()
    made.end()


def test_separate_pages_process_serves_on_the_gateways_database(
    two_processes: tuple[Gateway, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    made, web = two_processes
    curl = Curl(made.ports.web, tmp_path)
    assert curl.log_in()[0] == 303
    made.do(made.party.start)
    made.request("d-web")  # one process writes the request, and the other shows it
    until(lambda: "Requested from a lender" in curl("/staff/")[1], "the request on the first page")

    (started,) = lines((tmp_path / "web.jsonl").read_text(), "daemon.started")
    assert started["listening"] == 1
    assert started["instance"].endswith("-1-web")
    web.send_signal(signal.SIGTERM)
    assert web.wait(PATIENCE_S) == 0
    text = (tmp_path / "web.jsonl").read_text()
    assert lines(text, "daemon.stopped")
    assert lines(text, "timer.run") == []  # only the gateway's process runs timers
    assert curl("/help")[0] == 0


def test_card_locked_at_a_terminal_is_locked_on_a_separate_pages_process(
    two_processes: tuple[Gateway, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    made, _ = two_processes
    curl = Curl(made.ports.web, tmp_path)
    terminal = made.counter()
    lock(made, terminal, "P0005")
    code, page = pin(curl, "P0005", "1234")
    assert (code, "Card or PIN is wrong." in page) == (401, True)

    assert [pin(curl, "P0004", "0000")[0] for _ in range(3)] == [401] * 3
    assert [pin(Curl(made.ports.web, tmp_path), f"P00{n}", "0000")[0] for n in range(10, 16)] == [401] * 6
    assert "|CQY|" in made.ask(terminal, f"23000{stamp()}AOHKU|AAP0004|AC|AD1234|")
    assert pin(curl, "P0006", "1234")[0] == 303


def test_separate_pages_process_requires_a_web_table(tmp_path: Path) -> None:
    path = demo_setup.write_config(tmp_path, demo_setup.Ports())
    environ = demo_setup.environment(demo_setup.Ports())
    done = subprocess.run(
        [COMMAND, "serve", "--only", "web", "--config", path],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "there is no [web] table" in done.stderr) == (2, True)
