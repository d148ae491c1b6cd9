"""/openurl: a citation from another catalogue leads to its title, or to the search.

Source: ANSI/NISO Z39.88, key/encoded-value format, books (`info:ofi/fmt:kev:mtx:book`); OpenURL 0.1 has the same keys without
"rft.".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlencode

from flask import Blueprint, redirect, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from hkall_gateway.circulation import titles
from hkall_gateway.circulation.common.context import Context
from hkall_gateway.db.search.folding import isbn_13, words
from hkall_gateway.db.search.searching import LONGEST, FoundTitle, FoundTitles, SearchField
from hkall_gateway.web.paths import title_number
from hkall_gateway.web.services import consult, services

PAGES = Blueprint("openurl", __name__)

MOST_ISBNS: Final = 3
"""ISBNs of one citation that are looked for: those of a hardback, a paperback and an e-book."""
ISBN_URN: Final = "urn:isbn:"
_TITLES: Final = ("btitle", "title", "jtitle")
_AUTHORS: Final = ("aulast", "au", "aucorp")
BEFORE_SUBTITLE: Final = ":"


@dataclass(frozen=True, slots=True)
class Citation:
    """The citation of a book in an OpenURL. `isbns` are ISBN-13s, `own` is the number of a title of ours."""

    isbns: tuple[str, ...] = ()
    title: str = ""
    author: str = ""
    own: str = ""


@PAGES.get("/openurl")
def resolve() -> Response:
    """Lead to the title if exactly one fits, else to the search of its words."""
    return redirect(consult(_address, citation(request.args, services().settings().public_url)), 303)


def citation(said: MultiDict[str, str], site: str) -> Citation:
    """Return the citation in the keys of an OpenURL; `site` is our public address."""
    numbers = [*_values(said, "isbn"), *(text[len(ISBN_URN) :] for text in _ids(said) if text.lower().startswith(ISBN_URN))]
    isbns = dict.fromkeys(filter(None, (isbn_13(number.strip()) for number in numbers[: 2 * MOST_ISBNS])))
    ours = [text.removeprefix(f"{site}/title/") for text in _ids(said) if text.startswith(f"{site}/title/")]
    return Citation(
        isbns=tuple(isbns)[:MOST_ISBNS],
        title=_first(said, _TITLES),
        author=_first(said, _AUTHORS).partition(",")[0],
        own=title_number(unquote(ours[0])) if ours else "",
    )


def _address(context: Context, cited: Citation) -> str:
    """Return the path of the only title that fits, or of the search. ISBNs come before words."""
    if cited.own and context.unit.copies(cited.own):
        return _title(cited.own)
    by_isbn = {number: _hits(context, number, SearchField.ISBN) for number in cited.isbns}
    bibs = {hit.bib_id for hits in by_isbn.values() for hit in hits}
    if bibs:
        return _title(bibs.pop()) if len(bibs) == 1 else _search(next(number for number, hits in by_isbn.items() if hits))
    return _by_words(context, cited) if cited.title else _search(next(iter(cited.isbns), cited.author))


def _by_words(context: Context, cited: Citation) -> str:
    """Return the path for a citation's words; without its subtitle or its author where nothing else has hits.

    Of several titles the one that is called exactly so is meant. The author's name may be in another script than ours: a title
    that is found without it must be called exactly so.
    """
    for title in dict.fromkeys((cited.title, cited.title.partition(BEFORE_SUBTITLE)[0].strip())):
        for author in dict.fromkeys((cited.author, "")):
            wanted = words(title)
            hits = _hits(context, f'"{" ".join(wanted)}" {" ".join(words(author))}', SearchField.ANY)
            exact = [hit for hit in hits if wanted in (words(hit.title), words(hit.linked_title))]
            fit = exact or (hits if author == cited.author else ())
            if len(fit) == 1:
                return _title(fit[0].bib_id)
            if hits:
                return _search(f"{title} {author}".strip())
    return _search(cited.title)


def _title(bib_id: str) -> str:
    return url_for("title.page", bib_id=bib_id)


def _search(typed: str) -> str:
    return f"/search?{urlencode({'q': typed[:LONGEST]})}" if typed else "/search"


def _hits(context: Context, typed: str, field: SearchField) -> tuple[FoundTitle, ...]:
    found = titles.search_titles(context, typed, field)
    return found.titles if isinstance(found, FoundTitles) else ()


def _ids(said: MultiDict[str, str]) -> Iterator[str]:
    yield from (text for key in ("rft_id", "id") for text in said.getlist(key))


def _values(said: MultiDict[str, str], key: str) -> Iterator[str]:
    yield from (text for name in (f"rft.{key}", key) for text in said.getlist(name) if text.strip())


def _first(said: MultiDict[str, str], keys: tuple[str, ...]) -> str:
    return next((text.strip()[:LONGEST] for key in keys for text in _values(said, key)), "")
