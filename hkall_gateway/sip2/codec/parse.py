"""The fields of a SIP2 line: fixed parts by width, tags by the delimiter. Tolerant: reads every field that it can."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final, NamedTuple

from hkall_gateway.sip2.codec.fields import KINDS, TAGS
from hkall_gateway.sip2.codec.messages import SHAPES

Value = str | tuple[str, ...]


def first(value: Value) -> str:
    """The value, the first one of several, "" when there is none."""
    return value if isinstance(value, str) else next(iter(value), "")


class _Read(NamedTuple):
    """How a tag is read, and whether it may come several times."""

    parse: Callable[[str], str]
    repeats: bool


_READ: Final = {tag: _Read(KINDS[row.kind].parse, row.repeats) for tag, row in TAGS.items() if tag not in ("AY", "AZ")}
_PLAIN: Final = frozenset(tag for tag, how in _READ.items() if how == (KINDS["text"].parse, False))
"""Tags that come once and are read as they are: nearly all."""
_TRIMMED: Final = frozenset(tag for tag, how in _READ.items() if how == (str.strip, False))


@lru_cache(maxsize=1024)
def fixed_parts(code: str, text: str, delimiter: str) -> dict[str, Value] | None:
    """Returns the fixed parts by name; None if they are cut short. Copy the dict: it is cached.

    They have few distinct values (flags, counts, the present second) and contain no personal data.
    """
    if len(text) < SHAPES[code].width or delimiter in text:
        return None
    return {name: parse(text[at:end]) for name, at, end, parse in _slices(code)}


def take_tags(chunks: list[str], fields: dict[str, Value]) -> list[str]:
    """Stores each value under its tag; returns the chunks without a tag that is read."""
    strays: list[str] = []
    several: dict[str, list[str]] = {}
    for chunk in chunks:
        tag = chunk[:2]
        if tag in _PLAIN:  # as `_put` would, and so the next
            if tag not in fields:
                fields[tag] = chunk[2:]
        elif tag in _TRIMMED:
            if tag not in fields:
                fields[tag] = chunk[2:].strip()
        elif tag in several:
            several[tag].append(chunk[2:])
        elif tag in _READ:
            _put(tag, chunk[2:], fields, several)
        elif (chunk := chunk.lstrip())[:2] in _READ:
            _put(chunk[:2], chunk[2:], fields, several)
        elif chunk:
            strays.append(chunk)
    for tag, values in several.items():
        fields[tag] = tuple(values)
    return strays


def look_at(strays: list[str], sequence: str | None) -> tuple[str | None, tuple[str, ...]]:
    """AY may have a delimiter of its own, or stand in front of other fields; the tags of the rest are not known."""
    for stray in strays:
        if not sequence and stray[:2] == "AY" and stray.isascii() and stray[2:3].isdigit():
            sequence = stray[2]
    return sequence, tuple([stray[:2] for stray in strays if stray[:2] != "AY"])


@cache
def _slices(code: str) -> tuple[tuple[str, int, int, Callable[[str], str]], ...]:
    """The fixed parts of a message: name, where it begins and ends, how it is read."""
    parts, at, found = SHAPES[code].fixed, 0, []
    for part in parts:
        found.append((part.name, at, at + part.width, KINDS[part.kind].parse))
        at += part.width
    return tuple(found)


def _put(tag: str, value: str, fields: dict[str, Value], several: dict[str, list[str]]) -> None:
    """The first of those that do not repeat; of those that do, all."""
    how = _READ[tag]
    if tag in several:
        several[tag].append(value)
    elif how.repeats:
        fields[tag], several[tag] = "", [value]
    elif tag not in fields:
        fields[tag] = how.parse(value)
