"""Search titles. Both databases find the same titles.

Run these queries only in web threads, never in the reactor's thread, because a common word takes tens of milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from heapq import nsmallest
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Integer, bindparam, exists, select, text
from sqlalchemy.sql.elements import ColumnElement

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong, StatementInOneRow
from hkall_gateway.db.engine.connect import read_as_memory
from hkall_gateway.db.search.folding import stemmed_words
from hkall_gateway.db.search.index import count_facets, facet_word
from hkall_gateway.db.search.parsing import BadQuery, SearchField, TitleQuery, fts5, parse, tsquery
from hkall_gateway.db.search.spelling import corrected, loosened, widened
from hkall_gateway.db.tables import HOLDINGS, IS_IN_HAND, REQUESTS, TITLES
from hkall_gateway.rules.vocabulary import Title


def title(connection: Connection, bib_id: str) -> Title | None:
    """Return a title, or None if it is unknown or not yet filled in (`loads/catalogue.py`)."""
    found = connection.execute(_TITLE, {"bib_id": bib_id}).mappings().first()
    return Title(**{**found, "isbns": tuple(found["isbns"].split())}) if found else None


_TITLE = select(*(TITLES.c[field.name] for field in fields(Title))).where(TITLES.c.bib_id == bindparam("bib_id"))


MOST: Final = 300
"""Maximum number of hits that are ranked, and whose availability is counted."""
MOST_COUNTED: Final = 10_000
"""Maximum number of hits that are counted, with their facets."""
MOST_BEGINNING: Final = 100
"""Maximum number of titles, and of linked titles, that begin with the query and are ranked if there are more than MOST hits."""
PAGE: Final = 20
BY_TITLE: Final = frozenset({SearchField.ANY, SearchField.TITLE})
"""Fields in which a query may match the beginning of a title."""

H, R, T = HOLDINGS.c, REQUESTS.c, TITLES.c
Cells = list[Any]
IsAvailable = Callable[[str, str, str, bool], bool]
"""Returns whether a copy without a request is available, given its library, status, material and whether it may be lent."""


class Sort(StrEnum):
    """The order of results: by relevance, the newest first, or by title."""

    RELEVANCE = "relevance"
    YEAR = "year"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """Which of the hits are shown, and in which order. "" means any value, and `page` counts from 1.

    Attributes:
        available: Whether only titles with an available copy are shown.
        library: Agency that has a copy.
        language: Language code of MARC.
        decade: First year of the decade of publication.
    """

    available: bool = False
    library: str = ""
    language: str = ""
    decade: str = ""
    sort: Sort = Sort.RELEVANCE
    page: int = 1

    @property
    def facets(self) -> list[str]:
        """The words of the index that a title must have."""
        values = {"library": self.library, "language": self.language, "decade": self.decade}
        return [facet_word(kind, value) for kind, value in values.items() if value]

    def admits(self, facets: str) -> bool:
        """Return whether a title with these facets is shown."""
        language, decade, *libraries = f"{facets}\t".split("\t")
        return self.language in ("", language) and self.decade in ("", decade) and self.library in ("", *libraries)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTitle:
    """A title on a page of results. `agencies` are the libraries with an available copy, in alphabetical order."""

    id: int
    bib_id: str
    title: str
    author: str
    linked_title: str
    linked_author: str
    isbns: str
    language: str
    published: str
    agencies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value by which results can be narrowed, and the number of hits that have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTitles:
    """A page of results.

    Attributes:
        count: Number of hits, at most MOST_COUNTED.
        more: Whether more titles match. Facets then cover only the first MOST of them.
        facets: The libraries, the languages and the decades of the hits, by the names of the fields of Narrowing.
        available: Number of hits with an available copy, or None if there are too many hits to count them.
        instead: The query in another spelling that was searched instead, because nothing matched.
        similar: Whether the titles only resemble the query, because nothing matched.
    """

    titles: tuple[FoundTitle, ...]
    count: int
    more: bool
    page: int
    pages: int
    facets: Mapping[str, tuple[FacetValue, ...]]
    available: int | None = None
    instead: str = ""
    similar: bool = False


def search(
    connection: Connection,
    typed: str,
    is_available: IsAvailable,
    field: SearchField = SearchField.ANY,
    narrowing: Narrowing | None = None,
) -> FoundTitles | BadQuery:
    """Return a page of the titles that have all words of a query, or the reason for refusing the query.

    If nothing matches, the query is searched in another spelling, or similar titles are returned. Page 1 always exists.
    """
    query, shown = parse(typed, field), narrowing or Narrowing()
    if isinstance(query, BadQuery):
        return query
    if not 1 <= shown.page <= MOST_COUNTED // PAGE:
        return BadQuery.NO_SUCH_PAGE
    read_as_memory(connection)
    queries, found, similar = _find(connection, query, shown)
    wanted = query if similar else queries[0]
    more, ids = len(found) > MOST_COUNTED, found[:MOST_COUNTED]
    is_judged = shown.available or len(ids) <= MOST
    libraries = _available_at(_COPIES.cells(connection, ids), is_available) if is_judged and ids else {}
    if shown.available:
        ids = [one for one in ids if one in libraries]
    count, pages = len(ids), max(1, -(-len(ids) // PAGE))
    if shown.page > pages:
        return BadQuery.NO_SUCH_PAGE
    first = _OF_HITS.cells(connection, ids[:MOST])
    counted = count_facets(connection, ids) if len(ids) > MOST and not more else Counter([keys[_FACETS] for keys in first])
    if shown.sort is Sort.RELEVANCE:
        ids = _rank(connection, wanted, shown, ids, first)
    else:
        # Of more hits than are counted, the first ones are found by walking through an index in the wanted order.
        most = MOST_COUNTED if shown.available or not more else shown.page * PAGE
        ordered = hits(connection, queries, shown.facets, shown.sort, most, walking=more)
        ids = [one for one in ordered if one in libraries] if shown.available else ordered
    return FoundTitles(
        titles=_read_titles(connection, ids[(shown.page - 1) * PAGE : shown.page * PAGE], is_available, libraries),
        count=count,
        more=more,
        page=shown.page,
        pages=pages,
        available=len(libraries) if is_judged else None,
        facets=_facet_values(counted),
        instead=_as_text(wanted) if wanted.phrases != query.phrases else "",
        similar=similar,
    )


def _find(connection: Connection, query: TitleQuery, shown: Narrowing) -> tuple[list[TitleQuery], list[int], bool]:
    """Return the queries that were searched, their hits, unsorted, and whether these are only similar to the query.

    A query with few hits, none of which has exactly this title, is widened. If it still has none, it is corrected.
    """
    found = hits(connection, [query], shown.facets)
    begin = _find_beginning(connection, query.key) if found and len(found) < PAGE else ()
    if query.literal or len(found) >= PAGE or any(query.key in (keys[1], keys[4]) for keys in begin):
        return [query], found, False
    wide = widened(query)
    found = hits(connection, wide, shown.facets) if len(wide) > 1 or any(wide[0].instead) else found
    if found or (shown.facets and hits(connection, wide, most=1)):
        return wide, found, False
    best: list[TitleQuery] = []
    least, most = 0, 0
    for edits, other in corrected(connection, query):
        if best and edits > least:
            break
        if (count := len(hits(connection, [other], most=MOST))) > most:
            best, least, most = [other], edits, count
    if queries := best or loosened(query):
        found = hits(connection, queries, shown.facets)
    return (queries, found, not best) if found else ([query], found, False)


def hits(
    connection: Connection,
    queries: Sequence[TitleQuery],
    facets: Sequence[str] = (),
    sort: Sort = Sort.RELEVANCE,
    most: int = MOST_COUNTED + 1,
    *,
    walking: bool = False,
) -> list[int]:
    """Return the ids of at most `most` titles that match any of the queries. For RELEVANCE they are unsorted.

    `walking` tells whether to walk through the index of the sort order, which is fast if very many titles match.
    """
    if connection.dialect.name != "sqlite":
        found = f"SELECT id FROM titles WHERE words @@ CAST(:query AS tsquery) {_ORDERS[sort]} LIMIT :most"  # noqa: S608  # our texts
        return list(connection.execute(text(found), {"query": tsquery(queries, facets), "most": most}).scalars())
    ids: list[int] = orjson.loads(_matching(sort, walking).cells(connection, query=fts5(queries, facets), most=most)[0][0])
    return ids


_ORDERS: Final = {
    Sort.RELEVANCE: "",
    Sort.YEAR: "ORDER BY year DESC, id DESC",
    Sort.TITLE: "ORDER BY title_key, author_key, bib_id",
}


@cache
def _matching(sort: Sort, walking: bool) -> CompiledStatement:
    found = "SELECT rowid AS id FROM title_words WHERE title_words MATCH :query"
    if order := _ORDERS[sort]:
        index = f"INDEXED BY ix_titles_{'year' if sort is Sort.YEAR else 'title_key'}" if walking else ""
        found = f"SELECT id FROM titles {index} WHERE id IN ({found}) {order}"  # noqa: S608  # our texts
    return CompiledStatement(text(f"SELECT json_group_array(id) FROM ({found} LIMIT :most)"))  # noqa: S608  # our texts


def _rank(connection: Connection, query: TitleQuery, shown: Narrowing, ids: list[int], ranked: list[Cells]) -> list[int]:
    """Sort titles by relevance. Of more than MOST, rank those in `ranked` and titles that begin with the query.

    `ranked` are the keys of the first titles.
    """
    if len(ids) > MOST and query.field in BY_TITLE:
        present = set(ids) if shown.available else set()
        begin = [keys for keys in _find_beginning(connection, query.key) if shown.admits(keys[_FACETS])]
        ranked = [*{keys[0]: keys for keys in (*ranked, *begin) if not shown.available or keys[0] in present}.values()]
    relevance = _relevance(query) if query.field in BY_TITLE else lambda _keys: (0, 0)
    wanted = shown.page * PAGE
    first = [keys[0] for keys in nsmallest(wanted, ranked, lambda keys: (relevance(keys), keys[1:]))]
    if wanted <= len(ranked) <= len(ids):
        return first
    seen = set(first)
    return (first + [one for one in ids if one not in seen])[: len(ids)]


def _relevance(query: TitleQuery) -> Callable[[Cells], tuple[int, int]]:
    """Return a function of a title's keys. Its result is the smaller, the better the title or the linked title fits.

    Best are exact titles, then titles that begin with the query, that have it as a phrase, that have all its words, and those
    in which few words are missing. Among these, short titles are better.
    """
    typed, stems = query.key, stemmed_words(query.key)
    wanted, size = {*stems.split(" ")}, typed.count(" ") + 1

    def distance(key: str) -> tuple[int, int]:
        if not key:
            return 99, 0
        if key == typed:
            return 0, 0
        length = key.count(" ")
        if f" {typed} " in f" {key} ":  # then only the first words can have the same stems
            return 2 if stemmed_words(" ".join(key.split(" ", size)[:size])) == stems else 3, length
        title = stemmed_words(key)
        if title == stems:
            return 1, 0
        if f" {stems} " in f" {title} ":
            return 2 if title.startswith(f"{stems} ") else 3, length
        return 4 + len(wanted.difference(title.split(" "))), length

    return lambda keys: min(distance(keys[1]), distance(keys[4]))


def _find_beginning(connection: Connection, key: str) -> list[Cells]:
    """Return the first titles that begin with the words of the query, in the order of the keys.

    Keys contain only letters, digits and blanks, and of these only the blank sorts before "!".
    """
    given = {"key": key, "end": f"{key}!", "most": MOST_BEGINNING}
    return [keys for statement in _BEGINNING for keys in statement.cells(connection, **given)]


def _facet_values(counted: Counter[str]) -> dict[str, tuple[FacetValue, ...]]:
    """Return the libraries and the languages of titles, the most frequent first, and the decades, the newest first."""
    libraries, languages, decades = Counter[str](), Counter[str](), Counter[str]()
    for facets, count in counted.items():
        language, decade, *agencies = f"{facets}\t".split("\t")  # "" until `db upgrade` has computed it
        libraries.update(dict.fromkeys(agencies, count))
        languages[language] += count
        decades[decade] += count
    newest = sorted(decades.items(), reverse=True)
    ordered = {"library": libraries.most_common(), "language": languages.most_common(), "decade": newest}
    return {kind: tuple(FacetValue(*one) for one in values if one[0]) for kind, values in ordered.items()}


def _as_text(query: TitleQuery) -> str:
    return " ".join(("" if phrase[0] > "\u3000" else " ").join(phrase) for phrase in query.phrases)


def _read_titles(
    connection: Connection, ids: Sequence[int], is_available: IsAvailable, libraries: Mapping[int, set[str]]
) -> tuple[FoundTitle, ...]:
    """Return titles, with their available libraries as in `libraries`. If it is empty, look up these libraries."""
    if not ids:
        return ()
    found = {row["id"]: row for row in _SHOWN.rows(connection, ids)}
    libraries = libraries or _available_at(_COPIES.cells(connection, ids), is_available)
    return tuple(FoundTitle(**found[one], agencies=tuple(sorted(libraries.get(one, ())))) for one in ids)


def _available_at(copies: Iterable[Cells], is_available: IsAvailable) -> dict[int, set[str]]:
    """Return the libraries with an available copy, by the id of the title."""
    found: dict[int, set[str]] = {}
    for one, agency, *facts in copies:
        if is_available(agency, *facts):
            found.setdefault(one, set()).add(agency)
    return found


_KEYS: Final = (T.id, T.title_key, T.author_key, T.bib_id, T.linked_key, T.facets)
_FACETS: Final = 5


def _beginning_query(key: ColumnElement[str], *where: ColumnElement[bool]) -> StatementInOneRow:
    begins = select(*_KEYS).where(key >= bindparam("key"), key < bindparam("end"), *where)
    return StatementInOneRow(begins.order_by(key, T.author_key, T.bib_id).limit(bindparam("most", type_=Integer)))


_BEGINNING: Final = (_beginning_query(T.title_key), _beginning_query(T.linked_key, T.linked_key != ""))
_OF_HITS: Final = StatementAmong(select(*_KEYS), T.id, StatementInOneRow)
_SHOWN: Final = StatementAmong(
    select(*(T[field.name] for field in fields(FoundTitle) if field.name != "agencies")), T.id, StatementInOneRow
)
_HELD: Final = exists().where(R.item_barcode == H.barcode, R.item_agency == H.agency, IS_IN_HAND)
_COPIES: Final = StatementAmong(
    select(T.id, H.agency, H.status, H.material, H.lendable).where(H.bib_id == T.bib_id, ~_HELD), T.id, StatementInOneRow
)
