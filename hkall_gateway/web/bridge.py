"""Lets web threads run commands in the reactor's thread, and query the database directly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlow
from contextlib import closing
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from werkzeug.exceptions import GatewayTimeout

from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.database import Immediate, Store, finished
from hkall_gateway.db.engine.db_errors import Unavailable, unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Undecided
from hkall_gateway.net.limits.timeout import BEGUN, Timeout, TooLate
from hkall_gateway.rules.reasons import Reason

LOG = structlog.get_logger()
T = TypeVar("T")

TRY_AGAIN = Refused(why=Reason.TRY_AGAIN)
SPARE_S = 1.0
"""Extra seconds that a web thread waits for the reactor after a command's own deadline."""


class Bridge(Protocol):
    """Access to circulation and the database for a page. Every method blocks only the calling web thread."""

    def read(self, query: Callable[[UnitOfWork], T]) -> T:
        """Return `query(unit)`. Raises Unavailable while the database is down."""
        ...

    def trial(self, work: Callable[[UnitOfWork], T]) -> T:
        """Return `work(unit)`, run in a transaction that is rolled back. Raises Unavailable while the database is down."""
        ...

    def write(self, work: Callable[[UnitOfWork], T], locks: LockSet) -> T:
        """Commit `work(unit)` and return its result. Use it only for web tables such as sessions. Raises Unavailable."""
        ...

    def run(self, command: Coroutine[Any, object, T]) -> T | Refused:
        """Return the result of a command, or TRY_AGAIN if the command did not start in time and was dropped.

        Raises GatewayTimeout, which is answered with 504, if the command has started but did not finish in time.
        """
        ...


class CirculationBridge:
    """Runs commands in the reactor's thread for web threads. Implements `Bridge`.

    Queries use separate database connections, so that a long query does not delay terminals. `timeout` limits each command.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        store: Store,
        engine: Engine,
        make_unit: Callable[[Connection], UnitOfWork],
        timeout: Timeout,
    ) -> None:
        self._reactor, self._store, self._engine, self._make_unit = reactor, store, engine, make_unit
        self._timeout, self._closed = timeout, False
        self._waiting: set[Callable[[], None]] = set()

    def read(self, query: Callable[[UnitOfWork], T]) -> T:
        """Run `query(unit)` in the calling thread and return its result."""
        with closing(self._own_connection()) as connection:
            return finished(connection.read(query))

    def trial(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run `work(unit)` in the calling thread, roll back, and return its result."""
        with closing(self._own_connection()) as connection:
            return connection.trial(work)

    def write(self, work: Callable[[UnitOfWork], T], locks: LockSet) -> T:
        """Commit `work(unit)` in the writer thread and return its result. Raises GatewayTimeout if the outcome is unknown."""
        try:
            return self._run_in_reactor(lambda: self._store.write(work, locks), self._timeout.seconds)
        except TooSlow:
            raise Unavailable("no answer in time") from None
        except Undecided:
            raise GatewayTimeout from None

    def run(self, command: Coroutine[Any, object, T]) -> T | Refused:
        """Run a command in the reactor's thread, within the timeout, and return its result."""
        if self._closed:
            command.close()
            return TRY_AGAIN
        deadline = self._timeout.deadline()
        try:
            return self._run_in_reactor(lambda: self._timeout.run(command, deadline), self._timeout.seconds * BEGUN + SPARE_S)
        except Unavailable:
            return TRY_AGAIN
        except (TooLate, TooSlow):  # TooSlow is raised if the reactor hangs or is stopping
            if deadline.drop("late"):
                if not self._closed:
                    LOG.warning("web.desk_too_slow", limit_s=self._timeout.seconds)
                return TRY_AGAIN
        except Undecided:
            pass
        LOG.error("web.undecided")
        raise GatewayTimeout

    def close(self) -> None:
        """Make all waiting and all later calls time out. Called in the reactor's thread during shutdown."""
        self._closed = True
        for give_up in tuple(self._waiting):
            give_up()

    def _own_connection(self) -> Immediate:
        try:
            return Immediate(self._engine, self._make_unit)
        except (OperationalError, InterfaceError) as error:  # raised while connecting, so no statement has run
            raise unavailable(error) from error

    def _run_in_reactor(self, begin: Callable[[], Awaitable[T]], wait_s: float) -> T:
        """Run work in the reactor's thread and wait for its result. Twisted's `blockingCallFromThread` has no time limit."""
        answer: Future[T] = Future()
        give_up, around = partial(_settle_answer, answer, TooSlow()), copy_context()
        self._waiting.add(give_up)
        try:
            if self._closed:
                raise TooSlow
            self._reactor.callFromThread(around.run, _start_work, begin, answer)
            return answer.result(wait_s)
        finally:
            self._waiting.discard(give_up)


def _start_work(begin: Callable[[], Awaitable[T]], answer: Future[T]) -> None:
    async def work() -> T:
        return await begin()

    _ = Deferred.fromCoroutine(work()).addBoth(partial(_settle_answer, answer))


def _settle_answer(answer: Future[T], result: T | Failure | TooSlow) -> None:
    """Set the result of `answer`, unless `close` has already set it. Both run in the reactor's thread."""
    if answer.done():
        return
    if isinstance(result, Failure):
        answer.set_exception(result.value)
    elif isinstance(result, TooSlow):
        answer.set_exception(result)
    else:
        answer.set_result(result)
