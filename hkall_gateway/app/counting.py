"""Counts committed journal entries, letters by the result of each attempt, and groups of units."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from hkall_gateway.circulation.messages.results import DeliveryResult
from hkall_gateway.db.engine.database import Watch
from hkall_gateway.db.journal_entry import JournalEntry
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, OTHER
from hkall_gateway.rules.lifecycle import FINAL, Event, side_of
from hkall_gateway.rules.vocabulary import Request

LOG = structlog.get_logger()

EVENTS = frozenset(event.name for event in Event)
DECLINES = frozenset(
    event.name for event in (Event.ASK_NEXT, Event.ASK_NEXT_AFTER_SILENCE, Event.NOT_SENT, Event.POSTPONE, Event.END_OF_LIST)
)


def count(metrics: Metrics, moves: Sequence[JournalEntry]) -> None:
    """Count each step taken, the time the request had stood in its position, and requests that ended or were declined."""
    for move in moves:
        if move.outcome != "ok":
            continue
        metrics.transitions.labels(move.source, move.target).inc()
        if move.event in EVENTS and move.target in FINAL and move.source != move.target:
            metrics.requests.labels(side_of(Event[move.event]), move.partner, move.target).inc()
        if move.before is not None and move.after is not None:
            _compare(metrics, move.event, move.before, move.after)


def _compare(metrics: Metrics, event: str, before: Request, after: Request) -> None:
    if before.position is not after.position and before.moved_at and after.moved_at:
        metrics.ages.labels(before.position).observe((after.moved_at - before.moved_at).total_seconds())
    if event in DECLINES:
        metrics.declines.labels(before.partner, after.reason if after.reason in LENDER_REASONS else OTHER).inc()


def counted(
    metrics: Metrics, deliver: Callable[[OutboxRow], Awaitable[DeliveryResult]]
) -> Callable[[OutboxRow], Awaitable[DeliveryResult]]:
    """Return a carrier that delivers with `deliver` and counts the result of each attempt."""

    async def delivered(row: OutboxRow) -> DeliveryResult:
        answer = await deliver(row)
        metrics.notices.labels(row.send, answer.kind).inc()
        return answer

    return delivered


def expired(metrics: Metrics, protocol: str) -> Callable[[str], None]:
    """Return what counts and logs a command that came through `protocol` and expired, with "late" or "gone"."""

    def note(why: str) -> None:
        metrics.commands_expired.labels(protocol, why).inc()
        LOG.warning("command.expired", why=why)

    return note


def timed(metrics: Metrics, seconds: Callable[[], float]) -> Watch:
    """Return a watch that observes the units of each group and its duration by the clock `seconds`."""

    @contextmanager
    def watch(lane: str, units: int) -> Iterator[None]:
        began = seconds()
        yield
        metrics.group_units.labels(lane).observe(units)
        metrics.db_latency.labels(lane).observe(seconds() - began)

    return watch
