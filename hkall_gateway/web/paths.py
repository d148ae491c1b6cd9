"""Encodes title numbers in URL paths, finds URLs to return to after a login, and sets host-only cookies."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, request
from werkzeug.routing import BaseConverter
from werkzeug.wrappers import Response

API_ROOT: Final = "/api/v1"
"""Path under which the API is mounted."""
_CONVERTER: Final = re.compile(r"<\w+:")
_PLAIN: Final = "/!$&'()*+,:;=@"
"""Characters that stay unencoded in a path, as in Werkzeug. Source: WHATWG URL Standard, path segments."""


_AMBIGUOUS: Final = r"(?=~*(?:\.\.?(?:/|\Z)|request\Z))"
_TO_MARK: Final = re.compile(rf"(?<![^/]){_AMBIGUOUS}")
_MARKED: Final = re.compile(rf"(?<![^/])~{_AMBIGUOUS}")


class TitleNumber(BaseConverter):
    """URL converter for title numbers, which may contain slashes, also at either end or doubled.

    Links contain unencoded slashes, since proxies refuse or change `%2F`. A URL with `%2F` leads to the same page. Path
    segments that have a special meaning are escaped, see `title_address`.
    """

    regex = ".+?"
    part_isolating = False
    weight = 200

    def to_python(self, value: str) -> str:
        """Decode the title number in a path."""
        return title_number(value)

    def to_url(self, value: str) -> str:
        """Encode a title number for a path."""
        return super().to_url(title_address(value))


def title_address(number: str) -> str:
    """Escape a title number for use in a path, before percent-encoding.

    Put a `~` before a segment `.` or `..`, which browsers remove even as `%2E`, and before a last segment `request`, which
    would look like the URL of the request form: `a/../request` becomes `a/~../~request`. If such a segment already begins with
    `~`, add another `~`.
    """
    return _TO_MARK.sub("~", number)


def title_number(address: str) -> str:
    """Undo `title_address`."""
    return _MARKED.sub("", address)


def install(app: Flask) -> None:
    """Register the `<title:bib_id>` converter. Disable the router's redirects, which would trust the request's host name."""
    app.url_map.converters["title"] = TitleNumber
    app.url_map.strict_slashes = app.url_map.merge_slashes = False


def rule_of_page() -> str:
    """Return this request's URL rule for the log and the metrics, such as /title/<bib_id>, or "" if no rule matches."""
    return _CONVERTER.sub("<", request.url_rule.rule) if request.url_rule else ""


def way_back() -> str:
    """Return the current page's URL, for a redirect after the login. Omit the query of a POST, which cannot be repeated."""
    path, query = quote(request.path, _PLAIN), request.query_string.decode("ascii", "replace")
    return f"{path}?{query}" if query and request.method == "GET" else path


def local_path(text: str, otherwise: str) -> str:
    """Return `text` if it is a path on this host, else `otherwise`, so that no redirect leads to another site.

    Browsers read a backslash as a slash, and drop tabs and line ends.
    """
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return otherwise
    try:
        parts = urlsplit(text)
    except ValueError:
        return otherwise
    return otherwise if parts.scheme or parts.netloc else text


def set_own_cookie(answer: Response, name: str, value: str, max_age: int | timedelta | None = None) -> None:
    """Set a host-only cookie. Without `max_age` the cookie lasts until the browser is closed."""
    answer.set_cookie(name, value, max_age=max_age, secure=True, httponly=True, samesite="Lax", path="/")


def delete_own_cookie(answer: Response, name: str) -> None:
    """Delete a cookie that `set_own_cookie` has set."""
    answer.delete_cookie(name, secure=True, httponly=True, samesite="Lax", path="/")
