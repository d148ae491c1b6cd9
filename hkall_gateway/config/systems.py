"""`system = "folio"`: the keys of a row that the file does not have are those of the system's row in ncip/tables/systems.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hkall_gateway.config.loading import Table
from hkall_gateway.ncip.tables.systems import SYSTEMS, SystemRole


def with_defaults(tables: Table) -> Table:
    """The tables of a file, each row that names a system with that system's keys beneath its own."""
    return {key: _table(SystemRole(key), value) if key in set(SystemRole) else value for key, value in tables.items()}


def _table(use: SystemRole, value: Any) -> Any:
    if isinstance(value, list):
        return [_row(use, row) if isinstance(row, dict) else row for row in value]
    return _row(use, value) if isinstance(value, dict) else value


def _row(use: SystemRole, row: Table) -> Table:
    named = row.get("system")
    system = SYSTEMS.get(named) if isinstance(named, str) else None
    usual = (system and system.defaults(use)) or {}
    return {**usual, **{key: _over(usual.get(key), value) for key, value in row.items()}}


def _over(usual: Any, own: Any) -> Any:
    """A key of the file, over the system's; of a table (`problems`) each entry by itself."""
    return {**usual, **own} if isinstance(usual, Mapping) and isinstance(own, Mapping) else own
