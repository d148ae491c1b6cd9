"""Signed tokens made by PyJWT, an independent implementation: which are accepted and which refused."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import KeySet

from hkall_gateway.db.database import finished
from hkall_gateway.peers.authentication import (
    LONGEST_S,
    Signer,
    TokenRule,
    is_accepted,
    issuer,
    make_public_key_set,
    signing_key,
)
from hkall_gateway.peers.key_sets import key_set

NOW = datetime(2026, 11, 27, 2, tzinfo=UTC)
ISSUER, US = "https://dcb.example.org", "hku-gateway"


@cache
def private(name: str) -> Any:
    """A peer's private key; each `name` gives a different one."""
    return ec.generate_private_key(ec.SECP256R1()) if name == "ec" else rsa.generate_private_key(65537, 2048)


def pem(name: str) -> bytes:
    found: bytes = private(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return found


def public(name: str, kid: str) -> dict[str, Any]:
    maker = jwt.algorithms.ECAlgorithm if name == "ec" else jwt.algorithms.RSAAlgorithm
    found: dict[str, Any] = {**json.loads(maker.to_jwk(private(name).public_key())), "kid": kid}
    found.pop("key_ops", None)
    return found


class Known:
    """Keys that are available; `None` for a peer whose keys are not."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.keys: KeySet | None = key_set(json.dumps({"keys": rows})) if rows else None
        self.asked: list[str] = []

    async def having(self, kid: str, now: datetime) -> KeySet | None:
        self.asked.append(kid)
        return self.keys


def claims(**more: Any) -> dict[str, Any]:
    """The claims in an OpenRS token; None removes a claim."""
    said = {"iss": ISSUER, "sub": "DCB-1", "aud": [US], "iat": NOW, "nbf": NOW, "exp": NOW + timedelta(minutes=5)}
    return {name: value for name, value in {**said, "protocol": "NCIP2", **more}.items() if value is not None}


def token(key: str = "rsa", algorithm: str = "RS256", kid: str = "k1", **more: Any) -> str:
    return jwt.encode(claims(**more), private(key), algorithm, headers={"kid": kid})


def rule(*rows: dict[str, Any], **more: Any) -> TokenRule:
    known = Known(*(rows or (public("rsa", "k1"),)))
    return TokenRule(**{"issuer": ISSUER, "audience": US, "algorithms": ("RS256", "ES256"), "keys": known, **more})


def believed(text: str, found: TokenRule) -> bool | None:
    return finished(is_accepted(text, found, NOW))


def test_token_with_our_issuer_and_audience_is_accepted_while_valid() -> None:
    assert believed(token(), rule()) is True


def test_token_signed_with_an_elliptic_curve_is_accepted() -> None:
    assert believed(token("ec", "ES256"), rule(public("ec", "k1"))) is True


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_every_signature_algorithm_may_be_pinned(algorithm: str) -> None:
    assert believed(token(algorithm=algorithm), rule(algorithms=(algorithm,))) is True


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "https://other.example.org"},
        {"iss": None},
        {"aud": ["somebody-else"]},
        {"aud": None},
        {"sub": "DCB-2"},
        {"sub": None},
        {"exp": NOW - timedelta(minutes=2)},
        {"exp": None},
        {"exp": NOW + timedelta(seconds=LONGEST_S, minutes=2)},
        {"nbf": NOW + timedelta(minutes=2)},
        {"iat": NOW + timedelta(minutes=2)},
        {"exp": float("inf")},
        {"exp": float("nan")},
    ],
)
def test_token_with_another_claim_is_refused(more: dict[str, Any]) -> None:
    assert believed(token(**more), rule(subject="DCB-1")) is False


def test_any_subject_is_accepted_when_none_is_configured() -> None:
    assert believed(token(sub="DCB-2"), rule()) is True


def test_clocks_may_differ_by_a_minute() -> None:
    assert believed(token(exp=NOW - timedelta(seconds=50)), rule()) is True
    assert believed(token(nbf=NOW + timedelta(seconds=50), iat=NOW + timedelta(seconds=50)), rule()) is True


def test_signature_by_another_key_with_the_same_key_id_is_refused() -> None:
    assert believed(token("stranger"), rule()) is False


def test_algorithm_not_pinned_is_refused_even_if_the_key_matches() -> None:
    assert believed(token(algorithm="RS512"), rule()) is False
    assert believed(token(algorithm="RS512"), rule(algorithms=("RS512",))) is True


def test_unsigned_token_is_refused() -> None:
    assert believed(jwt.encode(claims(), "", "none"), rule()) is False


def test_public_key_is_not_accepted_as_a_shared_secret() -> None:
    """An attacker may sign by HMAC with the bytes of the public key (RFC 8725, 2.1)."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part, default=lambda when: int(when.timestamp())).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "k1"}, claims())
    )
    seal = hmac.digest(json.dumps(public("rsa", "k1")).encode(), head + b"." + body, "sha256")
    forged = b".".join([head, body, base64.urlsafe_b64encode(seal).rstrip(b"=")]).decode()
    assert believed(forged, rule()) is False


def test_key_without_a_key_id_is_used_if_it_is_the_only_key() -> None:
    row = {name: value for name, value in public("rsa", "k1").items() if name != "kid"}
    assert believed(jwt.encode(claims(), private("rsa"), "RS256"), rule(row)) is True


def test_missing_keys_leave_the_token_undecided() -> None:
    assert believed(token(), TokenRule(issuer=ISSUER, audience=US, algorithms=("RS256",), keys=Known())) is None


def test_keys_are_not_fetched_for_another_issuer() -> None:
    keys = Known(public("rsa", "k1"))
    assert (
        believed(
            token(iss="https://other.example.org"), TokenRule(issuer=ISSUER, audience=US, algorithms=("RS256",), keys=keys)
        )
        is False
    )
    assert keys.asked == []


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_malformed_token_is_refused(text: str) -> None:
    assert issuer(text) == ""
    assert believed(text, rule()) is False


@pytest.mark.parametrize("nested", [b"[" * 5000, b'{"iss":' * 800])
def test_deeply_nested_token_is_refused(nested: bytes) -> None:
    part = base64.urlsafe_b64encode(nested).decode().rstrip("=")
    head = base64.urlsafe_b64encode(b'{"alg":"RS256"}').decode().rstrip("=")
    assert [issuer(f"{head}.{part}.AAAA"), issuer(f"{part}.{part}.AAAA")] == ["", ""]
    assert believed(f"{head}.{part}.AAAA", rule()) is False


@given(st.data())
def test_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    good = _GOOD
    at = data.draw(st.integers(0, len(good) - 2))  # the last one may hold bits that mean nothing
    other = data.draw(st.sampled_from("ABCxyz019-_.=!"))
    if good[at] != other and good[at + 1] != ".":
        assert not believed(good[:at] + other + good[at + 1 :], rule())


_GOOD = token()


# ---- our own


AT_ANY_TIME: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


def ours(**more: Any) -> Signer:
    told = {"key": signing_key(pem("rsa")), "issuer": "https://hku.example.hk", "subject": "HKU-SYSTEM", "audience": "dcb"}
    return Signer(**{**told, "claims": {"protocol": "NCIP2"}, **more})


def test_pyjwt_accepts_our_tokens_with_our_published_keys() -> None:
    signer = ours()
    rows = json.loads(make_public_key_set([signer.key]))
    key = jwt.PyJWKSet.from_dict(rows)[jwt.get_unverified_header(signer.token(NOW))["kid"]]
    read = jwt.decode(signer.token(NOW), key, ["RS256"], AT_ANY_TIME, audience="dcb", issuer="https://hku.example.hk")
    assert (read["sub"], read["protocol"], read["exp"] - read["iat"]) == ("HKU-SYSTEM", "NCIP2", 300)
    assert read["jti"] != jwt.decode(signer.token(NOW), options={"verify_signature": False})["jti"]


def test_published_keys_contain_no_private_part() -> None:
    (row,) = json.loads(make_public_key_set([ours().key, ours().key]))["keys"]
    assert row.keys() == {"kty", "n", "e", "kid", "use"}


def test_elliptic_curve_key_signs_tokens() -> None:
    made = ours(key=signing_key(pem("ec")), algorithm="ES256").token(NOW)
    assert jwt.decode(made, private("ec").public_key(), ["ES256"], AT_ANY_TIME, audience="dcb")["sub"] == "HKU-SYSTEM"


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PRIVATE KEY-----\n", b'{"kty":"oct","k":"AAAA"}', b"{}", b"[1]"])
def test_invalid_private_key_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="private key"):
        signing_key(text)


def test_public_key_cannot_sign() -> None:
    with pytest.raises(ValueError, match="private key"):
        signing_key(json.dumps(public("rsa", "k1")).encode())
