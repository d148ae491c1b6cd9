"""What happened, as counters: each committed line of the journal, and each letter that left or did not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from hkall_gateway.desk.outcomes import Answer
from hkall_gateway.edge.counters import Counters
from hkall_gateway.rules.lifecycle import FINAL, Event, side_of
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Move

EVENTS = frozenset(event.name for event in Event)


def count(counters: Counters, moves: Sequence[Move]) -> None:
    """Every step that was taken, and every request that has ended with it."""
    for move in moves:
        if move.outcome != "ok":
            continue
        counters.add("transitions_total", move.source, move.target)
        if move.event in EVENTS and move.target in FINAL and move.source != move.target:
            counters.add("requests_total", side_of(Event[move.event]), move.partner, move.target)


def counted(counters: Counters, deliver: Callable[[OutboxRow], Awaitable[Answer]]) -> Callable[[OutboxRow], Awaitable[Answer]]:
    """A carrier of letters that counts what became of each try."""

    async def delivered(row: OutboxRow) -> Answer:
        answer = await deliver(row)
        counters.add("notices_total", row.send, answer.kind)
        return answer

    return delivered
