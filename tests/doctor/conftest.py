"""A site whose keys a test changes, and the doctor's checks, run in the reactor thread."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThreadPool

from demo.demo_setup import decided_policy
from hkall_gateway.app.machine import runs
from hkall_gateway.app.resources import Resources
from hkall_gateway.cli.doctor.examination import examine, examinees
from hkall_gateway.cli.doctor.findings import ExaminationTools, Finding, Interview, Sheet
from hkall_gateway.cli.doctor.own_gateway import GatewayPlace
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of
from hkall_gateway.observability.metrics import Metrics
from tests.ports import free_ports

PATIENCE_S = 30
INSTANCE = "machine-1"

SITE = """
[library]
agency = "HKU"
name = "HKU Libraries"
pickup_locations = ["MAIN"]
place_names = { MAIN = "the counter" }
place_names_zh = { MAIN = "櫃檯" }

[database]
url = "sqlite:///hkall.db"

[policy]
file = "policy.toml"
"""


@dataclass
class Site:
    """A configuration in a folder, and the doctor's checks for it. `times` sets the time limit per peer."""

    reactor: Any
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    instance: str = INSTANCE

    @property
    def path(self) -> Path:
        return self.folder / "gateway.toml"

    def write(self, tables: str = "", base: str = SITE) -> None:
        """Write the configuration: the minimal one plus these tables, with a policy that makes the required decisions."""
        (self.folder / "policy.toml").write_text(decided_policy(), encoding="utf-8")
        self.path.write_text(base + tables, encoding="utf-8")
        self.path.chmod(0o640)

    def partner(self, url: str, more: str = "") -> None:
        """One partner at this address, with the secret "agreed"."""
        self.environ["SECRET"] = "agreed"
        row = f'agency = "CUHK"\nname = "CUHK Library"\nurl = "{url}"\nsecret_env = "SECRET"\n'
        self.write(f"\n[[partners]]\n{row}{more}\n")

    def examine(self, who: str, to: str = "", seconds: float = 10.0, interview: Interview | None = None) -> Sheet:
        """The doctor's results for one peer."""
        config = gateway.load(self.path, self.environ)
        means = Resources(reactor=self.reactor, clock=now, environ=self.environ, metrics=Metrics(), config=lambda: config)
        in_thread = partial(deferToThreadPool, self.reactor, self.reactor.getThreadPool())
        tools = ExaminationTools(means, in_thread, interview)
        here = GatewayPlace(path=self.path, policy=library_of(config).policy, instance=self.instance, number="1", runs=runs)
        one = examinees(tools, here, to)[who]
        work: Any = lambda: ensureDeferred(examine(one, one.sheet(self.reactor.seconds, seconds)))  # noqa: E731
        found: Sheet = blockingCallFromThread(self.reactor, work)
        return found


def status(sheet: Sheet) -> dict[str, str]:
    """The status of each check; of a check with several results, the last one."""
    return {one.check: one.status.value for one in sheet.found}


def finding(sheet: Sheet, check: str) -> Finding:
    """The only result of a check."""
    (found,) = (one for one in sheet.found if one.check == check)
    return found


@pytest.fixture
def site(reactor: Any, tmp_path: Path) -> Site:
    made = Site(reactor, tmp_path)
    made.write()
    return made


Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
Web = Callable[..., str]
"""(reply function, key and certificate in one file for TLS) -> the URL."""


@pytest.fixture
def web() -> Iterator[Web]:
    """Start Python's HTTP server, which answers each POST and GET with a function; return its URL."""
    running: list[ThreadingHTTPServer] = []

    def start(answer: Answer, identity: Path | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                answer(self, b"")

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Handler)
        running.append(server)
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http{'s' if identity else ''}://localhost:{server.server_port}/ncip"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


# ---- certificates and TLS servers of openssl


def openssl(*words: str, folder: Path) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=PATIENCE_S)


@dataclass
class Authority:
    """A certificate authority made with openssl, in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "900"]
        openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority", folder=self.folder)

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, days: int = 90, names: str = "DNS:localhost,IP:127.0.0.1") -> Path:
        """Write a key and a certificate into one file; it expires in `days` days, or has expired if negative."""
        begin, end = (f"{datetime.now(UTC) + timedelta(days=d):%Y%m%d%H%M%SZ}" for d in (-400, days))  # noqa: TID251
        new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-addext", f"subjectAltName={names}", folder=self.folder)
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-copy_extensions", "copy"]
        openssl(*sign, "-not_before", begin, "-not_after", end, "-out", f"{name}.crt", folder=self.folder)
        file = self.folder / f"{name}.pem"
        file.write_bytes((self.folder / f"{name}.key").read_bytes() + (self.folder / f"{name}.crt").read_bytes())
        return file


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority, trusted by this machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


class TlsServers:
    """Starts `openssl s_server` with a key and a certificate in one file; calling it returns the port."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "s_server.txt"
        self._running: list[subprocess.Popen[bytes]] = []

    def __call__(self, identity: Path, *words: str) -> int:
        port = free_ports(1)[0]
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(identity), "-key", str(identity), *words]
        with self._output.open("wb") as output:
            self._running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output))
        end = time.monotonic() + PATIENCE_S
        while b"ACCEPT" not in self.said():
            assert time.monotonic() < end, f"openssl s_server did not start: {self.said()!r}"
            time.sleep(0.02)
        return port

    def said(self) -> bytes:
        """The output of the last server: the data it received, without `-www`."""
        return self._output.read_bytes()

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[TlsServers]:
    made = TlsServers(tmp_path)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the trusted certificates of the test from those of the machine."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
