"""Parses delivery status notifications from mail servers, each about one letter. Has no side effects.

Source: RFC 3464 (reports), RFC 3462 (the three parts of a report), RFC 3463 (status codes), RFC 6533 (UTF-8 addresses).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.message import Message
from itertools import chain
from typing import Any, Final

from hkall_gateway.delivery.headers import LetterId, read_message_id
from hkall_gateway.rules.plain_text import fault_of_text

STATUS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
ORIGINAL: Final = frozenset({"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"})
FAILED: Final = "failed"


class NotABounce(Exception):
    """The data is not a delivery status notification about one of our letters. The message gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """A mail server's report about a letter. `action` is failed, delayed, delivered, relayed or expanded (RFC 3464)."""

    letter: LetterId
    action: str
    status: str

    @property
    def final(self) -> bool:
        """Whether the mail server has given up. After any other action, the letter has arrived or may still arrive."""
        return self.action == FAILED


Parts = list[Any]
"""Message parts, untyped because the email package's types do not describe a payload."""


def read_bounce(data: bytes) -> Bounce:
    """Parse the notification in `data`. Raises NotABounce."""
    try:
        report = message_from_bytes(data)  # the default policy returns even a malformed header as text
        kind = str(report.get_param("report-type", "")).lower()
        if report.get_content_type() != "multipart/report" or kind != "delivery-status" or not report.is_multipart():
            raise NotABounce("this is no delivery status notification (multipart/report)")
        parts: Parts = [part for part in report.get_payload() if isinstance(part, Message)]
        letter = _parse_letter_id(parts)
        action, status = _parse_outcome(parts)
        return Bounce(letter=letter, action=action, status=status)
    except RecursionError:  # the email package parses nested parts recursively, without a limit
        raise NotABounce("its parts are nested too deeply") from None


def _parse_letter_id(parts: Parts) -> LetterId:
    named = next(_message_ids(parts), "")
    if not named:
        raise NotABounce("it does not say which message it is about")
    letter = read_message_id(named)
    if letter is None:
        raise NotABounce("it is about a message that is none of our letters")
    return letter


def _message_ids(parts: Parts) -> Iterator[str]:
    """Yield the Message-IDs of returned messages, which are attached completely or only with their headers."""
    for part in parts:
        if part.get_content_type() not in ORIGINAL:
            continue
        if part.is_multipart():
            yield str(part.get_payload(0).get("Message-ID", ""))
        else:
            yield str(message_from_bytes(part.get_payload(decode=True) or b"").get("Message-ID", ""))


def _parse_outcome(parts: Parts) -> tuple[str, str]:
    """Return the action and status for the letter's only recipient. If there are several reports, prefer a failure."""
    blocks = [
        block for part in parts if part.get_content_type() in STATUS and part.is_multipart() for block in _field_blocks(part)
    ]
    outcomes = [(_first_word(of, "Action").lower(), _first_word(of, "Status")) for of in blocks if of.get("Action")]
    if not outcomes:
        raise NotABounce("it does not say what became of the message")
    if any(map(fault_of_text, chain(*outcomes))):
        raise NotABounce("what it says of the message is no text")
    return next((one for one in outcomes if one[0] == FAILED), outcomes[0])


def _field_blocks(part: Any) -> Parts:
    """Return each block of fields as a message.

    The email package parses message/global-delivery-status as a single message, with all blocks but the first in the body.
    """
    first, *others = part.get_payload()
    body = first.get_payload()
    return [first, *others, *map(message_from_string, body.split("\n\n") if isinstance(body, str) else ())]


def _first_word(of: Message, name: str) -> str:
    """Return a field's first word, cut to 20 characters. RFC 3464 allows a comment after the word."""
    return next(iter(str(of.get(name, "")).split()), "")[:20]
