"""Credentials in the Authorization header of a caller's HTTP request: Basic (RFC 7617) and Bearer (RFC 6750)."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.ncip.authentication.signed_tokens import TokenRule

BASIC: Final = "basic"
BEARER: Final = "bearer"
REALM: Final = "NCIP"
LONGEST_HEADER: Final = 8192
"""Characters of an Authorization header that are read. A signed token has about 800, with a long key 1,200."""


@dataclass(frozen=True, slots=True)
class HttpProof:
    """The HTTP credentials that a caller's row accepts; "" and None disable a scheme.

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
    """Parse an Authorization header; None if it is empty."""
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
    """The WWW-Authenticate headers that name these schemes, the safest first."""
    bearer, basic = f'Bearer realm="{REALM}"', f'Basic realm="{REALM}", charset="UTF-8"'
    return (*([bearer] if BEARER in schemes else []), *([basic] if BASIC in schemes else []))
