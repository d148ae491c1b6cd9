"""A unit of work that waits to be done, and what became of a group of them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection

from hkall_gateway.db.engine.deadline import DatabaseClock, Deadline, Undecided
from hkall_gateway.db.engine.locks import LockSet

J = TypeVar("J")
T = TypeVar("T")
ReplyCallback = Callable[[], object]


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One queued unit of work; `reply` passes the result or the error to its caller, in the reactor's thread.

    `repeatable`: executed twice it has one effect and one result, so that it may be retried after an unknown outcome.
    With a `deadline` it begins before it or never; `clock` translates the deadline for a database on another machine.
    """

    work: Callable[..., T]
    args: tuple[Any, ...]
    locks: LockSet
    reply: Callable[[Any, BaseException | None], object]
    repeatable: bool = False
    deadline: Deadline | None = None
    clock: DatabaseClock | None = None
    tries: int = 0
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    _begun: bool = False
    _until_there_s: float | None = None

    def __post_init__(self) -> None:
        if self.clock is not None and self.deadline is not None:
            self._until_there_s = self.clock.there(self.deadline.until_s)

    @property
    def over(self) -> bool:
        """Whether it may not begin any more: it waits for its refusal only."""
        return self.deadline is not None and self.deadline.over

    def begin(self, there_s: float | None) -> bool:
        """Take it for the writer in this run, with its locks held; False if its deadline has passed.

        Args:
            there_s: The database's time in seconds, if it has a clock of its own.
        """
        if self.deadline is None:
            return True
        late = there_s is not None and self._until_there_s is not None and there_s >= self._until_there_s
        self._begun = self.deadline.begin(again=self._begun, late=late)
        return self._begun

    def undo(self) -> None:
        """Let the deadline's timer take it again: its run was rolled back, and it waits for another one."""
        if self._begun and self.deadline is not None:
            self._begun = False
            self.deadline.undo()

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Pass the outcome to the caller."""
        if error is not None and not isinstance(error, Undecided):
            self.undo()
        self.reply(result, error)


@dataclass(frozen=True, slots=True)
class GroupResult(Generic[J]):
    """Outcome of a group: replies to send, jobs to retry alone, and the error that broke the connection.

    `in_doubt` takes a new connection after the COMMIT of some of its units was lost on the old one, and returns their outcome.
    Without a connection their callers get no answer. `refused` is the error for which the database took some of its units not
    now, such as that of a full disk.
    """

    answers: Sequence[ReplyCallback]
    again: Sequence[J] = field(default=())
    pause_s: float = 0.0
    lost: BaseException | None = None
    in_doubt: Callable[[Connection | None], GroupResult[J]] | None = None
    refused: BaseException | None = None


class JobRunner(Protocol):
    """Runs the queued units of work of a database: on a thread of its own, or in the reactor's."""

    def put(self, job: Job[Any]) -> None:
        """Queue a job. Its `settle` is called in the reactor's thread."""

    def stop(self) -> None:
        """Finish the queued jobs and accept no more."""


def give(answers: Sequence[ReplyCallback]) -> None:
    """Every answer, in order, also when one of them raises; that error goes to the caller at the end."""
    raised: BaseException | None = None
    for answer in answers:
        try:
            answer()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the others are not made to wait for it
            raised = error
    if raised is not None:
        raise raised
