"""Reads the fields of forms, for every page in the same way."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from flask import request

from hkall_gateway.rules.dates import parse_day

LONGEST: Final = 500
MOST_CENTS: Final = 10_000_000
_DOLLARS: Final = re.compile(r"(?:HK\$)?([0-9]{1,7})(?:\.([0-9]{1,2}))?")


def typed(name: str, longest: int = LONGEST) -> str:
    """Return a field without the blanks around it, cut to `longest` characters; "" if the form lacks it."""
    return request.form.get(name, "").strip()[:longest]


def typed_day(name: str) -> date | None:
    """Return the date in a field, None for an empty one. Raises ValueError for any other text."""
    text = typed(name)
    return parse_day(text) if text else None


def cents_of(text: str) -> int | None:
    """Return an amount of dollars, such as "12.50" or "HK$1,200", in cents; None for any other text and beyond MOST_CENTS."""
    found = _DOLLARS.fullmatch(text.replace(",", ""))
    cents = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else None
    return None if cents is None or cents > MOST_CENTS else cents
