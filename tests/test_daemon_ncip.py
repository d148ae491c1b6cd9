"""Other NCIP listeners of the daemon on real sockets: raw TCP for version 1, and TLS with client certificates."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo import demo_setup
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.xml.tree import Fields
from tests import databases
from tests.ports import free_ports

pytestmark = pytest.mark.long

COMMAND = Path(sys.executable).parent / "hkall-gateway"
PATIENCE_S = 20
BALANCER = "127.0.0.9"


@dataclass(frozen=True, slots=True)
class Site:
    """A running gateway: the folder with the identities, and its ports."""

    folder: Path
    raw: int
    tls: int
    plain: int
    sip2: int


def identity(folder: Path, name: str) -> Path:
    """Return a key and a self-signed certificate, in one file."""
    key, title = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)  # noqa: TID251  # real TLS looks at the real clock
    built = x509.CertificateBuilder(title, title, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, form, plain) + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / f"{name}.pem").write_bytes(pem)
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("doors")
    for name in ("gateway", "hkust", "stranger"):
        identity(folder, name)
    made = Site(folder, *free_ports(4))
    ncip, ops, smtp = free_ports(3)
    ports = demo_setup.Ports(made.sip2, ncip, ops, smtp)
    path = demo_setup.write_config(folder, ports)
    tls = f"ssl:{made.tls}:privateKey=gateway.pem:certKey=gateway.pem:interface=127.0.0.1"
    doors = f'listen = ["{tls}", "tcp:{made.plain}:interface=127.0.0.1"]\nclient_ca = "hkust.pem"\n'
    doors += f'listen_v1_tcp = ["tcp:{made.raw}:interface=127.0.0.1"]\nproxy_from = ["{BALANCER}/32"]\n'
    plain = f'listen = ["tcp:{ports.ncip}:interface=127.0.0.1"]\n'
    sip2 = f'listen = ["tcp:{made.sip2}:interface=127.0.0.1"]\n'
    said = path.read_text().replace(sip2, f'{sip2}proxy_from = ["{BALANCER}/32"]\n')
    said = said.replace(plain, doors).replace('agency = "HKUST"', 'agency = "HKUST"\ncertificate = "hkust"')
    path.write_text(said)
    environ = {**os.environ, **demo_setup.environment(ports)}
    databases.fill(path, environ)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([COMMAND, "serve", "--config", path], stdout=log, stderr=log, env=environ)
    try:
        _wait_for_start(folder / "log")
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def _wait_for_start(log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while "daemon.started" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def look_up(agency: str, secret: str, dialect: str = "direct") -> bytes:
    header: Fields = {
        "FromAgencyId": {"AgencyId": agency},
        "FromAgencyAuthentication": secret,
        "ToAgencyId": {"AgencyId": "HKU"},
    }
    item = {"AgencyId": "HKU", "ItemIdentifierValue": "NONE"}
    return encode(NcipMessage(service="LookupItem", fields={"InitiationHeader": header, "ItemId": item}), DIALECTS[dialect])


def test_two_documents_on_one_raw_tcp_connection_are_answered(site: Site) -> None:
    question = look_up("CUHK", demo_setup.PASSWORD, "innreach")
    with socket.create_connection(("127.0.0.1", site.raw), PATIENCE_S) as line:
        line.sendall(question + b"\n" + question)
        data = b""
        while data.count(b"</NCIPMessage>") < 2:
            part = line.recv(65_536)
            assert part
            data += part
    replies = [decode(part + b"</NCIPMessage>") for part in data.split(b"</NCIPMessage>")[:2]]
    assert [reply.text("Problem/ProblemType") for reply in replies] == ["Unknown Item", "Unknown Item"]


def over_tls(site: Site, body: bytes, who: str) -> NcipMessage:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(site.folder / "gateway.pem")
    if who:
        context.load_cert_chain(site.folder / f"{who}.pem")
    with closing(HTTPSConnection("127.0.0.1", site.tls, timeout=PATIENCE_S, context=context)) as line:
        line.request("POST", "/ncip", body)
        return decode(line.getresponse().read())


@pytest.mark.parametrize(
    ("who", "agency", "secret", "problem"),
    [
        ("hkust", "HKUST", "", "Unknown Item"),
        ("", "HKUST", "", "Agency Authentication Failed"),
        ("hkust", "CUHK", "", "Agency Authentication Failed"),
        ("", "CUHK", demo_setup.PASSWORD, "Unknown Item"),
    ],
)
def test_certificate_or_secret_authenticates_the_caller(site: Site, who: str, agency: str, secret: str, problem: str) -> None:
    assert over_tls(site, look_up(agency, secret), who).text("Problem/ProblemType") == problem


def test_certificate_from_an_unknown_authority_is_refused(site: Site) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        over_tls(site, look_up("HKUST", ""), "stranger")


# ---- behind a load balancer

TERMINALS = {
    "a terminal that the balancer names": (BALANCER, b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 80\r\n", b"941\r"),
    "the balancer itself": (BALANCER, b"PROXY UNKNOWN\r\n", b"941\r"),
    "from where no terminal is": (BALANCER, b"PROXY TCP4 192.0.2.77 127.0.0.1 40000 80\r\n", b""),
    "a balancer without a header": (BALANCER, b"", b""),
    "a terminal without a balancer": ("127.0.0.1", b"", b"941\r"),
}
"""Source address of the connection, bytes before the login, and the reply."""


@pytest.mark.parametrize("name", TERMINALS)
def test_terminal_behind_a_load_balancer_logs_in_after_the_proxy_header(site: Site, name: str) -> None:
    source, header, answer = TERMINALS[name]
    with socket.create_connection(("127.0.0.1", site.sip2), PATIENCE_S, (source, 0)) as line:
        line.sendall(header + b"9300CNcounter-1|COdemo|\r")
        said = b""
        with suppress(ConnectionResetError):
            while b"\r" not in said and (part := line.recv(1024)):
                said += part
    assert said == answer


BALANCED = {
    "named by the balancer":             (BALANCER,    "127.0.0.1", "Unknown Item"),
    "from where no library is":          (BALANCER,    "192.0.2.77", ""),
    "a caller that says it is another":  ("127.0.0.1", "127.0.0.2", ""),
}  # fmt: skip
"""Source address of the connection, caller in its PROXY header, and the reply to a library with the correct secret, if any."""


@pytest.mark.parametrize("port", ["plain", "raw"])
@pytest.mark.parametrize("name", BALANCED)
def test_caller_address_comes_from_a_trusted_load_balancer(site: Site, name: str, port: str) -> None:
    source, caller, problem = BALANCED[name]
    body = look_up("CUHK", demo_setup.PASSWORD, "innreach")
    head = b"" if port == "raw" else b"POST /ncip HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", getattr(site, port)), PATIENCE_S, (source, 0)) as line:
        line.sendall(f"PROXY TCP4 {caller} 127.0.0.1 40000 80\r\n".encode() + head + body)
        data = b""
        with suppress(ConnectionResetError):
            while b"</NCIPMessage>" not in data and (part := line.recv(65_536)):
                data += part
    if problem:
        said = decode(data.partition(b"\r\n\r\n")[2] if port == "plain" else data)
        assert said.text("Problem/ProblemType") == problem
    else:
        assert b"Unknown Item" not in data
