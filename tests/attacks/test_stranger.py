"""A stranger on the machine or the network: file permissions, certificates, ciphers, a PROXY header over TLS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import time
import venv
from contextlib import closing, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.attacks.conftest import BALANCER, PATIENCE_S, until
from tests.programs import program, skip_or_fail

pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from tests.attacks.conftest import Site


def test_data_files_are_readable_only_by_the_gateways_user_and_group(site: Site) -> None:
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in site.folder.glob("hkall.db*")}
    assert {"hkall.db", "hkall.db-wal"} <= files.keys()
    assert {mode & 0o137 for mode in files.values()} == {0}
    assert stat.S_IMODE((site.folder / "gateway.log").stat().st_mode) == 0o640


# ---- third-party programs


def run(*words: str | Path, typed: bytes = b"") -> str:
    done = subprocess.run(words, input=typed, capture_output=True, timeout=PATIENCE_S * 4, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def curl(site: Site, *words: str) -> str:
    ask = (
        "--silent",
        "--show-error",
        "--cacert",
        site.authority.pem,
        "--data",
        "<a/>",
        f"https://localhost:{site.ncip_tls}/ncip",
    )
    return run(program("curl", "curl"), *words, *ask)


@pytest.mark.parametrize("alpn", [(), ("--no-alpn",), ("--http2",), ("--http1.1",)])
def test_curl_posts_over_tls_regardless_of_its_alpn_offer(site: Site, alpn: tuple[str, ...]) -> None:
    assert "<Problem>" in curl(site, *alpn).replace("ns1:", "")


@pytest.mark.parametrize("alpn", [(), ("--no-alpn",)])
def test_proxy_header_precedes_the_tls_handshake(site: Site, alpn: tuple[str, ...]) -> None:
    named = ("--interface", BALANCER, "--haproxy-protocol", "--haproxy-clientip")
    assert "<Problem>" in curl(site, *alpn, *named, "127.0.0.77").replace("ns1:", "")
    assert "<Problem>" not in curl(site, *alpn, *named, "192.0.2.77")  # no caller may connect from this address
    assert "<Problem>" not in curl(site, "--interface", BALANCER, "--max-time", "2").replace("ns1:", "")


def s_client(site: Site, port: int, *words: str, typed: bytes = b"9900302.00\r") -> str:
    # The shell keeps the input open, like a terminal's connection. A refused client may exit before the input is typed.
    openssl = program("openssl", "openssl")
    ask = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(site.authority.pem), *words]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "bufsize": 0}
    with subprocess.Popen(ask, **pipes) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        with suppress(BrokenPipeError):
            client.stdin.write(typed)
        heard, end = b"", time.monotonic() + PATIENCE_S
        os.set_blocking(client.stdout.fileno(), False)
        while time.monotonic() < end and client.poll() is None and b"98YY" not in heard:
            heard += client.stdout.read() or b""
            time.sleep(0.02)
        client.kill()
        return (heard + (client.stdout.read() or b"")).decode(errors="replace")


@pytest.mark.parametrize("words", [(), ("-alpn", "h2,http/1.1"), ("-tls1_2",), ("-tls1_3",)])
def test_openssl_client_uses_sip2_over_tls_regardless_of_its_alpn_offer(site: Site, words: tuple[str, ...]) -> None:
    heard = s_client(site, site.sip2_tls, *words)
    assert "98YY" in heard, heard
    assert "Verify return code: 0 (ok)" in heard or "verify return:1" in heard


@pytest.mark.parametrize("suite", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA"])
@pytest.mark.parametrize("port", ["sip2_tls", "ncip_tls"])
def test_openssl_is_refused_cbc_and_static_rsa(site: Site, suite: str, port: str) -> None:
    heard = s_client(site, getattr(site, port), "-tls1_2", "-cipher", suite)
    assert "98YY" not in heard
    assert "handshake failure" in heard


# ---- certificates


def serial(port: int, authority: Path) -> int:
    context = ssl.create_default_context(cafile=authority)
    with closing(HTTPSConnection("localhost", port, timeout=PATIENCE_S, context=context)) as line:
        line.connect()
        shown: Any = line.sock.getpeercert()
        return int(shown["serialNumber"], 16)


def test_new_certificate_is_used_after_a_signal_without_dropping_connections(site: Site) -> None:
    assert site.process is not None
    kept = site.terminal("counter-1")
    context = ssl.create_default_context(cafile=site.authority.pem)
    with closing(HTTPSConnection("localhost", site.ncip_tls, timeout=PATIENCE_S, context=context)) as line:
        line.request("POST", "/ncip", b"<a/>")
        line.getresponse().read()
        new = site.authority.issue("site")
        site.process.send_signal(signal.SIGHUP)
        until(lambda: serial(site.ncip_tls, site.authority.pem) == new)
        assert serial(site.sip2_tls, site.authority.pem) == new
        line.request("POST", "/ncip", b"<a/>")
        assert b"Problem" in line.getresponse().read()
    assert kept.ask("9900302.00").startswith("98YY")


def test_unreadable_certificate_keeps_the_current_certificate(site: Site) -> None:
    assert site.process is not None
    before, file = serial(site.ncip_tls, site.authority.pem), site.folder / "site.pem"
    kept, told = file.read_bytes(), len(site.events("tls.not_renewed"))
    file.write_text("half a certificate")
    site.process.send_signal(signal.SIGHUP)
    until(lambda: len(site.events("tls.not_renewed")) >= told + 2)
    file.write_bytes(kept)
    assert serial(site.ncip_tls, site.authority.pem) == before
    assert "half a certificate" not in site.log


# ---- sslyze


@pytest.fixture(scope="session")
def sslyze() -> Path:
    """sslyze in a separate environment, since it pins older libraries; created once in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hkall-gateway-tests"
    folder = cache / f"sslyze-{sys.version_info.major}.{sys.version_info.minor}"
    found = folder / "bin" / "sslyze"
    if not found.exists():
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run(
            [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "sslyze"],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(folder)
            skip_or_fail("sslyze could not be installed from PyPI")
    return found


@pytest.mark.parametrize("port", ["sip2_tls", "ncip_tls"])
def test_sslyze_reports_compliance_with_mozillas_intermediate_profile(
    site: Site, sslyze: Path, port: str, tmp_path: Path
) -> None:
    words = ("--mozilla_config", "intermediate", "--certinfo_ca_file", site.authority.pem, "--json_out", tmp_path / "found")
    said = run(sslyze, *words, f"localhost:{getattr(site, port)}")
    assert json.loads((tmp_path / "found").read_text())["server_scan_results"][0]["scan_status"] == "COMPLETED", said
    assert "OK - Compliant" in said, said
