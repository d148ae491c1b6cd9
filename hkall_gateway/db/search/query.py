"""A typed search as phrases of words in one field, or the reason why it is no query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hkall_gateway.db.search.folding import words
from hkall_gateway.db.search.isbns import isbn_13

LONGEST: Final = 300
"""Characters of a query."""
MOST_WORDS: Final = 64
"""Words of a query, an ideograph counting as one: each is looked up in the index."""

_PARTS: Final = re.compile(r'["“”„«»]([^"“”„«»]*)(?:["“”„«»]|$)|([^\s"“”„«»]+)')
"""A phrase in quotation marks, the last one with or without its end; or a word."""


class SearchField(StrEnum):
    """Where the words of a query are looked for."""

    ANY = "any"
    TITLE = "title"
    AUTHOR = "author"
    ISBN = "isbn"
    CALL = "call"


WITH_ISBNS: Final = frozenset({SearchField.ANY, SearchField.ISBN})
"""Fields in which a word that is an ISBN means that ISBN."""


class BadQuery(StrEnum):
    """Why a query is refused. `NO_WORDS`: it has neither letters nor digits."""

    NO_WORDS = "no words"
    TOO_LONG = "too long"
    TOO_MANY_WORDS = "too many words"
    NO_SUCH_PAGE = "no such page"
    NO_ISBN = "no ISBN"


@dataclass(frozen=True, slots=True)
class TitleQuery:
    """Phrases of which a title must have all, each within one text of the field; `ANY`: of any field."""

    phrases: tuple[tuple[str, ...], ...]
    field: SearchField = SearchField.ANY

    @property
    def key(self) -> str:
        """All words, as a sort key of a title has them."""
        return " ".join(word for phrase in self.phrases for word in phrase)


def parse(text: str, field: SearchField = SearchField.ANY) -> TitleQuery | BadQuery:
    """Return the query that a text means, or why it is none.

    Words between quotation marks are a phrase. So are the parts of a word that is written in one: the characters of a Chinese
    text, the letters and digits of a call number. A word that is an ISBN is looked for as ISBN-13.
    """
    if len(text) > LONGEST:
        return BadQuery.TOO_LONG
    number = isbn_13(text.strip()) if field in WITH_ISBNS else ""
    if field is SearchField.ISBN and not number:
        return BadQuery.NO_ISBN if words(text) else BadQuery.NO_WORDS
    phrases = ((number,),) if number else tuple(_phrases(text, with_isbns=field in WITH_ISBNS))
    if not phrases:
        return BadQuery.NO_WORDS
    return BadQuery.TOO_MANY_WORDS if sum(map(len, phrases)) > MOST_WORDS else TitleQuery(phrases, field)


def _phrases(text: str, *, with_isbns: bool) -> Iterator[tuple[str, ...]]:
    for quoted, word in _PARTS.findall(text):
        number = isbn_13(word) if word and with_isbns else ""
        if found := [number] if number else words(quoted or word):
            yield tuple(found)
