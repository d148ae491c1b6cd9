"""Proofs of identity in HTTP: the Authorization header of a caller's request, and that of our own documents.

Basic is RFC 7617, Bearer RFC 6750. A bearer token is a secret or a signed token (JWT) in the profile of RFC 7523, section 3:
it names its issuer, its audience and its end, and is signed with a key of the peer's JSON Web Key Set. OpenRS (dcb-service of
2026-08) signs with RS256, valid for five minutes, and refuses tokens that are valid for more than a quarter of an hour.
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

# ---- The signature algorithms of signed tokens, accepted and our own, by the names of the configuration.
# All use a private key; HMAC and "none" are never accepted.


SKEW_S: Final = 60
"""Seconds by which the clocks of both sides may differ."""
LONGEST_S: Final = 900
"""Maximum seconds until a token expires; a longer one would be equivalent to a password."""

Key: TypeAlias = RSAKey | ECKey

"""Types of our signing keys: asymmetric ones only."""


NO_TOKEN: Final = (JoseError, ValueError, TypeError, KeyError, InvalidKey, UnsupportedAlgorithm, RecursionError)
"""The exceptions of the library for a text that is not a token (also one nested too deeply) or not a supported key."""


class Keys(Protocol):
    """The public keys of a peer."""

    async def having(self, kid: str, now: datetime) -> KeySet | None:
        """Return the keys, reloaded if none of them has the key id `kid`. None if there are none."""


@dataclass(frozen=True, slots=True)
class TokenRule(PeerClaims):
    """The claims that a token must have, and the keys that verify it."""

    keys: Keys = field(repr=False, kw_only=True)


async def is_accepted(token: str, rule: TokenRule, now: datetime) -> bool | None:
    """Whether a token obeys a rule: signed by one of the keys with a pinned algorithm, for us, by its issuer, and not expired.

    None if no keys are available to verify it.
    """
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


@dataclass(frozen=True, slots=True)
class Signer(OurClaims):
    """Makes our own tokens for one peer. `claims` are further ones: OpenRS wants `protocol` to be "NCIP2"."""

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
    """Read the private key in a PEM file or a JSON Web Key. Raises ValueError where there is none."""
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
    """Make the JSON Web Key Set with the public halves of our keys, each once."""
    known = {key.thumbprint(): key for key in keys}
    rows = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in known.items()]
    return json.dumps({"keys": rows}).encode()


def issuer(token: str) -> str:
    """Return the issuer claimed by a token, unverified. "" for a text that is no signed token."""
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


# ---- The Authorization header of our documents, for partners that authenticate us by it.


OurProof: TypeAlias = Callable[[datetime], str]
"""(the aware UTC instant) -> the header of a document that is sent then."""


def basic(login: str, password: str) -> OurProof:
    """HTTP Basic, in UTF-8 (RFC 7617)."""
    header = f"Basic {b64encode(f'{login}:{password}'.encode()).decode()}"
    return lambda _now: header


def bearer(secret: str) -> OurProof:
    """Make the header with a bearer secret, sent unchanged (RFC 6750)."""
    return lambda _now: f"Bearer {secret}"


def signed(signer: Signer) -> OurProof:
    """Make headers with a new signed token for each document."""
    return lambda now: f"Bearer {signer.token(now)}"


# ---- Credentials in the Authorization header of a caller's HTTP request: Basic (RFC 7617) and Bearer (RFC 6750).


BASIC: Final = "basic"
BEARER: Final = "bearer"
REALM: Final = "NCIP"
LONGEST_HEADER: Final = 8192
"""Characters of an Authorization header that are read. A signed token has about 800, with a long key 1,200."""


@dataclass(frozen=True, slots=True)
class HttpProof:
    """The HTTP credentials that a caller's row accepts. "" and None disable a scheme.

    `login` and `password_hash` are for Basic. A bearer token is either a secret with the hash `bearer_hash`, or a signed
    token that obeys `token`.
    """

    login: str = ""
    password_hash: str = field(default="", repr=False)
    bearer_hash: str = field(default="", repr=False)
    token: TokenRule | None = None

    @property
    def schemes(self) -> tuple[str, ...]:
        """The authentication schemes (RFC 9110) that the row's caller may use."""
        bearer = self.bearer_hash or self.token
        return (*([BASIC] if self.password_hash else []), *([BEARER] if bearer else []))


NO_HTTP_PROOF: Final = HttpProof()


@dataclass(frozen=True, slots=True)
class HttpCredentials:
    """The credentials of one request. `name` is that of Basic. A header that cannot be read has a scheme and no secret."""

    scheme: str
    name: str = ""
    secret: str = field(default="", repr=False)


def parse_authorization(header: str) -> HttpCredentials | None:
    """Parse an Authorization header. None if it is empty."""
    scheme, _, rest = header[:LONGEST_HEADER].strip().partition(" ")
    if not scheme:
        return None
    scheme, rest = scheme.casefold(), rest.strip()
    if scheme != BASIC:
        return HttpCredentials(scheme, secret=rest if scheme == BEARER else "")
    try:
        name, _, secret = b64decode(rest, validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError, ValueError):
        return HttpCredentials(BASIC)
    return HttpCredentials(BASIC, name, secret)


def challenge(schemes: frozenset[str]) -> tuple[str, ...]:
    """Return the WWW-Authenticate headers that name these schemes, the safest first."""
    bearer, basic = f'Bearer realm="{REALM}"', f'Basic realm="{REALM}", charset="UTF-8"'
    return (*([bearer] if BEARER in schemes else []), *([basic] if BASIC in schemes else []))
