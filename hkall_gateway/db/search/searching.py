"""Search titles, with the same results on both databases up to MOST hits.

Only connections of the pages run this, never the reactor's: a common word takes tens of milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Integer, bindparam, exists, select, text
from sqlalchemy.sql.elements import ColumnElement

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong
from hkall_gateway.db.engine.connect import read_as_memory
from hkall_gateway.db.search.folding import isbn_13, words
from hkall_gateway.db.search.index import WEIGHTS, in_pairs
from hkall_gateway.db.tables import HOLDINGS, IS_IN_HAND, REQUESTS, TITLES
from hkall_gateway.rules.vocabulary import Title

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
    """The reason for refusing a query. NO_WORDS means that it has neither letters nor digits."""

    NO_WORDS = "no words"
    TOO_LONG = "too long"
    TOO_MANY_WORDS = "too many words"
    NO_SUCH_PAGE = "no such page"
    NO_ISBN = "no ISBN"


@dataclass(frozen=True, slots=True)
class TitleQuery:
    """Phrases, all of which a title must have, each within one text of the field or, for ANY, of any field."""

    phrases: tuple[tuple[str, ...], ...]
    field: SearchField = SearchField.ANY

    @property
    def key(self) -> str:
        """All words, in the form of a title's sort key."""
        return " ".join(word for phrase in self.phrases for word in phrase)


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
    return BadQuery.TOO_MANY_WORDS if sum(map(len, phrases)) > MOST_WORDS else TitleQuery(phrases, field)


def _split_phrases(text: str, *, with_isbns: bool) -> Iterator[tuple[str, ...]]:
    for quoted, word in _PARTS.findall(text):
        number = isbn_13(word) if word and with_isbns else ""
        if found := [number] if number else words(quoted or word):
            yield tuple(found)


def title(connection: Connection, bib_id: str) -> Title | None:
    """Return a title, or None if it is unknown or not yet filled in (`loads/catalogue.py`)."""
    found = connection.execute(_TITLE, {"bib_id": bib_id}).mappings().first()
    return Title(**{**found, "isbns": tuple(found["isbns"].split())}) if found else None


_TITLE = select(*(TITLES.c[field.name] for field in fields(Title))).where(TITLES.c.bib_id == bindparam("bib_id"))


MOST: Final = 300
"""Hits that are ranked and counted: a reader who has more narrows the search."""
MOST_BEGINNING: Final = 100
"""Titles that begin with the query, of more than MOST hits, that come before others; of titles and linked titles each."""
PAGE: Final = 20
BY_TITLE: Final = frozenset({SearchField.ANY, SearchField.TITLE})
"""Fields whose query may be the beginning of a title."""

H, R, T = HOLDINGS.c, REQUESTS.c, TITLES.c
Cells = list[Any]
Keys = list[str]
"""Of a title: its sort key, its author's, the `bib_id`, the linked title's sort key. Lists sort faster than objects do."""
IsAvailable = Callable[[str, str, str, bool], bool]
"""Whether a copy that no request of ours holds is available, by its library, status, material and whether it may be lent."""


@dataclass(frozen=True, slots=True)
class FoundTitle:
    """A title on a page of results. `agencies` are the libraries that have a copy available, in order."""

    bib_id: str
    title: str
    author: str
    linked_title: str
    linked_author: str
    isbns: str
    language: str
    published: str
    agencies: tuple[str, ...] = ()

    @property
    def libraries(self) -> int:
        """Return the number of libraries that have a copy available."""
        return len(self.agencies)


@dataclass(frozen=True, slots=True)
class FoundTitles:
    """A page of results. `count` is the number of hits, at most MOST, and `more` tells whether there are more."""

    titles: tuple[FoundTitle, ...]
    count: int
    more: bool
    page: int
    pages: int


def search(
    connection: Connection,
    typed: str,
    is_available: IsAvailable,
    field: SearchField = SearchField.ANY,
    *,
    available: bool = False,
    page: int = 1,
) -> FoundTitles | BadQuery:
    """Return a page of the titles that have all words of a query, or the reason for refusing the query.

    The exact title comes first, then titles that begin with the query, then the others by title, author and number. `available`
    limits them to titles of which a library has a copy available. `page` counts from 1, and the first page always exists.
    """
    query = parse(typed, field)
    if isinstance(query, BadQuery):
        return query
    if not 1 <= page <= MOST // PAGE:
        return BadQuery.NO_SUCH_PAGE
    found = hits(connection, query)
    rows = found.rows
    if available:
        libraries = _available_at(_COPIES.cells(connection, [bib for _, _, bib, _ in rows]), is_available)
        rows = [keys for keys in rows if keys[2] in libraries]
    pages = max(1, -(-len(rows) // PAGE))
    if page > pages:
        return BadQuery.NO_SUCH_PAGE
    shown = [bib for _, _, bib, _ in _sort_hits(rows, query)[(page - 1) * PAGE : page * PAGE]]
    return FoundTitles(_read_titles(connection, shown, is_available), len(rows), found.more, page, pages)


@dataclass(frozen=True, slots=True)
class Hits:
    """The keys of at most MOST titles, and whether there are more."""

    rows: list[Keys]
    more: bool = False


def hits(connection: Connection, query: TitleQuery) -> Hits:
    """Return at most MOST titles that match, in no order. If more match, those that begin with the query are among them."""
    matching = _find_matching(connection, query)
    if len(matching) <= MOST:
        return Hits(matching)
    begin = _find_beginning(connection, query.key) if query.field in BY_TITLE else []
    found = {keys[2]: keys for keys in (*begin, *matching)}
    return Hits(list(found.values())[:MOST], more=True)


def _find_beginning(connection: Connection, key: str) -> list[Keys]:
    """Return the first titles that begin with the words of the query, in the order of the keys.

    Keys have letters, digits and blanks, of which only the blank comes before "!".
    """
    given = {"key": key, "end": f"{key}!", "most": MOST_BEGINNING}
    return [keys for statement in _BEGINNING for keys in statement.cells(connection, **given)]


def _sort_hits(hits: Iterable[Keys], query: TitleQuery) -> list[Keys]:
    """Sort the hits: exact titles, titles that begin with the query, and the others, each by its keys."""
    ordered = sorted(hits)
    if not query.key or query.field not in BY_TITLE:
        return ordered
    exact, beginning, others = list[Keys](), list[Keys](), list[Keys]()
    key, begins = query.key, f"{query.key} "
    for keys in ordered:
        title, _, _, linked = keys
        if key in (title, linked):
            exact.append(keys)
        elif title.startswith(begins) or linked.startswith(begins):
            beginning.append(keys)
        else:
            others.append(keys)
    return exact + beginning + others


def _read_titles(connection: Connection, bibs: Sequence[str], is_available: IsAvailable) -> tuple[FoundTitle, ...]:
    if not bibs:
        return ()
    shown, copies = _SHOWN.cells(connection, bibs), _COPIES.cells(connection, bibs)
    libraries = _available_at(copies, is_available)
    found = {cells[0]: cells for cells in shown}
    return tuple(FoundTitle(*[*found[bib], tuple(sorted(libraries.get(bib, ())))]) for bib in bibs)


def _available_at(copies: Iterable[Cells], is_available: IsAvailable) -> dict[str, set[str]]:
    """Return the libraries that have a copy available, by title."""
    found: dict[str, set[str]] = {}
    for bib, agency, *facts in copies:
        if is_available(agency, *facts):
            found.setdefault(bib, set()).add(agency)
    return found


def _find_matching(connection: Connection, query: TitleQuery) -> list[Keys]:
    """Return the keys of at most one more than MOST titles."""
    if connection.dialect.name != "sqlite":
        return [[*row] for row in connection.execute(_POSTGRESQL, {"query": tsquery(query), "most": MOST + 1}).all()]
    read_as_memory(connection)
    found = connection.execute(_SQLITE, {"query": fts5(query), "most": MOST + 1}).scalar_one()
    keys: list[Keys] = orjson.loads(found)
    return keys


def fts5(query: TitleQuery) -> str:
    """Return the query in the language of FTS5. Words have only letters and digits, so none can be an operator."""
    phrases = " AND ".join(f'"{" ".join(phrase)}"' for phrase in dict.fromkeys(query.phrases))
    return phrases if query.field is SearchField.ANY else f"{{{query.field}}} : ({phrases})"


def tsquery(query: TitleQuery) -> str:
    """Return the query in the text form of PostgreSQL's tsquery."""
    weight = f":{WEIGHTS[query.field]}" if query.field is not SearchField.ANY else ""
    return " & ".join(
        "(" + " <-> ".join(f"'{word}'{weight}" for word in in_pairs(phrase)) + ")" for phrase in dict.fromkeys(query.phrases)
    )


_KEYS: Final = (T.title_key, T.author_key, T.bib_id, T.linked_key)
# One row: the driver gives up the interpreter's lock for each, and other readers' threads would take it 300 times.
_SQLITE = text(
    "SELECT json_group_array(json_array(title_key, author_key, bib_id, linked_key)) FROM titles WHERE id IN "
    "(SELECT rowid FROM title_words WHERE title_words MATCH :query LIMIT :most)"
)
_POSTGRESQL = text(
    "SELECT title_key, author_key, bib_id, linked_key FROM titles WHERE words @@ CAST(:query AS tsquery) LIMIT :most"
)


def _beginning_query(key: ColumnElement[str], *where: ColumnElement[bool]) -> CompiledStatement:
    begins = select(*_KEYS).where(key >= bindparam("key"), key < bindparam("end"), *where)
    return CompiledStatement(begins.order_by(key, T.author_key, T.bib_id).limit(bindparam("most", type_=Integer)))


_BEGINNING: Final = (_beginning_query(T.title_key), _beginning_query(T.linked_key, T.linked_key != ""))


_SHOWN: Final = StatementAmong(select(*(T[field.name] for field in fields(FoundTitle) if field.name != "agencies")), T.bib_id)
_HELD: Final = exists().where(R.item_barcode == H.barcode, R.item_agency == H.agency, IS_IN_HAND)
_COPIES: Final = StatementAmong(select(H.bib_id, H.agency, H.status, H.material, H.lendable).where(~_HELD), H.bib_id)
