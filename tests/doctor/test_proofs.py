"""Whether the configuration would admit a peer, and the difference between the clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hkall_gateway.cli.doctor import callers, connection
from hkall_gateway.cli.doctor.callers import Endpoints
from hkall_gateway.cli.doctor.findings import Finding, Sheet
from hkall_gateway.net.secrets import DECOY
from hkall_gateway.peers.authentication import HttpProof, TokenRule
from hkall_gateway.peers.callers import Caller, NamedSecret
from hkall_gateway.peers.key_sets import FileKeys
from hkall_gateway.rules.callers import PartnerAccess

LOOPBACK, CAMPUS = ("127.0.0.0/8",), ("192.0.2.0/24",)
PLAIN, TLS, MUTUAL = (
    Endpoints(protocol="ncip", tls=False, client_ca=False),
    Endpoints(protocol="ncip", tls=True, client_ca=False),
    Endpoints(protocol="ncip", tls=True, client_ca=True),
)


def judged(caller: Caller, endpoints: Endpoints = PLAIN, *addresses: str) -> Finding:
    sheet = Sheet("CUHK", (callers.CHECK,), lambda: 0.0, 10)
    callers.judge_caller_proof(sheet, caller, endpoints, addresses)
    return sheet.found[0]


def caller(
    secret: str = "", allow_from: tuple[str, ...] = CAMPUS, certificate: str = "", *, by_address: bool = False
) -> Caller:
    return Caller(
        access=PartnerAccess(agency="CUHK", certificate=certificate, by_address=by_address, allow_from=allow_from),
        secrets=(NamedSecret(variable="SECRET", text=secret),),
    )


def test_partner_without_any_credential_fails() -> None:
    assert judged(caller()).status == "fail"
    assert "no proof" in judged(caller()).detail


@pytest.mark.parametrize(("endpoints", "word"), [(PLAIN, "fail"), (TLS, "fail"), (MUTUAL, "ok")])
def test_certificate_counts_only_when_client_certificates_are_requested(endpoints: Endpoints, word: str) -> None:
    found = judged(caller(certificate="ncip.cuhk.example"), endpoints)
    assert found.status == word
    assert word == "ok" or "client_ca" in found.advice
    assert judged(caller("agreed", certificate="ncip.cuhk.example"), endpoints).status == "ok"


def test_allow_list_without_any_address_of_the_peer_causes_a_warning() -> None:
    found = judged(caller("agreed", LOOPBACK), PLAIN, "192.0.2.7", "192.0.2.8")
    assert (found.status, found.detail) == ("warn", "allow_from admits 127.0.0.0/8, and not 192.0.2.7, 192.0.2.8")
    assert judged(caller("agreed", CAMPUS), PLAIN, "198.51.100.1", "192.0.2.8").status == "ok"


def test_peer_with_an_unknown_or_local_address_is_accepted_by_its_credential() -> None:
    assert judged(caller("agreed", LOOPBACK)).status == "ok"
    assert judged(caller("agreed", CAMPUS), PLAIN, "127.0.0.1").status == "ok"


def test_credentials_are_named_without_the_secret() -> None:
    found = judged(caller("opensesame", by_address=True))
    assert found.detail == "by secret or address alone, from 192.0.2.0/24"
    assert "opensesame" not in str(found)


# ---- clocks

NOON = datetime(2017, 3, 1, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("theirs_s", "word", "detail"),
    [
        (None, "skip", "the peer does not send its time"),
        (60, "ok", "agrees with ours"),
        (-61, "warn", "61 s behind ours"),
        (300, "warn", "5 min ahead of ours"),
        (301, "fail", "5 min ahead of ours"),
        (3600, "fail", "60 min ahead of ours, as with a wrong time zone"),
        (-19800, "fail", "5.5 h behind ours, as with a wrong time zone"),
        (5000, "fail", "83 min ahead of ours"),
        (86400, "fail", "24.0 h ahead of ours"),
    ],
)
def test_clock_is_compared_with_the_midpoint_of_the_request(theirs_s: int | None, word: str, detail: str) -> None:
    sheet = Sheet("CUHK", ("clock",), lambda: 0.0, 10)
    theirs = None if theirs_s is None else NOON + timedelta(seconds=theirs_s)
    connection.judge_clock(sheet, theirs, NOON - timedelta(seconds=2), NOON + timedelta(seconds=2))
    assert (sheet.found[0].status, sheet.found[0].detail) == (word, detail)


@pytest.mark.parametrize(
    ("proof", "name"),
    [
        (HttpProof(login="cuhk", password_hash=DECOY), "HTTP Basic"),
        (HttpProof(bearer_hash=DECOY), "bearer secret"),
        (
            HttpProof(
                token=TokenRule(
                    issuer="https://dcb.example", audience="HKU", algorithms=("RS256",), keys=FileKeys(Path("keys.json"))
                )
            ),
            "signed token",
        ),
    ],
)
def test_authorization_header_counts_as_a_credential(proof: HttpProof, name: str) -> None:
    found = judged(replace(caller(), http=proof))
    assert (found.status, found.detail) == ("ok", f"by {name}, from 192.0.2.0/24")
