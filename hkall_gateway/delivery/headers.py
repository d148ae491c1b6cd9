"""Header fields of a letter: text stays text, with any characters in a title, a name or an address."""

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
# Nine digits: a longer number is none of the register's, and PostgreSQL would refuse the question.
_OURS: Final = re.compile(rf"<?([0-9]{{1,9}})\.(letter_[a-z_]+)\.([0-9a-f]{{{_CHECK_DIGITS}}})@")


@dataclass(frozen=True, slots=True)
class LetterId:
    """The parts of a letter's Message-ID: its row in the register, its kind, and the check, 20 hex digits."""

    notice: int
    kind: str
    check: str


def message_id(notice: int, kind: str, request: str, key: Sensitive, domain: str) -> str:
    """Make the Message-ID of a letter: its number, its kind, and an HMAC that only this library can make.

    It is the same each time, so that a repeated delivery can be recognised. A bounce names the letter by it. Without the key,
    only a reader of the letter can forge a bounce.
    """
    return f"<{notice}.{kind}.{check(notice, kind, request, key)}@{domain or 'localhost'}>"


def read_message_id(text: str) -> LetterId | None:
    """Parse a Message-ID of ours; None for any other."""
    found = _OURS.match(text.strip())
    return LetterId(int(found[1]), found[2], found[3]) if found else None


def check(notice: int, kind: str, request: str, key: Sensitive) -> str:
    """Compute the first 80 bits of an HMAC-SHA256, in hex digits."""
    signed = f"{notice} {kind} {request}".encode()
    return hmac.new(key.reveal().encode(), signed, sha256).hexdigest()[:_CHECK_DIGITS]


def is_ours(named: LetterId, request: str, key: Sensitive) -> bool:
    """Return whether we made the check of this Message-ID for this request."""
    return hmac.compare_digest(named.check, check(named.notice, named.kind, request, key))


_BREAKS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
"""Control characters, blanks and line ends. Marks of direction (U+200E to U+202E) are part of a title and stay."""
_SHORT: Final = 76
"""RFC 2047: at most so many characters in a line with an encoded word. RFC 5322 wants fewer than 78."""


def one_line(text: str) -> str:
    """Replace every run of blanks and control characters by one blank, and characters beyond UTF-8 by `?`."""
    return _BREAKS.sub(" ", text).strip().encode("utf-8", "replace").decode("utf-8")


class TextHeader(UniqueUnstructuredHeader, BaseHeader):  # type: ignore[misc]  # typeshed keeps the two apart
    """An unstructured header that takes its value literally.

    The email package decodes encoded words in a value that a program sets (seen in Python 3.11.7), so that
    `=?utf-8?q?=0D=0ABcc=3A_x?=` in a title would become a header of its own. Here it is encoded once more, like any other text.
    """

    @classmethod
    def parse(cls, value: str, kwds: dict[str, object]) -> None:
        """Take the value literally."""
        super().parse("", kwds)
        kwds["decoded"] = one_line(value)

    def fold(self, *, policy: Policy) -> str:
        """Write the header's lines: plain where it is short ASCII, else in encoded words."""
        text = str(self)
        plain = _is_plain(text) and len(f"{self.name}: {text}") <= _SHORT
        return f"{self.name}: {text if plain else _encoded(text, self.name, policy)}{policy.linesep}"


class MailboxHeader(TextHeader):
    """One mailbox, `Name <address>` or the address alone. The name is taken literally.

    RFC 5322 allows ASCII addresses only. Others are encoded words here, and the SMTP envelope has the address itself.
    """

    def fold(self, *, policy: Policy) -> str:
        """Write the header's lines: the name as a quoted string where it is short ASCII, else in encoded words."""
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
    """Make headers, and cache them, since most headers are the same in every letter."""

    def __init__(self) -> None:
        super().__init__()
        self.map_to_type("subject", TextHeader)
        self.map_to_type("from", MailboxHeader)
        self.map_to_type("to", MailboxHeader)
        self._made: Callable[[str, object], BaseHeader] = lru_cache(maxsize=128)(super().__call__)

    def __call__(self, name: str, value: object) -> BaseHeader:
        return self._made(name, value)


POLICY: Final[EmailPolicy[EmailMessage]] = default.clone(header_factory=_Registry(), cte_type="7bit")
"""Lines end with LF, which the SMTP client makes CRLF; bodies are encoded, so that every mail server can carry them."""
