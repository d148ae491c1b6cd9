"""A part of a unit of work that may fail alone: the poison row of a round does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from hkall_gateway.store.turns import by_itself
from hkall_gateway.store.unit import Unit

T = TypeVar("T")


def apart(unit: Unit, work: Callable[[T], object], about: T) -> Exception | None:
    """Do `work(about)` in a savepoint of its own: None, or what it raised, with all that it had written undone.

    A failure of the database itself, such as a full disk or a deadlock, is no fault of this part and is raised.
    """
    say, heard = unit.connection.exec_driver_sql, len(unit.moves)
    say("SAVEPOINT apart")
    try:
        with by_itself(unit.connection):
            work(about)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
        say("ROLLBACK TO SAVEPOINT apart")
        del unit.moves[heard:]
        return error
    say("RELEASE SAVEPOINT apart")
    return None
