"""Addresses inside the pages, and cookies of this host."""

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
"""Characters of a path that are written as they are, as Werkzeug does. Source: WHATWG URL Standard, path segments."""


_AMBIGUOUS: Final = r"(?=~*(?:\.\.?(?:/|\Z)|request\Z))"
_TO_MARK: Final = re.compile(rf"(?<![^/]){_AMBIGUOUS}")
_MARKED: Final = re.compile(rf"(?<![^/])~{_AMBIGUOUS}")


class TitleNumber(BaseConverter):
    """A title's number in a path: it may have slashes, at its ends and two together too.

    Links write them plainly, since proxies refuse or change `%2F`; an address with `%2F` leads to the same page. Parts that
    would change the address have a mark: see `title_address`.
    """

    regex = ".+?"
    part_isolating = False
    weight = 200

    def to_python(self, value: str) -> str:
        """Return the title's number of a path."""
        return title_number(value)

    def to_url(self, value: str) -> str:
        """Return the path of a title's number."""
        return super().to_url(title_address(value))


def title_address(number: str) -> str:
    """Return a title's number as it stands in a path, before percent-encoding.

    A part `.` or `..`, which browsers remove from an address even as `%2E`, and a last part `request`, which ends the address
    of the form, begin with `~`: `a/../request` is `a/~../~request`. Such a part that begins with `~` already gets one more.
    """
    return _TO_MARK.sub("~", number)


def title_number(address: str) -> str:
    """Return the title's number of an address, the inverse of `title_address`."""
    return _MARKED.sub("", address)


def install(app: Flask) -> None:
    """Let rules of the application have `<title:bib_id>`. No redirect of the router's own: it would lead to any host named."""
    app.url_map.converters["title"] = TitleNumber
    app.url_map.strict_slashes = app.url_map.merge_slashes = False


def rule_of_page() -> str:
    """Return the rule of this request's address for the log and the metrics, such as /title/<bib_id>; "" for none."""
    return _CONVERTER.sub("<", request.url_rule.rule) if request.url_rule else ""


def way_back() -> str:
    """Return the address of this page for after a login; of a POST, which cannot be repeated so, its path alone."""
    path, query = quote(request.path, _PLAIN), request.query_string.decode("ascii", "replace")
    return f"{path}?{query}" if query and request.method == "GET" else path


def local_path(text: str, otherwise: str) -> str:
    """Return `text` if it is a path on this host, else `otherwise`: no redirect leads a person elsewhere.

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
    """Set a cookie that only this host can set and read; without `max_age` it ends with the browser."""
    answer.set_cookie(name, value, max_age=max_age, secure=True, httponly=True, samesite="Lax", path="/")


def delete_own_cookie(answer: Response, name: str) -> None:
    """Delete such a cookie."""
    answer.delete_cookie(name, secure=True, httponly=True, samesite="Lax", path="/")
