"""Statements of the busiest units, compiled once for each kind of database and then handed straight to its driver.

SQLAlchemy takes several times as long to look a statement up and to wrap its rows as SQLite takes to answer. What is
asked and written with every message skips that; types and errors are the same as on the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ClauseElement, Connection, Dialect, Select, Table, UpdateBase, bindparam, insert, update
from sqlalchemy.exc import CompileError, DBAPIError

from hkall_gateway.store.together import ForAll, for_all

Convert = Callable[[Any], Any]

TURNS: Final = "turns"
"""Where a connection says that units take turns on it (`Connection.info`): a function that is asked instead of the driver."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The text for one driver; `names` in the order of the marks, `given` what the statement itself says."""

    text: str
    names: tuple[str, ...]
    positional: bool
    given: Mapping[str, Any]
    binds: Mapping[str, Convert]
    keys: tuple[str, ...]
    results: tuple[tuple[int, Convert], ...]
    for_all: ForAll | None

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


class Prepared:
    """One statement with named `bindparam`s. Lists of values (`IN`) belong into its text, not into its parameters."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        """The answer's rows, by the names of their columns."""
        keys = self._for(connection.dialect).keys
        return [dict(zip(keys, cells, strict=True)) for cells in self.cells(connection, **values)]

    def cells(self, connection: Connection, **values: Any) -> list[list[Any]]:
        """The answer's rows, their cells in the order of the statement's columns."""
        compiled = self._for(connection.dialect)
        found = self._run(connection, compiled, values).fetchall()
        return [compiled.cells(row) for row in found] if found else found

    def first(self, connection: Connection, **values: Any) -> dict[str, Any] | None:
        """The answer's first row, if it has any."""
        return next(iter(self.rows(connection, **values)), None)

    def change(self, connection: Connection, **values: Any) -> int:
        """How many rows it wrote."""
        return int(self._run(connection, self._for(connection.dialect), values).rowcount)

    def change_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write several rows, in one trip where the driver can."""
        compiled = self._for(connection.dialect)
        if compiled.for_all is not None:
            self.answers(connection, rows)
            return
        values = [_parameters(connection, compiled, row) for row in rows]
        _execute(connection, compiled.text, values, many=True)

    def answers(self, connection: Connection, asked: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """An answer for each of the units that ask this in turns, as the driver would give it."""
        compiled = self._for(connection.dialect)
        assert compiled.for_all is not None, "each asks this by itself"

        def execute(text: str, parameters: Any) -> Any:
            return _execute(connection, text, parameters)

        return compiled.for_all.answers(execute, [_parameters(connection, compiled, values) for values in asked])

    def _run(self, connection: Connection, compiled: _Compiled, values: Mapping[str, Any]) -> Any:
        if compiled.for_all is not None and (ask := connection.info.get(TURNS)) is not None:
            return ask(self, values)
        return _execute(connection, compiled.text, _parameters(connection, compiled, values))

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _compile(self._statement, dialect)
        return found


def adding(table: Table, *columns: str) -> Prepared:
    """INSERT of one row with a value for each of `columns`, named as they are."""
    values = {name: bindparam(name, type_=table.c[name].type) for name in columns}
    return Prepared(insert(table).inline().values(values))


def changing(table: Table, key: Sequence[str], columns: Sequence[str]) -> Prepared:
    """UPDATE of one row found by `key`; "new_" before a column's name is its new value, "was_" what it must be now."""
    where = [table.c[name] == bindparam("was_" + name) for name in key]
    values = {name: bindparam("new_" + name, type_=table.c[name].type) for name in columns}
    return Prepared(update(table).where(*where).values(values))


def _parameters(connection: Connection, compiled: _Compiled, values: Mapping[str, Any]) -> Any:
    try:
        return compiled.parameters(values)
    except Exception as error:
        raise _as_usual(connection.dialect, compiled.text, values, error) from error


def _execute(connection: Connection, text: str, parameters: Any, *, many: bool = False) -> Any:
    driver: Any = connection.connection.dbapi_connection
    for hear in connection.engine.dispatch.before_cursor_execute:  # whoever listens to statements hears these too
        hear(connection, driver, text, parameters, None, many)
    try:
        return driver.cursor().executemany(text, parameters) if many else driver.execute(text, parameters)
    except Exception as error:
        raise _as_usual(connection.dialect, text, parameters, error) from error


def _as_usual(dialect: Dialect, text: str, values: Any, error: Exception) -> BaseException:
    """The error as SQLAlchemy would have raised it, so that whoever catches it sees no difference."""
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
        for_all=None if dialect.name == "sqlite" else for_all(str(made), _kinds(made, dialect), given),
    )


def _kinds(made: Any, dialect: Dialect) -> Mapping[str, str]:
    """The database's types of what is asked with; empty where one is not known."""
    try:
        return {str(name): bind.type.compile(dialect) for name, bind in made.binds.items() if bind.required}
    except CompileError:
        return {}


def _process(kind: Any, dialect: Dialect, way: str) -> Convert | None:
    here = kind.dialect_impl(dialect)
    found: Convert | None = here.bind_processor(dialect) if way == "bind" else here.result_processor(dialect, None)
    return found
