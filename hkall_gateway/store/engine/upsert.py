"""INSERT with ON CONFLICT, for both databases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import Table


def _insert(table: Table, dialect: str) -> Any:
    """Return the INSERT of a dialect, which is imported now: each takes long to load, and only one is needed."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


def insert_or_leave(table: Table, dialect: str) -> Any:
    """What is there already stays. `dialect` is the database's name."""
    return _insert(table, dialect).on_conflict_do_nothing()


def insert_or_write_over(table: Table, dialect: str, columns: Iterable[str], where: Any = None, key: Sequence[str] = ()) -> Any:
    """Return an INSERT that updates these columns of an existing row with the same `key` (default: primary key), if `where`
    holds.

    The rows are given at execution.
    """
    adding = _insert(table, dialect)
    key = key or [column.name for column in table.primary_key]
    changed = {name: adding.excluded[name] for name in columns if name not in key}
    return adding.on_conflict_do_update(index_elements=key, set_=changed, where=where)
