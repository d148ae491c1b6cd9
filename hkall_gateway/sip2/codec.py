"""A SIP2 line becomes a message, and a message a line: tolerant in, strict out."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Final, NamedTuple

from hkall_gateway.sip2.dialects import Dialect
from hkall_gateway.sip2.fields import CONTROLS, KINDS, LONGEST, TAGS, Tag, clean, lengths
from hkall_gateway.sip2.messages import GARBLED, PARTS, RESEND, SHAPES, Shape

Value = str | tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One message, whichever way it goes.

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
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else next(iter(value), "")

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


def checksum(data: bytes) -> bytes:
    """The four hex digits that end a line.

    `data` runs from the first byte up to and including b"AZ"; the sum of its bytes, negated, modulo 2**16.
    Source: SIP2 2.00, error detection.
    """
    # Adler-32's lower half is one more than the sum as long as that is below 65521, and comes at the speed of C.
    return _negated((zlib.adler32(data) & 0xFFFF) - 1 if len(data) <= 256 else sum(data))


def decode(line: bytes, dialect: Dialect) -> Message:
    """The message in one line, with or without its terminator.

    Missing tags, unknown tags, a missing last delimiter, blank dates and bytes that are not in the character set are
    accepted; the first of repeated scalars wins. Raises BadMessage for a wrong AZ, an unknown command, a fixed part cut
    short, and more than `dialect.max_line` bytes. Source: SIP2 2.00; reference page sip2.md 9.
    """
    raw = _LEADING_JUNK.sub(b"", line, count=1).rstrip(b"\r\n")
    if len(raw) > dialect.max_line:
        raise BadMessage("too_long")
    text = raw.decode(dialect.encoding, "replace")
    shape = SHAPES.get(text[:2])
    seal = _unseal(text, 2 + shape.width if shape else 2, dialect.delimiter)
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
    plan = _plan(message.code, dialect)
    if stray := message.fields.keys() - plan.known:
        raise ValueError(f"{message.code} has no field {', '.join(sorted(stray))}")
    pieces = [message.code, *(_fixed(name, message.get(name), dialect.encoding, dialect.delimiter) for name in plan.fixed)]
    pieces += [piece for field in _tagged(message, plan) for piece in _field(*field, dialect)]
    line = "".join(pieces).encode(dialect.encoding, "replace")
    return _seal(line, message, dialect) + dialect.terminator


def body_of(line: bytes, delimiter: str = "|") -> bytes:
    """A line without what belongs to one hop alone: AY, AZ, and its end. Every other byte is as it came."""
    raw = _LEADING_JUNK.sub(b"", line, count=1).rstrip(b"\r\n")
    text = raw.decode("latin-1")  # a character a byte, whatever they mean
    shape = SHAPES.get(text[:2])
    kept = raw[: len(_unseal(text, 2 + shape.width if shape else 2, delimiter).body)]
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
    body = seal.body.translate(CONTROLS)
    start = 2 + shape.width
    fixed = body[2:start]
    if len(fixed) < shape.width or dialect.delimiter in fixed:
        _, *rest = body.split(dialect.delimiter)
        raise BadMessage("truncated", shape.code, _collect(shape.code, {}, rest, seal, raw))
    return _collect(shape.code, dict(_slices(shape, fixed)), body[start:].split(dialect.delimiter), seal, raw)


def _slices(shape: Shape, fixed: str) -> Iterator[tuple[str, str]]:
    at = 0
    for part in shape.fixed:
        yield part.name, KINDS[part.kind].parse(fixed[at : at + part.width])
        at += part.width


def _collect(code: str, fixed: Mapping[str, Value], chunks: list[str], seal: _Seal, raw: bytes) -> Message:
    sequence, unknown = seal.sequence, []
    found: dict[str, list[str]] = {}
    for chunk in map(str.lstrip, chunks):
        tag, value = chunk[:2], chunk[2:]
        if tag == "AY":  # with a delimiter of its own, or in front of other fields
            sequence = sequence or (value[:1] if value.isascii() and value[:1].isdigit() else None)
        elif tag in TAGS and tag != "AZ":
            found.setdefault(tag, []).append(KINDS[TAGS[tag].kind].parse(value))
        elif chunk:
            unknown.append(tag)
    tags = {tag: tuple(values) if TAGS[tag].repeats else values[0] for tag, values in found.items()}
    return Message(code, {**fixed, **tags}, sequence, seal.sum is not None, tuple(unknown), line=raw)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one message is written for one make: the fixed parts by name, the tags that may be sent, what it may hold at all."""

    fixed: tuple[str, ...]
    tags: Mapping[str, Tag]
    required: tuple[str, ...]
    known: frozenset[str]


@cache
def _plan(code: str, dialect: Dialect) -> _Plan:
    shape = SHAPES.get(code)
    if shape is None:
        raise ValueError(f"{code!r} is not a SIP2 message")
    fixed, tags = tuple(part.name for part in shape.fixed), TAGS.keys() - {"AY", "AZ"}
    wanted = {tag: TAGS[tag] for tag in tags if _wanted(tag, shape, dialect)}
    return _Plan(fixed, wanted, shape.required, frozenset({*fixed, *tags}))


@lru_cache(maxsize=4096)
def _fixed(name: str, value: str, encoding: str, delimiter: str) -> str:
    """A fixed part as it is sent. Its values are few (flags, counts, the present second) and tell nothing about anybody."""
    part = PARTS[name]
    return KINDS[part.kind].emit(clean(value, encoding, delimiter), part.width)


def _tagged(message: Message, plan: _Plan) -> Iterator[tuple[Tag, str]]:
    """The tags of a line in their order, then those that are required and were not given.

    A scalar is written once, whatever it was given: terminals disagree on which of two they take.
    """
    for name, value in message.fields.items():
        row = plan.tags.get(name)
        if row is None:
            continue
        if isinstance(value, str) or not row.repeats:
            yield row, message.get(name)
        else:
            yield from ((row, one) for one in value)
    for tag in plan.required:
        if tag not in message.fields:
            yield TAGS[tag], ""


def _wanted(tag: str, shape: Shape, dialect: Dialect) -> bool:
    if tag in shape.required:
        return True
    return tag not in dialect.hidden and (not TAGS[tag].extension or tag in dialect.extensions)


def _field(row: Tag, value: str, dialect: Dialect) -> list[str]:
    """A field as it is sent: tag, text, delimiter; several fields where a tag is made for lines of text."""
    kind, delimiter = KINDS[row.kind], dialect.delimiter
    if len(value) <= LONGEST and value.isascii() and value.isprintable() and delimiter not in value:
        return [row.tag, kind.emit(value, row.width), delimiter]
    pieces = lengths(kind.emit(clean(value, dialect.encoding, delimiter), row.width))
    wanted = pieces if row.tag in ("AF", "AG") else pieces[:1]
    return [part for piece in wanted for part in (row.tag, piece, delimiter)]


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
