"""Parse the text of a search, and write the query in the syntax of each database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hkall_gateway.db.search.folding import isbn_13, stem, words
from hkall_gateway.db.search.index import PAIRED, WEIGHTS, in_pairs

LONGEST: Final = 300
"""Maximum number of characters in a query."""
MOST_WORDS: Final = 64
"""Maximum number of words in a query, each of which is looked up in the index. An ideograph counts as a word."""
Phrase = tuple[str, ...]

_PARTS: Final = re.compile(r'["“”„«»]([^"“”„«»]*)(?:["“”„«»]|$)|([^\s"“”„«»]+)')
"""Matches a word, or a phrase in quotation marks. The last closing quotation mark may be missing."""

_QUOTE: Final = re.compile(r'["“”„«»]')


class SearchField(StrEnum):
    """The field in which the words of a query are searched."""

    ANY = "any"
    TITLE = "title"
    AUTHOR = "author"
    ISBN = "isbn"
    CALL = "call"


WITH_ISBNS: Final = frozenset({SearchField.ANY, SearchField.ISBN})
"""Fields in which a word that is a valid ISBN is searched as an ISBN."""


class BadQuery(StrEnum):
    """The reason for refusing a query. NO_WORDS means that the query has neither letters nor digits."""

    NO_WORDS = "no words"
    TOO_LONG = "too long"
    TOO_MANY_WORDS = "too many words"
    NO_SUCH_PAGE = "no such page"
    NO_ISBN = "no ISBN"


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleQuery:
    """A parsed query. A title must contain all phrases, each within one text of `field` (for ANY, of any field).

    Attributes:
        literal: Whether the query has quotation marks or an ISBN, and is searched only as it stands.
        instead: For each phrase, other phrases of the index that a title may contain instead.
    """

    phrases: tuple[Phrase, ...]
    field: SearchField = SearchField.ANY
    literal: bool = False
    instead: tuple[frozenset[Phrase], ...] = ()

    @property
    def key(self) -> str:
        """All words of the query, in the format of a title's sort key."""
        return " ".join(word for phrase in self.phrases for word in phrase)

    @property
    def groups(self) -> list[list[Phrase]]:
        """The phrases in the words of the index: a title must contain one phrase of each group."""
        stems = [tuple(map(stem, phrase)) for phrase in self.phrases]
        others = self.instead or (frozenset[Phrase](),) * len(stems)
        return [[phrase, *sorted(more - {phrase})] for phrase, more in dict(zip(stems, others, strict=True)).items()]


def parse(text: str, field: SearchField = SearchField.ANY) -> TitleQuery | BadQuery:
    """Parse the text of a search, or return the reason for refusing it.

    Words between quotation marks are a phrase. So are the parts of a word without blanks: the characters of a Chinese text, the
    letters and digits of a call number. An ISBN is searched for as ISBN-13.
    """
    if len(text) > LONGEST:
        return BadQuery.TOO_LONG
    number = isbn_13(text.strip()) if field in WITH_ISBNS else ""
    if field is SearchField.ISBN and not number:
        return BadQuery.NO_ISBN if words(text) else BadQuery.NO_WORDS
    phrases = ((number,),) if number else tuple(_split_phrases(text, with_isbns=field in WITH_ISBNS))
    if not phrases:
        return BadQuery.NO_WORDS
    literal = bool(number or _QUOTE.search(text))
    return (
        BadQuery.TOO_MANY_WORDS
        if sum(map(len, phrases)) > MOST_WORDS
        else TitleQuery(phrases=phrases, field=field, literal=literal)
    )


def _split_phrases(text: str, *, with_isbns: bool) -> Iterator[tuple[str, ...]]:
    for quoted, word in _PARTS.findall(text):
        number = isbn_13(word) if word and with_isbns else ""
        if found := [number] if number else words(quoted or word):
            yield tuple(found)


def fts5(queries: Sequence[TitleQuery], facets: Sequence[str] = ()) -> str:
    """Return any of the queries, with the words of facets, in the syntax of FTS5. No word needs escaping."""

    def written(phrase: Phrase) -> str:
        return f'"{" ".join(in_pairs(phrase, "") if PAIRED.fullmatch(" ".join(phrase)) else phrase)}"'

    any_of = " OR ".join(
        "(" + " AND ".join("(" + " OR ".join(map(written, group)) + ")" for group in query.groups) + ")" for query in queries
    )
    field = queries[0].field
    inside = any_of if field is SearchField.ANY else f"{{{field}}} : ({any_of})"
    return " AND ".join((f"({inside})", *(f'{{call}} : "{word}"' for word in facets)))


def tsquery(queries: Sequence[TitleQuery], facets: Sequence[str] = ()) -> str:
    """Return any of the queries, with the words of facets, in the text form of PostgreSQL's tsquery."""
    weight = f":{WEIGHTS[queries[0].field]}" if queries[0].field is not SearchField.ANY else ""

    def written(phrase: Phrase) -> str:
        return "(" + " <-> ".join(f"'{word}'{weight}" for word in in_pairs(phrase)) + ")"

    any_of = " | ".join(
        "(" + " & ".join("(" + " | ".join(map(written, group)) + ")" for group in query.groups) + ")" for query in queries
    )
    return " & ".join((f"({any_of})", *(f"'{word}':D" for word in facets)))
