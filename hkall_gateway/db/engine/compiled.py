"""Compiles the most frequent statements once per database dialect and passes them directly to the driver.

SQLAlchemy needs several times as long to look up a statement and to wrap its rows as SQLite needs to run it. The statements of
every message skip that; types and errors are the same as with SQLAlchemy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    Select,
    SelectBase,
    Table,
    Text,
    UpdateBase,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import visitors

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


Convert = Callable[[Any], Any]
Values = Mapping[str, Any]
APPENDED: Final = "appended"
"""Key in `Connection.info` of the appended rows not sent yet, by their statement."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The text for one driver; `names` in the order of the placeholders, `given` the values that the statement itself contains.

    `here`: the database is in this process (SQLite) and runs each statement immediately. `rows_text`: the text of an INSERT of
    many rows, which are one parameter `rows`.
    """

    text: str
    names: tuple[str, ...]
    positional: bool
    given: Mapping[str, Any]
    binds: Mapping[str, Convert]
    keys: tuple[str, ...]
    results: tuple[tuple[int, Convert], ...]
    here: bool
    rows_text: str

    def parameters(self, values: Mapping[str, Any]) -> Any:
        asked: Mapping[str, Any] = values
        if self.given or self.binds:
            asked = made = {**self.given, **values}
            for name, convert in self.binds.items():
                made[name] = convert(made[name])
        return tuple([asked[name] for name in self.names]) if self.positional else asked

    def all_cells(self, cursor: Any) -> list[list[Any]]:
        found: list[Any] = cursor.fetchall()
        return [self.cells(row) for row in found] if found else found

    def cells(self, found: Any) -> list[Any]:
        cells = list(found)
        for place, convert in self.results:
            if (cell := cells[place]) is not None:
                cells[place] = convert(cell)
        return cells


class CompiledStatement:
    """One statement with named `bindparam`s. Value lists (`IN`) belong into its text, not into its parameters."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}
        self.table = statement.table if isinstance(statement, UpdateBase) else None
        """The table that the statement changes."""
        # A change may depend on any row, and so may COMMIT: only for queries it is known.
        is_query = isinstance(statement, SelectBase)
        self._reads = {found.name for found in visitors.iterate(statement) if is_query and isinstance(found, Table)}

    def rows(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        keys = self._for(connection.dialect).keys
        return [dict(zip(keys, cells, strict=True)) for cells in self.cells(connection, **values)]

    def cells(self, connection: Connection, **values: Any) -> list[list[Any]]:
        """Return the rows as lists of cells, in the order of the statement's columns."""
        compiled = self._for(connection.dialect)
        return compiled.all_cells(self._run(connection, compiled, values))

    def first(self, connection: Connection, **values: Any) -> dict[str, Any] | None:
        """Return the first row as a dict, or None."""
        return next(iter(self.rows(connection, **values)), None)

    def change(self, connection: Connection, **values: Any) -> int:
        """Execute, and return the number of rows written."""
        return int(self._run(connection, self._for(connection.dialect), values).rowcount)

    def write(self, connection: Connection, **values: Any) -> None:
        """Change a row, after the rows that were appended to its table."""
        self._write(connection, self._for(connection.dialect), values)

    def append(self, connection: Connection, **values: Any) -> None:
        """Insert a row, such as a line of the journal.

        The rows of a group are sent together: before its next query, before a change of their table, or with COMMIT.
        """
        compiled = self._for(connection.dialect)
        appended = connection.info.setdefault(APPENDED, {})
        appended.setdefault(self, []).append(_parameters(connection, compiled, values))

    def send_rows(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Send the rows that were appended."""
        compiled = self._for(connection.dialect)
        if compiled.here:
            _execute(connection, compiled.text, rows, many=True)
        else:
            _execute(connection, compiled.rows_text, {"rows": orjson.dumps(rows).decode()})

    def write_one(self, connection: Connection, missing: Exception, **values: Any) -> None:
        """Update as `write`, exactly one row; raises `missing` if it does not exist."""
        if self._write(connection, self._for(connection.dialect), values).rowcount != 1:
            raise missing

    def write_all(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write as `write`, several rows."""
        compiled = self._for(connection.dialect)
        if compiled.here or compiled.rows_text:
            self._after_appended(connection)
            self.send_rows(connection, [_parameters(connection, compiled, row) for row in rows])
        else:
            for row in rows:
                self._write(connection, compiled, row)

    def _after_appended(self, connection: Connection) -> None:
        """Send the rows appended to the table that this statement changes."""
        appended: Mapping[CompiledStatement, Any] | None = connection.info.get(APPENDED)
        if appended and any(one.table is self.table for one in appended):
            flush(connection)

    def _write(self, connection: Connection, compiled: _Compiled, values: Values) -> Any:
        self._after_appended(connection)
        return _execute(connection, compiled.text, _parameters(connection, compiled, values))

    def _run(self, connection: Connection, compiled: _Compiled, values: Values) -> Any:
        appended: Mapping[CompiledStatement, Any] = connection.info.get(APPENDED, {})
        if not self._reads or any(isinstance(one.table, Table) and one.table.name in self._reads for one in appended):
            flush(connection)
        return _execute(connection, compiled.text, _parameters(connection, compiled, values))

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _compile(self._statement, dialect)
        return found


def in_transaction(connection: Connection) -> bool:
    """Return whether a transaction is open and takes statements. Makes no round trip."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return str(driver.info.transaction_status.name) == "INTRANS"


def flush(connection: Connection) -> None:
    """Send the rows that were appended."""
    if appended := connection.info.pop(APPENDED, None):
        for statement, rows in appended.items():
            statement.send_rows(connection, rows)


def discard(connection: Connection) -> None:
    """Discard the rows that were appended, which are to be rolled back."""
    connection.info.pop(APPENDED, None)


def insert_row(table: Table, *columns: str) -> CompiledStatement:
    """Return an INSERT of one row, with a parameter for each of `columns`, named like the column."""
    values = {name: bindparam(name, type_=table.c[name].type) for name in columns}
    return CompiledStatement(insert(table).inline().values(values))


def update_by_key(table: Table, key: Sequence[str], columns: Sequence[str]) -> CompiledStatement:
    """Return an UPDATE of one row found by `key`. "new_" + column is the new value, "was_" + column the one that must match."""
    where = [table.c[name] == bindparam("was_" + name) for name in key]
    values = {name: bindparam("new_" + name, type_=table.c[name].type) for name in columns}
    return CompiledStatement(update(table).where(*where).values(values))


def _parameters(connection: Connection, compiled: _Compiled, values: Mapping[str, Any]) -> Any:
    try:
        return compiled.parameters(values)
    except Exception as error:
        raise _as_usual(connection.dialect, compiled.text, values, error) from error


def _execute(connection: Connection, text: str, parameters: Any, *, many: bool = False) -> Any:
    driver: Any = connection.connection.dbapi_connection
    for hear in connection.engine.dispatch.before_cursor_execute:  # event listeners receive these statements too
        hear(connection, driver, text, parameters, None, many)
    try:
        if connection.dialect.name == "postgresql":
            return driver.execute(text, parameters, prepare=True)
        return driver.executemany(text, parameters) if many else driver.execute(text, parameters)
    except Exception as error:
        raise _as_usual(connection.dialect, text, parameters, error) from error


def _as_usual(dialect: Dialect, text: str, values: Any, error: Exception) -> BaseException:
    """Return the error as SQLAlchemy would have raised it, so that callers see no difference."""
    drivers: Any = dialect.loaded_dbapi.Error
    return DBAPIError.instance(text, values, error, drivers, hide_parameters=True, dialect=dialect)


def _compile(statement: ClauseElement, dialect: Dialect) -> _Compiled:
    made: Any = statement.compile(dialect=dialect)
    columns = tuple(statement.exported_columns) if isinstance(statement, Select | UpdateBase) else ()
    binds = {name: _process(bind.type, dialect, "bind") for name, bind in made.binds.items()}
    results = ((place, _process(column.type, dialect, "result")) for place, column in enumerate(columns))
    given = {name: bind.value for name, bind in made.binds.items() if not bind.required}
    return _Compiled(
        text=str(made),
        names=tuple(made.positiontup or ()),
        positional=made.positional,
        given=given,
        binds={name: convert for name, convert in binds.items() if convert},
        keys=tuple(str(column.key) for column in columns),
        results=tuple((place, convert) for place, convert in results if convert),
        here=dialect.name == "sqlite",
        rows_text=_rows_text(statement, made, dialect)
        if isinstance(statement, Insert) and set(made.binds) <= set(statement.table.c.keys())
        else "",
    )


def _rows_text(statement: Insert, made: Any, dialect: Dialect) -> str:
    """Return the text of an INSERT of rows that are one JSON text, so that it is the same for any number of rows."""
    names = list(made.binds)
    columns = [column(name, bind.type) for name, bind in made.binds.items()]
    rows = func.json_to_recordset(bindparam("rows", type_=JSON)).table_valued(*columns).render_derived(with_types=True)
    return str(insert(statement.table).from_select(names, select(rows)).compile(dialect=dialect))


def _process(kind: Any, dialect: Dialect, way: str) -> Convert | None:
    here = kind.dialect_impl(dialect)
    found: Convert | None = here.bind_processor(dialect) if way == "bind" else here.result_processor(dialect, None)
    return found
