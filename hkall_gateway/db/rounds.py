"""Scheduled jobs: queries for batches of requests to process, and the table that assigns each job to one gateway.

The positions in these queries belong to borrowing requests. Lending requests never have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, literal, or_, select, text, tuple_, update

from hkall_gateway.db.engine.compiled import insert_or_leave, insert_or_write_over
from hkall_gateway.db.tables import INBOX, IS_OPEN, JOBS, REQUESTS, SET_ASIDE, Condition, any_of
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.vocabulary import Position, Request

P = Position
R = REQUESTS.c
ROUND = "round "
LONGEST_LEASE = timedelta(minutes=15)
"""Maximum length of a lease. A lease that ends later was written by a gateway with a fast clock."""


def pickups_over(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return books on the hold shelf past their last pickup day that are not marked as expired, by number, after `cursor`."""
    return _open_by_number(unit, cursor, limit, R.position == P.RECEIVED, R.expired_pickup.is_(False), R.pickup_last < today)


def pickups_ending(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return books on the hold shelf whose last pickup day is today or tomorrow, by number, after `cursor`."""
    is_last_day_near = R.pickup_last.in_((today, today + timedelta(days=1)))
    return _open_by_number(unit, cursor, limit, R.position == P.RECEIVED, is_last_day_near)


def loans_over(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return overdue loans that need an overdue letter, sorted by due date, after `cursor` ("DATE NUMBER").

    No letter is sent for a lost book, a book that the patron claims to have returned, or a book in the book drop. Each due date
    causes only one letter.
    """
    # With plain `position = …` the database would scan all loans, instead of the loans that are due.
    over = (R.position + "" == P.ON_LOAN, R.due < today, R.claimed_on.is_(None), R.lost_on.is_(None), R.dropped_on.is_(None))
    more: tuple[ColumnElement[bool], ...] = ()
    if cursor:
        day, _, number = cursor.partition(" ")
        place = literal(date.fromisoformat(day), R.due.type)
        more = (R.due >= place, tuple_(R.due, R.id) > tuple_(place, literal(number, R.id.type)))
    no_letter = or_(R.overdue_notice_for.is_(None), R.overdue_notice_for != R.due)
    return unit.requests.batch(IS_OPEN, *over, no_letter, *more, order=(R.due, R.id), limit=limit)


def falling_on(unit: UnitOfWork, days: Sequence[date], after: str, limit: int) -> tuple[Request, ...]:
    """Return loans due on one of `days` and hold-shelf books with their last pickup day in `days`, by number, after `after`."""
    falls = or_(
        and_(R.position == P.ON_LOAN, R.due.in_(days), R.claimed_on.is_(None), R.lost_on.is_(None)),
        and_(R.position == P.RECEIVED, R.pickup_last.in_(days)),
    )
    return _open_by_number(unit, after, limit, falls)


def due_from_to(unit: UnitOfWork, first: date, last: date, partner: str, after: str, limit: int) -> tuple[Request, ...]:
    """Return our patrons' loans due from `first` to `last`, by number, after `after`. An empty `partner` means all partners."""
    theirs = [R.partner == partner] if partner else []
    still = (R.position == P.ON_LOAN, R.claimed_on.is_(None), R.lost_on.is_(None))
    return _open_by_number(unit, after, limit, *still, R.due >= first, R.due <= last, *theirs)


def asked_before(unit: UnitOfWork, since: datetime, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return requests whose lender was asked before `since` and has not replied, by number, after `cursor`."""
    return _open_by_number(unit, cursor, limit, text(any_of(frozenset({P.REQUESTED, P.CANCELLING}))), R.moved_at < since)


def postponed(unit: UnitOfWork, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return requests that wait for the end of a suspension and have no lender yet, by number, after `cursor`."""
    return _open_by_number(unit, cursor, limit, R.position == P.NEW, R.attempt > 0)


def needed_before(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return requests with a need-before date in the past, by number, after `cursor`."""
    return _open_by_number(unit, cursor, limit, text(any_of(frozenset({P.NEW, P.REQUESTED}))), R.need_before < today)


def _open_by_number(unit: UnitOfWork, after: str, limit: int, *where: Condition) -> tuple[Request, ...]:
    return unit.requests.batch(IS_OPEN, *where, R.id > after, order=(R.id,), limit=limit)


def forget_documents(unit: UnitOfWork, now: datetime, limit: int) -> int:
    """Delete at most `limit` expired documents of the inbox, and return the count."""
    old = select(INBOX.c.agency, INBOX.c.digest).where(INBOX.c.keep_until < now).limit(limit)
    return unit.execute(delete(INBOX).where(tuple_(INBOX.c.agency, INBOX.c.digest).in_(old))).rowcount


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """A request that failed in a job's last run, with a short error text."""

    round: str
    request: str
    at: datetime
    error: str


def set_aside(unit: UnitOfWork, one: FailedRequest) -> None:
    """Record a failed request until the next run of the job."""
    values = asdict(one)
    unit.execute(insert_or_write_over(SET_ASIDE, unit.dialect, values), values)


def forget_aside(unit: UnitOfWork, name: str) -> None:
    """Delete a job's records of failed requests before a new run, which retries the requests."""
    unit.execute(delete(SET_ASIDE).where(SET_ASIDE.c.round == name))


def all_aside(unit: UnitOfWork) -> tuple[FailedRequest, ...]:
    """Return all failed requests, oldest failure first."""
    rows = unit.execute(select(SET_ASIDE).order_by(SET_ASIDE.c.at, SET_ASIDE.c.request)).mappings()
    return tuple(FailedRequest(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundState:
    """A scheduled job: its last run, its next run, the gateway that claimed it, and the number of processed requests."""

    name: str
    last_run: datetime | None
    next_run: datetime | None
    count: int
    cursor: str
    claimed_by: str
    lease_until: datetime | None

    def lag_s(self, now: datetime) -> int:
        """Return the number of seconds since the job was due, or 0 if it is not due."""
        return max(0, int((now - self.next_run).total_seconds())) if self.next_run else 0

    def free(self, now: datetime, who: str = "") -> bool:
        """Check whether the job is due and no gateway other than `who` is running it.

        A next run too far in the future was written by a gateway with a fast clock, and the job counts as due.
        """
        held = self.lease_until is not None and now <= self.lease_until <= now + LONGEST_LEASE and self.claimed_by != who
        return not held and (self.next_run is None or not now < self.next_run <= latest_run(self.name, now))


def latest_run(name: str, now: datetime) -> datetime:
    """Return the latest plausible `next_run` of a job, allowing for a gateway whose clock is slightly fast."""
    return dates.next_after(name, now + dates.SKEW)


def never_run(name: str) -> RoundState:
    """Return the state of a job that has never run."""
    return RoundState(name=name, last_run=None, next_run=None, count=0, cursor="", claimed_by="", lease_until=None)


def jobs(unit: UnitOfWork) -> tuple[RoundState, ...]:
    """Return all scheduled jobs that have ever run, sorted by name."""
    found = unit.execute(select(JOBS).where(JOBS.c.name.startswith(ROUND)).order_by(JOBS.c.name)).mappings()
    return tuple(map(_make_state, found))


def claim(unit: UnitOfWork, name: str, who: str, now: datetime, lease_s: int, due_only: bool = True) -> RoundState | None:
    """Claim a job for a gateway until the lease ends. Return None if the job is not due or another gateway is running it.

    A single statement checks and claims the job, so that only one gateway gets it. The job of a failed gateway is claimed with
    its cursor once the lease has ended, or immediately by the same gateway after a restart.
    """
    j = JOBS.c
    called, until = ROUND + name, now + timedelta(seconds=lease_s)
    unit.execute(insert_or_leave(JOBS, unit.dialect).values(name=called, count=0))
    held_no_more = or_(j.lease_until < now, j.lease_until > now + LONGEST_LEASE)
    free = [or_(j.lease_until.is_(None), held_no_more, j.claimed_by == who)]
    free += [or_(j.next_run.is_(None), j.next_run <= now, j.next_run > latest_run(name, now))] if due_only else []
    taken = update(JOBS).where(j.name == called, *free).values(claimed_by=who, lease_until=until).returning(*j)
    row = unit.execute(taken).mappings().first()
    return _make_state(row) if row else None


def keep_on(unit: UnitOfWork, job: RoundState, who: str, after: RoundState) -> bool:
    """Save the job's progress. Return False if another gateway claimed the job. The caller must then roll back the unit."""
    return _update_claim(unit, job, who, cursor=after.cursor, count=after.count, lease_until=after.lease_until)


def done(unit: UnitOfWork, job: RoundState, who: str, count: int, now: datetime, next_run: datetime) -> bool:
    """Complete the job. Return False if another gateway has claimed it."""
    free = {"cursor": "", "claimed_by": "", "lease_until": None}
    return _update_claim(unit, job, who, count=count, last_run=now, next_run=next_run, **free)


def _update_claim(unit: UnitOfWork, job: RoundState, who: str, **values: object) -> bool:
    j = JOBS.c
    ours = update(JOBS).where(j.name == ROUND + job.name, j.claimed_by == who, j.lease_until == job.lease_until)
    return unit.execute(ours.values(**values)).rowcount == 1


def _make_state(row: Mapping[Any, Any]) -> RoundState:
    values = {f.name: row[f.name] for f in fields(RoundState)}
    return RoundState(**values | {"name": str(row["name"]).removeprefix(ROUND)})
