"""A bounded queue for threads, in which callers take turns, so that no caller holds up the others."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from hkall_gateway.net.limits.allow_list import CountedCaller

T = TypeVar("T")

WAITING_PER_THREAD: Final = 16
"""Number of waiting places for each thread."""
PART_OF_PLACES: Final = 4
"""One caller may fill this fraction of the waiting places: a quarter."""
PART_OF_THREADS: Final = 2
"""One caller may use this fraction of the threads, and always one thread: half."""
MOST_PARTS: Final = 2
"""Number of quarters that the networks of one site may fill together, however many networks the site has."""


class QueueRefusal(StrEnum):
    """Why a queue refuses work."""

    CALLER = "caller_queue"
    """The caller fills its part of the waiting places."""
    FULL = "queue"
    """All waiting places are filled."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QueuedWork(Generic[T]):
    """Work in the queue.

    Attributes:
        item: The work itself.
        caller: The names under which the caller is counted, the narrowest first. Callers take turns by the widest name.
        one_at_a_time: Whether the caller may have only one such piece of work on a thread.
    """

    item: T
    caller: Sequence[CountedCaller]
    one_at_a_time: bool = False

    @property
    def turn(self) -> tuple[str, bool]:
        """Return the key of the queue in which this work waits for its turn."""
        return self.caller[-1].name, self.one_at_a_time


class FairQueue(Generic[T]):
    """Decides which work waits, and which work runs next on one of `threads` threads.

    Callers take turns. One caller uses at most half of the threads, but at least one, and fills at most a quarter of the
    waiting places. The networks of one site together fill at most half of the waiting places. Not thread-safe.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._most_of_caller = max(1, threads // PART_OF_THREADS)
        self._places = threads * WAITING_PER_THREAD
        self._queues: OrderedDict[tuple[str, bool], deque[QueuedWork[T]]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._running_turns: Counter[tuple[str, bool]] = Counter()
        self._waiting_in_all = 0

    def refusal(self, caller: Sequence[CountedCaller]) -> QueueRefusal | None:
        """Return why no more work of this caller may wait, or None if it may."""
        if self._waiting_in_all >= self._places:
            return QueueRefusal.FULL
        quarter = self._places // PART_OF_PLACES
        for name, factor in caller:
            if self._waiting[name] >= quarter * min(factor, MOST_PARTS):
                return QueueRefusal.CALLER
        return None

    def add(self, work: QueuedWork[T]) -> None:
        """Let work wait, which `refusal` admits."""
        self._queues.setdefault(work.turn, deque()).append(work)
        self._count_waiting(work, 1)

    def remove(self, work: QueuedWork[T]) -> bool:
        """Remove work whose caller has gone. Return False if the work does not wait."""
        queue = self._queues.get(work.turn, deque())
        if work not in queue:
            return False
        queue.remove(work)
        if not queue:
            del self._queues[work.turn]
        self._count_waiting(work, -1)
        return True

    def start_next(self) -> QueuedWork[T] | None:
        """Return the work whose turn has come and count it as running, or None if no work may start now."""
        if self._running.total() >= self._threads:
            return None
        turn = next(filter(self._may_run, self._queues), None)
        if turn is None:
            return None
        queue = self._queues[turn]
        work = queue.popleft()
        if queue:
            self._queues.move_to_end(turn)
        else:
            del self._queues[turn]
        self._count_waiting(work, -1)
        self._running[turn[0]] += 1
        self._running_turns[turn] += 1
        return work

    def finish(self, work: QueuedWork[T]) -> None:
        """Free the thread of work that `start_next` has returned."""
        _decrement(self._running, work.turn[0])
        _decrement(self._running_turns, work.turn)

    def _may_run(self, turn: tuple[str, bool]) -> bool:
        name, one_at_a_time = turn
        if one_at_a_time and self._running_turns[turn]:
            return False
        return self._running[name] < self._most_of_caller

    def _count_waiting(self, work: QueuedWork[T], change: int) -> None:
        self._waiting_in_all += change
        for name, _ in work.caller:
            self._waiting[name] += change
            if not self._waiting[name]:
                del self._waiting[name]


K = TypeVar("K")


def _decrement(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
