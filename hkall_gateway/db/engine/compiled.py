"""Compiles the most frequent statements once per database dialect and passes them directly to the driver.

SQLAlchemy needs several times as long to look up a statement and to wrap its rows as SQLite needs to run it. The statements of
every message skip that; types and errors are the same as with SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import (
    JSON,
    ClauseElement,
    Connection,
    Dialect,
    Insert,
    Select,
    Table,
    UpdateBase,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)

from hkall_gateway.db.engine.pipelined import APPENDED, PIPELINE, as_usual

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]
_INSISTING: Final = "WITH done AS ({} RETURNING 1) SELECT 1 / (count(*) = 1)::INTEGER FROM done"
"""An UPDATE for PostgreSQL that fails with MISSING unless it changes one row."""


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

    def rows(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        keys = self._for(connection.dialect).keys
        return [dict(zip(keys, cells, strict=True)) for cells in self.cells(connection, **values)]

    def cells(self, connection: Connection, **values: Any) -> list[list[Any]]:
        """Return the rows as lists of cells, in the order of the statement's columns."""
        compiled = self._for(connection.dialect)
        return compiled.all_cells(self._run(connection, compiled, values))

    def ask(self, connection: Connection, **values: Any) -> Callable[[], list[list[Any]]]:
        """Ask for `cells`, which the function returned waits for: queries asked before share a round trip to PostgreSQL."""
        compiled = self._for(connection.dialect)
        return partial(compiled.all_cells, self._run(connection, compiled, values))

    def first(self, connection: Connection, **values: Any) -> dict[str, Any] | None:
        """Return the first row as a dict, or None."""
        return next(iter(self.rows(connection, **values)), None)

    def change(self, connection: Connection, **values: Any) -> int:
        """Execute, and return the number of rows written."""
        return int(self._run(connection, self._for(connection.dialect), values).rowcount)

    def write(self, connection: Connection, **values: Any) -> None:
        """Write a row. PostgreSQL receives the statement with the next query or with COMMIT; its errors are raised then."""
        compiled = self._for(connection.dialect)
        self._after_appended(connection)
        _execute(connection, compiled.text, _parameters(connection, compiled, values))

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
        compiled = self._for(connection.dialect)
        self._after_appended(connection)
        parameters = _parameters(connection, compiled, values)
        if not compiled.here:
            _execute(connection, _INSISTING.format(compiled.text), parameters, missing=missing)
        elif _execute(connection, compiled.text, parameters).rowcount != 1:
            raise missing

    def write_all(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write as `write`, several rows."""
        compiled = self._for(connection.dialect)
        self._after_appended(connection)
        given = [_parameters(connection, compiled, row) for row in rows]
        if compiled.here or compiled.rows_text:
            self.send_rows(connection, given)
        else:
            for parameters in given:
                _execute(connection, compiled.text, parameters)

    def _after_appended(self, connection: Connection) -> None:
        """Send the rows appended to the table that this statement changes."""
        appended: Mapping[CompiledStatement, Any] | None = connection.info.get(APPENDED)
        if appended and any(one.table is self.table for one in appended):
            send_appended(connection)

    def _run(self, connection: Connection, compiled: _Compiled, values: Values) -> Any:
        send_appended(connection)
        return _execute(connection, compiled.text, _parameters(connection, compiled, values))

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _compile(self._statement, dialect)
        return found


def flush(connection: Connection) -> None:
    """Send the buffered writes and raise their errors."""
    send_appended(connection)
    if (pipeline := connection.info.get(PIPELINE)) is not None:
        pipeline.go()


def in_transaction(connection: Connection) -> bool:
    """Return whether a transaction is open and takes statements. Makes no round trip."""
    driver: Any = connection.info.get(PIPELINE) or connection.connection.dbapi_connection
    return bool(driver.in_transaction)


def send_appended(connection: Connection) -> None:
    """Send the rows that were appended; those of PostgreSQL leave with the next query or with COMMIT."""
    if appended := connection.info.pop(APPENDED, None):
        for statement, rows in appended.items():
            statement.send_rows(connection, rows)


def discard(connection: Connection) -> None:
    """Discard the buffered writes, which are to be rolled back."""
    forget(connection.info)


def forget(info: Any) -> None:
    """Discard the buffered writes of a connection with this `info`."""
    info.pop(APPENDED, None)
    if (pipeline := info.get(PIPELINE)) is not None:
        pipeline.forget()


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
        raise as_usual(connection.dialect, compiled.text, values, error) from error


def _execute(
    connection: Connection, text: str, parameters: Any, *, many: bool = False, missing: Exception | None = None
) -> Any:
    driver: Any = connection.connection.dbapi_connection
    for hear in connection.engine.dispatch.before_cursor_execute:  # event listeners receive these statements too
        hear(connection, driver, text, parameters, None, many)
    try:
        if (pipeline := connection.info.get(PIPELINE)) is not None:
            return pipeline.execute(text, parameters, missing)
        return driver.executemany(text, parameters) if many else driver.execute(text, parameters)
    except Exception as error:
        raise as_usual(connection.dialect, text, parameters, error) from error


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
