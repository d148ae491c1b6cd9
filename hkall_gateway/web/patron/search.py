"""/search: titles of the union catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request

from hkall_gateway.circulation import titles
from hkall_gateway.circulation.common.context import Context
from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.db.search.searching import LONGEST, MOST, MOST_WORDS, BadQuery, FoundTitles, SearchField
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.web.i18n import N_, gettext
from hkall_gateway.web.patron.public import OWN_MINUTE, kept
from hkall_gateway.web.patron.suspension import notice
from hkall_gateway.web.patron.title import language_of
from hkall_gateway.web.services import consult, services

PAGES = Blueprint("search", __name__)

# fmt: off
FIELDS: Final[Mapping[SearchField, str]] = MappingProxyType({
    SearchField.ANY:    N_("All fields"),
    SearchField.TITLE:  N_("Title"),
    SearchField.AUTHOR: N_("Author"),
    SearchField.ISBN:   N_("ISBN"),
    SearchField.CALL:   N_("Call number"),
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
class Asked:
    """The search of an address. `page` is 0 if it is no number; an unknown field stands for every field."""

    words: str
    field: SearchField
    available: bool
    page: int

    def address(self, **changed: object) -> str:
        """Return the address of this search with other values, without the usual ones."""
        said: dict[str, object] = {"q": self.words, "field": self.field, "available": int(self.available), "page": self.page}
        usual = {"field": SearchField.ANY, "available": 0, "page": 1}
        said |= {"page": 1} | changed
        return "/search?" + urlencode({name: value for name, value in said.items() if usual.get(name) != value})


@dataclass(frozen=True, slots=True)
class Answer:
    """The titles, or why the query is refused (None: nothing was typed); and why requests are suspended.

    `names` are the names of the libraries with an available copy, by agency.
    """

    found: FoundTitles | BadQuery | None
    suspended: Refused | None
    names: Mapping[str, str] = field(default_factory=dict)


@PAGES.get("/search")
def results() -> Response:
    """A page of results; without words the form alone."""
    asked = asked_for(request.args)
    answer = consult(_answer, asked)
    bad = answer.found if isinstance(answer.found, BadQuery) else None
    words = render_template(
        "patron/search.html",
        asked=asked,
        found=None if bad else answer.found,
        bad=gettext(BAD[bad]).format(longest=LONGEST, words=MOST_WORDS) if bad else "",
        suspended=notice(answer.suspended),
        names=answer.names,
        fields=FIELDS,
        own=services().library().agency,
        most=MOST,
        language_of=language_of,
    )
    code = {None: 200, BadQuery.NO_SUCH_PAGE: 404}.get(bad, 400)
    return kept(Response(words, code), OWN_MINUTE)


def asked_for(said: Mapping[str, str]) -> Asked:
    """Return the search that a query string asks for."""
    field = said.get("field", "")
    return Asked(
        words=said.get("q", "").strip(),
        field=SearchField(field) if field in FIELDS else SearchField.ANY,
        available=bool(said.get("available", "").strip("0")),
        page=whole_number(said.get("page", "1")) or 0,
    )


def _answer(context: Context, asked: Asked) -> Answer:
    if not asked.words:
        return Answer(None, titles.suspension(context))
    found = titles.search_titles(context, asked.words, asked.field, available=asked.available, page=asked.page)
    agencies = set() if isinstance(found, BadQuery) else {agency for one in found.titles for agency in one.agencies}
    names = {agency: partner.name for agency, partner in context.unit.partners(agencies).items()}
    return Answer(found, titles.suspension(context), names)
