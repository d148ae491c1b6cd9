"""Header fields for letters. Titles, names and addresses may contain any characters, and are always taken literally."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.header import Header
from email.headerregistry import BaseHeader, HeaderRegistry, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.policy import EmailPolicy, Policy, default
from email.utils import quote
from functools import lru_cache
from hashlib import sha256
from typing import Final

from hkall_gateway.rules.vocabulary import Sensitive

_CHECK_DIGITS: Final = 20
# At most nine digits, since notice numbers are not longer, and PostgreSQL would reject a query for a longer number.
_OURS: Final = re.compile(rf"<?([0-9]{{1,9}})\.(letter_[a-z_]+)\.([0-9a-f]{{{_CHECK_DIGITS}}})@")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterId:
    """The parts of a letter's Message-ID: the notice number, the kind, and the signature (`check`, 20 hex digits)."""

    notice: int
    kind: str
    check: str


def message_id(notice: int, kind: str, request: str, key: Sensitive, domain: str) -> str:
    """Create a letter's Message-ID from the notice number, the kind, and an HMAC that only this library can compute.

    A letter always has the same Message-ID, which identifies repeated deliveries and bounces. Only someone who has the key or
    has read the letter can forge a bounce.
    """
    return f"<{notice}.{kind}.{check(notice, kind, request, key)}@{domain or 'localhost'}>"


def read_message_id(text: str) -> LetterId | None:
    """Parse a Message-ID created by `message_id`. Return None for any other Message-ID."""
    found = _OURS.match(text.strip())
    return LetterId(notice=int(found[1]), kind=found[2], check=found[3]) if found else None


def check(notice: int, kind: str, request: str, key: Sensitive) -> str:
    """Compute a Message-ID's signature, the first 80 bits of an HMAC-SHA256 in hex digits."""
    signed = f"{notice} {kind} {request}".encode()
    return hmac.new(key.reveal().encode(), signed, sha256).hexdigest()[:_CHECK_DIGITS]


def is_ours(named: LetterId, request: str, key: Sensitive) -> bool:
    """Check that we have signed this Message-ID for this request."""
    return hmac.compare_digest(named.check, check(named.notice, named.kind, request, key))


_BREAKS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
"""Matches control characters, blanks and line ends, but no direction marks (U+200E to U+202E), which titles may contain."""
_SHORT: Final = 76
"""Maximum length of a line with an encoded word (RFC 2047)."""


def one_line(text: str) -> str:
    """Replace each run of blanks and control characters with one blank, and each lone surrogate with `?`."""
    return _BREAKS.sub(" ", text).strip().encode("utf-8", "replace").decode("utf-8")


class TextHeader(UniqueUnstructuredHeader, BaseHeader):  # type: ignore[misc]  # typeshed keeps the two apart
    """An unstructured header that takes its value literally.

    The email package decodes encoded words in a value that a program sets (seen in Python 3.11.7), so that
    `=?utf-8?q?=0D=0ABcc=3A_x?=` in a title would become a separate header. This class encodes such a text like any other text.
    """

    @classmethod
    def parse(cls, value: str, kwds: dict[str, object]) -> None:
        """Store the value literally."""
        super().parse("", kwds)
        kwds["decoded"] = one_line(value)

    def fold(self, *, policy: Policy) -> str:
        """Format the header as plain text if the value is short ASCII, else as encoded words."""
        text = str(self)
        plain = _is_plain(text) and len(f"{self.name}: {text}") <= _SHORT
        return f"{self.name}: {text if plain else _encoded(text, self.name, policy)}{policy.linesep}"


class MailboxHeader(TextHeader):
    """A header with one mailbox, `Name <address>` or only the address. Takes the name literally.

    RFC 5322 allows only ASCII addresses. Any other address becomes encoded words, and the SMTP envelope has the real address.
    """

    def fold(self, *, policy: Policy) -> str:
        """Format the header, with the name as a quoted string if it is short ASCII, else as encoded words."""
        name, _, address = str(self).rpartition(" <")
        if not name:
            shown = address if address.isascii() else _encoded(address, self.name, policy)
            return f"{self.name}: {shown}{policy.linesep}"
        quoted = f'"{quote(name)}"'
        plain = _is_plain(name) and len(f"{self.name}: {quoted}") <= _SHORT
        words = quoted if plain else _encoded(name, self.name, policy)
        return f"{self.name}: {words}{policy.linesep} <{address}{policy.linesep}"


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text


def _encoded(text: str, name: str, policy: Policy) -> str:
    return Header(text, "utf-8", maxlinelen=_SHORT, header_name=name).encode(linesep=policy.linesep)


class _Registry(HeaderRegistry):
    """A header factory with a cache, since most headers are the same in every letter."""

    def __init__(self) -> None:
        super().__init__()
        self.map_to_type("subject", TextHeader)
        self.map_to_type("from", MailboxHeader)
        self.map_to_type("to", MailboxHeader)
        self._made: Callable[[str, object], BaseHeader] = lru_cache(maxsize=128)(super().__call__)

    def __call__(self, name: str, value: object) -> BaseHeader:
        return self._made(name, value)


POLICY: Final[EmailPolicy[EmailMessage]] = default.clone(header_factory=_Registry(), cte_type="7bit")
"""Email policy: LF line ends, which the SMTP client converts to CRLF, and 7-bit bodies, which every mail server accepts."""
