"""A unit of work that waits to be done, and what became of a group of them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from hkall_gateway.store.engine.locks import LockSet

J = TypeVar("J")
T = TypeVar("T")
ReplyCallback = Callable[[], object]


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One queued unit of work; `settle` passes the result or the error to its caller, in the reactor's thread.

    `repeatable`: executed twice it has one effect and one result, so that it may be retried after an unknown outcome. `short`:
    it ends within a fraction of a millisecond.
    """

    work: Callable[..., T]
    args: tuple[Any, ...]
    locks: LockSet
    settle: Callable[[Any, BaseException | None], object]
    repeatable: bool = False
    short: bool = False
    tries: int = 0
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


@dataclass(frozen=True, slots=True)
class GroupResult(Generic[J]):
    """Outcome of a group: replies to send, jobs to retry alone, and the error that broke the connection."""

    answers: Sequence[ReplyCallback]
    again: Sequence[J] = field(default=())
    pause_s: float = 0.0
    lost: BaseException | None = None


class JobRunner(Protocol):
    """Runs the queued units of work of a database: on a thread of its own, or in the reactor's."""

    def put(self, job: Job[Any]) -> None:
        """Queue a job. Its `settle` is called in the reactor's thread."""

    def stop(self) -> None:
        """Finish the queued jobs and accept no more."""


class CountingRunner(JobRunner, Protocol):
    """A runner that counts its `groups` and their `units`."""

    groups: int
    units: int


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
