"""`ncip`: a document is sent to a responder on this machine, and its reply printed as text or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hkall_gateway.cli import main
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage

SEEN: list[tuple[bytes, dict[str, str]]] = []
FOUND = NcipMessage(service="LookupItemResponse", fields={"ItemId": {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}})
REFUSED = NcipMessage(
    service="LookupItemResponse", fields={"Problem": [{"ProblemType": "Unknown Item", "ProblemDetail": "no such item"}]}
)
VERSIONS = NcipMessage(service="LookupVersionResponse", fields={"VersionSupported": ["one", "two"]})
REPLIES = {
    "/found": (200, encode(FOUND, DIALECTS["direct"])),
    "/refused": (500, encode(REFUSED, DIALECTS["direct"])),
    "/versions": (200, encode(VERSIONS, DIALECTS["direct"])),
    "/garbage": (200, b"It works!"),
}


class Responder(BaseHTTPRequestHandler):
    """Replies depending on the request path."""

    def do_POST(self) -> None:  # http.server requires this name
        SEEN.append((self.rfile.read(int(self.headers["Content-Length"])), dict(self.headers)))
        status, body = REPLIES[self.path]
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Responder)
    thread = Thread(target=server.serve_forever, daemon=True)  # the command blocks, so the responder runs in a thread
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*words: str, **environ: str) -> Result:
    SEEN.clear()
    return CliRunner().invoke(main, ["ncip", *words], env=environ)


WHO = ("--from", "CUHK", "--to", "HKU")


def test_lookup_is_sent_and_its_reply_printed(address: str) -> None:
    done = run(f"{address}/found", "LookupItem", "item=HKU:K9", *WHO, "--secret-env", "KEY", KEY="s3cret")
    ((body, headers),) = SEEN
    sent = decode(body)
    assert sent.text("ItemId/ItemIdentifierValue") == "K9"
    assert sent.text("InitiationHeader/FromAgencyAuthentication") == "s3cret"
    assert headers["User-Agent"].startswith("hkall-gateway/")
    assert done.exit_code == 0
    assert "ItemIdentifierValue: K9" in done.output
    assert "s3cret" not in done.output


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("--proof", "basic"), "Basic Q1VISzpzM2NyZXQ="),  # the value encodes CUHK:s3cret
        (("--proof", "basic", "--login", "vufind"), "Basic dnVmaW5kOnMzY3JldA=="),
        (("--proof", "bearer"), "Bearer s3cret"),
    ],
)
def test_secret_is_sent_in_the_http_header_if_configured(address: str, words: tuple[str, ...], sent: str) -> None:
    done = run(f"{address}/found", "LookupItem", "item=HKU:K9", *WHO, "--secret-env", "KEY", *words, "--show", KEY="s3cret")
    ((body, headers),) = SEEN
    assert headers["Authorization"] == sent
    assert b"s3cret" not in body
    assert "s3cret" not in done.output


def test_lookup_version_is_sent_without_a_secret(address: str) -> None:
    done = run(f"{address}/versions", "LookupVersion", *WHO, "--secret-env", "KEY", KEY="s3cret")
    ((body, _),) = SEEN
    sent = decode(body)
    assert (sent.service, sent.text("InitiationHeader/FromAgencyId/AgencyId")) == ("LookupVersion", "CUHK")
    assert b"s3cret" not in body
    assert (done.exit_code, "VersionSupported: one" in done.output) == (0, True)


def test_file_is_sent_unchanged(address: str, tmp_path: Path) -> None:
    file = tmp_path / "question.xml"
    file.write_bytes(b"<any bytes at all>")
    assert run(f"{address}/found", str(file)).exit_code == 0
    assert SEEN[0][0] == b"<any bytes at all>"


def test_document_is_written_in_the_requested_dialect(address: str) -> None:
    run(f"{address}/found", "LookupItem", "item=HKU:K9", *WHO, "--dialect", "innreach")
    assert b"<!DOCTYPE NCIPMessage" in SEEN[0][0]


def test_json_output_is_available(address: str) -> None:
    done = run(f"{address}/found", "LookupItem", "item=HKU:K9", *WHO, "--json")
    assert json.loads(done.output)["fields"]["ItemId"]["ItemIdentifierValue"] == "K9"


def test_problem_exits_with_1_for_any_http_status(address: str) -> None:
    done = run(f"{address}/refused", "LookupItem", "item=HKU:K9", *WHO)
    assert (done.exit_code, "ProblemType: Unknown Item" in done.output, "HTTP 500" in done.output) == (1, True, True)


def test_non_ncip_reply_is_shown_unchanged(address: str) -> None:
    done = run(f"{address}/garbage", "LookupItem", "item=HKU:K9", *WHO)
    assert (done.exit_code, "It works!" in done.output) == (1, True)


def test_unreachable_url_is_reported_in_one_line_with_exit_code_1() -> None:
    done = run("http://127.0.0.1:1/ncip", "LookupItem", "item=HKU:K9", *WHO)
    assert (done.exit_code, len(done.output.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("LookupItm", "item=HKU:K9"), "LookupItm is no NCIP service; did you mean LookupItem"),
        (("LookupVersio",), "LookupVersio is no NCIP service; did you mean LookupVersion"),
        (("LookupVersion", "item=HKU:K9"), "LookupVersion has no item; it takes --from and --to alone"),
        (("Dance",), "Dance is no NCIP service; one of "),
        (("LookupItem", "items=HKU:K9"), "LookupItem has no items; did you mean item"),
        (("LookupUser", "LoanedItemsDesird=yes"), "LookupUser has no LoanedItemsDesird; did you mean LoanedItemsDesired"),
        (("CancelRequestItem", "colour=red"), "CancelRequestItem has no colour; one of user, item, request, "),
        (("LookupItem", "pickup=MAIN"), "LookupItem has no pickup; one of item, request, ItemId, "),
    ],
)
def test_error_about_an_unknown_service_lists_similar_services(words: tuple[str, ...], said: str) -> None:
    done = run("http://x.test", *words, *WHO)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_every_service_is_listed_when_no_similar_service_exists() -> None:
    assert {"LookupItem", "ItemShipped"} <= set(run("http://x.test", "Dance", *WHO).output.replace(",", "").split())


@pytest.mark.parametrize(
    "words",
    [
        ("ftp://x.test", "LookupItem", "item=HKU:K9", *WHO),
        ("http://x.test", "LookupItem", "item=HKU:K9"),
        ("http://x.test", "Dance", *WHO),
        ("http://x.test", "LookupItem", "colour=red", *WHO),
        ("http://x.test", "LookupItem", "item=HKU:K9", *WHO, "--secret-env", "NO_SUCH_VARIABLE"),
    ],
)
def test_usage_error_exits_with_2_and_says_what_to_correct(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.exit_code, len(done.output.strip().splitlines())) == (2, 1)


def test_unreadable_folder_is_treated_as_missing_document(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, the gateway's user started in root's home."""
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    monkeypatch.chdir(home)
    with without_access(home):
        done = run(f"{address}/versions", "LookupVersion", "--from", "HKU", "--to", "CUHK")
    assert (done.exit_code, "VersionSupported: one" in done.output) == (0, True), done.output
    assert decode(SEEN[0][0]).service == "LookupVersion"


@contextmanager
def without_access(folder: Path) -> Iterator[None]:
    """Remove this user's access to a folder; root switches to another user meanwhile."""
    root = os.geteuid() == 0
    folder.chmod(0o700 if root else 0)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
