"""Requests as rows: a SELECT of their columns, and the record made of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Select, select

from hkall_gateway.db.changed_fields import NAMES
from hkall_gateway.db.patrons import POSITIONS
from hkall_gateway.db.tables import REQUESTS, Condition
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Request, Side

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
