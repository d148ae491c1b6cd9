"""Compiles the most frequent statements once per database dialect and passes them directly to the driver.

SQLAlchemy needs several times as long to look up a statement and to wrap its rows as SQLite needs to run it. The statements of
every message skip that; types and errors are the same as with SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ClauseElement, Connection, Dialect, Select, Table, UpdateBase, bindparam, insert, update
from sqlalchemy.exc import CompileError

from hkall_gateway.store.engine.batched import Answers, BatchedStatement, for_all, one_by_one
from hkall_gateway.store.engine.pipelined import COALESCER, PIPELINE, as_usual

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The text for one driver; `names` in the order of the placeholders, `given` the values that the statement itself contains.

    `here`: the database is in this process (SQLite) and runs each statement immediately.
    """

    text: str
    names: tuple[str, ...]
    positional: bool
    given: Mapping[str, Any]
    binds: Mapping[str, Convert]
    keys: tuple[str, ...]
    results: tuple[tuple[int, Convert], ...]
    here: bool
    for_all: BatchedStatement | None

    def parameters(self, values: Mapping[str, Any]) -> Any:
        asked: Mapping[str, Any] = values
        if self.given or self.binds:
            asked = made = {**self.given, **values}
            for name, convert in self.binds.items():
                made[name] = convert(made[name])
        return tuple([asked[name] for name in self.names]) if self.positional else asked

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

    def rows(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        keys = self._for(connection.dialect).keys
        return [dict(zip(keys, cells, strict=True)) for cells in self.cells(connection, **values)]

    def cells(self, connection: Connection, **values: Any) -> list[list[Any]]:
        """Return the rows as lists of cells, in the order of the statement's columns."""
        compiled = self._for(connection.dialect)
        found = self._run(connection, compiled, values).fetchall()
        return [compiled.cells(row) for row in found] if found else found

    def first(self, connection: Connection, **values: Any) -> dict[str, Any] | None:
        """Return the first row as a dict, or None."""
        return next(iter(self.rows(connection, **values)), None)

    def change(self, connection: Connection, **values: Any) -> int:
        """Execute, and return the number of rows written."""
        return int(self._run(connection, self._for(connection.dialect), values).rowcount)

    def write(self, connection: Connection, **values: Any) -> None:
        """Write a row. PostgreSQL receives the statement with the next query or with COMMIT; its errors are raised then."""
        self._write(connection, (values,))

    def write_one(self, connection: Connection, missing: Exception, **values: Any) -> None:
        """Write as `write`, exactly one row; raises `missing` if it does not exist."""
        self._write(connection, (values,), missing)

    def write_all(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write as `write`, several rows."""
        self._write(connection, rows)

    def send(self, connection: Connection, asked: Sequence[Values]) -> Answers:
        """Send this to PostgreSQL for several units at once; returns their results in order, each like a cursor."""
        compiled = self._for(connection.dialect)
        given = [_parameters(connection, compiled, values) for values in asked]
        if compiled.for_all is None:
            return one_by_one([_execute(connection, compiled.text, parameters) for parameters in given])
        return compiled.for_all.send(partial(_execute, connection), given)

    def insist(self, connection: Connection, rows: Sequence[Values], missing: Exception) -> None:
        """Update these rows on PostgreSQL; raises `missing` if one does not exist."""
        compiled = self._for(connection.dialect)
        assert compiled.for_all is not None, "a change of one row that is found by its key"
        given = [_parameters(connection, compiled, values) for values in rows]
        compiled.for_all.insist(partial(_execute, connection, missing=missing), given)

    def _run(self, connection: Connection, compiled: _Compiled, values: Values) -> Any:
        if not compiled.here and (coalescer := connection.info.get(COALESCER)) is not None:
            return coalescer.ask(self, values)
        return _execute(connection, compiled.text, _parameters(connection, compiled, values))

    def _write(self, connection: Connection, rows: Sequence[Values], missing: Exception | None = None) -> None:
        compiled = self._for(connection.dialect)
        if compiled.here:
            _write_here(connection, compiled, rows, missing)
        elif (coalescer := connection.info.get(COALESCER)) is not None:
            coalescer.write(self, rows, missing)
        elif missing is not None:
            self.insist(connection, rows, missing)
        else:
            self.send(connection, rows)

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _compile(self._statement, dialect)
        return found


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


def _write_here(connection: Connection, compiled: _Compiled, rows: Sequence[Values], missing: Exception | None) -> None:
    values = [_parameters(connection, compiled, row) for row in rows]
    if len(values) > 1:
        _execute(connection, compiled.text, values, many=True)
    elif _execute(connection, compiled.text, values[0]).rowcount != 1 and missing is not None:
        raise missing


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
        for_all=None if dialect.name == "sqlite" else for_all(str(made), _kinds(made, dialect), given),
    )


def _kinds(made: Any, dialect: Dialect) -> Mapping[str, str]:
    """Return the database types of the parameters; empty if one has no type."""
    try:
        return {str(name): bind.type.compile(dialect) for name, bind in made.binds.items() if bind.required}
    except CompileError:
        return {}


def _process(kind: Any, dialect: Dialect, way: str) -> Convert | None:
    here = kind.dialect_impl(dialect)
    found: Convert | None = here.bind_processor(dialect) if way == "bind" else here.result_processor(dialect, None)
    return found
