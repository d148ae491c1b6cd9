"""Requests as rows: a SELECT of their columns, and the record made of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Select, select

from hkall_gateway.db.patrons import POSITIONS
from hkall_gateway.db.tables import REQUESTS, Condition
from hkall_gateway.rules.stored_words import RenewalSync
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


REQUESTED: Final = tuple(REQUESTS.c[f.name] for f in fields(Request))

_SIDES: Final = {side.value: side for side in Side}
_SYNCS: Final = {sync.value: sync for sync in RenewalSync}
_SYNC: Final = NAMES.index("renewal_sync")


def requests(*where: Condition) -> Select[Any]:
    """Return a SELECT of the requests that fit, with the columns that `request_of` reads."""
    return select(*REQUESTED).where(*where)


def oldest_first(*where: Condition) -> Select[Any]:
    """Return the same, sorted by when the requests were placed."""
    return requests(*where).order_by(REQUESTS.c.placed_at, REQUESTS.c.id)


def request_of(cells: Sequence[Any]) -> Request:
    """Make a request of its cells, in the order of its fields: id, side, position and so on."""
    facts = list(cells)
    facts[1], facts[2] = _SIDES[cells[1]], POSITIONS[cells[2]]
    facts[_SYNC] = _SYNCS.get(cells[_SYNC]) or RenewalSync(cells[_SYNC])
    return Request(*facts)
