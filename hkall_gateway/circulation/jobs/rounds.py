"""Scheduled jobs: expired pickups, overdue letters, silent lenders, requests past their last day, stalled requests.

Each job is a row of ROUNDS and processes the database in bounded batches. Each batch is a unit of work that also stores the
cursor, so after a crash the gateway resumes there, or another gateway does once the lease has expired. If several gateways
share a database, only one of them runs a job. No job depends on running on time: each batch selects the rows that are due now,
so even after three days without a gateway, every letter is written exactly once.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from hkall_gateway.circulation import choosing
from hkall_gateway.circulation.command import Context, Library, in_context, pause
from hkall_gateway.circulation.jobs.retention import purge
from hkall_gateway.circulation.partner_notice import MIRRORED
from hkall_gateway.clock import Clock, ScheduledCall, cancel
from hkall_gateway.db import bind
from hkall_gateway.db import rounds as found
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import unlocked
from hkall_gateway.db.loads import whole_files
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.rounds import FailedRequest, RoundState
from hkall_gateway.db.unit_of_work import UnitOfWork, in_savepoint
from hkall_gateway.rules import dates
from hkall_gateway.rules.dates import suspended
from hkall_gateway.rules.lender_reasons import SILENCE
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import STALLS_AFTER
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.stored_words import CandidateOutcome
from hkall_gateway.rules.vocabulary import Actor, Position, Request, RequestChange

NOTED: Final = "STANDS_STILL"
"""Journal event for a stalled request, written once for each stall."""


def may_stand_still(
    unit: UnitOfWork, limits: Waits, now: datetime, after: str = "", most: int = cli_lists.MOST
) -> tuple[Request, ...]:
    """Find at most `most` open requests that may be stalled, with numbers after `after`. Pass them to `filter_stalled`."""
    since = {position: now - dates.limit(position, 0, limits) for position in STALLS_AFTER}
    due_before = dates.civil(now) - timedelta(days=limits.lender_overdue_days)
    return cli_lists.stalled(unit, since, due_before, after, most)


def filter_stalled(unit: UnitOfWork, found: tuple[Request, ...], limits: Waits, now: datetime) -> tuple[Request, ...]:
    """Select the requests that are stalled, allowing for each partner's courier days."""
    partners = unit.partners.among({request.partner for request in found} - {""})
    days = {agency: partner.courier_days for agency, partner in partners.items()}
    return tuple(request for request in found if dates.stands_still(request, days.get(request.partner, 0), limits, now))


def is_noted_stalled(unit: UnitOfWork, request: Request) -> bool:
    """Check whether the journal already notes that the request is stalled in its current position."""
    noted = unit.journal.last_noted(request.id, NOTED)
    return noted is not None and request.moved_at is not None and noted >= request.moved_at


LOG = structlog.get_logger()

BATCH: Final = 200
LEASE_S: Final = 300
CLAIM: Final = unlocked("one UPDATE claims a job, and only if the job is free")
ONE_BATCH: Final = unlocked("the query of a batch locks the requests that it selects")

Batch = tuple[str | None, int]
"""(cursor of the next batch or None if the job is complete, number of requests processed in this batch)."""
Work = Callable[[Context, str, int], Batch]
"""(context, cursor, limit) -> one batch of at most `limit` requests after `cursor`."""


class RoundTakenOver(Exception):
    """Another gateway took the job over while this gateway was slow. The batch is rolled back."""


def pickup_expiry(context: Context, cursor: str, limit: int) -> Batch:
    """Expire pickups at 00:00 after the last day, so that staff pull the book. Send no letter (R14, R15)."""
    unit, now, by = context.unit, context.now, _timer_actor("pickup_expiry")
    late = found.pickups_over(unit, dates.civil(now), cursor, limit)
    facts: RequestChange = {"expired_pickup": True}
    done = _apply_each(context, late, by, lambda r: unit.advance(r, Event.EXPIRE_PICKUP, now, by, rule="R14", **facts))
    return _next_cursor(late, limit), done


def pickup_reminder(context: Context, cursor: str, limit: int) -> Batch:
    """Remind patrons of books on the day before the last day to collect, if the policy says so (R14).

    The last day itself is included, for a gateway that did not run on the day before. The register
    of letters keeps a patron from being reminded twice of the same last day.
    """
    unit, now, by = context.unit, context.now, _timer_actor("pickup_reminder")
    if not context.library.policy.notices.pickup_reminder:
        return None, 0
    ending = found.pickups_ending(unit, dates.civil(now), cursor, limit)
    done = _apply_each(context, ending, by, lambda request: unit.enqueue(Notification.LETTER_PICKUP_REMINDER, request, now, by))
    return _next_cursor(ending, limit), done


def overdue(context: Context, cursor: str, limit: int) -> Batch:
    """Send one overdue letter for each due date, at 00:00 of the following day, also for recalled loans (R39)."""
    unit, now, by = context.unit, context.now, _timer_actor("overdue")
    late = found.loans_over(unit, dates.civil(now), cursor, limit)
    done = _apply_each(context, late, by, lambda r: unit.advance(r, Event.FALL_DUE, now, by, "R39", overdue_notice_for=r.due))
    last = late[-1] if len(late) == limit else None
    return f"{last.due} {last.id}" if last else None, done


def silence(context: Context, cursor: str, limit: int) -> Batch:
    """Cancel at lenders that have not answered for too many of their working days, and ask the next lenders (R11).

    A request waits for `silence_days`, or longer by the policy's `paged_days` if the lender has accepted it. A cancellation
    that is not confirmed counts as received. While requests are suspended, a request keeps its lender, because no other lender
    could be asked (R1).
    """
    waiting, by = found.asked_before(context.unit, context.now - timedelta(days=1), cursor, limit), _timer_actor("silence")
    partners = context.unit.partners.among(r.partner for r in waiting)
    rests = suspended("borrow_request", context.library.policy, context.now) is not None
    silent = [
        r
        for r in waiting
        if _is_silent(context, r, partners.get(r.partner)) and not (rests and r.position is Position.REQUESTED)
    ]

    def give_up(request: Request) -> None:
        if request.position is Position.CANCELLING:
            context.unit.advance(request, Event.CANCEL_SETTLED, context.now, by, rule="R34", reason=SILENCE)
        else:
            choosing.give_up_on(context, request, by)

    return _next_cursor(waiting, limit), _apply_each(context, silent, by, give_up)


def _is_silent(context: Context, request: Request, partner: Partner | None) -> bool:
    if partner is None or request.moved_at is None or request.kind == MIRRORED:
        return False
    attempt, days = context.unit.requests.find_by_wire_id(request.wire_id), partner.silence_days
    # During a cancellation, ACCEPTED is the answer to the earlier request, not to the cancellation.
    if request.position is Position.REQUESTED and attempt is not None and attempt[1].outcome == CandidateOutcome.ACCEPTED:
        days += context.library.policy.waits.paged_days
    closed = context.unit.partners.closed_days(partner.agency)
    last = dates.after_working_days(dates.civil(request.moved_at), days, partner.work_days, closed)
    return dates.civil(context.now) > last


def postponed(context: Context, cursor: str, limit: int) -> Batch:
    """After a suspension, ask the next lender for requests that were declined while it lasted (R1)."""
    if suspended("borrow_request", context.library.policy, context.now):
        return None, 0
    waiting, by = found.postponed(context.unit, cursor, limit), _timer_actor("postponed")
    return _next_cursor(waiting, limit), _apply_each(
        context, waiting, by, lambda request: choosing.resume_request(context, request, by)
    )


def not_needed_after(context: Context, cursor: str, limit: int) -> Batch:
    """Cancel requests that were not shipped by their `need_before` date (R34)."""
    unit, now, by = context.unit, context.now, _timer_actor("not_needed_after")
    late = found.needed_before(unit, dates.civil(now), cursor, limit)
    facts: RequestChange = {"reason": "not needed any more"}
    done = _apply_each(context, late, by, lambda r: unit.advance(r, Event.CANCEL, now, by, rule="R34", **facts))
    return _next_cursor(late, limit), done


def stuck(context: Context, cursor: str, limit: int) -> Batch:
    """Record requests that exceed the limits of `[waits]` in the journal and the log, once for each stall."""
    found, by = may_stand_still(context.unit, context.library.policy.waits, context.now, cursor, limit), _timer_actor("stuck")
    idle = [
        r
        for r in filter_stalled(context.unit, found, context.library.policy.waits, context.now)
        if not is_noted_stalled(context.unit, r)
    ]

    def note(request: Request) -> None:
        context.unit.note(request, NOTED, {"position": request.position, "since": str(request.moved_at)}, context.now, by)
        LOG.warning("request.stands_still", request_id=request.id, position=request.position.value, partner=request.partner)

    return _next_cursor(found, limit), _apply_each(context, idle, by, note)


def inbox_cleanup(context: Context, _cursor: str, limit: int) -> Batch:
    """Delete expired replies from the inbox."""
    count = found.forget_documents(context.unit, context.now, limit)
    return "more" if count == limit else None, count


def loads(context: Context, cursor: str, _limit: int) -> Batch:
    """Carry on with a file whose `load` died after the whole file was stored.

    `cursor` is the kind of the load that this round has begun with.
    """
    kind = whole_files.resume(context.unit, context.now, cursor)
    return kind, int(kind is not None)


def _apply_each(context: Context, requests: Sequence[Request], by: Actor, do: Callable[[Request], object]) -> int:
    """Apply `do` to each request in its own savepoint, and return the number of successes.

    If `do` raises, the request is set aside for staff, logged by number, and tried again in the next run.
    """
    done = 0
    for request in requests:
        error = in_savepoint(context.unit, do, request)
        if error is None:
            done += 1
            continue
        text = f"{type(error).__name__}: {error}"
        found.set_aside(context.unit, FailedRequest(round=by.message, request=request.id, at=context.now, error=text))
        LOG.error("timer.set_aside", job=by.message, request_id=request.id, exc_info=error)
    return done


def _next_cursor(done: tuple[Request, ...], limit: int) -> str | None:
    return done[-1].id if len(done) == limit else None


def _timer_actor(name: str) -> Actor:
    return Actor(who="timer", channel="timer", message=name)


# fmt: off
ROUNDS: Final[Mapping[str, Work]] = {
    "pickup_expiry":    pickup_expiry,
    "pickup_reminder":  pickup_reminder,
    "overdue":          overdue,
    "not_needed_after": not_needed_after,
    "postponed":        postponed,
    "silence":          silence,
    "stuck":            stuck,
    "inbox_cleanup":    inbox_cleanup,
    "loads":            loads,
    "purge":            purge,
}
# fmt: on


def begin(unit: UnitOfWork, name: str, who: str, now: datetime, due_only: bool) -> RoundState | None:
    """Claim a job if it is due and free, else return None."""
    return found.claim(unit, name, who, now, LEASE_S, due_only)


def one_batch(context: Context, job: RoundState, who: str, limit: int) -> tuple[RoundState | None, int]:
    """Run one batch and store its cursor.

    Returns:
        The state for the next batch (None if the job is complete), and the number of requests processed so far.

    Raises:
        RoundTakenOver: Another gateway has claimed the job.
    """
    if not job.cursor:
        found.forget_aside(context.unit, job.name)
    cursor, count = ROUNDS[job.name](context, job.cursor, limit)
    total = count + (job.count if job.cursor else 0)
    if cursor is None:
        after, kept = None, found.done(context.unit, job, who, total, context.now, dates.next_after(job.name, context.now))
    else:
        after = replace(job, count=total, cursor=cursor, lease_until=context.now + timedelta(seconds=LEASE_S))
        kept = found.keep_on(context.unit, job, who, after)
    if not kept:
        raise RoundTakenOver(job.name)
    return after, total


class Rounds:
    """Checks every minute which jobs are due, and runs them one after another.

    `instance` identifies this gateway among the gateways that share the database. `batch` limits one unit of work. Call
    `start`, and await `stop` at the end.
    """

    def __init__(
        self,
        store: Store,
        library: Callable[[], Library],
        now: Callable[[], datetime],
        clock: Clock,
        instance: str,
        batch: int = BATCH,
    ) -> None:
        self._store, self._library, self._now, self._clock = store, library, now, clock
        self._instance, self._limit = instance, batch
        self._running, self._stopping = False, False
        self._timer: ScheduledCall | None = None
        self._checking: Deferred[None] | None = None

    def start(self) -> None:
        """Check for due jobs now, and then every minute."""
        self._running, self._stopping = True, False
        self._check_rounds()

    async def stop(self) -> None:
        """Start no further batch, and wait for the current batch. An unfinished job continues after the next start."""
        self._running, self._stopping = False, True
        cancel(self._timer)
        if self._checking is not None:
            await self._checking

    async def run_due(self) -> None:
        """Run every job that is due. A failed job does not stop the other jobs, and is retried when its lease has expired."""
        jobs = {job.name: job for job in await self._store.read(found.jobs, is_long=True)}
        for name in ROUNDS:
            if self._stopping:
                return
            if name not in jobs or jobs[name].free(self._now(), self._instance):
                await self._run_round(name)

    async def do(self, name: str, due_only: bool = False) -> int:
        """Run one whole job, even before its time, and return its count. Return 0 if another gateway is running the job."""
        began, count = self._now(), 0
        job = await self._store.write(bind(begin, name, self._instance, began, due_only), CLAIM)
        if job is None:
            return 0
        going: RoundState | None = job
        while going is not None and not self._stopping:
            begun_s = self._clock.seconds()
            going, count = await self._store.write(
                in_context(one_batch, self._library(), self._now(), going, self._instance, self._limit), ONE_BATCH
            )
            took_s = self._clock.seconds() - begun_s
            if going is not None and took_s > 0:  # let other work run: the first purge of a library's history takes minutes
                await pause(self._clock, took_s)
        LOG.info("timer.run", job=name, count=count, lag_s=job.lag_s(began))
        return count

    async def _run_round(self, name: str) -> None:
        try:
            await self.do(name, due_only=True)
        except RoundTakenOver:
            LOG.warning("timer.lost", job=name)
        except Unavailable:  # the store has logged the reason; the job resumes when its lease expires
            LOG.warning("timer.waits", job=name)
        except Exception:
            LOG.exception("timer.failed", job=name)

    def _check_rounds(self) -> None:
        if self._checking is None:
            contextvars.Context().run(self._begin_check)

    def _begin_check(self) -> None:
        self._checking = ensureDeferred(self.run_due())
        _ = self._checking.addBoth(self._end_check)

    def _end_check(self, result: Failure | None) -> None:
        self._checking = None
        if result is not None and not isinstance(result.value, Unavailable):
            LOG.error("timer.bug", trace=result.getTraceback())
        if self._running:
            self._timer = self._clock.callLater(dates.ROUND_CHECK_S, self._check_rounds)
