"""The fields of a request by name: finds changed fields, and makes a request with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from hkall_gateway.rules.vocabulary import Position, Request, Sensitive, Side

NAMES = tuple(field.name for field in fields(Request))
"""The fields of a request, in the order in which its row is read."""
BLANK = Request(id="", side=Side.BORROWING, position=Position.NEW, title="", bib_id="")
"""An empty request, used to compare a new request with, and in place of a missing one."""

_CELLS, _PLACES = attrgetter(*NAMES), {name: place for place, name in enumerate(NAMES)}


def facts_of(request: Request) -> dict[str, Any]:
    """Return all fields by name."""
    return dict(zip(NAMES, _CELLS(request), strict=True))


def changed_fields(before: Request, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `facts` that differ from the request, and always the position. AttributeError for an unknown field."""
    return {name: value for name, value in facts.items() if name == "position" or getattr(before, name) != value}


def with_facts(request: Request, facts: Mapping[str, Any]) -> Request:
    """Return the request with these fields; `dataclasses.replace` takes twice as long for so many fields."""
    cells = list(_CELLS(request))
    for name, value in facts.items():
        cells[_PLACES[name]] = value
    return Request(*cells)


def redacted(detail: Mapping[str, object]) -> dict[str, object]:
    """Return the detail for the journal, with each secret shown as a dot."""
    return {name: repr(value) if isinstance(value, Sensitive) else value for name, value in detail.items()}
