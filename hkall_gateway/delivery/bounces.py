"""Parse a mail server's delivery status notification for the fate of one letter. Pure.

Source: RFC 3464 (the report), RFC 3462 (its three parts), RFC 3463 (status codes), RFC 6533 (the same for UTF-8 addresses).
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
    """These bytes are no delivery status notification about a letter of ours. The text says why."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """A mail server's report about a letter. `action` is failed, delayed, delivered, relayed or expanded (RFC 3464)."""

    letter: LetterId
    action: str
    status: str

    @property
    def final(self) -> bool:
        """Return whether the mail server has given up. Everything else may still arrive, or has."""
        return self.action == FAILED


Parts = list[Any]
"""Messages: the types of the email package do not say what a payload holds."""


def read_bounce(data: bytes) -> Bounce:
    """Parse the notification in `data`. Raises NotABounce."""
    try:
        report = message_from_bytes(data)  # the old policy: also a malformed header is text
        kind = str(report.get_param("report-type", "")).lower()
        if report.get_content_type() != "multipart/report" or kind != "delivery-status" or not report.is_multipart():
            raise NotABounce("this is no delivery status notification (multipart/report)")
        parts: Parts = [part for part in report.get_payload() if isinstance(part, Message)]
        return Bounce(_parse_letter_id(parts), *_parse_outcome(parts))
    except RecursionError:  # the email package descends into the parts of a message, however deep they are
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
    """Yield the Message-ID of the message that came back, which is there as a whole or as its header."""
    for part in parts:
        if part.get_content_type() not in ORIGINAL:
            continue
        if part.is_multipart():
            yield str(part.get_payload(0).get("Message-ID", ""))
        else:
            yield str(message_from_bytes(part.get_payload(decode=True) or b"").get("Message-ID", ""))


def _parse_outcome(parts: Parts) -> tuple[str, str]:
    """Return the action and the status for a letter's one recipient; of several reports, the failure."""
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
    """Return a message for each block of fields.

    The email package takes message/global-delivery-status for one message with a body.
    """
    first, *others = part.get_payload()
    body = first.get_payload()
    return [first, *others, *map(message_from_string, body.split("\n\n") if isinstance(body, str) else ())]


def _first_word(of: Message, name: str) -> str:
    """Return the first 20 characters of a field's first word, since RFC 3464 lets a comment follow."""
    return next(iter(str(of.get(name, "")).split()), "")[:20]
