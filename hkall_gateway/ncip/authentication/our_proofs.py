"""The Authorization header of our documents, for partners that authenticate us by it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from hkall_gateway.ncip.authentication.signed_tokens import Signer

OurProof: TypeAlias = Callable[[datetime], str]
"""(the aware UTC instant) -> the header of a document that is sent then."""


def basic(login: str, password: str) -> OurProof:
    """HTTP Basic, in UTF-8 (RFC 7617)."""
    said = f"Basic {b64encode(f'{login}:{password}'.encode()).decode()}"
    return lambda _now: said


def bearer(secret: str) -> OurProof:
    """A bearer secret, sent unchanged (RFC 6750)."""
    return lambda _now: f"Bearer {secret}"


def signed(signer: Signer) -> OurProof:
    """A new signed token for each document."""
    return lambda now: f"Bearer {signer.token(now)}"
