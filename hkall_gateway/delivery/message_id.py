"""The Message-ID of a letter: its number in the register, its kind, and an HMAC that only this library can make.

A bounce names the letter by it. Without the key a bounce can only be forged by a reader of the letter.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from hkall_gateway.rules.vocabulary import Sensitive

_CHECK_DIGITS: Final = 20
# Nine digits: a longer number is none of the register's, and PostgreSQL would refuse the question.
_OURS: Final = re.compile(rf"<?([0-9]{{1,9}})\.(letter_[a-z_]+)\.([0-9a-f]{{{_CHECK_DIGITS}}})@")


@dataclass(frozen=True, slots=True)
class LetterId:
    """The parts of a letter's Message-ID: its row in the register, its kind, and the check, 20 hex digits."""

    notice: int
    kind: str
    check: str


def message_id(notice: int, kind: str, request: str, key: Sensitive, domain: str) -> str:
    """The Message-ID of a letter about a request. It is the same each time, so that a repeated delivery can be seen."""
    return f"<{notice}.{kind}.{check(notice, kind, request, key)}@{domain or 'localhost'}>"


def read_message_id(text: str) -> LetterId | None:
    """The parts of a Message-ID of ours; None for any other."""
    found = _OURS.match(text.strip())
    return LetterId(int(found[1]), found[2], found[3]) if found else None


def check(notice: int, kind: str, request: str, key: Sensitive) -> str:
    """The first 80 bits of an HMAC-SHA256, in hex digits."""
    said = f"{notice} {kind} {request}".encode()
    return hmac.new(key.reveal().encode(), said, sha256).hexdigest()[:_CHECK_DIGITS]


def is_ours(named: LetterId, request: str, key: Sensitive) -> bool:
    """Whether the check of a Message-ID was made by us, for this letter about this request."""
    return hmac.compare_digest(named.check, check(named.notice, named.kind, request, key))
