"""One thread with one connection and a queue: it takes all that waits, does it as a group, and answers in one call.

A lane outlives its database. While that is away nobody waits for it: whoever asks is refused at once, and the thread looks
every half second whether it is back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hkall_gateway.store.engine.db_errors import name_of

LOG = structlog.get_logger()

J = TypeVar("J")
Answer = Callable[[], None]

AWAY_S = 0.5


@dataclass(frozen=True, slots=True)
class Turn(Generic[J]):
    """What became of a group: what to answer, what to try again by itself, and what the connection was lost by."""

    answers: Sequence[Answer]
    again: Sequence[J] = field(default=())
    pause_s: float = 0.0
    lost: BaseException | None = None


class Waiting(Generic[J]):
    """Jobs in their order; in turns with all that wait, one that is tried again, by itself, so that it holds up nobody."""

    def __init__(self) -> None:
        self._new: deque[J] = deque()
        self._again: deque[J] = deque()
        self._taken = 0

    def __bool__(self) -> bool:
        return bool(self._new or self._again)

    def put(self, job: J) -> None:
        """The last of all."""
        self._new.append(job)

    def put_again(self, jobs: Iterable[J]) -> None:
        """What was tried already."""
        self._again.extend(jobs)

    def all(self) -> list[J]:
        """Whatever waits."""
        return [*self._again, *self._new]

    def take(self, most: int) -> list[J]:
        """The next group, of at most so many; empty if nothing waits."""
        self._taken += 1
        if self._again and (self._taken % 2 == 0 or not self._new):
            return [self._again.popleft()]
        return [self._new.popleft() for _ in range(min(most, len(self._new)))]


class Worker(Generic[J]):
    """Jobs in, answers out, in order. There is no timer: a group is what came in while the last one was being done.

    `do_group` does at most `batch` jobs on the thread; `refuse` is the answer to a job that cannot be done because of an
    error; `in_reactor` is the reactor's callFromThread. `groups` and `units` count what was done.
    """

    def __init__(
        self,
        engine: Engine,
        do_group: Callable[[Connection, Sequence[J]], Turn[J]],
        refuse: Callable[[J, BaseException], Answer],
        in_reactor: Callable[[Callable[[], None]], object],
        name: str,
        batch: int,
    ) -> None:
        self._engine = engine
        self._connection = engine.connect()  # here, so that who starts the lane hears of a database that is not there
        self._do_group, self._refuse, self._in_reactor, self._batch = do_group, refuse, in_reactor, batch
        self._waiting: Waiting[J] = Waiting()
        self._wake = threading.Condition()
        self._stopping = False
        self._away: BaseException | None = None
        self.groups = 0
        self.units = 0
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def put(self, job: J) -> None:
        """Wait for your turn, or be refused here and now while the database is away. RuntimeError once the lane was stopped."""
        with self._wake:
            if self._stopping:
                raise RuntimeError("the database is closed")
            away = self._away
            if away is None:
                self._waiting.put(job)
                self._wake.notify()
        if away is not None:
            self._refuse(job, away)()

    def stop(self) -> None:
        """Finish what waits, then end the thread. Called once, from the reactor's thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _loop(self) -> None:
        while jobs := self._take():
            turn = self._do_group(self._connection, jobs)
            self.groups, self.units = self.groups + 1, self.units + len(jobs)
            self._in_reactor(lambda answers=turn.answers: give(answers))  # type: ignore[misc]
            self._waiting.put_again(turn.again)
            if turn.lost is not None:
                self._connect_again(turn.lost)
            elif turn.pause_s:
                threading.Event().wait(turn.pause_s)
        self._connection.close()

    def _take(self) -> list[J]:
        """The next group; empty once the lane was stopped and nothing waits."""
        with self._wake:
            while not self._waiting and not self._stopping:
                self._wake.wait()
            return self._waiting.take(self._batch)

    # ---- while the database is away

    def _connect_again(self, error: BaseException) -> None:
        """A new connection, at once or when there is one again."""
        LOG.warning("database.lost", lane=self._thread.name, why=name_of(error))
        self._connection.close()
        while not self._connected():
            with self._wake:
                if self._stopping:
                    return
                self._wake.wait(AWAY_S)
        LOG.info("database.back", lane=self._thread.name)

    def _connected(self) -> bool:
        try:
            self._connection = self._engine.connect()
        except DBAPIError as error:
            refused = self._refuse_all(error)
            self._in_reactor(lambda: give(refused))
            return False
        with self._wake:
            self._away = None
        return True

    def _refuse_all(self, error: BaseException) -> list[Answer]:
        with self._wake:
            self._away = error
            waiting, self._waiting = self._waiting, Waiting()
        return [self._refuse(job, error) for job in waiting.all()]


class InlineReader(Generic[J]):
    """A lane without a thread: what was asked in one turn of the reactor is done, and answered, at the start of its next.

    For questions that are over sooner than a thread would have been woken. `do_group`, `in_reactor` and `batch` as for
    `Worker`; a group that must be tried again comes with the next one.
    """

    def __init__(
        self,
        connection: Connection,
        do_group: Callable[[Connection, Sequence[J]], Turn[J]],
        in_reactor: Callable[[Callable[[], None]], object],
        batch: int,
    ) -> None:
        self._connection, self._do_group, self._in_reactor = connection, do_group, in_reactor
        self._batch = batch
        self._waiting: list[J] = []
        self._stopped = False

    def put(self, job: J) -> None:
        """Wait for the next turn. RuntimeError once it was stopped."""
        if self._stopped:
            raise RuntimeError("the database is closed")
        self._waiting.append(job)
        if len(self._waiting) == 1:
            self._in_reactor(self._do)

    def stop(self) -> None:
        """Finish what waits. Called once, from the reactor's thread."""
        self._stopped = True
        while self._waiting:
            self._do()
        self._connection.close()

    def _do(self) -> None:
        jobs, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        if not jobs:
            return
        turn = self._do_group(self._connection, jobs)
        self._waiting += turn.again
        if self._waiting:
            self._in_reactor(self._do)
        give(turn.answers)


def give(answers: Sequence[Answer]) -> None:
    """Every answer, in order, also when one of them raises; that error goes to the caller at the end."""
    raised: BaseException | None = None
    for answer in answers:
        try:
            answer()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the others are not made to wait for it
            raised = error
    if raised is not None:
        raise raised
