"""Validates every text in a request before a page or an API operation reads it, and reads form fields."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from hashlib import sha256
from typing import Any, Final

from flask import Flask, abort, g, request

from hkall_gateway.circulation.command import Command, InboxKey
from hkall_gateway.rules.dates import parse_day
from hkall_gateway.rules.plain_text import fault_of_text

DEEPEST: Final = 32
"""Maximum nesting of a JSON document. API bodies have two levels."""
_SURROGATE: Final = re.compile(rb"(?i)(?:%ED|\xed)(?:%[AB][0-9A-F]|[\xa0-\xbf])")
"""Matches a surrogate in UTF-8, also percent-encoded. The raw bytes are searched, since Werkzeug decodes it to U+FFFD."""

FORM_KEY: Final = "form_key"
"""The form field that names one rendering of a page."""
INBOX: Final = "web"
"""The agency under which the inbox keeps the results of forms."""
KEPT_S: Final = 24 * 3600
"""Seconds for which a form that is sent again gets the first result."""

LONGEST: Final = 500
MOST_CENTS: Final = 10_000_000
_DOLLARS: Final = re.compile(r"(?:HK\$)?([0-9]{1,7})(?:\.([0-9]{1,2}))?")


def install(app: Flask) -> None:
    """Refuse a request (400) if its path, query, headers, form or JSON has characters that no field may contain."""
    app.before_request(_refuse_faulty_text)


def _refuse_faulty_text() -> None:
    sent = (request.environ["PATH_INFO"].encode("latin-1"), request.query_string, request.get_data())
    if fault_of_text(request.path) or any(map(_SURROGATE.search, sent)):
        abort(400)
    # Form fields have one line, but pasted text may contain a TAB or a line end, which the pages strip.
    if any(fault_of_text(text, lines=True) for text in _every_text()):
        abort(400)


def _every_text() -> Iterator[str]:
    for name, value in (*request.headers, *request.args.items(multi=True), *request.form.items(multi=True)):
        yield name
        yield value
    if not request.is_json:
        return
    try:
        level = [request.get_json(silent=True)]  # None if the body is not JSON, which the operation's validation refuses
    except RecursionError:
        abort(400)
    for _ in range(DEEPEST):
        yield from (value for value in level if isinstance(value, str))
        below = [[*value.keys(), *value.values()] if isinstance(value, dict) else value for value in level]
        level = [part for value in below if isinstance(value, list) for part in value]
        if not level:
            return
    abort(400)


def form_key() -> str:
    """Return the key for the forms of the page that is being rendered: random, and new for each rendering."""
    if "form_key" not in g:
        g.form_key = secrets.token_urlsafe(12)
    key: str = g.form_key
    return key


def key_of_form(command: Command[Any, Any]) -> InboxKey | None:
    """Return the inbox key of a command of the submitted form, or None if the request has no form with a key.

    A form that is sent twice makes the same commands with the same keys. What was typed differently makes another command.
    """
    given = typed(FORM_KEY)
    if not given:
        return None
    asked: Any = command
    wanted = [(field.name, getattr(asked, field.name)) for field in fields(asked) if field.name != "by"]
    parts = (given, asked.by.who, type(command).__name__, repr(wanted))
    return InboxKey(agency=INBOX, digest=sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest(), keep_s=KEPT_S)


def typed(name: str, longest: int = LONGEST) -> str:
    """Return a form field, stripped and cut to `longest` characters, or "" if the form has no such field."""
    return request.form.get(name, "").strip()[:longest]


def typed_day(name: str) -> date | None:
    """Return the date in a form field, or None if the field is empty. Raises ValueError if the text is not a date."""
    text = typed(name)
    return parse_day(text) if text else None


def cents_of(text: str) -> int | None:
    """Convert dollars such as "12.50" or "HK$1,200" to cents. Return None for any other text, or above MOST_CENTS."""
    found = _DOLLARS.fullmatch(text.replace(",", ""))
    cents = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else None
    return None if cents is None or cents > MOST_CENTS else cents
