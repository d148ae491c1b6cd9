"""The courier: takes what is due from the outbox, sends it by kind, and writes down how it went. At least once, in order."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from tenacity import RetryCallState, Retrying, wait_exponential
from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred

from hkall_gateway.desk.asks import Answer
from hkall_gateway.desk.deliveries import TOLD
from hkall_gateway.desk.desk import Desk
from hkall_gateway.store.database import Store
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit

LOG = structlog.get_logger()

LEASE_S = 600
BATCH = 64


class Clock(Protocol):
    """The part of a reactor that has a timer; a test's clock has it too."""

    def callLater(self, delay: float, call: Callable[..., Any], /) -> Any: ...  # noqa: N802  # Twisted's own name


Carrier = Callable[[OutboxRow], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to try again: exponential from `first_wait_s` to `longest_wait_s`, at most `attempts` tries.

    `draw` is a random number in [0, 1): the wait is between half and the whole of the exponential one, so that partners
    that fail together are not asked together. The result is written into the row, so that a restart keeps it.
    """

    attempts: int
    first_wait_s: float
    longest_wait_s: float
    draw: Callable[[], float]

    def next_try(self, made: int, now: datetime, retry_after_s: int = 0) -> datetime | None:
        """The instant of the next try after `made` tries; None when that was the last one."""
        if made >= self.attempts:
            return None
        wait_s = wait_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)(_after(made))
        return now + timedelta(seconds=max(wait_s * (0.5 + self.draw() / 2), retry_after_s))


def _after(made: int) -> RetryCallState:
    """tenacity's wait objects are pure functions of this state."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = made
    return state


class Courier:
    """Looks at the outbox every second and whenever it is nudged.

    `carriers` maps a row's kind to what delivers it; `limits` how many deliveries may be under way to one recipient.
    """

    def __init__(
        self,
        store: Store,
        desk: Desk,
        carriers: Mapping[str, Carrier],
        schedule: Schedule,
        clock: Clock,
        now: Callable[[], datetime],
        instance: str,
        limits: Callable[[str], int],
    ) -> None:
        self._store, self._desk, self._carriers, self._schedule = store, desk, carriers, schedule
        self._clock, self._now, self._instance, self._limits = clock, now, instance, limits
        self._lines: dict[str, DeferredSemaphore] = {}
        self._under_way: set[Deferred[None]] = set()
        self._running = self._looking = self._again = False
        self._timer: Any = None

    async def start(self) -> None:
        """Take back what this gateway had in hand when it died, then begin."""
        await self._store.run(_release, self._instance)
        self._running = True
        self.nudge()

    async def stop(self) -> None:
        """Take nothing more; wait for what is under way."""
        self._running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for waiting in list(self._under_way):
            await waiting

    def nudge(self) -> None:
        """Something was just put into the outbox: look now."""
        if not self._running:
            return
        self._again = True
        if not self._looking:
            self._looking = True
            contextvars.Context().run(lambda: ensureDeferred(self._look()))  # not in the log context of who nudged

    async def _look(self) -> None:
        try:
            while self._again and self._running:
                self._again = False
                for row in await self._store.run(_claim, self._now(), self._instance):
                    self._again = True  # a lane's next row may be free when this one is told
                    self._send_off(row)
        except Exception:
            LOG.exception("courier.look_failed")
        finally:
            self._looking = False
            self._look_later()

    def _look_later(self) -> None:
        if self._running and (self._timer is None or not self._timer.active()):
            self._timer = self._clock.callLater(1, self.nudge)

    def _send_off(self, row: OutboxRow) -> None:
        line = self._lines.setdefault(row.recipient if row.kind != "mail" else "mail", _line(self._limits(row.recipient)))
        done: Deferred[None] = line.run(lambda: ensureDeferred(self.deliver(row)))
        self._under_way.add(done)
        done.addBoth(self._delivered, done)

    def _delivered(self, result: Any, done: Deferred[None]) -> None:
        self._under_way.discard(done)
        self.nudge()
        if result is not None:
            LOG.error("courier.bug", trace=result.getTraceback())

    async def deliver(self, row: OutboxRow) -> None:
        """One delivery, and its answer applied by the desk. Also used by the simulation and by scenarios."""
        whom = {"patron" if row.kind == "mail" else "partner": row.recipient}
        with structlog.contextvars.bound_contextvars(corr_id=row.corr, request_id=row.request, **whom):
            answer = await self._carry(row)
            retry_at = None
            if answer.kind not in TOLD:
                retry_at = self._schedule.next_try(row.attempts, self._now(), answer.retry_after_s)
            await self._desk.delivered(row, answer, retry_at)
            _log(row, answer, retry_at)

    async def _carry(self, row: OutboxRow) -> Answer:
        try:
            return await self._carriers[row.kind](row)
        except Exception:  # a bug on the way out must not lose the row: it is tried again, and shown
            LOG.exception("courier.carrier_failed", kind=row.kind, send=row.send.value)
            return Answer("unknown", detail="a bug; see the log")


def _line(limit: int) -> DeferredSemaphore:
    return DeferredSemaphore(limit)


def _release(unit: Unit, instance: str) -> None:
    unit.outbox.release(instance)


def _claim(unit: Unit, now: datetime, instance: str) -> tuple[OutboxRow, ...]:
    return unit.outbox.claim(now, instance, LEASE_S, BATCH)


def _log(row: OutboxRow, answer: Answer, retry_at: datetime | None) -> None:
    facts = {"kind": row.kind, "send": row.send.value, "attempt": row.attempts, "outcome": answer.kind}
    if answer.kind in TOLD:
        LOG.info("courier.sent", **facts, problem=answer.problem)
    elif retry_at is not None:
        LOG.warning("courier.failed", **facts, why=answer.detail or answer.problem, retry_at=retry_at.isoformat())
    else:
        LOG.error("courier.dead", **facts, why=answer.detail or answer.problem)
