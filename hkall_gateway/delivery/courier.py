"""The courier claims due outbox rows, sends them, and records the results. It delivers at least once, in order.

A row is claimed only when it can be sent at once. It must be the first row with its ordering key, the recipient's circuit
breaker must allow a call, and the number of deliveries in progress to the recipient, over all gateways, must be below the
limit. All other rows stay in the database, where any gateway may claim them later.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import structlog
from tenacity import RetryCallState, Retrying, wait_exponential
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import pause
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, SETTLING, Delivered
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.clock import Clock, ScheduledCall, cancel
from hkall_gateway.db import bind
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import unlocked
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.log_context import log_context, trace_id
from hkall_gateway.rules import circuit
from hkall_gateway.rules.circuit import DOWN, CircuitSettings, CircuitState
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxKind

LOG = structlog.get_logger()

LEASE_S = 600
BATCH = 64
POLL_S = 1.0
"""Seconds between two polls of the outbox if there is no nudge."""
APART_S = 0.05
"""Minimum seconds between two polls after nudges, so that rows from many commits are claimed together."""
_CLAIMING = unlocked("claiming tries the lock of each channel, and leaves a locked channel to its holder")
_OWN_CLAIMS = unlocked("only this gateway releases its own claims while it runs")


Carrier = Callable[[OutboxRow], Awaitable[DeliveryResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTerms:
    """Limits for one recipient: simultaneous deliveries, and attempts per message (0 for the default)."""

    in_flight: int = 4
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Retry schedule: exponential backoff from `first_wait_s` to `longest_wait_s`, with at most `attempts` attempts.

    `draw` returns a random number in [0, 1). Each wait is between 50 % and 100 % of the exponential value, so that partners
    that failed together are not retried together. The row stores the time of the next attempt, which thus survives a restart.
    """

    attempts: int
    first_wait_s: float
    longest_wait_s: float
    draw: Callable[[], float]

    def next_try(self, made: int, now: datetime, retry_after_s: int = 0, attempts: int = 0) -> datetime | None:
        """Return the time of the next attempt after `made` attempts, or None after the last of `attempts`."""
        if made >= (attempts or self.attempts):
            return None
        wait_s = wait_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)(_retry_state(made))
        return now + timedelta(seconds=max(wait_s * (0.5 + self.draw() / 2), retry_after_s))


@cache
def _retry_state(made: int) -> RetryCallState:
    """Create the state that tenacity's wait objects need."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = made
    return state


_WHOM = {OutboxKind.MAIL: "patron", OutboxKind.ILS: "line"}
"""Kind of row -> log field for the recipient. The field for any other kind is `partner`."""


class Courier:
    """Polls the outbox every second, and soon after a nudge.

    `carriers` maps a row's kind to the carrier that sends it. `terms` returns the limits for a partner, or for all mail if
    called with "mail". Await `start` at the beginning and `stop` at the end.
    """

    def __init__(
        self,
        store: Store,
        circulation: Circulation,
        carriers: Mapping[OutboxKind, Carrier],
        schedule: Schedule,
        clock: Clock,
        now: Callable[[], datetime],
        instance: str,
        terms: Callable[[str], ChannelTerms],
        circuit_settings: CircuitSettings = CIRCUIT_SETTINGS,
    ) -> None:
        self._store, self._circulation, self._carriers, self._schedule = store, circulation, carriers, schedule
        self._clock, self._now, self._instance = clock, now, instance
        self._terms, self._circuit_settings = terms, circuit_settings
        self._under_way: dict[Deferred[None], int] = {}
        self._running = self._polling = self._again = self._unsure = False
        self._polled_s = self._timer_s = 0.0
        self._timer: ScheduledCall | None = None
        self._poll_under_way: Deferred[None] | None = None

    async def start(self) -> None:
        """Release rows that this gateway claimed before a crash, then start polling."""
        await self._release()
        self._running = True
        self._poll_now()

    async def _release(self) -> None:
        """Release the rows that this gateway has claimed, except rows that are being delivered."""
        now, under_way = self._now(), tuple(self._under_way.values())
        await self._store.write(lambda unit: unit.outbox.release(self._instance, now, under_way), _OWN_CLAIMS)

    async def stop(self) -> None:
        """Stop claiming rows, and wait for the deliveries in progress."""
        self._running = False
        cancel(self._timer)
        if self._poll_under_way is not None:
            await self._poll_under_way
        for waiting in list(self._under_way):
            await waiting

    def nudge(self) -> None:
        """Poll the outbox soon, at most APART_S from now, because a row was just added."""
        self._again = True
        if self._running and not self._polling:
            self._schedule_poll(self._polled_s + APART_S)

    def _schedule_poll(self, second: float) -> None:
        """Schedule the next poll at the clock time `second`, unless an earlier poll is scheduled."""
        wait_s = second - self._clock.seconds()
        if wait_s <= 0:
            self._poll_now()
        elif self._timer is None or not self._timer.active():
            self._timer, self._timer_s = self._clock.callLater(wait_s, self._poll_now), second
        elif second < self._timer_s:
            self._timer.reset(wait_s)
            self._timer_s = second

    def _poll_now(self) -> None:
        if self._running and not self._polling:
            self._polling = True
            # Use a new context, so that the poll does not inherit the log context of the caller of `nudge`.
            self._poll_under_way = contextvars.Context().run(lambda: ensureDeferred(self._poll()))

    async def _poll(self) -> None:
        try:
            while rows := await self._claim_rows():
                if not self._running:
                    return await self._store.write(bind(_give_back, [row.id for row in rows]), _OWN_CLAIMS)
                for row in rows:  # each delivery polls again when done, since the next row with its ordering key may be due
                    done = ensureDeferred(self.deliver(row))
                    self._under_way[done] = row.id
                    _ = done.addBoth(self._end_delivery, done)
        except Unavailable:  # the store has logged the reason
            self._unsure = True
        except Exception:
            self._unsure = True
            LOG.exception("courier.look_failed")
        finally:
            self._polling, self._polled_s = False, self._clock.seconds()
            if self._running:
                self._schedule_poll(self._polled_s + (APART_S if self._again else POLL_S))

    async def _claim_rows(self) -> tuple[OutboxRow, ...]:
        """Claim and return the rows that can be sent now. Return no rows while stopping.

        After a failed claim or an unrecorded result, first release the rows that are claimed but not being delivered.
        """
        self._again = False
        if self._unsure:
            await self._release()
            self._unsure = False
        return await self._store.write(self.claim, _CLAIMING) if self._running else ()

    def _end_delivery(self, result: Failure | None, done: Deferred[None]) -> None:
        del self._under_way[done]
        self._again = True
        if result is not None:  # release the row at the next poll rather than at the end of the lease
            self._unsure = True
            LOG.error("courier.bug", trace=result.getTraceback())
        self._poll_now()

    def claim(self, unit: UnitOfWork) -> tuple[OutboxRow, ...]:
        """Claim the rows that can be sent now. Claim one trial row per interval for a recipient that is down."""
        now, links = self._now(), dict[str, CircuitState]()

        def room(link: CircuitState, under_way: int) -> int:
            links[link.agency] = link
            return circuit.room(link, self._terms(link.agency).in_flight, under_way, now)

        rows = unit.outbox.claim(now, self._instance, LEASE_S, BATCH, room, tuple(self._under_way.values()))
        until = now + timedelta(seconds=self._circuit_settings.probe_s)
        # If another gateway on this database has started the trial since our poll, leave the trial to that gateway.
        lost = {r.line for r in rows if links[r.line].state == DOWN and not unit.circuits.take_trial(r.line, now, until)}
        unit.outbox.give_back([r.id for r in rows if r.line in lost])
        return tuple(r for r in rows if r.line not in lost)

    async def deliver(self, row: OutboxRow) -> None:
        """Deliver one row and record the result. The simulator also calls this method directly."""
        whom = {_WHOM.get(row.kind, "partner"): row.recipient}
        with log_context(corr_id=row.corr, trace_id=trace_id(row.corr), request_id=row.request, **whom):
            try:
                answer = await self._carriers[row.kind](row)
            except Unavailable as away:
                answer = DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail=f"the database: {away}", untold=True)
            except Exception:  # a bug in a carrier must not lose the row, so it is logged and the row is retried
                LOG.exception("courier.carrier_failed", kind=row.kind, send=row.send.value)
                answer = DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="a bug; see the log")
            retry_at = None
            if answer.kind not in SETTLING:
                attempts = self._terms(row.line).attempts
                retry_at = self._schedule.next_try(row.attempts, self._now(), answer.retry_after_s, attempts)
            next_at = await self._record_result(row, answer, retry_at)
            _log_result(row, answer, next_at)

    async def _record_result(
        self, row: OutboxRow, answer: DeliveryResult, retry_at: datetime | None
    ) -> datetime | Refused | None:
        """Record the result, and return the time of the next attempt, or None if there is none.

        Retry while the database is unreachable, since the row remains claimed until the lease ends.
        """
        while True:
            try:
                return await self._circulation.execute(
                    Delivered(row=row, answer=answer, retry_at=retry_at, circuit_settings=self._circuit_settings)
                )
            except Unavailable:
                if not self._running:
                    raise
            await pause(self._clock, 1)


def _give_back(unit: UnitOfWork, rows: Sequence[int]) -> None:
    unit.outbox.give_back(rows)


def _log_result(row: OutboxRow, answer: DeliveryResult, next_at: datetime | Refused | None) -> None:
    facts = {"kind": row.kind, "send": row.send.value, "attempt": row.attempts, "outcome": answer.kind}
    if answer.kind is DeliveryKind.NOT_NEEDED:
        LOG.info("courier.not_needed", **facts, why=answer.detail)
    elif answer.kind is DeliveryKind.UNDELIVERABLE:
        LOG.warning("courier.sent", **facts, problem=answer.problem, why=answer.detail)
    elif answer.kind in SETTLING:
        LOG.info("courier.sent", **facts, problem=answer.problem)
    elif answer.kind is DeliveryKind.FAULT:  # an administrator must correct the secret, agency, version or service
        LOG.error("courier.channel_fault", **facts, problem=answer.problem, why=answer.detail)
    elif isinstance(next_at, datetime):
        LOG.warning("courier.failed", **facts, why=answer.detail or answer.problem, retry_at=next_at.isoformat())
    else:
        LOG.error("courier.dead", **facts, why=answer.detail or answer.problem)
