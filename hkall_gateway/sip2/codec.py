"""A SIP2 line becomes a message, and a message a line: tolerant in, strict out."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Final, NamedTuple

from hkall_gateway.sip2.dialects import Dialect
from hkall_gateway.sip2.fields import CONTROLS, KINDS, TAGS
from hkall_gateway.sip2.messages import GARBLED, RESEND, SHAPES, Shape
from hkall_gateway.sip2.writing import Value, first, written

__all__ = ["BadMessage", "Message", "Value", "body_of", "checksum", "decode", "encode", "sealed"]


@dataclass(slots=True, repr=False)
class Message:
    """One message, whichever way it goes. Nobody changes one; it is not frozen, since making it would take three times as long.

    `fields` holds the fixed parts by name, then the tags by their two letters in the order of the line; tags that repeat
    are tuples. `sequence` is the AY digit. `checked` says that AZ was there and right (or, on the way out, is wanted
    without AY); `code_point_sum` that it was right only as a sum of code points. `unknown` are the tags that were ignored.
    `line` is the line as it came, for whoever must pass it on; "" for a message of our own.
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
        return first(self.fields.get(name, ""))

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a tag, in order; empty when absent."""
        value = self.fields.get(name, ())
        return (value,) if isinstance(value, str) else value

    def __repr__(self) -> str:
        """The message without its secrets and without whom it is about, fit for a traceback."""
        shown = {name: "•" if _hushed(name) else value for name, value in self.fields.items()}
        return f"Message({self.code!r}, {shown!r}, sequence={self.sequence!r}, checked={self.checked!r})"


class BadMessage(Exception):
    """The peer's line cannot be used.

    `why` is "checksum", "unknown_command", "truncated" or "too_long". `code` is the command where it could be read,
    `message` what could be saved of a truncated one, so that it can have its own negative reply.
    """

    def __init__(self, why: str, code: str | None = None, message: Message | None = None) -> None:
        super().__init__(f"{code or 'a line'}: {why}")
        self.why = why
        self.code = code
        self.message = message


class _Seal(NamedTuple):
    """What ends a line: AY's digit, AZ's value, and how many characters stand behind the letters AZ."""

    body: str
    sequence: str | None
    sum: str | None
    tail: int


_LEADING_JUNK: Final = re.compile(rb"[^0-9A-Za-z]*")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{4}")
_SEQUENCE: Final = re.compile(r"AY([0-9]?)$")
_FIGURES: Final = "0123456789"


def checksum(data: bytes) -> bytes:
    """The four hex digits that end a line.

    `data` runs from the first byte up to and including b"AZ"; the sum of its bytes, negated, modulo 2**16.
    Source: SIP2 2.00, error detection.
    """
    # Adler-32's lower half is one more than the sum as long as that is below 65521, and comes at the speed of C.
    small = len(data) <= 256 or (len(data) <= 512 and data.isascii())
    return _negated((zlib.adler32(data) & 0xFFFF) - 1 if small else sum(data))


def decode(line: bytes, dialect: Dialect) -> Message:
    """The message in one line, with or without its terminator.

    Missing tags, unknown tags, a missing last delimiter, blank dates and bytes that are not in the character set are
    accepted; the first of repeated scalars wins. Raises BadMessage for a wrong AZ, an unknown command, a fixed part cut
    short, and more than `dialect.max_line` bytes. Source: SIP2 2.00; reference page sip2.md 9.
    """
    raw = _bare(line)
    if len(raw) > dialect.max_line:
        raise BadMessage("too_long")
    text = raw.decode(dialect.encoding, "replace")
    shape = SHAPES.get(text[:2])
    start = 2 + shape.width if shape else 2
    seal, points = _usual(raw, text, start, dialect.delimiter), False
    if seal is None:
        seal = _unseal(text, start, dialect.delimiter)
        points = _verify(raw, text, seal)
    if shape is None:
        raise BadMessage("unknown_command", text[:2] if text[:2].isascii() and text[:2].isalnum() else None)
    message = _parse(shape, seal, dialect, raw)
    return replace(message, code_point_sum=True) if points else message


def encode(message: Message, dialect: Dialect) -> bytes:
    """The line of a message, terminator included.

    Never fails on a value: controls and the delimiter become blanks, letters that the character set lacks their nearest
    relatives or `?`, long values are cut at 255 characters (AF and AG go on in a further field), required fields are
    always there. A code or a name that SIP2 does not have is a bug of ours: ValueError. AY and AZ follow `sequence`
    and `checked`; 96 and 97 carry no AY, and AZ where the dialect detects errors.
    """
    line = written(message.code, message.fields, dialect).encode(dialect.encoding, "replace")
    return _seal(line, message, dialect) + dialect.terminator


def body_of(line: bytes, delimiter: str = "|") -> bytes:
    """A line without what belongs to one hop alone: AY, AZ, and its end. Every other byte is as it came."""
    raw = _bare(line)
    text = raw.decode("latin-1")  # a character a byte, whatever they mean
    width = SHAPES[text[:2]].width if text[:2] in SHAPES else 0
    kept = raw[: len(_unseal(text, 2 + width, delimiter).body)]
    apart = re.search(rb"AY[0-9]?%s\Z" % re.escape(delimiter.encode("latin-1")), kept)
    return kept[: apart.start()] if apart else kept


def sealed(body: bytes, message: Message, dialect: Dialect) -> bytes:
    """The whole line of a body that is passed on as it is: AY and AZ follow `message`, the end is the dialect's."""
    return _seal(body, message, dialect) + dialect.terminator


def _hushed(name: str) -> bool:
    row = TAGS.get(name)
    return row is not None and (row.secret or row.personal)


def _negated(total: int) -> bytes:
    return b"%04X" % (-total & 0xFFFF)


def _bare(line: bytes) -> bytes:
    """A line without its end, and without what came before it began."""
    begun = line if line[:1].isalnum() else _LEADING_JUNK.sub(b"", line, count=1)
    return begun.rstrip(b"\r\n")


def _usual(raw: bytes, text: str, start: int, delimiter: str) -> _Seal | None:
    """The end that nearly every line has: delimiter, AY and a digit, AZ and the right sum. None: it takes a closer look."""
    end = len(text) - 9
    if end <= start or text[end - 1 : end + 2] != f"{delimiter}AY" or text[-6:-4] != "AZ" or checksum(raw[:-4]) != raw[-4:]:
        return None
    digit = text[end + 2]
    return _Seal(text[:end], digit, text[-4:], 4) if digit in _FIGURES else None


def _unseal(text: str, start: int, delimiter: str) -> _Seal:
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


def _verify(raw: bytes, text: str, seal: _Seal) -> bool:
    """Whether AZ was right only as a sum of code points; raises BadMessage when it was wrong either way.

    Source: SIP2 2.00 sums bytes; Palace's client and GigaFlair sum code points (reference page sip2.md 3.3).
    """
    if seal.sum is None:
        return False
    if _HEX.fullmatch(seal.sum):
        # What stands behind AZ is then ASCII, so that characters and bytes count the same.
        wanted = seal.sum.upper().encode()
        if checksum(raw[: len(raw) - seal.tail]) == wanted:
            return False
        if not raw.isascii() and _negated(sum(map(ord, text[: len(text) - seal.tail]))) == wanted:
            return True
    raise BadMessage("checksum", text[:2] if text[:2] in SHAPES else None)


def _parse(shape: Shape, seal: _Seal, dialect: Dialect, raw: bytes) -> Message:
    body = seal.body if seal.body.isprintable() else seal.body.translate(CONTROLS)
    start = 2 + shape.width
    fixed = body[2:start]
    if len(fixed) < shape.width or dialect.delimiter in fixed:
        _, *rest = body.split(dialect.delimiter)
        raise BadMessage("truncated", shape.code, _collect(shape.code, {}, rest, seal, raw))
    return _collect(shape.code, {**_fixed(shape.code, fixed)}, body[start:].split(dialect.delimiter), seal, raw)


@lru_cache(maxsize=1024)
def _fixed(code: str, text: str) -> Mapping[str, Value]:
    """The fixed parts by name. Their texts are few (flags, counts, the present second) and tell nothing about anybody."""
    return {name: parse(text[at:end]) for name, at, end, parse in _slices(code)}


@cache
def _slices(code: str) -> tuple[tuple[str, int, int, Callable[[str], str]], ...]:
    """The fixed parts of a message: name, where it begins and ends, how it is read."""
    parts, at, found = SHAPES[code].fixed, 0, []
    for part in parts:
        found.append((part.name, at, at + part.width, KINDS[part.kind].parse))
        at += part.width
    return tuple(found)


def _collect(code: str, fields: dict[str, Value], chunks: list[str], seal: _Seal, raw: bytes) -> Message:
    sequence, unknown = seal.sequence, []
    several: dict[str, list[str]] = {}
    for chunk in chunks:
        tag = chunk[:2]
        if tag in _PLAIN:
            if tag not in fields:
                fields[tag] = chunk[2:]
            continue
        known = _READ.get(tag)
        if known is None:
            chunk = chunk.lstrip()
            tag = chunk[:2]
            known = _READ.get(tag)
        value = chunk[2:]
        if known is None:
            if tag == "AY":  # with a delimiter of its own, or in front of other fields
                sequence = sequence or (value[:1] if value.isascii() and value[:1].isdigit() else None)
            elif chunk:
                unknown.append(tag)
        elif not known.repeats:
            if tag not in fields:
                fields[tag] = known.parse(value)
        elif tag in several:
            several[tag].append(known.parse(value))
        else:
            fields[tag], several[tag] = "", [known.parse(value)]
    if several:
        fields.update({tag: tuple(values) for tag, values in several.items()})
    return Message(code, fields, sequence, seal.sum is not None, tuple(unknown), False, raw)


class _Read(NamedTuple):
    """How a tag is read, and whether it may come several times."""

    parse: Callable[[str], str]
    repeats: bool


_READ: Final = {tag: _Read(KINDS[row.kind].parse, row.repeats) for tag, row in TAGS.items() if tag not in ("AY", "AZ")}
_PLAIN: Final = frozenset(tag for tag, how in _READ.items() if how == (KINDS["text"].parse, False))
"""Tags that come once and are read as they are: nearly all."""


def _seal(line: bytes, message: Message, dialect: Dialect) -> bytes:
    if message.code in (RESEND, GARBLED):
        sequence, summed = b"", message.checked or dialect.error_detection
    else:
        sequence = b"AY" + message.sequence[:1].encode("ascii", "replace") if message.sequence else b""
        summed = message.checked or bool(sequence)
    if not summed:
        return line
    line += sequence + b"AZ"
    return line + checksum(line)
