"""Search titles. Up to MOST hits, both databases return the same results.

Run these queries only in web threads, never in the reactor's thread, because a common word takes tens of milliseconds.
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
"""Maximum number of characters in a query."""
MOST_WORDS: Final = 64
"""Maximum number of words in a query, each of which is looked up in the index. An ideograph counts as a word."""

_PARTS: Final = re.compile(r'["“”„«»]([^"“”„«»]*)(?:["“”„«»]|$)|([^\s"“”„«»]+)')
"""Matches a word, or a phrase in quotation marks. The last closing quotation mark may be missing."""


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


@dataclass(frozen=True, slots=True)
class TitleQuery:
    """A parsed query. A title must contain all phrases, each within one text of `field` (for ANY, of any field)."""

    phrases: tuple[tuple[str, ...], ...]
    field: SearchField = SearchField.ANY

    @property
    def key(self) -> str:
        """All words of the query, in the format of a title's sort key."""
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
"""Maximum number of hits that are ranked and counted."""
MOST_BEGINNING: Final = 100
"""Maximum number of titles, and of linked titles, that begin with the query and are kept if there are more than MOST hits."""
PAGE: Final = 20
BY_TITLE: Final = frozenset({SearchField.ANY, SearchField.TITLE})
"""Fields in which a query may match the beginning of a title."""

H, R, T = HOLDINGS.c, REQUESTS.c, TITLES.c
Cells = list[Any]
Keys = list[str]
"""Sort key of a title, sort key of its author, `bib_id`, and sort key of its linked title. Lists sort faster than objects."""
IsAvailable = Callable[[str, str, str, bool], bool]
"""Returns whether a copy without a request is available, given its library, status, material and whether it may be lent."""


@dataclass(frozen=True, slots=True)
class FoundTitle:
    """A title on a page of results. `agencies` are the libraries with an available copy, in alphabetical order."""

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
        """The number of libraries with an available copy."""
        return len(self.agencies)


@dataclass(frozen=True, slots=True)
class FoundTitles:
    """A page of results. `count` is the number of hits, at most MOST, and `more` tells whether more titles match."""

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

    Exact titles come first, then titles that begin with the query, then all other titles. Each group is sorted by title, author
    and number. `available` limits the result to titles with an available copy. `page` counts from 1, and page 1 always exists.
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
    """The keys of at most MOST titles. `more` tells whether more titles match."""

    rows: list[Keys]
    more: bool = False


def hits(connection: Connection, query: TitleQuery) -> Hits:
    """Return at most MOST matching titles, unsorted. If more titles match, prefer titles that begin with the query."""
    matching = _find_matching(connection, query)
    if len(matching) <= MOST:
        return Hits(matching)
    begin = _find_beginning(connection, query.key) if query.field in BY_TITLE else []
    found = {keys[2]: keys for keys in (*begin, *matching)}
    return Hits(list(found.values())[:MOST], more=True)


def _find_beginning(connection: Connection, key: str) -> list[Keys]:
    """Return the first titles that begin with the words of the query, in the order of the keys.

    Keys contain only letters, digits and blanks, and of these only the blank sorts before "!".
    """
    given = {"key": key, "end": f"{key}!", "most": MOST_BEGINNING}
    return [keys for statement in _BEGINNING for keys in statement.cells(connection, **given)]


def _sort_hits(hits: Iterable[Keys], query: TitleQuery) -> list[Keys]:
    """Sort the hits: exact titles, titles that begin with the query, and other titles, each group by its keys."""
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
    """Return the libraries with an available copy, by `bib_id`."""
    found: dict[str, set[str]] = {}
    for bib, agency, *facts in copies:
        if is_available(agency, *facts):
            found.setdefault(bib, set()).add(agency)
    return found


def _find_matching(connection: Connection, query: TitleQuery) -> list[Keys]:
    """Return the keys of at most MOST + 1 matching titles."""
    if connection.dialect.name != "sqlite":
        return [[*row] for row in connection.execute(_POSTGRESQL, {"query": tsquery(query), "most": MOST + 1}).all()]
    read_as_memory(connection)
    found = connection.execute(_SQLITE, {"query": fts5(query), "most": MOST + 1}).scalar_one()
    keys: list[Keys] = orjson.loads(found)
    return keys


def fts5(query: TitleQuery) -> str:
    """Return the query in FTS5 syntax. Words contain only letters and digits, so they need no escaping."""
    phrases = " AND ".join(f'"{" ".join(phrase)}"' for phrase in dict.fromkeys(query.phrases))
    return phrases if query.field is SearchField.ANY else f"{{{query.field}}} : ({phrases})"


def tsquery(query: TitleQuery) -> str:
    """Return the query in the text form of PostgreSQL's tsquery."""
    weight = f":{WEIGHTS[query.field]}" if query.field is not SearchField.ANY else ""
    return " & ".join(
        "(" + " <-> ".join(f"'{word}'{weight}" for word in in_pairs(phrase)) + ")" for phrase in dict.fromkeys(query.phrases)
    )


_KEYS: Final = (T.title_key, T.author_key, T.bib_id, T.linked_key)
# The query returns all hits in one row: the driver releases the GIL for each row, and other threads would take it 300 times.
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
