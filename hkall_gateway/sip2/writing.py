"""The text of a SIP2 line: fixed parts by width, tags with their delimiters, by a plan made once for a message and a make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, NamedTuple

from hkall_gateway.sip2.dialects import Dialect
from hkall_gateway.sip2.fields import KINDS, LONGEST, TAGS, Tag, clean, lengths
from hkall_gateway.sip2.messages import SHAPES, Shape

Value = str | tuple[str, ...]

_LINES: Final = frozenset({"AF", "AG"})
"""Tags made for lines of text: what is too long for one goes on in the next."""


def written(code: str, fields: Mapping[str, Value], dialect: Dialect) -> str:
    """All of a line but AY, AZ and its end. ValueError for a code or a name that SIP2 does not have; see `codec.encode`."""
    plan = _plan(code, dialect)
    fixed = tuple([fields.get(name, "") for name in plan.fixed])
    return _beginning(code, fixed, dialect.encoding, dialect.delimiter) + _tags(fields, plan, dialect)


def grafted(body: bytes, parts: Mapping[str, str], tags: Sequence[tuple[str, str]], dialect: Dialect) -> bytes:
    """A body that is passed on with some fixed parts said otherwise and some tags more; every other byte is as it came.

    Tags that this make hides are not added.
    """
    said, at = bytearray(body), 2
    for part in SHAPES[body[:2].decode("latin-1")].fixed:
        if part.name in parts:
            said[at : at + part.width] = KINDS[part.kind].emit(parts[part.name], part.width).encode("ascii", "replace")
        at += part.width
    more = "".join([part for tag, value in tags if tag not in dialect.hidden for part in _field(TAGS[tag], value, dialect)])
    apart = dialect.delimiter if more and len(said) > at and not said.endswith(dialect.delimiter.encode()) else ""
    return bytes(said) + f"{apart}{more}".encode(dialect.encoding, "replace")


def first(value: Value) -> str:
    """The value, the first one of several, "" when there is none."""
    return value if isinstance(value, str) else next(iter(value), "")


class _How(NamedTuple):
    """How a tag is written: as it is where `emit` is None."""

    emit: Callable[[str, int], str] | None
    width: int
    repeats: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one message is written for one make: the fixed parts by name, the tags that may be sent, what it may hold at all."""

    fixed: tuple[str, ...]
    tags: Mapping[str, _How]
    required: frozenset[str]
    in_order: tuple[str, ...]
    known: frozenset[str]


@cache
def _plan(code: str, dialect: Dialect) -> _Plan:
    shape = SHAPES.get(code)
    if shape is None:
        raise ValueError(f"{code!r} is not a SIP2 message")
    fixed, tags = tuple(part.name for part in shape.fixed), TAGS.keys() - {"AY", "AZ"}
    wanted = {tag: _how(TAGS[tag]) for tag in tags if _wanted(tag, shape, dialect)}
    return _Plan(fixed, wanted, frozenset(shape.required), shape.required, frozenset({*fixed, *tags}))


def _how(row: Tag) -> _How:
    return _How(None if row.kind == "text" else KINDS[row.kind].emit, row.width, row.repeats)


def _wanted(tag: str, shape: Shape, dialect: Dialect) -> bool:
    if tag in shape.required:
        return True
    return tag not in dialect.hidden and (not TAGS[tag].extension or tag in dialect.extensions)


@lru_cache(maxsize=4096)
def _beginning(code: str, values: tuple[Value, ...], encoding: str, delimiter: str) -> str:
    """Code and fixed parts. Their values are few (flags, counts, the present second) and tell nothing about anybody."""
    given = zip(SHAPES[code].fixed, values, strict=True)
    parts = [KINDS[part.kind].emit(clean(first(value), encoding, delimiter), part.width) for part, value in given]
    return "".join([code, *parts])


def _tags(fields: Mapping[str, Value], plan: _Plan, dialect: Dialect) -> str:
    """Every tag of a line in its order, then those that are required and were not given.

    A scalar is written once, whatever it was given: terminals disagree on which of two they take. What needs no cleaning, and
    most lines need none, is looked at once and as a whole.
    """
    pieces: list[str] = []
    for name, value in fields.items():
        how = plan.tags.get(name)
        if how is None:
            _must_be_known(name, plan)
        elif isinstance(value, str):
            pieces.append(name + value if how.emit is None else name + how.emit(value, how.width))
        else:
            pieces += [name + one for one in (value if how.repeats else value[:1] or ("",))]
    if not plan.required <= fields.keys():
        pieces += [tag for tag in plan.in_order if tag not in fields]
    delimiter = dialect.delimiter
    text = delimiter.join([*pieces, ""])
    plain = text.isascii() and text.isprintable() and text.count(delimiter) == len(pieces)
    if plain and (len(text) <= LONGEST or max(map(len, pieces)) <= LONGEST + 2):
        return text
    return "".join([part for piece in pieces for part in _field(TAGS[piece[:2]], piece[2:], dialect)])


def _must_be_known(name: str, plan: _Plan) -> None:
    if name not in plan.known:
        raise ValueError(f"SIP2 has no field {name} in this message")


def _field(row: Tag, value: str, dialect: Dialect) -> list[str]:
    """A field as it is sent: tag, text, delimiter; several fields where a tag is made for lines of text."""
    pieces = lengths(KINDS[row.kind].emit(clean(value, dialect.encoding, dialect.delimiter), row.width))
    wanted = pieces if row.tag in _LINES else pieces[:1]
    return [part for piece in wanted for part in (row.tag, piece, dialect.delimiter)]
