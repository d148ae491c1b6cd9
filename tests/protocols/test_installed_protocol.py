"""A protocol of partners from another distribution: configured, checked, and documents, secrets and the quarantine."""

from __future__ import annotations

import json
import subprocess
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from demo import demo_setup
from tests.company import COMMAND, COPY, PATIENCE_S, until
from tests.protocols.conftest import NAME, OUR_BIB, OURS, Scene, check_out


@pytest.mark.long
def test_document_of_an_installed_protocol_is_shown_without_its_secret(scene: Scene) -> None:
    scene.peer.status = 503
    assert not scene.gateway.request("w-1").has("Problem")
    (row, *_) = json.loads(scene.gateway.command("outbox", "list", "--partner", "CUHK", "--json"))

    shown = scene.gateway.command("outbox", "show", str(row["id"]))

    assert '"say": "ask_lender"' in shown
    assert demo_setup.PASSWORD not in shown
    partners = [one for one in json.loads(scene.gateway.command("status", "--json")) if one["what"] == "partner"]
    assert [one["state"] for one in partners if one["which"] == "CUHK"] == [NAME]


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


@pytest.mark.long
def test_replayed_slip_takes_effect_once_its_request_is_known(scene: Scene) -> None:
    gateway, wire = scene.gateway, ["CUHK", "c-1"]
    assert scene.post("tell_lender_received", wire, item=["HKU", OURS]) == 409
    (kept,) = json.loads(gateway.command("quarantine", "list", "--json"))
    assert scene.post("ask_lender", wire, title=OUR_BIB) == 200
    assert scene.scan(check_out("CUHK-INST", OURS)).startswith("121")

    told = gateway.command("quarantine", "replay", str(kept["id"]), "--reason", "its request came late")

    assert told == f"{kept['id']} replayed\n"
    assert gateway.position(OURS) == "AT_BORROWER"
    assert json.loads(gateway.command("quarantine", "list", "--json")) == []
