"""The facts of a request one by one: which of them are new, and the request with those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from hkall_gateway.rules.vocabulary import Position, Request, Sensitive, Side

NAMES = tuple(field.name for field in fields(Request))
"""Every fact of a request, in the order in which its row is read."""
BLANK = Request(id="", side=Side.BORROWING, position=Position.NEW, title="", bib_id="")
"""What a request is compared with that is only just made, and what stands for one where there is none."""

_CELLS, _PLACES = attrgetter(*NAMES), {name: place for place, name in enumerate(NAMES)}


def facts_of(request: Request) -> dict[str, Any]:
    """All of them by name."""
    return dict(zip(NAMES, _CELLS(request), strict=True))


def news(before: Request, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `facts` that are not yet so, and in any case the position. AttributeError for what is no fact of a request."""
    return {name: value for name, value in facts.items() if name == "position" or getattr(before, name) != value}


def with_facts(request: Request, facts: Mapping[str, Any]) -> Request:
    """The request with these facts; `dataclasses.replace` takes twice as long for so many fields."""
    cells = list(_CELLS(request))
    for name, value in facts.items():
        cells[_PLACES[name]] = value
    return Request(*cells)


def shown(detail: Mapping[str, object]) -> dict[str, object]:
    """What may stand in the journal: a secret is a dot there, as everywhere."""
    return {name: repr(value) if isinstance(value, Sensitive) else value for name, value in detail.items()}
