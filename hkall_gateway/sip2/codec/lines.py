"""Parses SIP2 lines into messages and writes messages as lines: tolerant when reading, strict when writing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from zlib import adler32

from hkall_gateway.sip2.codec.body import Value, first, fixed_parts, format_body, parse_tags, sort_strays
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.fields import CONTROLS, TAGS
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES, MessageShape

__all__ = ["BadMessage", "Sip2Message", "Value", "body_of", "checksum", "decode", "encode", "seal_body"]


@dataclass(slots=True, repr=False)
class Sip2Message:
    """One message, received or sent. Treat it as immutable; it is not frozen because creation would take three times as long.

    `fields` holds the fixed parts by name, then the tags by their two letters in the order of the line; tags that repeat
    are tuples. `sequence` is the AY digit. `checked` says that AZ was there and right (or, on the way out, is wanted
    without AY); `code_point_sum` that it was right only as a sum of code points. `unknown` are the tags that were ignored.
    `line` is the line as received, so that a relay can forward it; "" for a message of our own.
    """

    code: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    sequence: str | None = None
    checked: bool = False
    unknown: tuple[str, ...] = ()
    code_point_sum: bool = False
    line: bytes = field(default=b"", compare=False)

    def get(self, name: str) -> str:
        """The value, the first one of a repeated tag, "" when absent."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else first(value)  # not by the call alone: this is asked all the time

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a tag, in order; empty when absent."""
        value = self.fields.get(name, ())
        return (value,) if isinstance(value, str) else value

    def __repr__(self) -> str:
        """Returns the message without secret and personal fields, safe for a traceback."""
        hushed = {name for name in self.fields if (row := TAGS.get(name)) is not None and (row.secret or row.personal)}
        shown = {name: "•" if name in hushed else value for name, value in self.fields.items()}
        return f"Message({self.code!r}, {shown!r}, sequence={self.sequence!r}, checked={self.checked!r})"


class BadMessage(Exception):
    """The peer's line cannot be used.

    `why` is "checksum", "unknown_command", "truncated" or "too_long". `code` is the command, if it could be read;
    `message` holds the readable part of a truncated one, so that it can get its own negative reply.
    """

    def __init__(self, why: str, code: str | None = None, message: Sip2Message | None = None) -> None:
        super().__init__(f"{code or 'a line'}: {why}")
        self.why = why
        self.code = code
        self.message = message


class _Seal(NamedTuple):
    """The error detection fields of a line: AY's digit, AZ's value, and the number of characters after the letters AZ."""

    body: str
    sequence: str | None
    sum: str | None
    tail: int


_End = tuple[str, str | None, bool, bool]
"""A line without its end, AY's digit, whether AZ was there, and whether it was right only as a sum of code points."""

_LEADING_JUNK: Final = re.compile(rb"[^0-9A-Za-z]*")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{4}")
_SEQUENCE: Final = re.compile(r"AY([0-9]?)$")
_ENDS: Final = {f"AY{digit}AZ": digit for digit in "0123456789"}
_BLANKED: Final = bytes(ord(CONTROLS.get(byte, chr(byte))) for byte in range(256))


def checksum(data: bytes) -> bytes:
    """The four hex digits that end a line.

    `data` runs from the first byte up to and including b"AZ"; the sum of its bytes, negated, modulo 2**16.
    Source: SIP2 2.00, error detection.
    """
    # Adler-32's lower half is one more than the sum as long as that is below 65521, and comes at the speed of C.
    if len(data) <= 256 or (len(data) <= 512 and data.isascii()):
        return b"%04X" % (1 - adler32(data) & 0xFFFF)
    return b"%04X" % (-sum(data) & 0xFFFF)


def decode(line: bytes, dialect: Sip2Dialect) -> Sip2Message:
    """The message in one line, with or without its terminator.

    Missing tags, unknown tags, a missing last delimiter, blank dates and bytes that are not in the character set are
    accepted; the first of repeated scalars wins. Raises BadMessage for a wrong AZ, an unknown command, a fixed part cut
    short, and more than `dialect.max_line` bytes. Source: SIP2 2.00, message structure.
    """
    raw = _strip_line(line)
    if len(raw) > dialect.max_line:
        raise BadMessage("too_long")
    text = raw.decode(dialect.encoding, "replace")
    shape = SHAPES.get(text[:2])
    start = 2 + shape.width if shape else 2
    end: _End
    digit, before = _ENDS.get(text[-9:-4]), text[-10:-9]
    if digit is not None and before == dialect.delimiter and len(text) >= start + 10 and raw.endswith(checksum(raw[:-4])):
        end = text[:-10], digit, True, False  # as nearly every line ends: delimiter, AY and a digit, AZ and the right checksum
    else:
        seal = _split_seal(text, start, dialect.delimiter)
        points = _check_sum(raw, text, seal)
        end = seal.body, seal.sequence, seal.sum is not None, points
    if shape is None:
        raise BadMessage("unknown_command", text[:2] if text[:2].isascii() and text[:2].isalnum() else None)
    return _parse_body(shape, end, dialect.delimiter, raw)


def encode(message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """The line of a message, terminator included.

    Never fails on a value: controls and the delimiter become blanks, letters that the character set lacks their nearest
    relatives or `?`, long values are cut at 255 characters (AF and AG go on in a further field), required fields are
    always there. A code or a name that SIP2 does not have is a bug of ours: ValueError. AY and AZ follow `sequence`
    and `checked`; 96 and 97 carry no AY, and AZ where the dialect detects errors.
    """
    line = format_body(message.code, message.fields, dialect).encode(dialect.encoding, "replace")
    return _append_seal(line, message, dialect) + dialect.terminator


def body_of(line: bytes, delimiter: str = "|") -> bytes:
    """Returns a line without the parts that belong to one hop: AY, AZ and the terminator. All other bytes are unchanged."""
    raw = _strip_line(line)
    text = raw.decode("latin-1")  # one character a byte, in every character set
    width = SHAPES[text[:2]].width if text[:2] in SHAPES else 0
    kept = raw[: len(_split_seal(text, 2 + width, delimiter).body)]
    apart = re.search(rb"AY[0-9]?%s\Z" % re.escape(delimiter.encode("latin-1")), kept)
    return kept[: apart.start()] if apart else kept


def seal_body(body: bytes, message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """The whole line of a body that is passed on as it is: AY and AZ follow `message`, the end is the dialect's.

    A last field without its delimiter gets one before AY or AZ, which would be read as a part of it.
    """
    delimiter, shape = dialect.delimiter.encode(dialect.encoding), SHAPES.get(body[:2].decode("latin-1"))
    has_fields = shape is not None and len(body) > 2 + shape.width
    ended = body + delimiter if has_fields and not body.endswith(delimiter) else body
    line = _append_seal(ended, message, dialect)
    return (body if line is ended else line) + dialect.terminator


def _strip_line(line: bytes) -> bytes:
    """Returns a line without its terminator and without junk bytes before its first letter or digit."""
    begun = line if line[:1].isalnum() else _LEADING_JUNK.sub(b"", line, count=1)
    return begun.rstrip(b"\r\n")


def _split_seal(text: str, start: int, delimiter: str) -> _Seal:
    """Takes AY and AZ off the end of a line. `start` is where its tags begin."""
    head, mark, tail = text.rpartition("AZ")
    # Where AZ follows the fixed part at once there is no AY, though the fixed part may end with these letters.
    spot = None if len(head) == start else _SEQUENCE.search(head)
    value = tail.strip(f"{delimiter} \t\0")
    at = spot.start() if spot else len(head)
    begins_field = at == start or head[:at].endswith(delimiter)
    # The last value may lack its delimiter; then only a perfect AY and AZ are told from a barcode with these letters.
    runs_on = spot is not None and spot[1] != "" and _HEX.fullmatch(tail) is not None
    if not mark or not (begins_field or runs_on):
        return _Seal(text, None, None, 0)
    return _Seal(head[:at], (spot[1] or None) if spot else None, value, len(tail))


def _check_sum(raw: bytes, text: str, seal: _Seal) -> bool:
    """Whether AZ was right only as a sum of code points; raises BadMessage when it was wrong either way.

    Source: SIP2 2.00 sums bytes; Palace's client and GigaFlair sum code points.
    """
    if seal.sum is None:
        return False
    if _HEX.fullmatch(seal.sum):
        # The characters after AZ are then ASCII, so that characters and bytes count the same.
        wanted = seal.sum.upper().encode()
        if checksum(raw[: len(raw) - seal.tail]) == wanted:
            return False
        if not raw.isascii() and b"%04X" % (-sum(map(ord, text[: len(text) - seal.tail])) & 0xFFFF) == wanted:
            return True
    raise BadMessage("checksum", text[:2] if text[:2] in SHAPES else None)


def _parse_body(shape: MessageShape, end: _End, delimiter: str, raw: bytes) -> Sip2Message:
    body, sequence, checked, points = end
    # Checking the bytes for control characters is three times as fast as checking the text.
    if not ((raw.isascii() and raw.translate(_BLANKED) == raw) or body.isprintable()):
        body = body.translate(CONTROLS)
    start = 2 + shape.width
    fixed = fixed_parts(shape.code, body[2:start], delimiter)
    fields = fixed.copy() if fixed is not None else {}
    tags = body[start:] if fixed is not None else body.partition(delimiter)[2]
    strays = parse_tags(tags.split(delimiter), fields)
    sequence, unknown = sort_strays(strays, sequence) if strays else (sequence, ())
    message = Sip2Message(shape.code, fields, sequence, checked, unknown, points, raw)
    if fixed is None:
        raise BadMessage("truncated", shape.code, message)
    return message


def _append_seal(line: bytes, message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """Add AY with its digit, AZ and the checksum, as far as they are wanted."""
    if message.code in (RESEND, GARBLED):
        marks = b"AZ" if message.checked or dialect.error_detection else b""
    elif message.sequence:
        marks = b"AY" + message.sequence[:1].encode("ascii", "replace") + b"AZ"
    else:
        marks = b"AZ" if message.checked else b""
    return line + marks + checksum(line + marks) if marks else line
