"""One writer in two: the reactor does the units of a group in its own turn, and a thread the commit.

For a file. A thread lets go of the interpreter at every statement, and a busy reactor gives it back only at its next system
call, which takes longer than the statement. But an fsync lasts, and so does whatever waits for another process or goes through
a whole table: that stays on the thread, for the reactor has lines to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import Generic, TypeVar

from sqlalchemy import Connection

from hkall_gateway.store.engine.worker import Answer, Turn, Waiting, give

J = TypeVar("J")

UNITS_A_TURN = 64
"""So many units at most keep the reactor from its lines: ten or twenty milliseconds."""


class SplitWriter(Generic[J]):
    """Jobs in, answers out, in order, as a `Worker`; called from the reactor's thread alone.

    `begin` does a group but for its end, which it answers; None where it would have to wait for another process. `do_group`
    does a whole one on the thread. `is_short`: a job that is over in a fraction of a millisecond. `in_reactor` and `batch` as
    for a Worker; `groups` and `units` count what was done.
    """

    def __init__(
        self,
        connection: Connection,
        begin: Callable[[Connection, Sequence[J]], Callable[[], Turn[J]] | None],
        do_group: Callable[[Connection, Sequence[J]], Turn[J]],
        is_short: Callable[[J], bool],
        in_reactor: Callable[[Callable[[], None]], object],
        name: str,
        batch: int,
    ) -> None:
        self._connection, self._begin, self._do_group, self._is_short = connection, begin, do_group, is_short
        self._in_reactor, self._batch = in_reactor, batch
        self._ends: SimpleQueue[Callable[[], Turn[J]] | None] = SimpleQueue()
        self._thread = Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()
        self._waiting: Waiting[J] = Waiting()
        self._busy = self._called = self._stopped = False
        self.groups = 0
        self.units = 0

    def put(self, job: J) -> None:
        """Wait for the reactor's next turn, or for the end of the group that is under way. RuntimeError once it was stopped."""
        if self._stopped:
            raise RuntimeError("the database is closed")
        self._waiting.put(job)
        if self._is_short(job):
            self._soon()
        else:
            self._next()

    def stop(self) -> None:
        """Finish what waits, then end the thread. Called once, from the reactor's thread."""
        self._stopped = True
        self._ends.put(None)
        self._thread.join()
        while jobs := self._waiting.take(self._batch):
            turn = self._do_group(self._connection, jobs)
            self._waiting.put_again(turn.again)
            self._in_reactor(partial(give, turn.answers))
        self._connection.close()

    def _soon(self) -> None:
        if self._waiting and not self._called and not self._busy:
            self._called = True
            self._in_reactor(self._in_its_turn)

    def _in_its_turn(self) -> None:
        self._called = False
        self._next()

    def _next(self) -> None:
        """The next group, unless one is under way."""
        if self._busy or self._stopped or not self._waiting:
            return
        self._busy = True
        jobs = self._waiting.take(min(self._batch, UNITS_A_TURN))
        end = self._begin(self._connection, jobs) if all(map(self._is_short, jobs)) else None
        if end is None:  # on the thread, with all that wait: who must wait for another process does so once
            jobs += self._waiting.take(max(0, self._batch - len(jobs)))
            end = partial(self._do_group, self._connection, jobs)
        self.groups, self.units = self.groups + 1, self.units + len(jobs)
        self._ends.put(end)

    # ---- on the thread

    def _loop(self) -> None:
        while (end := self._ends.get()) is not None:
            self._finish(end())

    def _finish(self, turn: Turn[J]) -> None:
        self._waiting.put_again(turn.again)
        answers = turn.answers
        if turn.pause_s:  # before the next group begins, which would hold its locks meanwhile
            self._in_reactor(partial(give, answers))
            answers = ()
            Event().wait(turn.pause_s)
        self._in_reactor(partial(self._finished, answers))

    # ---- in the reactor again

    def _finished(self, answers: Sequence[Answer]) -> None:
        self._busy = False
        self._soon()
        give(answers)
