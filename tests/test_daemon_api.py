"""The API and supervisor pages of a running gateway: a token from the command line, and a reprocessed document."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from hkall_gateway.rules.vocabulary import Holding
from tests.company import BIB, COMMAND, COPY, PATIENCE_S, Gateway, stamp, until
from tests.test_daemon_web import Curl, lines

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[1] / "docs" / "patron_client.py"


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


def test_client_with_a_token_from_the_command_line_places_a_request(gateway: Gateway, curl: Curl) -> None:
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


def test_documented_example_requests_a_title(gateway: Gateway) -> None:
    environ = {"HKALL": f"http://127.0.0.1:{gateway.ports.web}", "CARD": "P0002", "PIN": "1234"}
    words: list[Any] = [sys.executable, EXAMPLE, "香港天橋漫步"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    first, *record = done.stdout.splitlines()
    number = first.split()[-1]
    assert first.startswith("Requested: 香港天橋漫步")
    assert f"HKALL REQUESTD 香港天橋漫步 {number}" in record
    assert number in gateway.command("requests", "list")

    again = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "already" in again.stdout
    assert "R11a" in again.stdout
    wrong = subprocess.run(words, env=environ | {"PIN": "0"}, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (wrong.returncode, "card or PIN is wrong" in wrong.stderr) == (1, True)


def test_wrong_pins_at_the_api_do_not_lock_the_card_at_terminals(gateway: Gateway, curl: Curl) -> None:
    guess = json.dumps({"barcode": "P0003", "pin": "0000"})
    codes = {curl("/api/v1/patron-token", "--json", guess)[0] for _ in range(8)}
    assert codes == {401, 429}
    gateway.do(gateway.party.start)
    seen = gateway.ask(gateway.counter(), f"63001{stamp()}{' ' * 10}AOHKU|AAP0003|AC|AD1234|")
    assert "|CQY|" in seen, seen
    assert "P0003" not in gateway.log()


def test_title_shows_live_status_also_with_pages_in_their_own_process(reactor: Any, tmp_path: Path) -> None:
    made = Gateway(reactor, tmp_path, pages=True)
    text = made.path.read_text(encoding="utf-8").replace('agency = "CUHK"', 'agency = "CUHK"\ncan_lookup_items = true')
    made.path.write_text(text, encoding="utf-8")
    made.party.partners["CUHK"].shelf = (
        Holding(agency="CUHK", barcode=COPY, bib_id=BIB, title="", status="On Loan", local_bib_id="990090010"),
    )
    try:
        made.do(made.party.start)
        made.start("--only", "web")
        curl = Curl(made.ports.web, tmp_path)
        first = told(curl(f"/api/v1/titles/{BIB}"))
        assert first["asking"] or first["copies"][0]["said_at"], "nobody was asked"
        known = until(lambda: [one for one in copies(curl) if one["said_at"]], "the partner's answer")
        assert {(one["agency"], one["status"], one["state"]) for one in known} == {("CUHK", "On Loan", "out")}
        assert [one.service for one in made.party.partners["CUHK"].seen] == ["LookupItemSet"]
        assert made.stop() == 0
    finally:
        made.end()


def copies(curl: Curl) -> Any:
    return told(curl(f"/api/v1/titles/{BIB}"))["copies"]


def test_openapi_description_is_public(curl: Curl) -> None:
    assert told(curl("/api/v1/openapi.json"))["openapi"].startswith("3.1")


def test_quarantined_document_is_processed_again_by_the_gateway(gateway: Gateway, curl: Curl) -> None:
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
