"""Terminals on real sockets: TLS with a test certificate, ports without a login, the command line as a terminal."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo import demo_setup
from tests import databases
from tests.ports import free_ports

pytestmark = pytest.mark.long

COMMAND = Path(sys.executable).parent / "hkall-gateway"
PATIENCE_S = 20
CARD, OTHER_CARD, PIN = "P0001", "P0002", "1234"


@dataclass(frozen=True, slots=True)
class Site:
    """A running gateway: its plain port, its TLS port, the port without a login, and its operations port."""

    plain: int
    tls: int
    open: int
    ops: int
    certificate: Path
    log: Path

    def log_in_by_openssl(self, login: str, identity: str) -> str:
        """Log in over TLS by openssl, with a certificate if there is an identity. Return the code and ok of the answer."""
        shows = ["-cert", str(self.log.parent / f"{identity}.pem")] if identity else []
        words = ["openssl", "s_client", "-quiet", "-connect", f"localhost:{self.tls}", *shows]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
            assert client.stdin
            assert client.stdout
            client.stdin.write(f"9300CN{login}|CO{demo_setup.PASSWORD}|CPMAIN|\r".encode())
            client.stdin.flush()
            answer = client.stdout.read(3)
            client.terminate()
        return answer.decode()

    def terminal(self, *words: str, password: str = demo_setup.PASSWORD) -> subprocess.CompletedProcess[str]:
        """Return the output and exit code of `hkall-gateway sip2`."""
        return subprocess.run(
            [COMMAND, "sip2", *words],
            env={**os.environ, "PASSWORD": password},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def counter(self, *lines: str) -> subprocess.CompletedProcess[str]:
        return self.terminal(f"127.0.0.1:{self.plain}", "--login", "counter-1", "--password-env", "PASSWORD", *lines)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/metrics", timeout=PATIENCE_S) as page:
            text: str = page.read().decode()
        return text


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Return a key and a self-signed certificate for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    today = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251  # a certificate is about the real day
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "key.pem", folder / "cert.pem"


def _client_identity(folder: Path, name: str, key_file: Path, authority_file: Path) -> None:
    """Write a key and a certificate that the gateway's own authority has signed, in one file."""
    signing_key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    authority = x509.load_pem_x509_certificate(authority_file.read_bytes())
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(authority.subject, title, key.public_key(), x509.random_serial_number())
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .sign(signing_key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.pem").write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("terminals")
    key, certificate = _certificate(folder)
    for name in ("terminal", "other"):
        _client_identity(folder, name, key, certificate)
    plain, ncip, ops, smtp, tls, without = free_ports(6)
    ports = demo_setup.Ports(plain, ncip, ops, smtp)
    config = demo_setup.write_config(folder, ports)
    listeners = f"""
[[sip2.listeners]]
endpoint = "ssl:{tls}:interface=127.0.0.1:privateKey={key.name}:certKey={certificate.name}"

[[sip2.listeners]]
endpoint = "tcp:{without}:interface=127.0.0.1"
login = "optional"
terminal = "selfcheck-1"
dialect = "crlf"
"""
    text = config.read_text().replace("[sip2]\n", f'[sip2]\nclient_ca = "{certificate.name}"\n', 1)
    secret_hash = re.search(r'^secret_hash = ".*"$', text, re.MULTILINE)
    assert secret_hash
    listeners += f"""
[[sip2.terminals]]
login = "counter-2"
{secret_hash[0]}
role = "counter"
location = "MAIN"
certificate = "terminal"
"""
    config.write_text(text + listeners)
    environ = {**os.environ, **demo_setup.environment(ports)}
    databases.fill(config, environ)
    log = folder / "log.jsonl"
    with log.open("wb") as stream:
        process = subprocess.Popen([COMMAND, "serve", "--config", config], stdout=stream, stderr=stream, env=environ)
    try:
        end = time.monotonic() + PATIENCE_S
        while "daemon.started" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield Site(plain, tls, without, ops, certificate, log)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_terminal_command_logs_in_and_shows_replies(site: Site) -> None:
    done = site.counter("99 protocol_version=2.00", f"63 AA={CARD} AD={PIN}")
    assert done.returncode == 0, done.stderr
    assert "98 ACS Status" in done.stdout
    assert "BX supported messages    YYYYYYYYYYYYYYYY" in done.stdout
    assert "64 Patron Information Response" in done.stdout
    assert "CQ valid patron password Y" in done.stdout


def test_wrong_password_is_reported_in_one_line(site: Site) -> None:
    words = (f"127.0.0.1:{site.plain}", "--login", "counter-1", "--password-env", "PASSWORD", "99")
    done = site.terminal(*words, password="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "counter-1: the login was refused; the gateway's log says why\n"


def test_terminal_command_works_over_tls(site: Site) -> None:
    words = ("--login", "counter-1", "--password-env", "PASSWORD", "99")
    done = site.terminal(f"localhost:{site.tls}", "--tls", "--ca", str(site.certificate), *words)
    assert done.returncode == 0, done.stderr
    assert "98 ACS Status" in done.stdout


def test_untrusted_certificate_is_refused(site: Site) -> None:
    done = site.terminal(f"localhost:{site.tls}", "--tls", "99")
    assert (done.returncode, done.stdout) == (1, "")
    assert "certificate" in done.stderr


@pytest.mark.parametrize(
    ("login", "identity", "answer"),
    [
        ("counter-1", "", "941"),
        ("counter-1", "other", "941"),
        ("counter-2", "terminal", "941"),
        ("counter-2", "other", "940"),
        ("counter-2", "", "940"),
    ],
)
def test_terminal_with_a_certificate_logs_in_only_by_showing_it(site: Site, login: str, identity: str, answer: str) -> None:
    assert site.log_in_by_openssl(login, identity) == answer


def test_terminal_with_a_certificate_is_refused_on_a_port_without_tls(site: Site) -> None:
    words = (f"127.0.0.1:{site.plain}", "--login", "counter-2", "--password-env", "PASSWORD", "99")
    assert site.terminal(*words).returncode == 1


def test_tls_port_refuses_plaintext(site: Site) -> None:
    assert site.terminal(f"127.0.0.1:{site.tls}", "--timeout", "5", "99").returncode == 1


def test_port_without_a_required_login_serves_its_terminal_and_framing(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.open), PATIENCE_S) as line:
        line.sendall(f"3520170301    100000AOHKU|AA{CARD}|\r".encode())
        heard = line.recv(4096)
    assert heard.startswith(b"36Y")
    assert heard.endswith(b"\r\n")


def test_pin_is_refused_after_five_wrong_pins_while_other_messages_work(site: Site) -> None:
    wrong = [f"23 AA={OTHER_CARD} AD=999{number}" for number in range(5)]
    without = [f"63 AA={OTHER_CARD}"] * 6
    done = site.counter(*without, *wrong, f"23 AA={OTHER_CARD} AD={PIN}", *without)
    flags = [line.split()[-1] for line in done.stdout.splitlines() if "CQ valid patron password" in line]
    assert flags == ["N"] * 18
    valid = [line.split()[-1] for line in done.stdout.splitlines() if "BL valid patron" in line]
    assert valid == ["Y"] * 18
    assert "CQ valid patron password Y" in site.counter(f"23 AA={CARD} AD={PIN}").stdout


def test_messages_are_counted_by_terminal_command_and_outcome(site: Site) -> None:
    site.counter("17 AB=NOSUCH")
    assert 'hkall_sip2_messages_total{msg="17",outcome="unknown_item",terminal="counter-1"}' in site.metrics()


def test_database_times_are_measured_for_reads_and_writes(site: Site) -> None:
    site.counter(f"63 AA={CARD}", f"01N AA={CARD} AL=left behind")
    took = re.findall(r'hkall_db_latency_seconds_(sum|count)\{lane="(reader|writer)"\} (\S+)', site.metrics())
    assert {(kind, lane) for kind, lane, _ in took} == set(product(("sum", "count"), ("reader", "writer")))
    assert all(float(number) > 0 for _, _, number in took)


def _marks(site: Site) -> list[str]:
    """Return the corr_id of each 18 of the counter in the log so far."""
    said = [json.loads(line) for line in site.log.read_text().splitlines() if "sip2.answered" in line and line.endswith("}")]
    marks = [line["corr_id"] for line in said if line["code"] == "18"]
    return [mark for mark in marks if mark.startswith("counter-1/")]


def test_message_identifier_is_in_the_log_and_the_journal(site: Site) -> None:
    site.counter("17 AB=NOSUCH", "17 AB=NOSUCH")
    end = time.monotonic() + PATIENCE_S
    while len(marks := _marks(site)) < 2 and time.monotonic() < end:
        time.sleep(0.02)  # a log line is written after the reply
    assert len(marks) >= 2
    assert len(marks) == len(set(marks))
