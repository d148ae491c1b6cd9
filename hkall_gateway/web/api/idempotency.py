"""Idempotency-Key: the same request again gets the same answer, by the inbox that partners' repeated documents use.

The key stands for one request of one token: with another body or address it is refused. As with any document, a refusal changed
nothing and is decided again, and an effect that was undone since is brought about anew.
Source: the IETF draft "The Idempotency-Key HTTP Header Field".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from flask import request
from pydantic import BaseModel, ConfigDict, Field

from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.db import inbox
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit import Unit
from hkall_gateway.web.api.access import scope
from hkall_gateway.web.api.problems import Trouble
from hkall_gateway.web.services import services

KEPT_S: Final = 24 * 3600
"""Seconds for which an answer is kept."""


class IdempotencyHeader(BaseModel):
    """The header of every operation that changes something."""

    model_config = ConfigDict(populate_by_name=True)

    key: str = Field(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9._~:/+=\-]+$",
        description="a new one for each request; the same one for a repetition of it",
    )


def inbox_key(header: IdempotencyHeader) -> InboxKey:
    """Return the key of the inbox for this request. Raises Trouble (422) if the key was used for another request."""
    agency, digest = scope(), _hash(header.key.encode())
    mine, use = _hash(f"{request.method} {request.full_path}\n".encode() + request.get_data()), f"key:{digest}"
    locks = LockSet(document=(agency, use))
    if services().bridge.run(_first_use, agency, use, mine, services().now(), locks=locks) != mine:
        raise Trouble(422, "this Idempotency-Key was used for another request")
    return InboxKey(agency, digest, KEPT_S)


def _first_use(unit: Unit, agency: str, digest: str, fingerprint: str, now: datetime) -> str:
    """Return the fingerprint of the request for which the key was used first: this one's, if it is new."""
    before = inbox.claim(unit, agency, digest, now + timedelta(seconds=KEPT_S), now)
    if before:
        return before
    inbox.keep(unit, agency, digest, fingerprint)
    return fingerprint


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
