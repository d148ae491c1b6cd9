"""Compile the most frequent statements once per database dialect, and execute them directly on the driver.

SQLAlchemy takes several times as long to look up a statement and to wrap its rows as SQLite takes to run it. Statements that
run for every message avoid this overhead. Value types and exceptions are the same as with SQLAlchemy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    Select,
    SelectBase,
    Table,
    TableValuedAlias,
    Text,
    Update,
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
from sqlalchemy.sql.compiler import SQLCompiler

from hkall_gateway.rules.vocabulary import LostRace

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as Upsert  # SQLite's Insert has the same methods
    from sqlalchemy.sql.visitors import ExternallyTraversible

Values = Mapping[str, object]
Rows = Select[*tuple[Any, ...]]
Convert = Callable[[Any], object]  # Any: SQLAlchemy does not type the values of the driver
AppendedRow = tuple[object, Sequence[object] | Values]
"""The key of a row to update, or None, and the parameters of its statement."""
APPENDED: Final = "appended"
"""Key in `Connection.info` under which appended rows wait to be sent, grouped by statement."""


class Cursor(Protocol):
    """The part of a driver's cursor that this module uses."""

    @property
    def rowcount(self) -> int: ...  # noqa: D102
    def fetchall(self) -> Sequence[Sequence[object]]: ...  # noqa: D102


def _new_insert(table: Table, dialect: str) -> Upsert:
    """Return an INSERT for one dialect. Other dialects are not imported, because each dialect takes long to load."""
    new: Upsert = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    return new


def insert_or_leave(table: Table, dialect: str) -> Upsert:
    """Return an INSERT that skips existing rows. `dialect` is SQLAlchemy's dialect name."""
    return _new_insert(table, dialect).on_conflict_do_nothing()


def insert_or_write_over(
    table: Table, dialect: str, columns: Iterable[str], where: ColumnElement[bool] | None = None, key: Sequence[str] = ()
) -> Upsert:
    """Return an upsert that updates `columns` of a row with the same `key` (default: primary key) if `where` holds."""
    adding = _new_insert(table, dialect)
    key = key or [column.name for column in table.primary_key]
    changed = {name: adding.excluded[name] for name in columns if name not in key}
    return adding.on_conflict_do_update(index_elements=key, set_=changed, where=where)


def write_over(
    connection: Connection, table: Table, rows: Sequence[Values], changed: Collection[str], key: Sequence[str] = ()
) -> None:
    """Upsert many rows in one statement. The rows must have the same columns and distinct keys.

    In existing rows only the columns `changed` are updated. SQLAlchemy's executemany would spend more time preparing the
    parameters than SQLite spends writing the rows, and PostgreSQL would spend the same time again on separate statements.
    """
    names, adding = [*rows[0]], insert_or_write_over(table, connection.dialect.name, changed, key=key)
    if connection.dialect.name == "sqlite":
        made = adding.values({name: bindparam(name) for name in names}).compile(dialect=connection.dialect)
        order = made.positiontup or ()
        connection.exec_driver_sql(str(made), [tuple([row[name] for name in order]) for row in rows])
        return
    query = _rows_in_json([column(name, table.c[name].type) for name in names])
    connection.execute(adding.from_select(names, select(query)), {"rows": [*map(dict, rows)]})


def _rows_in_json(columns: Sequence[ColumnElement[object]]) -> TableValuedAlias:
    """Return a table expression for the JSON parameter `rows`, so that one statement text serves any number of rows."""
    return func.json_to_recordset(bindparam("rows", type_=JSON)).table_valued(*columns).render_derived(with_types=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DriverStatement:
    """A statement compiled for one driver.

    Attributes:
        names: Parameter names, for `positional` placeholders in their order.
        converters: Converters for parameters that are not None, by the index of the name.
        given: Constant values from the statement itself.
        results: Converters for result cells, by column index.
        here: Whether the database runs in this process (SQLite), so that each statement runs immediately.
        rows_text: INSERT or UPDATE of many rows from one JSON parameter `rows`, or "" for other statements and in SQLite.
    """

    text: str
    names: tuple[str, ...]
    converters: tuple[tuple[int, Convert], ...]
    positional: bool
    given: Values
    keys: tuple[str, ...]
    results: tuple[tuple[int, Convert], ...]
    here: bool
    rows_text: str

    def parameters(self, connection: Connection, values: Values) -> Sequence[object] | Values:
        """Convert the values to the driver's parameter format. Errors are raised as SQLAlchemy's exceptions."""
        try:
            if self.given:
                values = {**self.given, **values}
            cells = [values[name] for name in self.names]
            for place, convert in self.converters:
                if (cell := cells[place]) is not None:
                    cells[place] = convert(cell)
        except Exception as error:
            raise _sqlalchemy_error(connection.dialect, self.text, values, error) from error
        return tuple(cells) if self.positional else dict(zip(self.names, cells, strict=True))


class CompiledStatement:
    """A statement with named `bindparam`s, each for a single value. For a list of values use StatementAmong.

    `key` is the parameter that identifies the row of an UPDATE to `append`.
    """

    def __init__(self, statement: ClauseElement, key: str = "") -> None:
        self._statement, self._key = statement, key
        self._compiled: dict[str, _DriverStatement] = {}
        changed = statement.table if isinstance(statement, UpdateBase) else None
        self.table = changed.name if isinstance(changed, Table) else ""
        """The table that the statement modifies, or "" for a query."""
        # Only a query's tables are known. A change, or COMMIT, may depend on any row, so all appended rows are sent first.
        is_query = isinstance(statement, SelectBase)
        self._reads = {found.name for found in visitors.iterate(statement) if is_query and isinstance(found, Table)}

    def rows(self, connection: Connection, **values: object) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        keys = self._for(connection.dialect).keys
        return [dict(zip(keys, row, strict=True)) for row in self.cells(connection, **values)]

    def cells(self, connection: Connection, **values: object) -> list[list[Any]]:
        """Return the rows as lists of cells, in the order of the statement's columns."""
        compiled = self._for(connection.dialect)
        found = [list(row) for row in _run(connection, compiled, values, self._reads).fetchall()]
        for cells in found if compiled.results else ():
            for place, convert in compiled.results:
                if (cell := cells[place]) is not None:
                    cells[place] = convert(cell)
        return found

    def first(self, connection: Connection, **values: object) -> dict[str, Any] | None:
        """Return the first row as a dict, or None."""
        return next(iter(self.rows(connection, **values)), None)

    def change(self, connection: Connection, **values: object) -> int:
        """Send all appended rows, execute the statement, and return the number of rows written."""
        return _run(connection, self._for(connection.dialect), values, ()).rowcount

    def write(self, connection: Connection, **values: object) -> int:
        """Send the rows appended to this statement's table, execute the statement, and return the number of rows written."""
        return _run(connection, self._for(connection.dialect), values, (self.table,)).rowcount

    def append(self, connection: Connection, **values: object) -> None:
        """Queue a row to insert, such as a journal line, or to update.

        Queued rows are sent together: before the next query of their table, before another change of that table, or before
        COMMIT. Sending raises LostRace if a row to update does not exist.
        """
        row = (compiled := self._for(connection.dialect)).parameters(connection, values)
        key, appended = values.get(self._key), connection.info.setdefault(APPENDED, {})
        rows: list[AppendedRow] | None = appended.get(self)
        if rows is None:  # only one statement of a table waits, so that its changes remain in order
            _flush_before(connection, (self.table,))
        elif self._key and not compiled.here and any(key == one for one, _ in rows):
            flush(connection)  # PostgreSQL would update a row only once in a statement
        else:
            rows.append((key, row))
            return
        connection.info.setdefault(APPENDED, {})[self] = [(key, row)]

    def send_rows(self, connection: Connection, rows: Sequence[AppendedRow]) -> None:
        """Insert or update rows that `append` has prepared."""
        compiled, given = self._for(connection.dialect), [row for _, row in rows]
        if compiled.here:
            sent = _execute(connection, compiled.text, given, many=True)
        elif len(rows) == 1:
            sent = _execute(connection, compiled.text, given[0])
        else:
            sent = _execute(connection, compiled.rows_text, {"rows": orjson.dumps(given).decode()})
        if self._key and sent.rowcount != len(rows):
            raise LostRace(f"{', '.join(str(key) for key, _ in rows)}: somebody changed it first")

    def _for(self, dialect: Dialect) -> _DriverStatement:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _compile(self._statement, dialect, is_appended=bool(self._key))
        return found


class StatementInOneRow(CompiledStatement):
    """A query whose cells SQLite returns in one row of JSON.

    The driver releases the GIL for each row, and other threads that read would take it hundreds of times.
    """

    def __init__(self, query: Rows) -> None:
        super().__init__(query)
        self._in_json = CompiledStatement(select(func.json_group_array(func.json_array(*query.subquery().c))))

    def cells(self, connection: Connection, **values: object) -> list[list[Any]]:
        """Return the rows as lists of cells, of types that JSON has."""
        if connection.dialect.name != "sqlite":
            return super().cells(connection, **values)
        found: list[list[Any]] = orjson.loads(self._in_json.cells(connection, **values)[0][0])
        return found


class StatementAmong:
    """A query for rows whose `column` has one of several values. PostgreSQL caches the plan for a single value only."""

    def __init__(self, query: Rows, column: ColumnElement[Any], kind: type[CompiledStatement] = CompiledStatement) -> None:
        in_json = func.json_each(bindparam("among", type_=Text)).table_valued("value")
        self._one = kind(query.where(column == bindparam("among")))
        self._several = {
            "sqlite": kind(query.where(column.in_(select(in_json.c.value)))),
            "postgresql": kind(query.where(column == any_(bindparam("among", type_=ARRAY(column.type))))),
        }

    def cells(self, connection: Connection, values: Collection[object], **others: object) -> list[list[Any]]:
        """Return the rows with any of `values`, as lists of cells. `others` are further parameters of the query."""
        statement, among = self._choose(connection, values)
        return statement.cells(connection, among=among, **others)

    def rows(self, connection: Connection, values: Collection[object], **others: object) -> list[dict[str, Any]]:
        """Return the rows with any of `values`, as dicts by column name. `others` are further parameters of the query."""
        statement, among = self._choose(connection, values)
        return statement.rows(connection, among=among, **others)

    def _choose(self, connection: Connection, values: Collection[object]) -> tuple[CompiledStatement, object]:
        """Return the statement for this number of values, and its parameter `among`."""
        if len(values) == 1:
            return self._one, next(iter(values))
        several = self._several[connection.dialect.name]
        if connection.dialect.name == "sqlite":
            return several, json.dumps([*values])
        return several, [*values]


def in_transaction(connection: Connection) -> bool:
    """Return whether a transaction is open and accepts statements, without a round trip to the server."""
    driver: Any = connection.connection.dbapi_connection  # Any: sqlite3 and psycopg have no common type
    if connection.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return str(driver.info.transaction_status.name) == "INTRANS"


def flush(connection: Connection) -> None:
    """Send all appended rows."""
    if appended := connection.info.pop(APPENDED, None):
        for statement, rows in appended.items():
            statement.send_rows(connection, rows)


def _run(connection: Connection, compiled: _DriverStatement, values: Values, tables: Collection[str]) -> Cursor:
    """Execute a statement after sending the rows appended to `tables`, or all appended rows if `tables` is empty."""
    _flush_before(connection, tables)
    return _execute(connection, compiled.text, compiled.parameters(connection, values))


def _flush_before(connection: Connection, tables: Collection[str]) -> None:
    """Send all appended rows if any of them is for one of `tables`, or if `tables` is empty."""
    if appended := connection.connection.info.get(APPENDED):
        for one in appended:
            if not tables or one.table in tables:
                flush(connection)
                return


def discard(connection: Connection) -> None:
    """Discard the appended rows of a transaction that is rolled back."""
    connection.info.pop(APPENDED, None)


def insert_row(table: Table, *columns: str) -> CompiledStatement:
    """Return an INSERT of one row, with a parameter named after each of `columns`."""
    values = {name: bindparam(name, type_=table.c[name].type) for name in columns}
    return CompiledStatement(insert(table).inline().values(values))


def update_row(connection: Connection, table: Table, key: Values, values: Values, *, later: bool = False) -> None:
    """Update the row with this `key`, or `append` its update, which raises LostRace if the row does not exist."""
    new = {"new_" + name: value for name, value in values.items()}
    was = {"was_" + name: value for name, value in key.items()}
    statement = update_by_key(table, tuple(key), tuple(values))
    (statement.append if later else statement.write)(connection, **was, **new)


@cache
def update_by_key(table: Table, key: tuple[str, ...], columns: tuple[str, ...]) -> CompiledStatement:
    """Return an UPDATE of one row. Parameters: "was_" + key column for the row to find, "new_" + column for a new value."""
    where = [table.c[name] == bindparam("was_" + name) for name in key]
    values = {name: bindparam("new_" + name, type_=table.c[name].type) for name in columns}
    return CompiledStatement(update(table).where(*where).values(values), "was_" + key[0])


def _execute(connection: Connection, text: str, parameters: object, *, many: bool = False) -> Cursor:
    driver: Any = connection.connection.dbapi_connection  # Any: sqlite3 and psycopg have no common type
    if listeners := connection.engine.dispatch.before_cursor_execute:  # SQLAlchemy does not call them for these statements
        for hear in listeners:
            hear(connection, driver, text, parameters, None, many)
    cursor: Cursor
    try:
        if connection.dialect.name == "postgresql":
            cursor = driver.execute(text, parameters, prepare=True)
        else:
            cursor = driver.executemany(text, parameters) if many else driver.execute(text, parameters)
    except Exception as error:
        raise _sqlalchemy_error(connection.dialect, text, parameters, error) from error
    return cursor


def _sqlalchemy_error(dialect: Dialect, text: str, values: object, error: Exception) -> BaseException:
    """Wrap a driver's error in the exception that SQLAlchemy would have raised."""
    given: Any = values  # Any: SQLAlchemy declares a narrower type
    return DBAPIError.instance(text, given, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect)


def _compile(statement: ClauseElement, dialect: Dialect, *, is_appended: bool) -> _DriverStatement:
    made = statement.compile(dialect=dialect)
    assert isinstance(made, SQLCompiler)
    columns = tuple(statement.exported_columns) if isinstance(statement, Select | UpdateBase) else ()
    names = tuple(map(str, made.positiontup or made.binds))
    converters = ((n, made.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for n, name in enumerate(names))
    results = (
        (place, column.type.dialect_impl(dialect).result_processor(dialect, None)) for place, column in enumerate(columns)
    )
    here = dialect.name == "sqlite"
    is_insert = isinstance(statement, Insert) and set(made.binds) <= set(statement.table.c.keys())
    return _DriverStatement(
        text=str(made),
        names=names,
        converters=tuple((place, convert) for place, convert in converters if convert),
        positional=made.positional,
        given={name: bind.value for name, bind in made.binds.items() if not bind.required},
        keys=tuple(str(column.key) for column in columns),
        results=tuple((place, convert) for place, convert in results if convert),
        here=here,
        rows_text=_compile_for_rows(statement, made) if not here and (is_insert or is_appended) else "",
    )


def _compile_for_rows(statement: ClauseElement, made: SQLCompiler) -> str:
    """Return an INSERT or UPDATE of many rows, with the columns of the JSON parameter `rows` in place of its parameters."""
    rows = _rows_in_json([column(name, bind.type) for name, bind in made.binds.items()])

    def from_rows(element: ExternallyTraversible, **_: object) -> ColumnElement[object] | None:
        return rows.c[element.key] if isinstance(element, BindParameter) else None

    changed = (
        insert(statement.table).from_select(list(made.binds), select(rows))
        if isinstance(statement, Insert)
        else visitors.replacement_traverse(statement, {}, from_rows)
    )
    assert isinstance(changed, Insert | Update)
    return str(changed.compile(dialect=made.dialect))
