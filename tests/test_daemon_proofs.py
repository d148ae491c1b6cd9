"""A gateway in its own process, with curl and PyJWT as clients that authenticate by HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from demo import demo_setup
from hkall_gateway.clock import now
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.net.secrets import hash_secret
from tests import databases
from tests.company import COMMAND, PATIENCE_S, gateway_ports, until
from tests.peers.test_signed_tokens import pem, private, public

CURL = shutil.which("curl")
VUFIND = Path(__file__).parents[1] / "fixtures" / "ncip" / "vufind" / "lookup-agency.xml"
PASSWORD, BEARER = "the-basic-secret", "the-bearer-secret"

pytestmark = [pytest.mark.long, pytest.mark.skipif(CURL is None, reason="curl is not installed")]


class Keys(BaseHTTPRequestHandler):
    """The URL at which OpenRS publishes its keys."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"keys": [public("rsa", "k1")]}).encode())

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@dataclass
class Site:
    """The ports of the gateway, and its log."""

    url: str
    log: Path

    def curl(self, *words: str, path: str = "/ncip", data: bool = True) -> tuple[int, str, str]:
        """Return the status, headers and body of curl's response."""
        assert CURL is not None
        body = ("--data-binary", f"@{VUFIND}", "--header", "Content-Type: application/xml") if data else ()
        ask = [CURL, "--silent", "--show-error", "--include", *body, *words, f"{self.url}{path}"]
        done = subprocess.run(ask, capture_output=True, timeout=PATIENCE_S, check=True)
        head, _, told = done.stdout.decode().rpartition("\r\n\r\n")
        last = head.split("\r\n\r\n")[-1]  # after a challenge, curl shows both responses
        return int(last.split()[1]), last, told


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway shared by all tests of this file."""
    folder, ports = tmp_path_factory.mktemp("proofs"), gateway_ports()
    publisher = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=publisher.serve_forever, daemon=True).start()
    (folder / "ours.pem").write_bytes(pem("ours"))
    path = demo_setup.write_config(folder, ports)
    path.write_text(_config(path.read_text("utf-8"), publisher.server_address[1]), "utf-8")
    environ = {**os.environ, **demo_setup.environment(ports)}
    databases.fill(path, environ)
    log = folder / "log.jsonl"
    with log.open("wb") as out:
        daemon = subprocess.Popen([COMMAND, "serve", "--config", path], stdout=out, stderr=out, env=environ)
    try:
        until(lambda: "daemon.started" in log.read_text(), "the daemon's start")
        yield Site(f"http://127.0.0.1:{ports.ncip}", log)
    finally:
        daemon.kill()
        daemon.wait()
        publisher.shutdown()


def _config(text: str, keys_at: int) -> str:
    client = f'[[clients]]\nbasic_login = "vufind"\nbasic_hash = "{hash_secret(PASSWORD)}"\n'
    second = f'[[clients]]\nagency = "PORTAL"\nsystem = "vufind"\nbearer_hash = "{hash_secret(BEARER)}"\n'
    peer = f"""
[partners.jwt]
issuer = "https://dcb.example.org"
audience = "hku-gateway"
subject = "DCB-1"
jwks_url = "http://127.0.0.1:{keys_at}/jwks.json"

[partners.our_proof.jwt]
key_file = "ours.pem"
issuer = "https://hku.example.hk"
subject = "HKU-SYSTEM"
audience = "dcb"
claims = {{ protocol = "NCIP2" }}
"""
    first, partner, rest = text.partition('agency = "CUHK"')
    own, end, others = rest.partition("\n[[partners]]")
    return f"{first}{partner}{own}{peer}{end}{others}".replace("[[clients]]\n", f"{second}\n{client}", 1)


def token(**more: Any) -> str:
    began = int(now().timestamp())
    times = {"iat": began, "nbf": began, "exp": began + 600}
    said = {"iss": "https://dcb.example.org", "sub": "DCB-1", "aud": ["hku-gateway"], **times}
    return jwt.encode({**said, **more}, private("rsa"), "RS256", headers={"kid": "k1"})


def test_curl_with_basic_authentication_is_answered(site: Site) -> None:
    status, _, body = site.curl("--user", f"vufind:{PASSWORD}")
    assert (status, decode(body.encode()).text("AgencyId")) == (200, "HKU")


def test_curl_waiting_for_the_challenge_is_answered(site: Site) -> None:
    assert site.curl("--anyauth", "--user", f"vufind:{PASSWORD}")[0] == 200


def test_curl_with_a_bearer_secret_is_answered(site: Site) -> None:
    assert site.curl("--oauth2-bearer", BEARER)[0] == 200
    assert site.curl("--header", f"Authorization: Bearer {BEARER}")[0] == 200


def test_curl_with_a_signed_token_is_verified_with_the_issuers_published_keys(site: Site) -> None:
    assert site.curl("--oauth2-bearer", token())[0] == 200


@pytest.mark.parametrize(
    "proof",
    [
        ("--user", "vufind:wrong"),
        ("--user", f"nobody:{PASSWORD}"),
        ("--oauth2-bearer", "wrong"),
        ("--oauth2-bearer", token(aud=["other"])),
        ("--oauth2-bearer", token(sub="DCB-2")),
    ],
)
def test_wrong_credentials_get_401_with_a_challenge_and_a_problem(site: Site, proof: tuple[str, str]) -> None:
    status, head, body = site.curl(*proof)
    assert status == 401
    assert 'WWW-Authenticate: Bearer realm="NCIP"' in head
    assert 'WWW-Authenticate: Basic realm="NCIP", charset="UTF-8"' in head
    assert decode(body.encode()).text("Problem/ProblemType") == "Agency Authentication Failed"


def test_document_without_a_sender_gets_401_when_http_authentication_is_possible(site: Site) -> None:
    assert site.curl()[0] == 401


def test_log_contains_no_secret_or_token(site: Site) -> None:
    proofs = {"1": f"vufind:{PASSWORD}", "2": "vufind:another-wrong-one"}
    for number, proof in proofs.items():
        site.curl("--user", proof, "--header", f"traceparent: {trace(number)}")
    site.curl("--oauth2-bearer", token(), "--header", f"traceparent: {trace('3')}")
    until(lambda: trace("3") in site.log.read_text(), "the line of the last document")  # log lines are written in order
    said = site.log.read_text()
    assert not [word for word in (PASSWORD, BEARER, "another-wrong-one", "eyJ") if word in said]
    assert [line for line in said.splitlines() if trace("2") in line and "Agency Authentication Failed" in line]


def trace(digit: str) -> str:
    """Return a `traceparent` that identifies a document's lines in the log."""
    return f"00-{digit * 32}-{digit * 16}-01"


def test_our_public_key_is_published(site: Site) -> None:
    status, head, body = site.curl(path="/.well-known/jwks.json", data=False)
    (row,) = json.loads(body)["keys"]
    assert (status, "application/json" in head, row["kty"], "d" in row) == (200, True, "RSA", False)
    jwt.PyJWKSet.from_dict({"keys": [row]})
