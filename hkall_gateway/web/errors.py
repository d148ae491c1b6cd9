"""Error pages with a request number to quote, in the language of the request.

Plain pages in both languages are rendered without a template, for use when the server is busy, the database does not answer,
or the error page itself fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import structlog
from flask import Flask, g, render_template
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable
from werkzeug.wrappers import Response

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import N_, catalogue

LOG = structlog.get_logger()

PROBLEM: Final = "application/problem+json"
"""Media type of a problem (RFC 9457), in which the API reports errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """An error page: its title, and the advice for the user."""

    title: str
    text: str


PAGES: Final[Mapping[int, ErrorPage]] = MappingProxyType(
    {
        400: ErrorPage(
            title=N_("This page could not be read"),
            text=N_("The address or the form was not complete. Go back, and try again."),
        ),
        403: ErrorPage(
            title=N_("Not for this account"),
            text=N_("Your account may not do this. A supervisor can, or give you another role."),
        ),
        404: ErrorPage(title=N_("There is no such page"), text=N_("The address is wrong, or what stood here is gone.")),
        405: ErrorPage(
            title=N_("Not in this way"), text=N_("This address belongs to a form. Open its page, and send it from there.")
        ),
        413: ErrorPage(title=N_("That was too much"), text=N_("The form was longer than allowed. Send less at a time.")),
        429: ErrorPage(title=N_("Too many tries"), text=N_("Wait a moment before you try again.")),
        500: ErrorPage(
            title=N_("Something went wrong here"),
            text=N_("It stands in our log. If it happens again, tell us the number below."),
        ),
        504: ErrorPage(title=N_("No answer in time"), text=N_("It may have been done or not: look first, then try again.")),
        503: ErrorPage(title=N_("Not available just now"), text=N_("Nothing is lost. Try again in a minute.")),
    }
)
FORM_IS_OLD: Final = ErrorPage(
    title=N_("This form is out of date"),
    text=N_(
        "It was opened in another session or without cookies, so nothing was done. Open the page again, and repeat it there."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPage:
    """An error page that takes no thread: as a page in both languages, and as a problem (RFC 9457) for programs."""

    content: bytes
    problem: bytes


def plain_page(page: ErrorPage, code: int) -> PlainPage:
    """Render an error page in both languages without a template."""
    chinese = catalogue(CHINESE)
    content = _PLAIN.format(en=page, title=chinese.gettext(page.title), text=chinese.gettext(page.text))
    title = HTTPStatus(code).phrase
    problem = {"type": "about:blank", "title": title, "status": code, "detail": page.text}
    others = {"reason": "", "rule": "", "number": ""}
    return PlainPage(content=content.encode(), problem=json.dumps(problem | others).encode())


_PLAIN: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{en.title}</title>
<main>
<h1>{en.title}</h1>
<p>{en.text}</p>
<h2 lang="zh-Hant">{title}</h2>
<p lang="zh-Hant">{text}</p>
</main>
</html>
"""
AWAY, TOO_LONG = plain_page(PAGES[503], 503), plain_page(PAGES[413], 413)
BROKEN: Final = plain_page(ErrorPage(title=PAGES[500].title, text=N_("It stands in our log. Try again in a minute.")), 500)
BUSY: Final = plain_page(
    ErrorPage(
        title=PAGES[503].title,
        text=N_("Many people use these pages at this moment. Nothing is lost; try again in a few seconds."),
    ),
    503,
)
TOO_MANY: Final = plain_page(
    ErrorPage(
        title=N_("Too many pages at once"),
        text=N_("Very many pages have been asked for from your network. Wait a few seconds, then load this page again."),
    ),
    429,
)


def install(app: Flask) -> None:
    """Register error handlers that answer every error with one of these pages."""
    app.register_error_handler(HTTPException, _http_page)
    app.register_error_handler(CSRFError, _stale_form_page)
    app.register_error_handler(Unavailable, lambda _error: _unavailable_page())
    app.register_error_handler(InternalServerError, _failure_page)


def _http_page(error: HTTPException) -> Response:
    if error.response is not None:  # the page passed its own response to abort()
        return error.get_response()
    code = error.code or 500
    page = PAGES.get(code, PAGES[400 if code < 500 else 500])
    return _error_response(page, code, error)


def _stale_form_page(error: CSRFError) -> Response:
    LOG.warning("web.form_refused", why=error.description)
    return _error_response(FORM_IS_OLD, 400, error)


def _unavailable_page() -> Response:
    return _error_response(PAGES[503], 503, ServiceUnavailable(retry_after=60))


def _failure_page(error: InternalServerError) -> Response:
    if isinstance(error.original_exception, Unavailable):
        return _unavailable_page()
    LOG.error("web.failed", exc_info=error.original_exception)
    return _error_response(PAGES[500], 500, error)


def _error_response(page: ErrorPage, code: int, error: HTTPException) -> Response:
    answer = Response(render_template("error.html", page=page, code=code, number=g.get("number", "")), code)
    answer.content_type = "text/html; charset=utf-8"
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            answer.headers[name] = value
    return answer
