"""Credentials in the configuration, of callers and our own: complete, unambiguous, and in readable files."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from hkall_gateway.config import gateway
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.crosschecks import find_cross_faults
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.config.notes import notes
from hkall_gateway.net.secrets import DECOY
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.settings import Policy
from tests.config.test_gateway import LEAST, ONE_PARTNER
from tests.peers.test_signed_tokens import pem, public

NOW = datetime(2026, 11, 27, 2, tzinfo=UTC)
CLIENT = LEAST + '[[clients]]\nagency = "VUFIND"\n'
SECRETS = {"P": "pass word", "T": "t0ken"}


def read(folder: Path, text: str) -> GatewayConfig:
    (folder / "gateway.toml").write_text(text, encoding="utf-8")
    return gateway.load(folder / "gateway.toml", SECRETS)


def faults(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        read(folder, text)
    return dict(caught.value.errors)


@pytest.mark.parametrize("key", ["basic_hash", "bearer_hash"])
def test_hash_is_accepted_as_a_client_secret(tmp_path: Path, key: str) -> None:
    caller = config_mapping.callers(read(tmp_path, f'{CLIENT}{key} = "{DECOY}"\n'), {}, "ncip")["VUFIND"]
    assert caller.http.schemes == ("basic",) if key == "basic_hash" else ("bearer",)


def test_plain_password_is_refused_as_a_hash(tmp_path: Path) -> None:
    assert "hash-secret" in faults(tmp_path, CLIENT + 'basic_hash = "s3cret"\n')["clients[0].basic_hash"]


JWT = '[{}.jwt]\nissuer = "https://dcb.test"\naudience = "hku"\n'


def test_peer_keys_are_read_from_a_file_next_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "peer.json").write_text(json.dumps({"keys": [public("rsa", "k1")]}))
    caller = config_mapping.callers(
        read(tmp_path, ONE_PARTNER + JWT.format("partners") + 'jwks_file = "peer.json"\n'), {}, "ncip"
    )["CUHK"]
    assert caller.http.token is not None
    assert (caller.http.schemes, caller.http.token.algorithms) == (("bearer",), ("RS256", "ES256"))


@pytest.mark.parametrize(
    ("text", "said"), [(None, "No such file"), ("{", "no JSON Web Key Set"), ('{"keys":[]}', "no JSON Web Key Set")]
)
def test_file_without_keys_is_reported(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "peer.json").write_text(text)
    told = faults(tmp_path, ONE_PARTNER + JWT.format("partners") + 'jwks_file = "peer.json"\n')
    assert said in told["partners[0].jwt.jwks_file"]


def test_symmetric_algorithm_cannot_be_pinned(tmp_path: Path) -> None:
    for name in ("HS256", "none"):
        text = ONE_PARTNER + JWT.format("partners") + f'jwks_url = "https://dcb.test/keys"\nalgorithms = ["{name}"]\n'
        assert "partners[0].jwt.algorithms[0]" in faults(tmp_path, text)


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ({"clients": [{"agency": "A"}]}, "clients[0].secret_env"),
        ({"clients": [{"agency": "A", "basic_login": "x", "by_address": True}]}, "clients[0].basic_hash"),
        ({"partners": [{"agency": "A", "jwt": {}}]}, "partners[0].jwt"),
        ({"partners": [{"agency": "A", "jwt": {"jwks_file": "a", "jwks_url": "b"}}]}, "partners[0].jwt"),
        (
            {
                "partners": [{"agency": "A", "basic_hash": "x"}],
                "clients": [{"agency": "B", "basic_login": "a", "basic_hash": "x"}],
            },
            "clients[0].basic_login",
        ),
        (
            {"clients": [{"agency": name, "by_address": True, "without_header": True} for name in "AB"]},
            "clients[1].without_header",
        ),
        ({"partners": [{"agency": "A", "our_proof": {"bearer_env": "T", "jwt": {"issuer": "x"}}}]}, "partners[0].our_proof"),
        ({"partners": [{"agency": "A", "our_proof": {"basic_login": "x"}}]}, "partners[0].our_proof.basic_password_env"),
    ],
)
def test_incomplete_or_ambiguous_credentials_are_reported(tables: dict[str, Any], path: str) -> None:
    assert list(dict(find_cross_faults(tables, {"T": "x"}))) == [path]


def test_clients_without_a_sender_are_distinguished_by_login() -> None:
    silent = [{"agency": name, "basic_hash": "x", "without_header": True} for name in "AB"]
    assert not list(find_cross_faults({"clients": silent}, {}))


def test_vufind_gets_holds_and_needs_no_sender_by_default(tmp_path: Path) -> None:
    told = CLIENT + f'system = "vufind"\nbasic_hash = "{DECOY}"\n'
    access = config_mapping.callers(read(tmp_path, told), {}, "ncip")["VUFIND"].access
    assert access == Client(agency="VUFIND", request_type="Hold", without_header=True, pin="blocks")
    told += 'request_type = "Recall"\npin = "required"\n'
    other = config_mapping.callers(read(tmp_path, told), {}, "ncip")["VUFIND"].access
    assert other == replace(access, request_type="Recall", pin="required")


def test_pickup_location_has_the_name_used_in_letters(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    (code, *_) = config.library.pickup_locations
    assert next(iter(config_mapping.places(config).items())) == (code, config.library.place_names.get(code, code))


@pytest.mark.parametrize(("scheme", "warned"), [("http", 1), ("https", 0)])
def test_fetching_keys_without_tls_causes_a_warning(tmp_path: Path, scheme: str, warned: int) -> None:
    config = read(tmp_path, ONE_PARTNER + JWT.format("partners") + f'jwks_url = "{scheme}://dcb.test/keys"\n')
    assert [path for path, _ in notes(config, Policy())].count("partners[0].jwt.jwks_url") == warned


# ---- our own


def ours(folder: Path, text: str) -> str:
    """The credentials that we send to the partner."""
    return config_mapping.our_proofs(read(folder, ONE_PARTNER + text), SECRETS)["CUHK"](NOW)


def test_basic_authentication_uses_our_agency_or_the_given_login(tmp_path: Path) -> None:
    for login, name in (("", "HKU"), ('basic_login = "hku"\n', "hku")):
        sent = ours(tmp_path, f'[partners.our_proof]\nbasic_password_env = "P"\n{login}')
        assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"{name}:pass word"


def test_bearer_authentication_sends_the_secret(tmp_path: Path) -> None:
    assert ours(tmp_path, '[partners.our_proof]\nbearer_env = "T"\n') == "Bearer t0ken"


def test_signed_token_has_the_claims_openrs_requires(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_bytes(pem("ours"))
    told = 'key_file = "ours.pem"\nissuer = "https://hku.test"\nsubject = "HKU-1"\naudience = "dcb"\n'
    text = f'[partners.our_proof.jwt]\n{told}claims = {{ protocol = "NCIP2" }}\n'
    scheme, _, token = ours(tmp_path, text).partition(" ")
    (row,) = json.loads(config_mapping.public_keys(read(tmp_path, ONE_PARTNER + text)))["keys"]
    key = jwt.PyJWK.from_dict(row)
    read_there = jwt.decode(
        token, key, ["RS256"], {"verify_exp": False, "verify_nbf": False, "verify_iat": False}, audience="dcb"
    )
    assert (scheme, read_there["sub"], read_there["iss"], read_there["protocol"]) == (
        "Bearer",
        "HKU-1",
        "https://hku.test",
        "NCIP2",
    )
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": row["kid"]}


def test_key_that_cannot_sign_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_text(json.dumps(public("rsa", "k1")))
    told = 'key_file = "ours.pem"\nissuer = "i"\nsubject = "s"\naudience = "a"\n'
    text = ONE_PARTNER + f"[partners.our_proof.jwt]\n{told}"
    assert "no private key" in faults(tmp_path, text)["partners[0].our_proof.jwt.key_file"]


def test_credentials_are_neither_sent_nor_published_by_default(tmp_path: Path) -> None:
    config = read(tmp_path, ONE_PARTNER)
    assert (config_mapping.our_proofs(config, {}), config_mapping.public_keys(config)) == ({}, b"")
