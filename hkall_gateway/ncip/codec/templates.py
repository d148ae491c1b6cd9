"""Reads documents that differ from an earlier document only in their texts, without parsing the same markup again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from hkall_gateway.ncip.codec.messages import BadDocument, Coded, NcipMessage, Value

LONGEST: Final = 8_192
"""Maximum number of characters of a document that is read with a template, which limits the memory of all templates."""
MARKS: Final = tuple(map(chr, range(0xE000, 0xE000 + LONGEST // 4)))
"""Private-use characters that stand for the texts in a template, in document order."""
_ALL: Final = frozenset(MARKS)
_TEXT: Final = re.compile(r">(\s*+[^<>\s][^<>]*+)</")


def read_similar(text: str, read: Callable[[str], NcipMessage]) -> NcipMessage | None:
    """Read a document with the template for its markup. Return None if it must be read as a whole.

    `read` reads a whole document for a new template. It raises BadDocument or ValueError for documents without a template.
    """
    pieces = _TEXT.split(text) if len(text) <= LONGEST else []
    inside = "".join(pieces[1::2])
    if "&" in inside or not inside.isprintable():  # the parser changes these texts
        return None
    texts = dict(zip(MARKS, map(str.strip, pieces[1::2]), strict=False))
    template = _find_template(tuple(pieces[::2]), read)
    if template is None:
        return None
    return template.with_fields({name: _fill(value, texts) for name, value in template.fields.items()})


@lru_cache(maxsize=128)
def _find_template(markup: tuple[str, ...], read: Callable[[str], NcipMessage]) -> NcipMessage | None:
    """Return a message with a mark in place of each text."""
    whole = "".join(markup)
    if not _ALL.isdisjoint(whole) or "<!" in whole or "&#" in whole or "<?" in whole[1:]:  # a reference may give a mark
        return None
    try:
        message = read("".join(f">{mark}</{piece}" for mark, piece in zip(("", *MARKS), markup, strict=False))[3:])
    except (BadDocument, ValueError):
        return None
    leaves = [leaf for value in message.fields.values() for leaf in _leaves(value)]
    return message if all(leaf in _ALL or _ALL.isdisjoint(leaf) for leaf in leaves) else None


def _leaves(value: Value) -> Iterator[str]:
    """Yield all texts, and all schemes after a blank, since a scheme cannot be filled in."""
    if isinstance(value, str):
        yield value
        yield f" {getattr(value, 'scheme', '')}"
    elif not isinstance(value, bool):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(inner)


def _fill(value: Value, texts: Mapping[str, str]) -> Value:
    if isinstance(value, dict):
        return {name: texts.get(one, one) if type(one) is str else _fill(one, texts) for name, one in value.items()}
    if isinstance(value, Coded):
        return _make_coded(texts[value], value.scheme) if value in texts else value
    if isinstance(value, str):
        return texts.get(value, value)
    return value if isinstance(value, bool) else [_fill(one, texts) for one in value]


@lru_cache(maxsize=256)  # codes and agencies, of which there are few
def _make_coded(text: str, scheme: str | None) -> Coded:
    return Coded(" ".join(text.split()), scheme)
