"""Loads a world file into an empty database: people, copies, closed days, partners, and open requests."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, insert

from hkall_gateway.db.shelving_keys import with_keys
from hkall_gateway.db.tables import CANDIDATES, CLOSURES, HOLDINGS, PATRONS
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.vocabulary import Actor, Sensitive
from hkall_gateway.simulator.scenario.world_file import Start


def load(connection: Connection, start: Start) -> None:
    """Writes the people, the books, and the lender list of each request."""
    for table, rows in (
        (PATRONS, [_row(patron) for patron in start.patrons]),
        (HOLDINGS, with_keys(_row(copy) for copy in start.holdings)),
        (CLOSURES, [{"agency": a, "day": day, "reason": why} for a, day, why in start.closures]),
        (CANDIDATES, [_row(candidate) for candidate in start.candidates]),
    ):
        if rows:
            connection.execute(insert(table), rows)


def begin(unit: Unit, start: Start) -> None:
    """Writes the partners and the open requests."""
    unit.write_partners(start.partners)
    for request in start.requests:
        unit.open(request, start.time, Actor("world", "world"))


def _row(record: Any) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value.reveal() if isinstance(value, Sensitive) else value for name, value in values.items()}
