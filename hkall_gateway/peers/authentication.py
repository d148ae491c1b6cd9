"""HTTP authentication by the Authorization header, both for callers' requests and for the documents that we send.

Basic follows RFC 7617, Bearer RFC 6750. A bearer token is a shared secret or a signed token (JWT, RFC 7523, section 3) with
issuer, audience and expiry, signed with a key from the peer's JSON Web Key Set. OpenRS (dcb-service of 2026-08) signs with
RS256 for five minutes, and rejects tokens with a lifetime of more than fifteen minutes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_urlsafe
from typing import Final, Protocol, TypeAlias

from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from joserfc.jws import extract_compact

from hkall_gateway.rules.callers import OurClaims, PeerClaims

# Signed tokens. All signature algorithms that can be configured use a private key. HMAC and "none" are never accepted.


SKEW_S: Final = 60
"""Maximum difference between the peer's clock and ours, in seconds."""
LONGEST_S: Final = 900
"""Maximum lifetime of a token in seconds; a token with a longer lifetime would be as risky as a password."""

Key: TypeAlias = RSAKey | ECKey

"""Type of our signing keys, which are always asymmetric."""


NO_TOKEN: Final = (JoseError, ValueError, TypeError, KeyError, InvalidKey, UnsupportedAlgorithm, RecursionError)
"""Exceptions from joserfc for a text that is not a token or is nested too deeply, and for an unsupported key."""


class Keys(Protocol):
    """The public keys of a peer."""

    async def having(self, kid: str, now: datetime) -> KeySet | None:
        """Return the keys, reloaded if `kid` is unknown, or None if no keys are available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule(PeerClaims):
    """The claims that a token must have, and the keys that verify it."""

    keys: Keys = field(repr=False, kw_only=True)


async def is_accepted(token: str, rule: TokenRule, now: datetime) -> bool | None:
    """Verify a token's signature, algorithm, issuer, audience and expiry. Return None if no keys are available."""
    if issuer(token) != rule.issuer:
        return False
    try:
        header = extract_compact(token.encode()).headers()
    except NO_TOKEN:
        return False
    if header.get("alg") not in rule.algorithms:
        return False
    keys = await rule.keys.having(str(header.get("kid", "")), now)
    return None if keys is None else _is_valid(token, rule, keys, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer(OurClaims):
    """Signs our own tokens for one peer. `claims` are added to the standard claims: OpenRS requires `protocol` = "NCIP2"."""

    key: Key = field(repr=False, kw_only=True)
    claims: Mapping[str, str] = field(default_factory=dict)

    def token(self, now: datetime) -> str:
        """Return a token that is valid from `now` for `lifetime_s` seconds."""
        began = int(now.timestamp())
        times = {"iat": began, "nbf": began, "exp": began + self.lifetime_s, "jti": token_urlsafe(16)}
        claims = {**self.claims, "iss": self.issuer, "sub": self.subject, "aud": [self.audience], **times}
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.key.thumbprint()}
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])


def signing_key(text: bytes) -> Key:
    """Read the private key in a PEM file or JSON Web Key. Raises ValueError if the text contains no private key."""
    kinds: tuple[type[Key], ...] = (RSAKey, ECKey)
    for kind in kinds:
        try:
            key = kind.import_key(json.loads(text) if text.lstrip().startswith(b"{") else text)
        except NO_TOKEN:
            continue
        if key.is_private:
            return key
    raise ValueError("no private key of RSA or EC, in PEM or as a JSON Web Key")


def make_public_key_set(keys: Iterable[Key]) -> bytes:
    """Make the JSON Web Key Set with the public halves of our keys, without duplicates."""
    known = {key.thumbprint(): key for key in keys}
    rows = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in known.items()]
    return json.dumps({"keys": rows}).encode()


def issuer(token: str) -> str:
    """Return the issuer that a token claims, unverified, or "" if the text is not a signed token."""
    if token.count(".") != 2:
        return ""
    try:
        claims: object = json.loads(extract_compact(token.encode()).payload)
    except NO_TOKEN:
        return ""
    return str(claims.get("iss", "")) if isinstance(claims, dict) else ""


def _is_valid(token: str, rule: TokenRule, keys: KeySet, now: datetime) -> bool:
    try:
        claims = jwt.decode(token, keys, algorithms=list(rule.algorithms)).claims
        _make_claims_registry(rule, now).validate(claims)
    except NO_TOKEN:
        return False
    return bool(claims["exp"] <= now.timestamp() + LONGEST_S + SKEW_S)


def _make_claims_registry(rule: TokenRule, now: datetime) -> jwt.JWTClaimsRegistry:
    subject: dict[str, jwt.ClaimsOption] = {"sub": {"essential": True, "value": rule.subject}} if rule.subject else {}
    return jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=SKEW_S,
        iss={"essential": True, "value": rule.issuer},
        aud={"essential": True, "value": rule.audience},
        exp={"essential": True},
        **subject,
    )


OurProof: TypeAlias = Callable[[datetime], str]
"""Function that maps the current time (aware, in UTC) to the Authorization header for a document."""


def basic(login: str, password: str) -> OurProof:
    """Return a function that makes HTTP Basic headers, encoded in UTF-8 (RFC 7617)."""
    header = f"Basic {b64encode(f'{login}:{password}'.encode()).decode()}"
    return lambda _now: header


def bearer(secret: str) -> OurProof:
    """Return a function that makes Bearer headers with a shared secret (RFC 6750)."""
    return lambda _now: f"Bearer {secret}"


def signed(signer: Signer) -> OurProof:
    """Return a function that makes Bearer headers with a newly signed token for each document."""
    return lambda now: f"Bearer {signer.token(now)}"


BASIC: Final = "basic"
BEARER: Final = "bearer"
LONGEST_HEADER: Final = 8192
"""Maximum length of an Authorization header. A signed token has about 800 characters, or 1,200 with a long key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProof:
    """The HTTP credentials accepted from one caller. An empty hash disables an authentication scheme.

    Attributes:
        login: User name for Basic; "" stands for the caller's AgencyId.
        password_hash: Hash of the password for Basic.
        bearer_hash: Hash of a shared secret that may be sent as bearer token.
        token: Rule for signed bearer tokens, or None to accept no signed tokens.
    """

    login: str = ""
    password_hash: str = field(default="", repr=False)
    bearer_hash: str = field(default="", repr=False)
    token: TokenRule | None = None

    @property
    def schemes(self) -> tuple[str, ...]:
        """The HTTP authentication schemes (RFC 9110) that the caller may use."""
        bearer = self.bearer_hash or self.token
        return (*([BASIC] if self.password_hash else []), *([BEARER] if bearer else []))


NO_HTTP_PROOF: Final = HttpProof()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCredentials:
    """The credentials in one request. `name` is the user name for Basic. An unreadable header yields a scheme but no secret."""

    scheme: str
    name: str = ""
    secret: str = field(default="", repr=False)


def parse_authorization(header: str) -> HttpCredentials | None:
    """Parse an Authorization header. Return None if the header is empty."""
    scheme, _, rest = header[:LONGEST_HEADER].strip().partition(" ")
    if not scheme:
        return None
    scheme, rest = scheme.casefold(), rest.strip()
    if scheme != BASIC:
        return HttpCredentials(scheme=scheme, secret=rest if scheme == BEARER else "")
    try:
        name, _, secret = b64decode(rest, validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError, ValueError):
        return HttpCredentials(scheme=BASIC)
    return HttpCredentials(scheme=BASIC, name=name, secret=secret)


def challenge(schemes: frozenset[str], realm: str) -> tuple[str, ...]:
    """Return the WWW-Authenticate headers for these schemes, Bearer before Basic."""
    bearer, basic = f'Bearer realm="{realm}"', f'Basic realm="{realm}", charset="UTF-8"'
    return (*([bearer] if BEARER in schemes else []), *([basic] if BASIC in schemes else []))
