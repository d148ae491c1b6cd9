"""Runs a part of a unit of work that may fail alone: a row that raises does not stop the others of a round."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from hkall_gateway.db.engine.compiled import CompiledStatement, discard, flush
from hkall_gateway.db.unit import Unit

T = TypeVar("T")


def in_savepoint(unit: Unit, work: Callable[[T], object], about: T) -> Exception | None:
    """Run `work(about)` in a savepoint of its own; return None, or the exception after rolling back the savepoint.

    A failure of the database itself, such as a full disk or a deadlock, is raised.
    """
    connection, heard = unit.connection, len(unit.moves)
    _SAVEPOINT.change(connection)
    try:
        work(about)
        flush(connection)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001  # any error: the other rows go on
        discard(connection)
        _BACK.change(connection)
        unit.ahead.forget()
        del unit.moves[heard:]
        return error
    _RELEASE.change(connection)
    return None


_SAVEPOINT, _RELEASE = CompiledStatement(text("SAVEPOINT apart")), CompiledStatement(text("RELEASE SAVEPOINT apart"))
_BACK = CompiledStatement(text("ROLLBACK TO SAVEPOINT apart"))
