"""`system = "folio"`: the keys of a row that the file does not have are those of the system's row in ncip/tables/systems.py."""

from __future__ import annotations

from collections.abc import Mapping

from hkall_gateway.config.loading import Table
from hkall_gateway.ncip.tables.systems import SYSTEMS, SystemRole


def with_defaults(tables: Table) -> Table:
    """The tables of a file, each row that names a system with that system's keys beneath its own."""
    whole = dict(tables)
    for role in SystemRole:
        value = tables.get(role.value)
        if isinstance(value, list):
            whole[role.value] = [_row(role, row) if isinstance(row, dict) else row for row in value]
        elif isinstance(value, dict):
            whole[role.value] = _row(role, value)
    return whole


def _row(role: SystemRole, row: Table) -> Table:
    named = row.get("system")
    system = SYSTEMS.get(named) if isinstance(named, str) else None
    whole: Table = dict((system and system.defaults(role)) or {})
    for key, value in row.items():
        usual = whole.get(key)
        # Of a table, as `problems`, each entry counts by itself.
        whole[key] = {**usual, **value} if isinstance(usual, Mapping) and isinstance(value, Mapping) else value
    return whole
