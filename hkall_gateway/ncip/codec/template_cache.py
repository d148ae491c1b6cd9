"""Document templates ("forms"): a document with markup that was read before is decoded without parsing it again.

A system writes its documents by one pattern; only texts such as a card, a number or a date differ. Each markup is parsed
once, with a mark in place of each text (each "blank"). A document with the same markup and plain texts in the blanks
is the same tree with those texts, and so the same message. A document with content that could break this (an entity, a
comment, CDATA, a line end that XML would change, a forbidden character) is not treated as a form, and is parsed in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hkall_gateway.ncip.codec.messages import STRUCTURE, Coded, Fields, NcipMessage, Value, many
from hkall_gateway.rules.plain_text import fault_of_text

LONGEST: Final = 8192
"""Maximum characters of a document that is treated as a form."""
MOST_TAGS: Final = 256
"""Maximum tags of a form: the cache of 256 forms stays within a few MiB for all input."""
_MARK: Final = "\ue000"
_BLANK: Final = re.compile(r">(\s*+[^\s<][^<]*+)<")
"""A text between tags. It is no part of the cached markup, so the cache holds no data of the documents."""
_ODD: Final = ("<!", "&", "]]>", _MARK)
_MARKED: Final = re.compile(f"{_MARK}([0-9]+){_MARK}")

Fill = Callable[[Sequence[str]], Value]


@dataclass(frozen=True, slots=True)
class Template:
    """A message without the texts of its blanks. `fill` makes the fields from the texts, each of `agencies` an AgencyId."""

    empty: NcipMessage
    fill: Callable[[Sequence[str]], Fields]
    agencies: Sequence[Fill]

    def filled(self, texts: Sequence[str], notes: Sequence[str]) -> NcipMessage:
        """The message with these texts in its blanks; `notes` are tolerances noted before, while the bytes were decoded."""
        was = self.empty
        named = tuple([str(agency(texts)) for agency in self.agencies])
        return NcipMessage(
            was.service, self.fill(texts), was.version, was.namespaced, was.extension, (*notes, *was.notes), named
        )


def torn(text: str) -> tuple[tuple[str, ...], list[str]] | None:
    """Split a document into the pieces of its markup and the texts between them; None if it is not a form."""
    if len(text) > LONGEST or text.count("<") > MOST_TAGS or text.find("<?", 1) > 0 or any(map(text.__contains__, _ODD)):
        return None
    pieces = _BLANK.split(text)
    texts = pieces[1::2]
    written = "".join(texts)
    return (tuple(pieces[::2]), texts) if "\r" not in written and not fault_of_text(written, lines=True) else None


def marked(markup: Sequence[str]) -> str:
    """The document with this markup and a unique mark in each blank."""
    told = (f">{_MARK}{number}{_MARK}<{piece}" for number, piece in enumerate(markup[1:]))
    return markup[0] + "".join(told)


def form(message: NcipMessage) -> Template | None:
    """The form of a message that was read from marked markup; None if a mark became part of a longer text."""
    try:
        fill: Any = _filling(message.fields)
        return Template(message, fill, [_filling(one) for one in _agencies(message.fields)])
    except ValueError:
        return None


def _agencies(value: Value, name: str = "") -> Iterator[str]:
    if isinstance(value, STRUCTURE):
        for inner, part in value.items():
            yield from _agencies(part, inner)
    elif isinstance(value, str):
        yield from (value,) if name == "AgencyId" else ()
    elif not isinstance(value, bool):
        for one in value:
            yield from _agencies(one, name)


# ---- from texts to fields


def _filling(value: Value) -> Fill:
    if isinstance(value, STRUCTURE):
        return _structure(value)
    if isinstance(value, bool) or (isinstance(value, str) and _MARK not in f"{value}{getattr(value, 'scheme', '')}"):
        return lambda _texts: value
    if isinstance(value, str):
        return _text(value)
    parts = [_filling(one) for one in many(value)]
    return lambda texts: [part(texts) for part in parts]


def _structure(fields: Fields) -> Fill:
    parts = {name: _filling(value) for name, value in fields.items()}
    return lambda texts: {name: part(texts) for name, part in parts.items()}


def _text(value: str) -> Fill:
    """A text as `parse` takes it: without the blanks around it, and that of a scheme with single ones inside."""
    found = _MARKED.fullmatch(value)
    scheme = getattr(value, "scheme", None)
    if found is None or _MARK in (scheme or ""):
        raise ValueError("a mark has become part of something else")
    place = int(found[1])
    if isinstance(value, Coded):
        return lambda texts: Coded(" ".join(texts[place].split()), scheme)
    return lambda texts: texts[place].strip()
