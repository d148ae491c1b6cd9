"""One thread with one connection and a queue: it takes all that waits, does it as a group, and answers in one call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine

J = TypeVar("J")
Answer = Callable[[], None]


class Lane(Generic[J]):
    """Jobs in, answers out, in order. There is no timer: a group is what came in while the last one was being done.

    `do_group` does at most `batch` jobs on the thread and says what to answer; `in_reactor` is the reactor's
    callFromThread. `groups` and `units` count what was done.
    """

    def __init__(
        self,
        engine: Engine,
        do_group: Callable[[Connection, Sequence[J]], list[Answer]],
        in_reactor: Callable[[Callable[[], None]], object],
        name: str,
        batch: int,
    ) -> None:
        self._connection = engine.connect()  # here, so that who starts the lane hears of a database that is not there
        self._do_group, self._in_reactor, self._batch = do_group, in_reactor, batch
        self._waiting: deque[J] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self.groups = 0
        self.units = 0
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def put(self, job: J) -> None:
        """Wait for your turn. RuntimeError once the lane was stopped."""
        with self._wake:
            if self._stopping:
                raise RuntimeError("the database is closed")
            self._waiting.append(job)
            self._wake.notify()

    def stop(self) -> None:
        """Finish what waits, then end the thread. Called once, from the reactor's thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _loop(self) -> None:
        with self._connection as connection:
            while jobs := self._take():
                answers = self._do_group(connection, jobs)
                self.groups, self.units = self.groups + 1, self.units + len(jobs)
                self._in_reactor(lambda answers=answers: give(answers))  # type: ignore[misc]

    def _take(self) -> list[J]:
        with self._wake:
            while not self._waiting and not self._stopping:
                self._wake.wait()
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]


def give(answers: Sequence[Answer]) -> None:
    """Every answer, in order, also when one of them raises; that error goes to the caller at the end."""
    with ExitStack() as all_of_them:
        for answer in reversed(answers):
            all_of_them.callback(answer)
