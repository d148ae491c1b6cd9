"""Bytes and messages of SIP2, written from the 3M document alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circprobe.sip2 import messages

_ERROR_DETECTION = re.compile(rb"(?:AY(?P<sequence>.))?AZ(?P<checksum>[0-9A-Fa-f]{4})$")


def checksum(content: bytes) -> str:
    """Compute the checksum of everything up to and including the letters AZ.

    Returns:
        Four upper-case hexadecimal digits: the two's complement of the sum of the bytes.
    """
    return f"{-sum(content) & 0xFFFF:04X}"


def with_checksum(content: bytes, sequence: int | None) -> bytes:
    """Append the error detection fields.

    Args:
        content: the message without terminator.
        sequence: the digit for AY, or None for a message without AY (96 and 97).
    """
    if sequence is not None:
        content += b"AY%d" % sequence
    content += b"AZ"
    return content + checksum(content).encode()


@dataclass(frozen=True)
class Message:
    """A message, taken apart without judging it.

    Attributes:
        raw: its bytes without terminator.
        fixed: the values of the fixed part by their names; a value may be too short.
        fields: tags and values in order, without AY and AZ.
        sequence: the digit of AY, or None.
        checksum: the four characters of AZ, or None.
    """

    raw: bytes
    text: str
    code: str
    fixed: dict[str, str]
    fields: tuple[tuple[str, str], ...]
    sequence: str | None
    checksum: str | None

    @property
    def is_complete(self) -> bool:
        """Say whether the fixed part has its whole length."""
        layout = messages.MESSAGES.get(self.code)
        if layout is None:
            return False
        return all(len(self.fixed[name]) == width for name, width in layout.fixed)

    @property
    def has_right_checksum(self) -> bool:
        """Say whether AZ is there and right."""
        if self.checksum is None:
            return False
        return checksum(self.raw[:-4]) == self.checksum.upper()

    @property
    def sequence_number(self) -> int | None:
        """Give AY as a number, or None if it is missing or no digit."""
        if self.sequence is None or not self.sequence.isdigit():
            return None
        return int(self.sequence)

    def values(self, tag: str) -> list[str]:
        """List the values of a tagged field, in order."""
        return [value for field_tag, value in self.fields if field_tag == tag]

    def value(self, tag: str) -> str:
        """Give the first value of a tagged field, empty if it is missing."""
        return next(iter(self.values(tag)), "")


def read(raw: bytes, encoding: str = "utf-8") -> Message:
    """Take a message apart.

    Args:
        raw: the message; terminators and other control characters around it are dropped.
        encoding: of the values. Bytes that it does not know become replacement characters.
    """
    raw = raw.strip(b"\r\n")
    body = raw
    sequence = found_checksum = None
    ending = _ERROR_DETECTION.search(raw)
    if ending:
        body = raw[: ending.start()]
        found_checksum = ending["checksum"].decode()
        if ending["sequence"] is not None:
            sequence = ending["sequence"].decode("latin-1")

    code = body[:2].decode("latin-1")
    fixed, position = _read_fixed(body, code)
    tail = body[position:].decode(encoding, "replace")
    # The characters in front of each delimiter are a tag of two letters and a value.
    pieces = [piece for piece in tail.split("|") if piece]
    fields = tuple((piece[:2], piece[2:]) for piece in pieces)
    text = raw.decode(encoding, "replace")
    return Message(raw, text, code, fixed, fields, sequence, found_checksum)


def _read_fixed(body: bytes, code: str) -> tuple[dict[str, str], int]:
    position = 2
    fixed = {}
    if code in messages.MESSAGES:
        for name, width in messages.MESSAGES[code].fixed:
            fixed[name] = body[position : position + width].decode("latin-1")
            position += width
    return fixed, position
