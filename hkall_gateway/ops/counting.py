"""What happened, as counters: each committed line of the journal, each letter that left or did not, each group of units."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from hkall_gateway.desk.outcomes import Answer
from hkall_gateway.edge.counters import Counters
from hkall_gateway.rules import decline_reasons
from hkall_gateway.rules.lifecycle import FINAL, Event, side_of
from hkall_gateway.rules.vocabulary import Request
from hkall_gateway.store.database import Watch
from hkall_gateway.store.moves import Move
from hkall_gateway.store.outbox import OutboxRow

EVENTS = frozenset(event.name for event in Event)
DECLINES = frozenset(
    event.name for event in (Event.ASK_NEXT, Event.ASK_NEXT_AFTER_SILENCE, Event.NOT_SENT, Event.POSTPONE, Event.END_OF_LIST)
)
REASONS = decline_reasons.OURS | set(decline_reasons.PUBLISHED)
"""The reasons that are told apart; whatever a library says in words of its own is "other" (R37)."""


def count(counters: Counters, moves: Sequence[Move]) -> None:
    """Every step that was taken, how long the request had stood there, and what has ended or was declined with it."""
    for move in moves:
        if move.outcome != "ok":
            continue
        counters.add("transitions_total", move.source, move.target)
        if move.event in EVENTS and move.target in FINAL and move.source != move.target:
            counters.add("requests_total", side_of(Event[move.event]), move.partner, move.target)
        if move.before is not None and move.after is not None:
            _compare(counters, move.event, move.before, move.after)


def _compare(counters: Counters, event: str, before: Request, after: Request) -> None:
    if before.position is not after.position and before.moved_at and after.moved_at:
        counters.observe("age_seconds", (after.moved_at - before.moved_at).total_seconds(), before.position)
    if event in DECLINES:
        counters.add("decline_total", before.partner, after.reason if after.reason in REASONS else "other")


def counted(counters: Counters, deliver: Callable[[OutboxRow], Awaitable[Answer]]) -> Callable[[OutboxRow], Awaitable[Answer]]:
    """A carrier of letters that counts what became of each try."""

    async def delivered(row: OutboxRow) -> Answer:
        answer = await deliver(row)
        counters.add("notices_total", row.send, answer.kind)
        return answer

    return delivered


def timed(counters: Counters, seconds: Callable[[], float]) -> Watch:
    """How many units each group had and how long it took by the clock `seconds`."""

    @contextmanager
    def watch(lane: str, units: int) -> Iterator[None]:
        began = seconds()
        yield
        counters.observe("group_units", units, lane)
        counters.observe("db_latency_seconds", seconds() - began, lane)

    return watch
