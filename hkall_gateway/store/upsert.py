"""INSERT with ON CONFLICT, for both databases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_or_leave(table: Table, dialect: str) -> Any:
    """Return an INSERT that leaves an existing row unchanged. `dialect` is the database's name."""
    return _INSERT[dialect](table).on_conflict_do_nothing()


def insert_or_write_over(table: Table, dialect: str, columns: Iterable[str], where: Any = None, key: Sequence[str] = ()) -> Any:
    """Return an INSERT that updates these columns of an existing row with the same `key` (default: primary key), if `where`
    holds.

    The rows are given at execution.
    """
    adding = _INSERT[dialect](table)
    key = key or [column.name for column in table.primary_key]
    changed = {name: adding.excluded[name] for name in columns if name not in key}
    return adding.on_conflict_do_update(index_elements=key, set_=changed, where=where)
