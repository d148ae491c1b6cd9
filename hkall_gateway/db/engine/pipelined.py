"""Buffers statements for PostgreSQL until a result is needed, and sends them in one round trip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.pipeline import BoundStatement, Pipeline, StatementRefused

MISSING: Final = "22012"
"""SQLSTATE division_by_zero, raised by an update that does not find its row."""
PIPELINE: Final = "pipeline"
"""Key of the PipelinedConnection in `Connection.info` (PostgreSQL only)."""
APPENDED: Final = "appended"
"""Key in `Connection.info` of the appended rows not sent yet, by their statement."""
_MARK: Final = re.compile(r"%\((\w+)\)s|%%")


class StatementResult:
    """The result of one statement, like a driver's cursor; using it sends the buffered statements."""

    __slots__ = ("_pipeline", "_result")

    def __init__(self, pipeline: PipelinedConnection) -> None:
        self._pipeline = pipeline
        self._result: Any = None

    def hear(self, result: Any) -> None:
        """Store the result."""
        self._result = result

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows."""
        return self._pipeline.rows(self._heard())

    @property
    def rowcount(self) -> int:
        """The number of rows found or written."""
        return int(self._heard().command_tuples or 0)

    def _heard(self) -> Any:
        if self._result is None:
            self._pipeline.go()
        return self._result


class _Waiting(NamedTuple):
    said: BoundStatement
    reply: StatementResult
    missing: Exception | None


class PipelinedConnection:
    """The statements of one connection, in order. `driver` is the driver's connection."""

    def __init__(self, driver: Any, dialect: Dialect) -> None:
        from psycopg.adapt import PyFormat, Transformer  # installed with the extra `postgres`

        self._pipeline, self._dialect = Pipeline(driver), dialect
        self._types, self._as_text = Transformer(driver), PyFormat.TEXT
        self._waiting: list[_Waiting] = []

    def execute(self, text: str, values: Mapping[str, Any], missing: Exception | None = None) -> StatementResult:
        """Buffer a statement. `text` has the driver's marks, `%(name)s`; `missing` is raised if the database raises MISSING."""
        numbered, names = _numbered(text)
        given = self._types.dump_sequence([values[name] for name in names], [self._as_text] * len(names))
        reply = StatementResult(self)
        self._waiting.append(_Waiting(BoundStatement(numbered, given), reply, missing))
        return reply

    def forget(self) -> None:
        """Discard the buffered statements, which are to be rolled back."""
        self._waiting = []

    def go(self) -> None:
        """Send the buffered statements and store the results.

        Raises the usual error for the first refused; later ones do not run.
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            results = self._exchange(waiting)
            for one, result in zip(waiting, results, strict=True):
                one.reply.hear(result)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open and takes statements, or is begun by the buffered statements."""
        return self._pipeline.in_transaction or (bool(self._waiting) and self._waiting[0].said.text.startswith(b"BEGIN"))

    def ping(self, within_s: float) -> None:
        """Wait for the server's answer. Raises the driver's error, ConnectionTimeout if none comes in time."""
        self._pipeline.ping(within_s)

    def rows(self, result: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a result, converted to Python types."""
        self._types.set_pgresult(result)
        found: list[tuple[Any, ...]] = self._types.load_rows(0, result.ntuples, tuple)
        return found

    def _exchange(self, waiting: Sequence[_Waiting]) -> list[Any]:
        try:
            return self._pipeline.exchange([one.said for one in waiting])
        except StatementRefused as refused:
            raise self._told(waiting[refused.place], refused.error) from refused.error
        except Exception as error:
            raise self._told(waiting[-1], error) from error

    def _told(self, one: _Waiting, error: Exception) -> BaseException:
        if one.missing is not None and getattr(error, "sqlstate", "") == MISSING:
            return one.missing
        return as_usual(self._dialect, one.said.text.decode(), None, error)


def as_usual(dialect: Dialect, text: str, values: Any, error: Exception) -> BaseException:
    """Return the error as SQLAlchemy would have raised it, so that callers see no difference."""
    drivers: Any = dialect.loaded_dbapi.Error
    return DBAPIError.instance(text, values, error, drivers, hide_parameters=True, dialect=dialect)


@lru_cache(maxsize=1024)
def _numbered(text: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with the database's marks (`$1`) in place of the driver's, and the names in order."""
    names: dict[str, int] = {}

    def number(mark: re.Match[str]) -> str:
        return f"${names.setdefault(mark[1], len(names) + 1)}" if mark[1] else "%"

    numbered = _MARK.sub(number, text)
    return numbered.encode(), tuple(names)
