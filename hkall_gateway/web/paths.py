"""Title numbers in paths, URLs to return to, and host-only cookies."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, request
from werkzeug.routing import BaseConverter
from werkzeug.wrappers import Response

_CONVERTER: Final = re.compile(r"<\w+:")
_PLAIN: Final = "/!$&'()*+,:;=@"
"""Characters that are not percent-encoded in a path, as in Werkzeug. Source: WHATWG URL Standard, path segments."""


_AMBIGUOUS: Final = r"(?=~*(?:\.\.?(?:/|\Z)|request\Z))"
_TO_MARK: Final = re.compile(rf"(?<![^/]){_AMBIGUOUS}")
_MARKED: Final = re.compile(rf"(?<![^/])~{_AMBIGUOUS}")


class TitleNumber(BaseConverter):
    """URL converter for title numbers, which may contain slashes, even at the ends or doubled.

    Links contain the slashes unencoded, since proxies refuse or change `%2F`. A URL with `%2F` leads to the same page. Path
    segments with a meaning of their own are marked: see `title_address`.
    """

    regex = ".+?"
    part_isolating = False
    weight = 200

    def to_python(self, value: str) -> str:
        """Return the title number in a path."""
        return title_number(value)

    def to_url(self, value: str) -> str:
        """Return the path for a title number."""
        return super().to_url(title_address(value))


def title_address(number: str) -> str:
    """Return a title number as it is written in a path, before percent-encoding.

    A `~` is put before a segment `.` or `..`, which browsers remove even as `%2E`, and before a last segment `request`, with
    which the URL of the request form ends: `a/../request` becomes `a/~../~request`. If such a segment already begins with `~`,
    one more is added.
    """
    return _TO_MARK.sub("~", number)


def title_number(address: str) -> str:
    """Return the title number in a path, the inverse of `title_address`."""
    return _MARKED.sub("", address)


def install(app: Flask) -> None:
    """Register the `<title:bib_id>` converter. Disable the router's redirects, which would use any host name in the request."""
    app.url_map.converters["title"] = TitleNumber
    app.url_map.strict_slashes = app.url_map.merge_slashes = False


def rule_of_page() -> str:
    """Return the URL rule of this request for the log and the metrics, such as /title/<bib_id>; "" if none matches."""
    return _CONVERTER.sub("<", request.url_rule.rule) if request.url_rule else ""


def way_back() -> str:
    """Return the URL of this page, to come back to after a login. For a POST, which cannot be repeated, omit the query."""
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
    """Set a cookie that only this host can set and read. Without `max_age` it lasts until the browser is closed."""
    answer.set_cookie(name, value, max_age=max_age, secure=True, httponly=True, samesite="Lax", path="/")


def delete_own_cookie(answer: Response, name: str) -> None:
    """Delete a cookie that `set_own_cookie` has set."""
    answer.delete_cookie(name, secure=True, httponly=True, samesite="Lax", path="/")
