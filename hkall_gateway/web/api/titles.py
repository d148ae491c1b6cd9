"""The union catalogue: search, and one title with its copies. Public."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from flask_openapi3.blueprint import APIBlueprint

from hkall_gateway.circulation import titles
from hkall_gateway.db.search.searching import LONGEST, MOST_WORDS, BadQuery
from hkall_gateway.web.api import patron_models as models
from hkall_gateway.web.api.problems import Trouble, described
from hkall_gateway.web.i18n import language
from hkall_gateway.web.services import consult, services

API = APIBlueprint("titles", __name__, abp_responses=described())

# fmt: off
BAD: Final[Mapping[BadQuery, str]] = MappingProxyType({
    BadQuery.NO_WORDS:       "q: has neither letters nor digits",
    BadQuery.TOO_LONG:       f"q: has more than {LONGEST} characters",
    BadQuery.TOO_MANY_WORDS: f"q: has more than {MOST_WORDS} words",
    BadQuery.NO_SUCH_PAGE:   "page: there are fewer pages",
    BadQuery.NO_ISBN:        "q: is no ISBN",
})
# fmt: on


@API.get("/search", responses={"200": models.TitlesFound})
def search(query: models.SearchQuery) -> Any:
    """Titles that have all of these words, 20 a page. Words in quotation marks are a phrase; an ISBN finds its other form."""
    found = consult(titles.search_titles, query.q, query.field, available=query.available, page=query.page)
    if isinstance(found, BadQuery):
        raise Trouble(422, BAD[found])
    return models.titles_found(found).model_dump(mode="json")


@API.get("/titles/<title:bib_id>", responses={"200": models.TitleDetail, **described(404)})
def one(path: models.TitlePath) -> Any:
    """A title with its copies, and whether it can be requested at all. Copies have what their libraries said last."""
    seen = consult(titles.see_title, path.bib_id)
    if seen is None:
        raise Trouble(404, "no library has this title")
    live = services().live_status(path.bib_id, seen.to_ask(models.MOST_COPIES))
    now = titles.as_said(seen, live, services().library().policy)
    return models.title_detail(now, live, _places()).model_dump(mode="json")


def _places() -> list[models.PickupLocation]:
    names = services().settings().places.get(language(), {})
    return [models.PickupLocation(code=code, name=names.get(code, code)) for code in services().library().pickup_locations]
