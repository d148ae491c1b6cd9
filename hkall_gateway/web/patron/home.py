"""Pages that are the same for every visitor: the home page, the published rules, robots.txt, and the OpenSearch description."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, current_app, render_template

from hkall_gateway.circulation import queries, titles
from hkall_gateway.rules.published_rules import PUBLISHED, PUBLISHED_ZH
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import N_, language
from hkall_gateway.web.labels import notice
from hkall_gateway.web.patron.login import facts_about
from hkall_gateway.web.services import API_DOCUMENTATION, execute, services
from hkall_gateway.web.sessions import current

PAGES = Blueprint("home", __name__)
HELP = Blueprint("help", __name__)
FILES = Blueprint("public", __name__)
"""Each menu entry has a separate Blueprint. FILES holds the pages that are not in the menu."""

A_DAY: Final = "public, max-age=86400"
A_MINUTE: Final = "public, max-age=60"
"""Cache-Control for a page that is the same for every visitor."""
OWN_MINUTE: Final = "private, max-age=60"
"""Cache-Control for a page with the visitor's own input, which shared caches must not store."""
VARIES: Final = ("Cookie", "Accept-Language")
"""Request headers on which a page depends besides the URL, since they carry the language and the login."""
CLOSED_TO_ROBOTS: Final = ("/search", "/openurl", "/title/", "/record", "/login", "/language/", "/staff/", "/api/")
"""Paths that crawlers should not visit. Searches are expensive, and the libraries' own catalogues have the titles too."""


def kept(response: Response, how: str) -> Response:
    """Set how long caches may store a page, unless somebody is logged in or the response sets a cookie."""
    response.vary.update(VARIES)
    plain = response.status_code == 200 and current().row is None and "Set-Cookie" not in response.headers
    if plain:
        response.headers["Cache-Control"] = how
    return response


@FILES.get("/robots.txt")
def robots() -> Response:
    """Serve the paths that crawlers should not visit. Source: RFC 9309."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in CLOSED_TO_ROBOTS)]
    return Response("\n".join(lines) + "\n", mimetype="text/plain", headers={"Cache-Control": A_DAY})


@FILES.get("/opensearch.xml")
def description() -> Response:
    """Serve the description of the search for browsers and programs. Source: OpenSearch 1.1, draft 6."""
    settings = services().settings()
    words = render_template("patron/opensearch.xml", site=settings.public_url, names=settings.names)
    return Response(words, mimetype="application/opensearchdescription+xml", headers={"Cache-Control": A_DAY})


# fmt: off
HEADS: Final = (
    ("R1",  N_("Requests")),
    ("R12", N_("Collection and loans")),
    ("R22", N_("Recalls and renewals")),
    ("R34", N_("Cancelling, and when no library can lend")),
    ("R39", N_("Overdue books, loss and damage")),
)
"""The first rule and the heading of each chapter, in the order of the published page."""
# fmt: on


@HELP.get("/help")
def rules() -> str:
    """Show the published rules. The anchor of each rule is its number, so that a refusal can link to the rule."""
    chinese, policy = language() == CHINESE, services().library().policy
    return render_template(
        "help.html",
        rules=PUBLISHED_ZH if chinese else PUBLISHED,
        chapters=chapters(),
        categories=policy.categories,
        category_name=lambda one: one.label_zh if chinese and one.label_zh else one.label,
        renewals=policy.renewal.max_count,
        own=_own_category(),
    )


def _own_category() -> str:
    """Return the category of the patron who is logged in, as last loaded, or else as the local system says; "" if unknown."""
    visit = current()
    card = visit.row.patron if visit.row else ""
    known = execute(queries.find_loaded_patron(card)) if card else None
    borrower = known or (facts_about(card).borrower if card else None)
    return borrower.category if borrower else ""


@HELP.get("/help/api")
def api() -> Response:
    """Show the documentation of the HTTP API, from its OpenAPI description."""
    document, tags = current_app.extensions[API_DOCUMENTATION]()
    return kept(Response(render_template("api.html", document=document, tags=tags)), A_DAY)


def chapters() -> list[tuple[str, list[str]]]:
    """Return the heading of each chapter with the rule numbers in the chapter."""
    heads, found = dict(HEADS), list[tuple[str, list[str]]]()
    for number in PUBLISHED:
        if number in heads:
            found.append((heads[number], []))
        found[-1][1].append(number)
    return found


@PAGES.get("/")
def page() -> Response:
    """Show the home page, with the loan and pickup periods and the number of renewals from the policy."""
    libraries = execute(titles.count_libraries())
    suspended = execute(titles.find_suspension())
    policy = services().library().policy
    days = [category.loan_days for category in policy.categories]
    words = render_template(
        "patron/home.html",
        libraries=libraries,
        pickup_days=policy.pickup.days,
        shortest=min(days, default=0),
        longest=max(days, default=0),
        renewals=policy.renewal.max_count,
        suspended=notice(suspended),
    )
    return kept(Response(words), A_MINUTE)
