"""The search index: words of titles, as an FTS5 table in SQLite and as a tsvector in PostgreSQL.

Both indexes have four fields, with word positions for phrase searches. BARRIER keeps a phrase from matching across two texts.

PostgreSQL reads all titles of each word of a phrase before it compares positions, and Chinese characters and syllables are in
very many titles. So its vectors also contain each pair of neighbouring words as a word, and a phrase is searched by its pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection, text

from hkall_gateway.db.search.folding import joined_words, stem, syllables

BARRIER: Final = "\ue000"
"""Separates two texts of a field. No query contains this word."""
SOUND: Final = "\ue001"
"""First character of a syllable in the index, so that a syllable is no other word."""
FACET: Final = "\ue002"
"""First character of a word in the field `call` by which results are filtered."""
MOST_OF_VALUE: Final = 100
"""Maximum number of characters of a facet's value in its word."""
WEIGHTS: Final[Mapping[str, str]] = {"title": "A", "author": "B", "isbn": "C", "call": "D"}
"""PostgreSQL's weight letter for each field."""
MOST_TEXTS: Final = 20
"""Maximum number of indexed texts of one field. A set of encyclopaedias may have hundreds of call numbers."""
_MOST_PLACES: Final = 16_000
"""Limit for the position of an indexed word. PostgreSQL counts positions up to 16,383."""


@dataclass(frozen=True, slots=True)
class IndexedWords:
    """The words of one title by field, separated by single blanks."""

    title: str
    author: str
    isbn: str
    call: str


def field_words(texts: Iterable[str]) -> str:
    """Return the stems of a field's distinct texts, with BARRIER between two texts."""
    made = dict.fromkeys(" ".join(map(stem, joined_words(one).split(" "))) for one in texts if one)
    return f" {BARRIER} ".join(list(filter(None, made))[:MOST_TEXTS])


def sounds(text: str) -> tuple[str, ...]:
    """Return the words for the syllables of a Chinese text."""
    return tuple(SOUND + one for one in syllables(text))


@lru_cache(maxsize=4_096)
def facet_word(kind: str, value: str) -> str:
    """Return the word for a value of a facet. It has only letters and digits, and is not too long for PostgreSQL."""
    return f"{FACET}{kind}{value[:MOST_OF_VALUE].encode('utf-8', 'surrogatepass').hex()}"


def as_vector(indexed: IndexedWords) -> str:
    """Return the words as a PostgreSQL tsvector in text form."""
    places: dict[str, list[str]] = {}
    place = 0
    for field, weight in WEIGHTS.items():
        before = ""
        for word in getattr(indexed, field).split():
            place += 1
            if word != BARRIER and place < _MOST_PLACES:
                places.setdefault(word, []).append(f"{place}{weight}")
                if before not in ("", BARRIER) and word[0] != FACET:
                    places.setdefault(f"{before} {word}", []).append(f"{place - 1}{weight}")
            before = word
        place += 1
    return " ".join(f"'{word}':{','.join(at)}" for word, at in places.items())


def in_pairs(phrase: Sequence[str]) -> list[str]:
    """Return the vector words that match a phrase: the pairs of neighbouring words, or the word itself if there is only one."""
    return [f"{first} {second}" for first, second in pairwise(phrase)] or list(phrase)


def write_words(connection: Connection, titles: Iterable[tuple[str, IndexedWords]]) -> None:
    """Write the titles' words, by `bib_id`, into SQLite's index. PostgreSQL stores the words in the table `titles`."""
    if connection.dialect.name == "sqlite":
        rows = [(bib_id, one.title, one.author, one.isbn, one.call) for bib_id, one in titles]
        connection.exec_driver_sql(_REPLACE, rows)


def delete_words(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete the words of the titles with these ids from SQLite's index."""
    if numbers and connection.dialect.name == "sqlite":
        connection.execute(_DELETE, [{"id": number} for number in numbers])


_REPLACE = (
    "INSERT OR REPLACE INTO title_words (rowid, title, author, isbn, call) "
    "VALUES ((SELECT id FROM titles WHERE bib_id = ?), ?, ?, ?, ?)"
)
_DELETE = text("DELETE FROM title_words WHERE rowid = :id")
