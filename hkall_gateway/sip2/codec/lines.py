"""Decodes SIP2 lines into messages and encodes messages as lines: tolerant when decoding, strict when encoding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hkall_gateway.sip2.codec.body import (
    Value,
    bytes_of,
    end_field,
    first,
    fixed_parts,
    format_body,
    parse_tags,
    sort_strays,
    text_of,
)
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.fields import CONTROLS, TAGS
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES

__all__ = ["BadMessage", "Sip2Message", "Value", "body_of", "checksum", "decode", "encode", "seal_body"]


@dataclass(slots=True, repr=False)
class Sip2Message:
    """A received or outgoing message. Treat it as immutable; a frozen dataclass would take three times as long to create.

    Attributes:
        fields: The fixed parts by name, then the tags by their two letters in the order of the line; repeated tags are
            tuples.
        sequence: The AY digit.
        checked: Whether a received message had a correct AZ; for an outgoing message without AY, whether to add AZ.
        unknown: The unknown tags, which were ignored.
        code_point_sum: Whether AZ was correct only as a sum of code points.
        line: The line as received, for relaying; empty for our own messages.
    """

    code: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    sequence: str | None = None
    checked: bool = False
    unknown: tuple[str, ...] = ()
    code_point_sum: bool = False
    line: bytes = field(default=b"", compare=False)

    def get(self, name: str) -> str:
        """Return a field's value, the first value of a repeated tag, or "" if the field is missing."""
        value = self.fields.get(name, "")
        return first(value)

    def all(self, name: str) -> tuple[str, ...]:
        """Return all values of a tag in order."""
        value = self.fields.get(name, ())
        return (value,) if isinstance(value, str) else value

    def __repr__(self) -> str:
        """Return the message with secret and personal fields masked, for use in tracebacks."""
        hushed = {name for name in self.fields if (row := TAGS.get(name)) is not None and (row.secret or row.personal)}
        shown = {name: "•" if name in hushed else value for name, value in self.fields.items()}
        return f"Message({self.code!r}, {shown!r}, sequence={self.sequence!r}, checked={self.checked!r})"


class BadMessage(Exception):
    """The peer's line cannot be used.

    Attributes:
        why: "checksum", "unknown_command", "truncated" or "too_long".
        code: The message code, if it could be read.
        message: The readable part of a truncated line, to build the negative reply.
    """

    def __init__(self, why: str, code: str | None = None, message: Sip2Message | None = None) -> None:
        super().__init__(f"{code or 'a line'}: {why}")
        self.why = why
        self.code = code
        self.message = message


class _Seal(NamedTuple):
    """A line's body and error detection fields: AY's digit, AZ's value, and the number of characters after the letters AZ."""

    body: str
    sequence: str | None
    sum: str | None
    tail: int


_LEADING_JUNK: Final = re.compile(rb"[^0-9A-Za-z]*")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{4}")
_SEQUENCE: Final = re.compile(r"AY([0-9]?)$")


def checksum(data: bytes) -> bytes:
    """Compute the checksum, the four hex digits that end a line.

    `data` is the line from the first byte up to and including b"AZ". The checksum is the negated sum of its bytes modulo 2**16.
    Source: SIP2 2.00, error detection.
    """
    return b"%04X" % (-sum(data) & 0xFFFF)


def decode(line: bytes, dialect: Sip2Dialect) -> Sip2Message:
    """Parse a line, with or without its terminator.

    Missing tags, unknown tags, a missing last delimiter, blank dates and undecodable bytes are accepted. If a tag that must not
    repeat occurs twice, the first value counts. Source: SIP2 2.00, message structure.

    Raises:
        BadMessage: AZ is wrong, the command is unknown, a fixed part is truncated, or the line is longer than
            `dialect.max_line` bytes.
    """
    raw = _strip_line(line)
    if len(raw) > dialect.max_line:
        raise BadMessage("too_long")
    text = raw.decode(dialect.encoding, "replace")
    shape = SHAPES.get(text[:2])
    start = 2 + shape.width if shape else 2
    seal = _split_seal(text, start, dialect.delimiter)
    is_code_point_sum = _check_sum(raw, text, seal)
    if shape is None:
        is_code = text[:2].isascii() and text[:2].isalnum()
        raise BadMessage("unknown_command", text[:2] if is_code else None)

    body = seal.body.translate(CONTROLS)
    fixed = fixed_parts(shape.code, body[2:start], dialect.delimiter)
    if fixed is None:
        fields = {}
        tags = body.partition(dialect.delimiter)[2]
    else:
        fields = fixed.copy()
        tags = body[start:]
    strays = parse_tags(tags.split(dialect.delimiter), fields)
    sequence, unknown = sort_strays(strays, seal.sequence)
    message = Sip2Message(
        shape.code,
        fields,
        sequence,
        checked=seal.sum is not None,
        unknown=unknown,
        code_point_sum=is_code_point_sum,
        line=raw,
    )
    if fixed is None:
        raise BadMessage("truncated", shape.code, message)
    return message


def encode(message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """Encode a message as a line with its terminator.

    No value is refused: control characters and the delimiter become blanks, letters outside the character set a similar letter
    or `?`, and values are cut at 255 characters (AF and AG continue in a further field). Required fields are always present.
    AY and AZ are added according to `sequence` and `checked`. 96 and 97 have no AY, and AZ if the dialect detects errors.

    Raises:
        ValueError: SIP2 does not have this message code or a field name, which is a bug.
    """
    line = format_body(message.code, message.fields, dialect).encode(dialect.encoding, "replace")
    return _append_seal(line, message, dialect) + dialect.terminator


def body_of(line: bytes, dialect: Sip2Dialect) -> bytes:
    """Remove AY, AZ and the terminator, which are specific to one connection. All other bytes stay unchanged."""
    raw = _strip_line(line)
    text = text_of(raw, dialect)
    width = SHAPES[text[:2]].width if text[:2] in SHAPES else 0
    kept = _split_seal(text, 2 + width, dialect.delimiter).body
    apart = re.search(rf"AY[0-9]?{re.escape(dialect.delimiter)}\Z", kept)
    if apart is not None and (apart.start() == 2 + width or kept[: apart.start()].endswith(dialect.delimiter)):
        kept = kept[: apart.start()]
    removed = text[len(kept) :]
    return raw[: len(raw) - len(bytes_of(removed, dialect))]


def seal_body(body: bytes, message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """Add AY and AZ to a relayed body, as `message` requires, and the dialect's terminator.

    If the last field has no delimiter, add one, so that AY or AZ is not read as part of the field.
    """
    text = text_of(body, dialect)
    shape = SHAPES.get(text[:2])
    has_fields = shape is not None and len(text) > 2 + shape.width
    ended = body
    if has_fields and not text.endswith(dialect.delimiter):
        ended = bytes_of(end_field(text, dialect.delimiter), dialect)
    line = _append_seal(ended, message, dialect)
    return (body if line is ended else line) + dialect.terminator


def _strip_line(line: bytes) -> bytes:
    """Remove the terminator, and junk bytes before the first letter or digit."""
    return _LEADING_JUNK.sub(b"", line, count=1).rstrip(b"\r\n")


def _split_seal(text: str, start: int, delimiter: str) -> _Seal:
    """Split a line, whose tags begin at index `start`, into its body and the final AY and AZ."""
    head, mark, tail = text.rpartition("AZ")
    # If AZ follows the fixed part directly, the line has no AY, even if the fixed part ends with the letters "AY".
    spot = None if len(head) == start else _SEQUENCE.search(head)
    value = tail.strip(f"{delimiter} \t\0")
    at = spot.start() if spot else len(head)
    begins_field = at == start or head[:at].endswith(delimiter)
    # If the last value has no delimiter, only a well-formed AY and AZ can be distinguished from a barcode with these letters.
    runs_on = spot is not None and spot[1] != "" and _HEX.fullmatch(tail) is not None
    if not mark or not (begins_field or runs_on):
        return _Seal(text, None, None, 0)
    return _Seal(head[:at], (spot[1] or None) if spot else None, value, len(tail))


def _check_sum(raw: bytes, text: str, seal: _Seal) -> bool:
    """Verify AZ. Return True if it is correct only as a sum of code points; raise BadMessage if it is wrong.

    SIP2 2.00 sums bytes; Palace's client and GigaFlair sum code points.
    """
    if seal.sum is None:
        return False
    if _HEX.fullmatch(seal.sum):
        # The checksum consists of ASCII characters, so `tail` is the same number in characters and in bytes.
        wanted = seal.sum.upper().encode()
        if checksum(raw[: len(raw) - seal.tail]) == wanted:
            return False
        if not raw.isascii() and b"%04X" % (-sum(map(ord, text[: len(text) - seal.tail])) & 0xFFFF) == wanted:
            return True
    raise BadMessage("checksum", text[:2] if text[:2] in SHAPES else None)


def _append_seal(line: bytes, message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """Append AY and AZ if the message has a sequence number, or only AZ if `checked` is set."""
    if message.code in (RESEND, GARBLED):
        marks = b"AZ" if message.checked or dialect.error_detection else b""
    elif message.sequence:
        marks = b"AY" + message.sequence[:1].encode("ascii", "replace") + b"AZ"
    else:
        marks = b"AZ" if message.checked else b""
    return line + marks + checksum(line + marks) if marks else line
