"""Statements for both databases: INSERT with ON CONFLICT, and a condition on any number of values as one parameter."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from sqlalchemy import ARRAY, JSON, ColumnElement, Connection, Table, Text, any_, bindparam, column, func, select

Of = Callable[[ColumnElement[str]], ColumnElement[bool]]
"""Makes the condition that a column has one of the values asked for."""


def _in_json(name: str) -> Of:
    values = func.json_each(bindparam(name, type_=Text)).table_valued("value")
    return lambda column: column.in_(select(values.c.value))


def _in_array(name: str) -> Of:
    return lambda column: column == any_(bindparam(name, type_=ARRAY(Text)))


def _one(name: str) -> Of:
    return lambda column: column == bindparam(name)


def _as_json(values: Collection[str]) -> str:
    return json.dumps(list(values))


def _only(values: Collection[str]) -> str:
    return next(iter(values), "")


ONE: Final = "one"
AMONG: Final[Mapping[str, Callable[[str], Of]]] = {"sqlite": _in_json, "postgresql": _in_array, ONE: _one}
"""Makes the condition of the name of its parameter; ONE is for one value, which PostgreSQL plans once."""
VALUES: Final[Mapping[str, Callable[[Collection[str]], Any]]] = {"sqlite": _as_json, "postgresql": list, ONE: _only}
"""Makes the parameter's value."""


# ---- INSERT with ON CONFLICT, for both databases.


def _insert(table: Table, dialect: str) -> Any:
    """Return the INSERT of a dialect, which is imported now: each takes long to load, and only one is needed."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


def insert_or_leave(table: Table, dialect: str) -> Any:
    """Return an INSERT that leaves existing rows as they are. `dialect` is the database's name."""
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


def write_over(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    changed: Collection[str],
    key: Sequence[str] = (),
) -> None:
    """Write many rows, which have the same columns and differ in their `key`, in one statement.

    Existing rows get the columns `changed`. SQLAlchemy's executemany takes longer for the parameters of a row than SQLite for
    the row, and PostgreSQL as long again for each statement.
    """
    names, adding = [*rows[0]], insert_or_write_over(table, connection.dialect.name, changed, key=key)
    if connection.dialect.name == "sqlite":
        made = adding.values({name: bindparam(name) for name in names}).compile(dialect=connection.dialect)
        connection.exec_driver_sql(str(made), [tuple([row[name] for name in made.positiontup]) for row in rows])
        return
    columns = [column(name, table.c[name].type) for name in names]
    asked = func.json_to_recordset(bindparam("rows", type_=JSON)).table_valued(*columns).render_derived(with_types=True)
    connection.execute(adding.from_select(names, select(asked)), {"rows": [*map(dict, rows)]})
