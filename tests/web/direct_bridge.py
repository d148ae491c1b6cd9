"""A bridge from the pages to a store without threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.web.bridge import TRY_AGAIN

T = TypeVar("T")


class DirectBridge:
    """Runs every call at once, in the test's thread."""

    def __init__(self, store: SoleStore) -> None:
        self._store = store

    def read(self, query: Callable[[UnitOfWork], T]) -> T:
        return finished(self._store.read(query))

    def trial(self, work: Callable[[UnitOfWork], T]) -> T:
        return self._store.trial(work)

    def write(self, work: Callable[[UnitOfWork], T], locks: LockSet) -> T:
        return finished(self._store.write(work, locks))

    def run(self, command: Coroutine[Any, object, T]) -> T | Refused:
        try:
            return finished(command)
        except Unavailable:
            return TRY_AGAIN
