"""The pages that the whole world can ask for: what caches may keep, and two files for programs."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, render_template

from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import current

PAGES = Blueprint("public", __name__)

A_DAY: Final = "public, max-age=86400"
A_MINUTE: Final = "public, max-age=60"
"""For a page that is the same for every visitor."""
OWN_MINUTE: Final = "private, max-age=60"
"""For a page with the visitor's own words: no shared cache keeps it."""
VARIES: Final = ("Cookie", "Accept-Language")
"""What a page depends on beside its address: the language, and whether somebody is logged in."""
CLOSED_TO_ROBOTS: Final = ("/search", "/openurl", "/title/", "/record", "/login", "/language/", "/staff/", "/api/")
"""Paths that crawlers leave alone: a search costs more than a page, and the catalogues of the libraries have the titles."""


def kept(response: Response, how: str) -> Response:
    """Say how long caches may keep a page; that of a person who is logged in, or with a new cookie, is kept by nobody."""
    response.vary.update(VARIES)
    plain = response.status_code == 200 and current().row is None and "Set-Cookie" not in response.headers
    if plain:
        response.headers["Cache-Control"] = how
    return response


@PAGES.get("/robots.txt")
def robots() -> Response:
    """What crawlers leave alone. Source: RFC 9309."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in CLOSED_TO_ROBOTS)]
    return Response("\n".join(lines) + "\n", mimetype="text/plain", headers={"Cache-Control": A_DAY})


@PAGES.get("/opensearch.xml")
def description() -> Response:
    """The description of the search for programs. Source: OpenSearch 1.1, draft 6."""
    settings = services().settings()
    words = render_template("patron/opensearch.xml", site=settings.public_url, names=settings.names)
    return Response(words, mimetype="application/opensearchdescription+xml", headers={"Cache-Control": A_DAY})
