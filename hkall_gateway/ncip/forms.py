"""A document is a form that was filled in: where its markup came before, only what was written into it is new.

A system writes its documents by one pattern, and between two of them differ a card, a number, a date. What a markup means is
worked out once, by reading it with a mark in each of its blanks; a document with the same markup and plain texts in the blanks
is the same tree with those texts, and so the same message. What could make a difference to that (an entity, a comment, CDATA,
an end of a line that XML would change, a character that it forbids) makes a document no form, and it is read in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hkall_gateway.ncip.messages import STRUCTURE, Coded, Fields, Message, Value, many
from hkall_gateway.ncip.trees import clean

LONGEST: Final = 8192
"""So many characters has a document at most that is taken for a form."""
MOST_TAGS: Final = 256
"""And so many tags: what is kept of 256 forms stays within a few MiB, whatever peers send."""
_MARK: Final = "\ue000"
_BLANK: Final = re.compile(r">(\s*+[^\s<][^<]*+)<")
"""A text, which goes into no markup: what is kept of a form holds nothing that was written into it."""
_ODD: Final = ("<!", "&", "]]>", _MARK)
_MARKED: Final = re.compile(f"{_MARK}([0-9]+){_MARK}")

Fill = Callable[[Sequence[str]], Value]


@dataclass(frozen=True, slots=True)
class Form:
    """A message but for the texts in its blanks; `fill` makes its fields of them, and an agency is in each of `agencies`."""

    empty: Message
    fill: Callable[[Sequence[str]], Fields]
    agencies: Sequence[Fill]

    def filled(self, texts: Sequence[str], notes: Sequence[str]) -> Message:
        """The message with these texts in its blanks; `notes` are what reading took note of before."""
        was = self.empty
        named = tuple([str(agency(texts)) for agency in self.agencies])
        return Message(was.service, self.fill(texts), was.version, was.namespaced, was.extension, (*notes, *was.notes), named)


def torn(text: str) -> tuple[tuple[str, ...], list[str]] | None:
    """The markup of a document, in pieces, and the texts between them; None for one that is no form."""
    if len(text) > LONGEST or text.count("<") > MOST_TAGS or text.find("<?", 1) > 0 or any(map(text.__contains__, _ODD)):
        return None
    pieces = _BLANK.split(text)
    texts = pieces[1::2]
    written = "".join(texts)
    return (tuple(pieces[::2]), texts) if "\r" not in written and clean(written) == written else None


def marked(markup: Sequence[str]) -> str:
    """A document with this markup and a mark of its own in each blank."""
    told = (f">{_MARK}{number}{_MARK}<{piece}" for number, piece in enumerate(markup[1:]))
    return markup[0] + "".join(told)


def form(message: Message) -> Form | None:
    """The form of which `message` is the reading with its marks; None where a mark became part of something else."""
    try:
        fill: Any = _filling(message.fields)
        return Form(message, fill, [_filling(one) for one in _agencies(message.fields)])
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


# ---- what is made of the texts


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
    """A text as `reading` takes it: without the blanks around it, and that of a scheme with single ones inside."""
    found = _MARKED.fullmatch(value)
    scheme = getattr(value, "scheme", None)
    if found is None or _MARK in (scheme or ""):
        raise ValueError("a mark has become part of something else")
    place = int(found[1])
    if isinstance(value, Coded):
        return lambda texts: Coded(" ".join(texts[place].split()), scheme)
    return lambda texts: texts[place].strip()
