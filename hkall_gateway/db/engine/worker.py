"""Run queued jobs in groups, either on a thread with its own connection or in the reactor's thread.

A worker survives the loss of its database connection. Until it has reconnected, it refuses jobs immediately.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.db_errors import name_of, unavailable
from hkall_gateway.db.engine.expiry import Expired
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.deadline import Deadline, Undecided

ReplyCallback = Callable[[], object]


class Unit(Protocol):
    """What the engine does with a unit of work, besides passing it to the job."""

    def lock(self, wanted: Sequence[LockSet], /) -> None:
        """Lock the objects that a group's units decide about."""

    def read_ahead(self, wanted: Sequence[LockSet], group: Sequence[Self], /) -> None:
        """Prefetch the rows that the locks name, for all units of a group."""

    def look_ahead(self, cards: Sequence[str], /) -> None:
        """Prefetch the data of patrons, for queries only."""

    def committed(self) -> None:
        """Notify the listeners of the commit."""


@dataclass(slots=True, eq=False)
class Job:
    """A queued unit of work.

    Attributes:
        reply: Passes the result or an exception to the caller, in the reactor's thread.
        repeatable: Whether to retry the job after an unknown outcome, because committing it twice does no harm.
        deadline: The time before which the job must begin. A late job does not run.
        until_there_s: The deadline by the clock of a database on another machine.
    """

    work: Callable[[Unit], object]
    locks: LockSet
    reply: Callable[[object, BaseException | None], object]
    repeatable: bool = False
    deadline: Deadline | None = None
    until_there_s: float | None = None
    tries: int = 0
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    _begun: bool = False

    def begin(self, there_s: float | None) -> bool:
        """Begin a run at the time `there_s` of the database's clock, if known. Return False if the deadline has passed."""
        if self.deadline is None:
            return True
        late = there_s is not None and self.until_there_s is not None and there_s >= self.until_there_s
        self._begun = self.deadline.begin(again=self._begun, late=late)
        return self._begun

    def undo(self) -> None:
        """Record that the run was rolled back, so that the deadline's timer may expire the job before its next run."""
        if self._begun and self.deadline is not None:
            self._begun = False
            self.deadline.undo()

    def fail(self, error: BaseException) -> None:
        """Pass an error to the caller."""
        if not isinstance(error, Undecided):
            self.undo()
        self.reply(None, error)

    def refusal(self, error: BaseException) -> ReplyCallback:
        """Return a callback that replies "try again". Each job gets its own exception object."""
        return partial(self.fail, unavailable(error))

    def expiry(self) -> ReplyCallback:
        """Return a callback that fails the job because its deadline has passed or its caller has disconnected."""
        return partial(self.fail, Expired("the command did not begin before its deadline"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """Outcome of a group: the replies to send, and the jobs to retry alone (`again`) after `pause_s` seconds.

    Attributes:
        lost: The error that broke the connection.
        in_doubt: Called with a new connection to query the outcome of an unanswered COMMIT, or with None to give up.
        refused: The error with which the database temporarily refused units, such as a full disk.
    """

    answers: Sequence[ReplyCallback]
    again: Sequence[Job] = ()
    pause_s: float = 0.0
    lost: BaseException | None = None
    in_doubt: Callable[[Connection | None], GroupResult] | None = None
    refused: BaseException | None = None


def give(answers: Sequence[ReplyCallback]) -> None:
    """Call every reply callback in order, even if one raises. Raise the last error at the end."""
    raised: BaseException | None = None
    for answer in answers:
        try:
            answer()
        except BaseException as error:  # noqa: BLE001  # the other callers must get their replies after any error
            raised = error
    if raised is not None:
        raise raised


def at_once(work: Callable[[], None]) -> None:
    """Call `work` immediately instead of in the reactor's next iteration."""
    work()


AWAY_S = 0.5
DoGroup = Callable[[Connection, Sequence[Job]], GroupResult]
InReactor = Callable[[Callable[[], None]], object]
Together = Callable[[], AbstractContextManager[None]]
InDoubt: TypeAlias = Callable[[Connection | None], GroupResult]


class Worker:
    """Runs jobs on a thread, in groups of all jobs queued until the last group's replies. Counts `groups` and `units`.

    Jobs queued while a group runs are handed over after its replies, so that under load the thread and the reactor take
    turns. If the thread got them at once, groups would be half as large, and cost as much per commit.

    Args:
        do_group: Runs a group on the thread.
        in_reactor: The reactor's callFromThread, for the replies.
        batch: Maximum number of jobs in a group.
        soon: The reactor's callLater(0), which hands over the jobs of one iteration together.
    """

    def __init__(
        self, engine: Engine, do_group: DoGroup, in_reactor: InReactor, name: str, batch: int, soon: InReactor = at_once
    ) -> None:
        self._engine = engine
        self._connection = engine.connect()  # opened here and not on the thread, so that a missing database raises here
        self._do_group, self._in_reactor, self._batch = do_group, in_reactor, batch
        self._arriving, self._soon = list[Job](), soon
        self._waiting, self._again = deque[Job](), deque[Job]()
        self._wake = threading.Condition()
        self._running = self._stopping = False
        self._away: BaseException | None = None
        self.groups = 0
        self.units = 0
        self._loop_thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._loop_thread.start()

    def put(self, job: Job) -> None:
        """Queue a job, or refuse it while the database is unavailable. Called from the reactor's thread.

        Raises:
            RuntimeError: The worker was stopped.
        """
        if self._stopping:
            raise RuntimeError("the database is closed")
        self._arriving.append(job)
        if len(self._arriving) == 1:
            self._soon(self._hand_over)

    def stop(self) -> None:
        """Finish the queued jobs, then end the thread. Called once, from the reactor's thread."""
        with self._wake:
            self._stopping = True
            self._hand_over()
            self._wake.notify()
        self._loop_thread.join()

    def _hand_over(self) -> None:
        """Pass the queued jobs to the thread, unless it runs a group, after which `_answer` passes them.

        If jobs are to be retried, the thread runs one after the other without a pause, and needs new jobs in between.
        """
        with self._wake:
            if self._running and not self._again and not self._stopping:
                return
            jobs, self._arriving, away = self._arriving, [], self._away
            if away is None:
                self._waiting.extend(jobs)
                self._wake.notify()
        if away is not None:
            give([job.refusal(away) for job in jobs])

    def _loop(self) -> None:
        while jobs := self._next_group():
            result = self._do_group(self._connection, jobs)
            self.groups, self.units = self.groups + 1, self.units + len(jobs)
            self._again.extend(result.again)
            with self._wake:
                self._running = False
            self._in_reactor(partial(self._answer, result.answers))
            if result.lost is not None:
                self._connect_again(result.lost, result.in_doubt)
            elif result.pause_s:
                threading.Event().wait(result.pause_s)
        self._connection.close()

    def _answer(self, answers: Sequence[ReplyCallback]) -> None:
        try:
            give(answers)
        finally:
            self._hand_over()

    def _next_group(self) -> list[Job]:
        """Wait for the next group. An empty group means that the worker was stopped and has finished its queue.

        Groups of new jobs alternate with single retried jobs, so that retries do not delay new jobs.
        """
        with self._wake:
            while not self._waiting and not self._again and not self._stopping:
                self._wake.wait()
            self._running = True
            if self._again and (self.groups % 2 == 1 or not self._waiting):
                return [self._again.popleft()]
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]

    def _connect_again(self, error: BaseException, in_doubt: InDoubt | None) -> None:
        """Reconnect once the database is available, and find out the outcome of unanswered commits."""
        import structlog  # imported late, because most commands load this module but never log

        structlog.get_logger().warning("database.lost", lane=self._loop_thread.name, why=name_of(error))
        self._connection.close()
        while not (self._try_connecting() and (in_doubt is None or self._settle_in_doubt(in_doubt))):
            with self._wake:
                if self._stopping:
                    break
                self._wake.wait(AWAY_S)
        else:
            structlog.get_logger().info("database.back", lane=self._loop_thread.name)
            return
        if in_doubt is not None:  # the worker was stopped before the database came back
            self._in_reactor(partial(give, in_doubt(None).answers))

    def _settle_in_doubt(self, in_doubt: InDoubt) -> bool:
        """Find out the outcome of an unanswered commit on the new connection. Return False if the new connection breaks."""
        try:
            result = in_doubt(self._connection)
        except DBAPIError:
            self._connection.close()
            return False
        self._in_reactor(partial(give, result.answers))
        self._again.extend(result.again)
        return True

    def _try_connecting(self) -> bool:
        try:
            self._connection = self._engine.connect()
        except DBAPIError as error:
            with self._wake:
                self._away = error
                waiting = [*self._again, *self._waiting]
                self._again.clear()
                self._waiting.clear()
            self._in_reactor(partial(give, [job.refusal(error) for job in waiting]))
            return False
        with self._wake:
            self._away = None
        return True


class InlineRunner:
    """Runs the jobs of one reactor iteration at the start of the next iteration, in the reactor's thread.

    Use it for queries that take less time than waking a thread. Jobs to retry join the next group. If `in_reactor` is
    `at_once`, each job has run when `put` returns. `together` is entered around several replies.
    """

    def __init__(
        self,
        connection: Connection,
        do_group: DoGroup,
        in_reactor: InReactor,
        batch: int = 1,
        together: Together = nullcontext,
    ) -> None:
        self._connection, self._do_group, self._in_reactor, self._batch = connection, do_group, in_reactor, batch
        self._together = together
        self._waiting: list[Job] = []
        self._stopped = False

    def put(self, job: Job) -> None:
        """Queue a job for the next iteration. Raises RuntimeError after `stop`."""
        if self._stopped:
            raise RuntimeError("the database is closed")
        self._waiting.append(job)
        if len(self._waiting) == 1:
            self._in_reactor(self._run_waiting)

    def stop(self) -> None:
        """Finish the queued jobs. Called once, from the reactor's thread."""
        self._stopped = True
        while self._waiting:
            self._run_waiting()
        self._connection.close()

    def _run_waiting(self) -> None:
        jobs, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        if not jobs:
            return
        result = self._do_group(self._connection, jobs)
        if in_doubt := result.in_doubt:
            try:
                result = in_doubt(self._connection)
            except DBAPIError:
                result = in_doubt(None)
        self._waiting += result.again
        if self._waiting:
            self._in_reactor(self._run_waiting)
        with self._together() if len(result.answers) > 1 else nullcontext():
            give(result.answers)
