"""/search searches the union catalogue. /openurl finds the title for a citation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlencode

from babel import Locale
from babel.core import get_global
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as Redirect

from hkall_gateway.circulation import queries, titles
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.search.folding import isbn_13, words
from hkall_gateway.db.search.parsing import LONGEST, MOST_WORDS, BadQuery, SearchField
from hkall_gateway.db.search.searching import MOST_COUNTED, FoundTitle, FoundTitles, Narrowing, Sort
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH
from hkall_gateway.web.i18n import N_, gettext, language, library_name
from hkall_gateway.web.labels import notice
from hkall_gateway.web.paths import title_number
from hkall_gateway.web.patron.home import OWN_MINUTE, kept
from hkall_gateway.web.services import execute, services

PAGES = Blueprint("search", __name__)
OPENURL = Blueprint("openurl", __name__)
"""Separate from PAGES, so that error pages for OpenURLs do not highlight the search in the menu."""

MOST_ISBNS: Final = 3
"""Maximum number of ISBNs to search per citation, enough for a hardback, a paperback and an e-book."""
ISBN_URN: Final = "urn:isbn:"
_TITLES: Final = ("btitle", "title", "jtitle")
_AUTHORS: Final = ("aulast", "au", "aucorp")
BEFORE_SUBTITLE: Final = ":"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A book citation from an OpenURL. `isbns` holds ISBN-13s. `own` is a title number in our union catalogue."""

    isbns: tuple[str, ...] = ()
    title: str = ""
    author: str = ""
    own: str = ""


@OPENURL.get("/openurl")
def resolve() -> Redirect:
    """Redirect to the title if exactly one title matches, else to a search for the cited words."""
    return redirect(_find_path(citation(request.args, services().settings().public_url)), 303)


def citation(query: MultiDict[str, str], site: str) -> Citation:
    """Parse the keys of an OpenURL. `site` is our public URL."""
    numbers = [
        *_field_values(query, "isbn"),
        *(text[len(ISBN_URN) :] for text in _identifiers(query) if text.lower().startswith(ISBN_URN)),
    ]
    isbns = dict.fromkeys(filter(None, (isbn_13(number.strip()) for number in numbers[: 2 * MOST_ISBNS])))
    own_numbers = [text.removeprefix(f"{site}/title/") for text in _identifiers(query) if text.startswith(f"{site}/title/")]
    return Citation(
        isbns=tuple(isbns)[:MOST_ISBNS],
        title=_first_value(query, _TITLES),
        author=_first_value(query, _AUTHORS).partition(",")[0],
        own=title_number(unquote(own_numbers[0])) if own_numbers else "",
    )


def _find_path(cited: Citation) -> str:
    """Return the path of the only matching title, or of a search. ISBNs take precedence over words."""
    if cited.own and execute(queries.has_title(cited.own)):
        return _title_path(cited.own)
    by_isbn = {number: _find_hits(number, SearchField.ISBN) for number in cited.isbns}
    bibs = {hit.bib_id for hits in by_isbn.values() for hit in hits}
    if bibs:
        return (
            _title_path(bibs.pop())
            if len(bibs) == 1
            else _search_path(next(number for number, hits in by_isbn.items() if hits))
        )
    return _path_by_words(cited) if cited.title else _search_path(next(iter(cited.isbns), cited.author))


def _path_by_words(cited: Citation) -> str:
    """Search for the words of a citation and return a path. While there are no hits, omit the author, then the subtitle.

    Among several hits, choose the only title with exactly the cited name. The catalogue may have the author in another
    script, so a title found without the author must have exactly the cited name.
    """
    for title in dict.fromkeys((cited.title, cited.title.partition(BEFORE_SUBTITLE)[0].strip())):
        for author in dict.fromkeys((cited.author, "")):
            wanted = words(title)
            hits = _find_hits(f'"{" ".join(wanted)}" {" ".join(words(author))}', SearchField.ANY)
            exact = [hit for hit in hits if wanted in (words(hit.title), words(hit.linked_title))]
            fit = exact or (hits if author == cited.author else ())
            if len(fit) == 1:
                return _title_path(fit[0].bib_id)
            if hits:
                return _search_path(f"{title} {author}".strip())
    return _search_path(cited.title)


def _title_path(bib_id: str) -> str:
    return url_for("title.page", bib_id=bib_id)


def _search_path(typed: str) -> str:
    return f"/search?{urlencode({'q': typed[:LONGEST]})}" if typed else "/search"


def _find_hits(typed: str, field: SearchField) -> tuple[FoundTitle, ...]:
    found = execute(titles.search_titles(typed, field))
    return found.titles if isinstance(found, FoundTitles) and not (found.instead or found.similar) else ()


def _identifiers(query: MultiDict[str, str]) -> Iterator[str]:
    yield from (text for key in ("rft_id", "id") for text in query.getlist(key))


def _field_values(query: MultiDict[str, str], key: str) -> Iterator[str]:
    yield from (text for name in (f"rft.{key}", key) for text in query.getlist(name) if text.strip())


def _first_value(query: MultiDict[str, str], keys: tuple[str, ...]) -> str:
    return next((text.strip()[:LONGEST] for key in keys for text in _field_values(query, key)), "")


# fmt: off
FIELDS: Final[Mapping[SearchField, str]] = MappingProxyType({
    SearchField.ANY:    N_("All fields"),
    SearchField.TITLE:  N_("Title"),
    SearchField.AUTHOR: N_("Author"),
    SearchField.ISBN:   N_("ISBN"),
    SearchField.CALL:   N_("Call number"),
})
SORTS: Final[Mapping[Sort, str]] = MappingProxyType({
    Sort.RELEVANCE: N_("Relevance"),
    Sort.YEAR:      N_("Newest"),
    Sort.TITLE:     N_("Title"),
})
FACETS: Final[Mapping[str, str]] = MappingProxyType({
    "library":  N_("Library"),
    "language": N_("Language"),
    "decade":   N_("Year"),
})
BAD: Final[Mapping[BadQuery, str]] = MappingProxyType({
    BadQuery.NO_WORDS:       N_("Type at least one word."),
    BadQuery.TOO_LONG:       N_("That is too long; at most {longest} characters are searched."),
    BadQuery.TOO_MANY_WORDS: N_("Too many words; at most {words} are searched, and a Chinese character counts as one."),
    BadQuery.NO_SUCH_PAGE:   N_("There is no such page of results."),
    BadQuery.NO_ISBN:        N_("This is no ISBN. It has 10 or 13 digits; check the last one."),
})
# fmt: on


@dataclass(frozen=True, slots=True)
class Search:
    """A search as described by its URL. `page` is 0 if it is not a number; an unknown field means every field."""

    words: str
    field: SearchField
    narrowing: Narrowing

    def address(self, **changed: object) -> str:
        """Return the URL of this search with other values. Default values are omitted."""
        usual = {"field": SearchField.ANY, "page": 1, **asdict(Narrowing())}
        query = {"q": self.words, "field": self.field, **asdict(self.narrowing), "page": 1, **changed}
        return "/search?" + urlencode(
            {name: int(value) if value is True else value for name, value in query.items() if usual.get(name) != value}
        )


@PAGES.get("/search")
def results() -> Response:
    """Show one page of search results, or only the form if there are no search words."""
    search = search_of(request.args)
    found, suspended, names = _run_search(search)
    bad = found if isinstance(found, BadQuery) else None
    words = render_template(
        "patron/search.html",
        search=search,
        found=None if bad else found,
        bad=gettext(BAD[bad]).format(longest=LONGEST, words=MOST_WORDS) if bad else "",
        suspended=notice(suspended),
        names=names,
        fields=FIELDS,
        own=services().library().agency,
        most=MOST_COUNTED,
        sorts=SORTS,
        heads=FACETS,
        facet_label=_facet_label,
    )
    code = {None: 200, BadQuery.NO_SUCH_PAGE: 404}.get(bad, 400)
    return kept(Response(words, code), OWN_MINUTE)


def search_of(query: Mapping[str, str]) -> Search:
    """Parse the query string of a search."""
    field = query.get("field", "")
    return Search(
        words=query.get("q", "").strip(),
        field=SearchField(field) if field in FIELDS else SearchField.ANY,
        narrowing=Narrowing(
            available=bool(query.get("available", "").strip("0")),
            library=query.get("library", ""),
            language=query.get("language", ""),
            decade=query.get("decade", ""),
            sort=Sort(sort) if (sort := query.get("sort", "")) in SORTS else Sort.RELEVANCE,
            page=whole_number(query.get("page", "1")) or 0,
        ),
    )


def _facet_label(kind: str, value: str, names: Mapping[str, str]) -> str:
    """Return the text for a value of a facet in the language of this request."""
    if kind == "library":
        return library_name(value, names.get(value, ""))
    if kind == "language":
        code = get_global("language_aliases").get(value, value)
        return str(Locale.parse("zh_Hant_HK" if language() == CHINESE else "en").languages.get(code, value))
    return f"{value}–{value[:3]}9"


def _run_search(search: Search) -> tuple[FoundTitles | BadQuery | None, Refused | None, dict[str, str]]:
    """Return the results (None without search words), the suspension of requests, and the names of libraries with copies."""
    if not search.words:
        return None, execute(titles.find_suspension()), {}
    found = execute(titles.search_titles(search.words, search.field, search.narrowing))
    agencies = (
        set() if isinstance(found, BadQuery) else {one.value for one in found.facets["library"]} | {search.narrowing.library}
    )
    names = {agency: partner.name for agency, partner in execute(queries.find_partners(agencies)).items()}
    settings = services().settings()
    names[services().library().agency] = settings.names.get(language(), settings.names[ENGLISH])
    return found, execute(titles.find_suspension()), names
