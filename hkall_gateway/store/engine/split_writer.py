"""A writer in two parts: the reactor's thread runs the units of a group, and a second thread commits.

For SQLite files. A thread releases the GIL at every statement, and a busy reactor returns it only at its next system call,
which takes longer than the statement. The fsync of a commit takes long, and so do units that wait for another process or scan a
whole table: these run on the second thread, so that the reactor keeps serving connections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import Generic, TypeVar

from sqlalchemy import Connection

from hkall_gateway.store.engine.job import GroupResult, ReplyCallback, give
from hkall_gateway.store.engine.worker import JobQueue

J = TypeVar("J")

UNITS_AN_ITERATION = 64
"""Limit of units that the reactor's thread runs at once: ten to twenty milliseconds."""


class SplitWriter(Generic[J]):
    """Takes jobs and returns answers in order, like `Worker`; called only from the reactor's thread.

    `begin` runs a group except for its commit and returns a function for that; None if it would have to wait for another
    process. `do_group` runs a whole group on the thread. `is_short`: the job ends within a fraction of a millisecond.
    `in_reactor` and `batch` as for a Worker; `groups` and `units` count the work done.
    """

    def __init__(
        self,
        connection: Connection,
        begin: Callable[[Connection, Sequence[J]], Callable[[], GroupResult[J]] | None],
        do_group: Callable[[Connection, Sequence[J]], GroupResult[J]],
        is_short: Callable[[J], bool],
        in_reactor: Callable[[Callable[[], None]], object],
        name: str,
        batch: int,
    ) -> None:
        self._connection, self._begin, self._do_group, self._is_short = connection, begin, do_group, is_short
        self._in_reactor, self._batch = in_reactor, batch
        self._ends: SimpleQueue[Callable[[], GroupResult[J]] | None] = SimpleQueue()
        self._loop_thread = Thread(target=self._loop, name=name, daemon=True)
        self._loop_thread.start()
        self._waiting: JobQueue[J] = JobQueue()
        self._busy = self._called = self._stopped = False
        self.groups = 0
        self.units = 0

    def put(self, job: J) -> None:
        """Queue a job for the reactor's next iteration or the end of the current group. RuntimeError after `stop`."""
        if self._stopped:
            raise RuntimeError("the database is closed")
        self._waiting.put(job)
        if self._is_short(job):
            self._soon()
        else:
            self._next()

    def stop(self) -> None:
        """Finish the queued jobs, then end the thread. Called once, from the reactor's thread."""
        self._stopped = True
        self._ends.put(None)
        self._loop_thread.join()
        while jobs := self._waiting.take(self._batch):
            result = self._do_group(self._connection, jobs)
            self._waiting.put_again(result.again)
            self._in_reactor(partial(give, result.answers))
        self._connection.close()

    def _soon(self) -> None:
        if self._waiting and not self._called and not self._busy:
            self._called = True
            self._in_reactor(self._in_order)

    def _in_order(self) -> None:
        self._called = False
        self._next()

    def _next(self) -> None:
        """Start the next group, unless one is running."""
        if self._busy or self._stopped or not self._waiting:
            return
        self._busy = True
        jobs = self._waiting.take(min(self._batch, UNITS_AN_ITERATION))
        end = self._begin(self._connection, jobs) if all(map(self._is_short, jobs)) else None
        if end is None:  # on the thread, with all queued jobs: they wait for another process only once
            jobs += self._waiting.take(max(0, self._batch - len(jobs)))
            end = partial(self._do_group, self._connection, jobs)
        self.groups, self.units = self.groups + 1, self.units + len(jobs)
        self._ends.put(end)

    # ---- on the thread

    def _loop(self) -> None:
        while (end := self._ends.get()) is not None:
            self._finish(end())

    def _finish(self, result: GroupResult[J]) -> None:
        self._waiting.put_again(result.again)
        answers = result.answers
        if result.pause_s:  # before the next group begins, since it would hold its locks during the pause
            self._in_reactor(partial(give, answers))
            answers = ()
            Event().wait(result.pause_s)
        self._in_reactor(partial(self._finished, answers))

    # ---- in the reactor again

    def _finished(self, answers: Sequence[ReplyCallback]) -> None:
        self._busy = False
        self._soon()
        give(answers)
