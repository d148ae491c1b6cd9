"""Titles of the catalogue: written with every load of copies, and filled in later if an earlier release omitted them.

A title's fields come from its MARC record, or from its copies if it has no record. A digest shows which titles have changed, so
that a nightly load of a whole catalogue writes only a few titles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, select

from hkall_gateway.db.engine.compiled import insert_or_leave, write_over
from hkall_gateway.db.search.folding import folding_version, installed, isbns_of, joined_words
from hkall_gateway.db.search.index import (
    BARRIER,
    IndexedWords,
    as_vector,
    delete_words,
    facet_word,
    field_words,
    sounds,
    write_words,
)
from hkall_gateway.db.tables import HOLDINGS, SHORTEST_WORD, TITLES, VOCABULARY
from hkall_gateway.rules.vocabulary import BETWEEN_AUTHORS, Title

H, T = HOLDINGS.c, TITLES.c
AnyRow = Row[*tuple[Any, ...]]
LONGEST_KEY: Final = 300
"""Maximum length of a sort key in characters, because the size of index entries is limited."""
CHUNK: Final = 1_000
FACTS: Final = ("bib_id", "title", "author", "linked_title", "linked_author", "isbns", "language", "published")
_YEAR: Final = re.compile(r"(?<!\d)(?:1[4-9]|20)\d\d(?!\d)")
NO_TITLES: Final[Mapping[str, Title]] = MappingProxyType({})


def refresh(connection: Connection, bibs: Collection[str], records: Mapping[str, Title] = NO_TITLES) -> None:
    """Update at most CHUNK titles, with their search words, from their copies. A title without copies is deleted.

    `records` are titles from MARC records, by `bib_id`. Without the extra `web` no titles are written, and `db upgrade` fills
    them in once the extra is installed.
    """
    if not bibs or not installed():
        return
    found = sorted(connection.execute(_COPIES, {"bibs": list(bibs)}), key=lambda row: (row.bib_id, row.agency, row.barcode))
    copies = {bib: list(rows) for bib, rows in groupby(found, key=lambda row: row.bib_id)}
    stored = {row.bib_id: row for row in connection.execute(_STORED, {"bibs": list(bibs)})}
    wanted = {bib: _merge_title(records.get(bib), stored.get(bib), rows) for bib, rows in copies.items()}
    calls = {bib: field_words(copy.call_number for copy in rows) for bib, rows in copies.items()}
    columns = {bib: _title_columns(title, copies[bib]) for bib, title in wanted.items()}
    texts = {bib: "\x1f".join((*values.values(), calls[bib])) for bib, values in columns.items()}
    digests = {bib: _rules_digest() + _hex_digest(text, 12) for bib, text in texts.items()}
    changed = [bib for bib in wanted if bib not in stored or stored[bib].digest != digests[bib]]
    gone = [row.id for bib, row in stored.items() if bib not in wanted]
    for start in range(0, len(gone), CHUNK):
        delete_words(connection, gone[start : start + CHUNK])
        connection.execute(delete(TITLES).where(T.id.in_(gone[start : start + CHUNK])))
    _write_titles(
        connection,
        [({**columns[bib], "digest": digests[bib]}, _title_words(wanted[bib], columns[bib], calls[bib])) for bib in changed],
    )


def fill(connection: Connection, after: str = "", limit: int = CHUNK) -> str | None:
    """Write at most `limit` titles with a `bib_id` above `after`. Return the last `bib_id`, or None at the end.

    Titles are missing if the copies were loaded by an earlier release or without the extra `web`.
    """
    bibs = list(connection.execute(_NEXT, {"after": after, "most": limit}).scalars())
    refresh(connection, bibs)
    return bibs[-1] if bibs else None


def settle(connection: Connection) -> None:
    """Update PostgreSQL's statistics after a load, and merge the pending entries of its search index.

    PostgreSQL would do both after some minutes, but until then a search for a common word takes a second.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE titles, holdings")
        connection.exec_driver_sql("SELECT gin_clean_pending_list('ix_titles_words')")


def is_filled(connection: Connection) -> bool:
    """Check whether the current rules have written all titles. Without the extra `web`, no titles are expected."""
    if not installed():
        return True
    old = select(T.id).where(~T.digest.startswith(_rules_digest())).limit(1)
    return not (connection.execute(_UNWRITTEN).first() or connection.execute(old).first())


def _merge_title(record: Title | None, stored: AnyRow | None, copies: Sequence[AnyRow]) -> Title:
    """Build a title from its MARC record, or from its copies and the stored fields of an earlier MARC record."""
    if record is not None:
        return record
    first = copies[0]
    isbns = isbns_of(dict.fromkeys(copy.isbn for copy in copies))
    title = Title(bib_id=first.bib_id, title=first.title, author=first.author, isbns=isbns)
    if stored is None:
        return title
    kept = tuple(stored.isbns.split())
    return replace(
        title,
        author=stored.author if stored.author.split(BETWEEN_AUTHORS)[0] == first.author else first.author,
        isbns=kept if set(isbns) <= set(kept) else isbns,
        linked_title=stored.linked_title,
        linked_author=stored.linked_author,
        language=stored.language,
        published=stored.published,
    )


def _title_words(title: Title, columns: Mapping[str, str], calls: str) -> IndexedWords:
    original = title.linked_title or title.title
    sound = sounds(original) if title.language == "chi" or not original.isascii() else ()
    language, decade, *agencies = columns["facets"].split("\t")
    values = [("language", language), ("decade", decade), *(("library", one) for one in agencies)]
    facets = " ".join(facet_word(kind, value) for kind, value in values if value)
    return IndexedWords(
        title=f" {BARRIER} ".join(filter(None, (field_words((title.title, title.linked_title)), " ".join(sound)))),
        author=field_words((*title.author.split(BETWEEN_AUTHORS), *title.linked_author.split(BETWEEN_AUTHORS))),
        isbn=field_words(title.isbns),
        call=f"{calls} {facets}",
    )


@cache
def _rules_digest() -> str:
    """Return the prefix of each title's digest, which identifies the rules for computing words."""
    return _hex_digest(folding_version(), 4)


def _hex_digest(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _title_columns(title: Title, copies: Sequence[AnyRow]) -> dict[str, str]:
    """Return the text columns of a title, from which all others are computed."""
    decade = str(_year_of(title.published))[:3].ljust(4, "0") if _year_of(title.published) else ""
    facets = "\t".join((title.language, decade, *sorted({copy.agency for copy in copies})))
    return {name: getattr(title, name) for name in FACTS} | {"isbns": " ".join(title.isbns), "facets": facets}


def _year_of(published: str) -> int:
    """Return the last year in a publication statement, or 0."""
    return int(next(iter(_YEAR.findall(published)[::-1]), 0))


def sort_key(text: str) -> str:
    """Return the sort key of a title or an author: the words of the text, cut to LONGEST_KEY characters."""
    return joined_words(text)[:LONGEST_KEY]


def _write_titles(connection: Connection, titles: Collection[tuple[Mapping[str, str], IndexedWords]]) -> None:
    made = [
        {
            **columns,
            "title_key": sort_key(columns["title"]),
            "linked_key": sort_key(columns["linked_title"]),
            "author_key": sort_key(columns["author"]),
            "year": _year_of(columns["published"]),
            "words": as_vector(indexed) if connection.dialect.name == "postgresql" else None,
        }
        for columns, indexed in titles
    ]
    if made:
        write_over(connection, TITLES, made, [*made[0]], key=["bib_id"])
        write_words(connection, titles)
        words = {word for row in made for key in ("title_key", "author_key") for word in str(row[key]).split(" ")}
        rows = [{"word": word} for word in sorted(words) if len(word) >= SHORTEST_WORD and word.isalpha()]
        if rows:
            connection.execute(insert_or_leave(VOCABULARY, connection.dialect.name), rows)


_COPIES = select(H.bib_id, H.agency, H.barcode, H.isbn, H.title, H.author, H.call_number).where(
    H.bib_id.in_(bindparam("bibs", expanding=True))
)
_STORED = select(T.id, T.bib_id, T.digest, T.author, T.isbns, T.linked_title, T.linked_author, T.language, T.published).where(
    T.bib_id.in_(bindparam("bibs", expanding=True))
)
_NEXT = select(H.bib_id).where(H.bib_id > bindparam("after")).distinct().order_by(H.bib_id).limit(bindparam("most"))
_UNWRITTEN = select(H.bib_id).where(~select(T.id).where(T.bib_id == H.bib_id).exists()).limit(1)
