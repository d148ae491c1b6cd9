"""A protocol of partners from another distribution: configured, checked, and a book each way with crashes between."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import hkall_gateway
from demo import demo_setup
from hkall_gateway.config import gateway as config
from hkall_gateway.config import mapping
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.protocols import find_protocol
from tests.company import CARD, COMMAND, COPY, PATIENCE_S, Gateway, stamp, until
from tests.ils.test_installed_adapter import install
from tests.ports import free_ports

SOURCE = Path(__file__).parent.parent / "slip_protocol" / "library_slips.py"
NAME = "pigeon"
OURS, OUR_BIB = "X0000003", "b0003"


@dataclass
class Peer:
    """A partner that takes slips, and confirms their receipt.

    Attributes:
        refused: Why it refuses a slip, in its reply with status 409.
    """

    port: int
    heard: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    refused: str = ""

    def says(self) -> list[str]:
        return list(dict.fromkeys(slip["say"] for slip in self.heard))


class Page(BaseHTTPRequestHandler):
    def __init__(self, peer: Peer, *more: Any) -> None:
        self._peer = peer
        super().__init__(*more)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        if self._peer.status == 200:
            self._peer.heard.append(json.loads(body))
        self.send_response(self._peer.status)
        self.end_headers()
        self.wfile.write(json.dumps({"received": True, "refused": self._peer.refused}).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, made))
    made.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, visible to this process and its children."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, NAME, "library_slips", SOURCE.read_text(encoding="utf-8"), "hkall_gateway.protocols", "PROTOCOL")
    install(folder, "broken", "library_broken", "import not_there\n", "hkall_gateway.protocols", "PROTOCOL")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    find_protocol.cache_clear()
    yield folder
    find_protocol.cache_clear()


def speak_slips(path: Path, url: str, listen: int, more: str = "") -> None:
    """Change the configuration so that CUHK speaks slips."""
    text = path.read_text(encoding="utf-8")
    before, row = text.split('[[partners]]\nagency = "CUHK"\n')
    lines, rest = row.split("priority = 10\n", 1)
    kept = "".join(line + "\n" for line in lines.splitlines() if not line.startswith("url = "))
    own = f'priority = 10\n{more}[partners.pigeon]\nurl = "{url}"\n'
    table = f'[pigeon]\nlisten = ["tcp:{listen}:interface=127.0.0.1"]\nmotto = "Slips, please."\n'
    path.write_text(f'{before}{table}[[partners]]\nagency = "CUHK"\n{kept}{own}{rest}', encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, installed: Path) -> Path:
    return demo_setup.write_config(tmp_path, demo_setup.Ports())


def read(path: Path) -> config.GatewayConfig:
    return config.load(path, demo_setup.environment(demo_setup.Ports()))


def test_no_file_of_the_package_knows_the_name_of_an_installed_protocol() -> None:
    root = Path(hkall_gateway.__file__).parent
    named = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (NAME, "library_slips")
    ]
    assert named == []


def test_keys_of_an_installed_protocol_are_read_strictly(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    partner = next(row.plain() for row in read(site).partners if row.agency == "CUHK")
    assert (partner.protocol, json.loads(partner.terms)) == (NAME, {"url": "https://slips.cuhk.example/"})
    assert read(site).table_of(NAME).listen == ("tcp:7001:interface=127.0.0.1",)

    text = site.read_text(encoding="utf-8")
    site.write_text(text.replace('url = "https://slips', 'urll = "https://slips').replace("motto", "moto"), encoding="utf-8")
    with pytest.raises(ConfigErrors) as refused:
        read(site)
    faults = dict(refused.value.errors)
    assert faults["pigeon.moto"] == "is not a known key (did you mean `motto`?)"
    assert faults["partners[0].pigeon.url"] == "is missing"


def test_renewal_mode_that_the_protocol_lacks_is_refused(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001, 'renewal_mode = "ask_first"\n')
    with pytest.raises(ConfigErrors) as refused:
        read(site)
    assert dict(refused.value.errors) == {"partners[0].renewal_mode": "must be local_then_notify with pigeon"}


def test_callers_belong_to_their_protocol(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    environ = demo_setup.environment(demo_setup.Ports())
    assert mapping.callers(read(site), environ, NAME).keys() == {"CUHK"}
    assert "CUHK" not in mapping.callers(read(site), environ, "ncip")


def run_doctor(path: Path, *words: str) -> list[dict[str, Any]]:
    """Run the doctor command in a process of its own, and return its findings."""
    done = subprocess.run(
        [COMMAND, "doctor", *words, "--json", "--config", path],
        env={**os.environ, **demo_setup.environment(demo_setup.Ports())},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_doctor_examines_a_partner_by_the_rows_of_its_protocol(site: Path, peer: Peer) -> None:
    speak_slips(site, f"http://127.0.0.1:{peer.port}/", 7001)
    found = {finding["check"]: finding for finding in run_doctor(site, "CUHK")}
    assert list(found) == ["dns", "tcp", "tls.version", "slip.hello", "proof.theirs"]
    assert {name: one["status"] for name, one in found.items()} == dict.fromkeys(found, "ok")
    assert [slip["say"] for slip in peer.heard] == ["hello"]


def test_doctor_gives_the_advice_of_a_failed_row_of_an_installed_protocol(site: Path, peer: Peer) -> None:
    peer.status = 503
    speak_slips(site, f"http://127.0.0.1:{peer.port}/", 7001)
    (failed,) = [finding for finding in run_doctor(site, "CUHK") if finding["status"] == "fail"]
    assert (failed["check"], failed["detail"]) == ("slip.hello", "HTTP 503")
    assert failed["advice"] == "Ask the library whether its slips are read."


def test_doctor_tries_nothing_at_a_partner_that_it_cannot_reach(site: Path) -> None:
    (port,) = free_ports(1)
    speak_slips(site, f"http://127.0.0.1:{port}/", 7001)
    found = {finding["check"]: finding for finding in run_doctor(site, "CUHK")}
    assert found["tcp"]["status"] == "fail"
    assert (found["slip.hello"]["status"], found["slip.hello"]["detail"]) == ("skip", "tcp failed")


# ---- a real process


@dataclass
class Scene:
    """A gateway with a partner that speaks slips. The gateway is killed and started again after every step."""

    gateway: Gateway
    peer: Peer
    port: int

    def crash(self) -> None:
        self.gateway.kill()
        self.gateway.start()

    def post(self, say: str, request: list[str], **facts: object) -> int:
        """Post a slip to the gateway, and return the status of the reply."""
        slip = {"from": "CUHK", "secret": demo_setup.PASSWORD, "say": say, "request": request, **facts}
        url = f"http://127.0.0.1:{self.port}/{NAME}"
        asked = Request(url, json.dumps(slip).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(asked, timeout=PATIENCE_S) as reply:
                return int(reply.status)
        except HTTPError as refused:
            return refused.code

    def scan(self, line: str) -> str:
        terminal = self.gateway.counter()
        told = self.gateway.ask(terminal, line)
        self.gateway.hang_up(terminal)
        return told

    def hears(self, say: str) -> None:
        until(lambda: say in self.peer.says(), f"the slip {say}")


@pytest.fixture
def scene(reactor: Any, tmp_path: Path, installed: Path, peer: Peer) -> Iterator[Scene]:
    gateway = Gateway(reactor, tmp_path, demo_setup.decided_policy())
    (port,) = free_ports(1)
    speak_slips(gateway.path, f"http://127.0.0.1:{peer.port}/", port)
    gateway.start()
    yield Scene(gateway, peer, port)
    gateway.end()


def check_in(barcode: str) -> str:
    return f"09N{stamp()}{stamp()}APHKU-MAIN-LENDING|AOHKU|AB{barcode}|AC|"


def check_out(card: str, barcode: str) -> str:
    return f"11NN{stamp()}{' ' * 18}AOHKU|AA{card}|AB{barcode}|AC|"


@pytest.mark.long
def test_book_is_borrowed_over_an_installed_protocol_with_a_crash_between_every_two_steps(scene: Scene) -> None:
    gateway, peer = scene.gateway, scene.peer
    peer.status = 503
    assert not gateway.request("w-1").has("Problem")
    number = json.loads(gateway.command("outbox", "list", "--partner", "CUHK", "--json"))[0]["id"]
    shown = gateway.command("outbox", "show", str(number))
    assert '"say": "ask_lender"' in shown
    assert demo_setup.PASSWORD not in shown
    scene.crash()
    peer.status = 200
    scene.hears("ask_lender")
    wire = peer.heard[0]["request"]
    scene.crash()
    due = (date.fromisoformat(stamp()[:4] + "-01-01") + timedelta(days=800)).isoformat()
    shipped: Callable[[], int] = lambda: scene.post(  # noqa: E731
        "tell_borrower_shipped", wire, item=["CUHK", COPY], due=due
    )
    assert shipped() == 200
    scene.crash()
    assert shipped() == 200  # the same slip again
    assert gateway.position() == "IN_TRANSIT"
    scene.crash()
    assert scene.scan(check_in(COPY)).startswith("101")
    scene.crash()
    scene.hears("tell_lender_received")
    assert scene.scan(check_out(CARD, COPY)).startswith("121")
    scene.crash()
    assert scene.scan(check_in(COPY)).startswith("101")
    scene.crash()
    assert scene.post("tell_borrower_home", wire, item=["CUHK", COPY]) == 200
    scene.crash()
    assert gateway.position() == "CLOSED"
    assert [slip["say"] for slip in peer.heard].count("ask_lender") == 1
    metrics = gateway.metrics()
    gateway.plant(lambda unit: unit.outbox.rows())
    assert "hkall_outbox" in metrics


@pytest.mark.long
def test_book_is_lent_over_an_installed_protocol_with_a_crash_between_every_two_steps(scene: Scene) -> None:
    gateway, wire = scene.gateway, ["CUHK", "c-1"]
    assert scene.post("ask_lender", wire, title=OUR_BIB) == 200
    scene.crash()
    assert scene.post("ask_lender", wire, title=OUR_BIB) == 200
    assert gateway.position(OURS) == "PAGED"
    assert scene.scan(check_out("CUHK-INST", OURS)).startswith("121")
    scene.crash()
    scene.hears("tell_borrower_shipped")
    assert scene.post("tell_lender_received", wire, item=["HKU", OURS]) == 200
    scene.crash()
    assert scene.post("tell_lender_on_its_way", wire, item=["HKU", OURS]) == 200
    scene.crash()
    assert scene.scan(check_in(OURS)).startswith("101")
    scene.crash()
    scene.hears("tell_borrower_home")
    assert gateway.position(OURS) == "CLOSED"


@pytest.mark.long
def test_cancellation_that_the_lender_refuses_at_receipt_is_settled(scene: Scene) -> None:
    gateway, peer = scene.gateway, scene.peer
    assert not gateway.request("w-1").has("Problem")
    scene.hears("ask_lender")
    (request,) = json.loads(gateway.command("requests", "list", "--json"))
    peer.status, peer.refused = 409, "Unknown Request"

    gateway.command("request", "cancel", request["id"], "--reason", "found on the shelf")

    until(lambda: json.loads(gateway.command("requests", "list", "--json")) == [], "the end of the cancellation")
    assert "CANCELLED" in gateway.command("requests", "show", request["id"])


@pytest.mark.long
def test_secret_of_one_protocol_opens_nothing_of_another(scene: Scene) -> None:
    assert scene.post("ask_lender", ["CUHK", "c-1"], title=OUR_BIB) == 200
    for stranger in ("LU", "HKU-DISCOVERY"):
        asked = json.dumps(
            {"from": stranger, "secret": demo_setup.PASSWORD, "say": "ask_lender", "request": [stranger, "1"], "title": OUR_BIB}
        )
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"http://127.0.0.1:{scene.port}/{NAME}", asked.encode()), timeout=PATIENCE_S)
        assert refused.value.code == 401
    url = f"http://127.0.0.1:{scene.gateway.ports.ncip}/ncip"
    words = [str(COMMAND), "ncip", url, "LookupItem", "item=HKU:X0000003", "--from", "CUHK", "--to", "HKU", "--secret-env", "S"]
    environ = {**scene.gateway.environ, "S": demo_setup.PASSWORD}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "Unknown Agency" in done.stdout, done.stdout + done.stderr
    metrics = scene.gateway.metrics()
    assert 'hkall_partner_latency_seconds_count{dir="in",partner="CUHK",protocol="pigeon",service="ask_lender"} 1.0' in metrics
    assert 'hkall_wrong_proofs_total{partner="unknown"} 3.0' in metrics


@pytest.mark.long
def test_unmatched_slip_is_kept_and_replayed(scene: Scene) -> None:
    assert scene.post("tell_borrower_shipped", ["HKU", "nothing-1"], item=["CUHK", COPY]) == 409
    (kept,) = json.loads(scene.gateway.command("quarantine", "list", "--json"))
    assert (kept["agency"], kept["service"]) == ("CUHK", "tell_borrower_shipped")
    shown = scene.gateway.command("quarantine", "show", str(kept["id"]))
    assert '"secret": "•"' in shown
    assert demo_setup.PASSWORD not in shown
    told = scene.gateway.command("quarantine", "replay", str(kept["id"]), "--reason", "try again")
    assert "unknown" in told.lower(), told
