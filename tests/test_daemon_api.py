"""The API and a supervisor's pages of a running gateway: a token of the command line, and a document that is heard again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.lab import demo_setup
from tests.company import COMMAND, PATIENCE_S, Gateway, until
from tests.test_daemon_web import Curl, lines


@pytest.fixture(scope="module")
def gateway(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path_factory.mktemp("api"), pages=True)
    made.start()
    yield made
    made.end()


@pytest.fixture
def curl(gateway: Gateway, tmp_path: Path) -> Curl:
    return Curl(gateway.ports.web, tmp_path)


def told(answer: tuple[int, str]) -> Any:
    return json.loads(answer[1].partition("\n\n")[2])


def test_a_program_with_a_token_of_the_command_line_places_a_request(gateway: Gateway, curl: Curl) -> None:
    secret = gateway.command("token", "make", "reports", "--role", "clerk").strip()
    bearer = ("-H", f"Authorization: Bearer {secret}")
    assert curl("/api/v1/lists")[0] == 401
    assert "pull" in told(curl("/api/v1/lists", *bearer))["counts"]
    wanted = json.dumps({"card": "P0001", "bib_id": "b9001"})
    placed = curl("/api/v1/requests", *bearer, "-H", "Idempotency-Key: k1", "--json", wanted)
    assert placed[0] == 201, placed[1]
    assert told(curl("/api/v1/requests", *bearer, "-H", "Idempotency-Key: k1", "--json", wanted)) == told(placed)
    assert told(placed)["request"] in gateway.command("requests", "list")

    found = until(lambda: [one for one in lines(gateway.log(), "web.answered") if one["page"] == "/api/v1/requests"], "a line")
    assert {one["code"] for one in found} == {"201"}
    assert secret not in gateway.log()

    gateway.command("token", "revoke", "reports")
    assert curl("/api/v1/lists", *bearer)[0] == 401


def test_the_description_is_everybodys(curl: Curl) -> None:
    assert told(curl("/api/v1/openapi.json"))["openapi"].startswith("3.1")


def test_a_document_is_heard_again_by_the_gateways_own_ncip(gateway: Gateway, curl: Curl) -> None:
    address = f"http://127.0.0.1:{gateway.ports.ncip}/ncip"
    parties = ("--from", "CUHK", "--to", "HKU", "--secret-env", demo_setup.secret_variable("CUHK"))
    words: list[Any] = [COMMAND, "ncip", address, "ItemShipped", "request=R-UNKNOWN", "item=CUHK/X404", *parties]
    said = subprocess.run(words, env=gateway.environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "Problem" in said.stdout + said.stderr, said
    assert curl.post("/staff/login", "/staff/login", "login=head", f"password={demo_setup.PASSWORD}")[0] == 303

    at = "/staff/unsent?kind=quarantine"
    assert "ItemShipped" in curl(at)[1]
    code, page = curl.post("/staff/unsent/quarantine", at, "row=1", "how=replay", "reason=try again")
    assert code == 409
    assert "Not settled" in page
    assert curl.post("/staff/unsent/quarantine", at, "row=1", "how=drop", "reason=not ours")[0] == 303
    assert "not ours" in gateway.command("quarantine", "list", "--all")
