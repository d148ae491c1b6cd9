"""The search index: words of titles, as an FTS5 table in SQLite and as a tsvector in PostgreSQL.

Both indexes have four fields, with word positions for phrase searches. BARRIER keeps a phrase from matching across two texts.

Both read all titles of each word of a phrase before they compare positions, and Chinese characters and syllables are in very
many titles. So the indexes also contain each pair of neighbours as a word, and a phrase is searched by its pairs. SQLite has
them only for ideographs and syllables.

SQLite also stores the facets of all titles as arrays of keys of `title_facet_sets`, which are read faster than 10,000 rows.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Final

import orjson
from sqlalchemy import Connection

from hkall_gateway.db.search.folding import joined_words, stemmed_words, syllables

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
_FIRST: Final = rf"[^\x00-\u3000{BARRIER}{FACET}]"
PAIRED: Final = re.compile(rf"{_FIRST}(?<![^ ].)[^ ]*(?: {_FIRST}[^ ]*)+")
"""Matches several neighbouring ideographs or syllables, whose pairs SQLite's index has."""
CODES: Final = 65_536
"""Number of titles whose codes are in one row. More rows take longer to read, because the driver releases the GIL for each."""
CODE_BYTES: Final = 4
_MOST_PLACES: Final = 16_000
"""Limit for the position of an indexed word. PostgreSQL counts positions up to 16,383."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedWords:
    """The words of one title by field, separated by single blanks."""

    title: str
    author: str
    isbn: str
    call: str


def field_words(texts: Iterable[str]) -> str:
    """Return the stems of a field's distinct texts, with BARRIER between two texts."""
    made = dict.fromkeys(stemmed_words(joined_words(one)) for one in texts if one)
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


def in_pairs(phrase: Sequence[str], between: str = " ") -> list[str]:
    """Return the words that match a phrase: the pairs of neighbouring words, or the word itself if there is only one."""
    return [f"{first}{between}{second}" for first, second in pairwise(phrase)] or list(phrase)


def _with_pairs(words: str) -> str:
    """Return the words of a field and their pairs, with BARRIER between two pairs that are not neighbours in the field."""
    return f" {BARRIER} ".join([words, *[" ".join(in_pairs(run.split(" "), "")) for run in PAIRED.findall(words)]])


def write_words(connection: Connection, titles: Collection[tuple[Mapping[str, str], IndexedWords]]) -> None:
    """Write the titles' words and facets into SQLite's index. PostgreSQL stores both in the table `titles`."""
    driver = connection.connection.dbapi_connection
    if not isinstance(driver, sqlite3.Connection):
        return
    rows = [(columns["bib_id"], *(_with_pairs(getattr(one, field)) for field in WEIGHTS)) for columns, one in titles]
    connection.exec_driver_sql(_REPLACE, rows)
    connection.exec_driver_sql(_ADD_FACETS, sorted({(columns["facets"],) for columns, _ in titles}))
    coded = connection.exec_driver_sql(_CODES, (orjson.dumps([row[0] for row in rows]).decode(),)).all()
    for chunk, some in groupby(coded, key=lambda title: title[0] // CODES):
        connection.exec_driver_sql("INSERT OR IGNORE INTO title_facets VALUES (?, zeroblob(?))", (chunk, CODE_BYTES * CODES))
        with driver.blobopen("title_facets", "codes", chunk) as codes:
            for number, code in some:
                place = number % CODES * CODE_BYTES
                codes[place : place + CODE_BYTES] = code.to_bytes(CODE_BYTES, sys.byteorder)


def count_facets(connection: Connection, ids: Sequence[int]) -> Counter[str]:
    """Count the values of `facets` of titles, given by their ids in ascending order."""
    if connection.dialect.name != "sqlite":
        return Counter(connection.exec_driver_sql("SELECT facets FROM titles WHERE id = ANY(%s)", (ids,)).scalars())
    counts = Counter[int]()
    for chunk, stored in connection.exec_driver_sql("SELECT chunk, codes FROM title_facets"):
        first, codes = chunk * CODES, memoryview(stored).cast("I")
        counts.update([codes[one - first] for one in ids[bisect_left(ids, first) : bisect_left(ids, first + CODES)]])
    sets = connection.exec_driver_sql(_SETS, (orjson.dumps([*counts]).decode(),)).scalar_one()
    return Counter({facets: counts[code] for code, facets in orjson.loads(sets)})


def delete_words(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete the words of the titles with these ids from SQLite's index."""
    if numbers and connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM title_words WHERE rowid = ?", [(number,) for number in numbers])


_REPLACE = (
    "INSERT OR REPLACE INTO title_words (rowid, title, author, isbn, call) "
    "VALUES ((SELECT id FROM titles WHERE bib_id = ?), ?, ?, ?, ?)"
)
_ADD_FACETS = "INSERT OR IGNORE INTO title_facet_sets (facets) VALUES (?)"
_CODES = (
    "SELECT titles.id, code FROM titles JOIN title_facet_sets USING (facets) "
    "WHERE bib_id IN (SELECT value FROM json_each(?)) ORDER BY titles.id"
)
_SETS = "SELECT json_group_array(json_array(code, facets)) FROM title_facet_sets WHERE code IN (SELECT value FROM json_each(?))"
