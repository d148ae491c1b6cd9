"""UnitOfWork of the periodic rounds: bounded batches by keyset, and the jobs table that assigns rounds to gateways.

The positions in these queries are positions of books that we borrow; lending requests never have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, delete, or_, select, text, tuple_, update

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_leave, insert_or_write_over, update_by_key
from hkall_gateway.db.requests import Batch
from hkall_gateway.db.tables import INBOX, IS_OPEN, JOBS, REQUESTS, SET_ASIDE, any_of
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.vocabulary import Position, Request

P = Position
R = REQUESTS.c
ROUND = "round "
LONGEST_LEASE = timedelta(minutes=15)
"""A lease that ends later was written by a clock that was ahead."""


def pickups_over(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return unmarked books on the hold shelf after their last pickup day, by number, after `cursor`."""
    return unit.requests.of_batch(_PICKUPS_OVER, limit, today=today, after=cursor)


def loans_over(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return overdue loans without a letter for this due date, by due date, after `cursor` ("DATE NUMBER").

    A lost book, one that the patron claims to have returned and one in the book drop get no letter.
    """
    if not cursor:
        return unit.requests.of_batch(_LOANS_OVER, limit, today=today)
    day, _, number = cursor.partition(" ")
    return unit.requests.of_batch(_MORE_LOANS_OVER, limit, today=today, day=date.fromisoformat(day), after=number)


def falling_on(unit: UnitOfWork, days: Sequence[date], after: str, limit: int) -> tuple[Request, ...]:
    """Return loans due on one of these days, and books on the hold shelf with such a last day, by number, after `after`."""
    falls = or_(
        and_(R.position == P.ON_LOAN, R.due.in_(days), R.claimed_on.is_(None), R.lost_on.is_(None)),
        and_(R.position == P.RECEIVED, R.pickup_last.in_(days)),
    )
    return unit.requests.batch(IS_OPEN, falls, R.id > after, order=(R.id,), limit=limit)


def due_from_to(unit: UnitOfWork, first: date, last: date, partner: str, after: str, limit: int) -> tuple[Request, ...]:
    """Return our patrons' loans that are due on these days, of one partner or ("") of all, by number, after `after`."""
    theirs = [R.partner == partner] if partner else []
    falls = and_(R.position == P.ON_LOAN, R.due >= first, R.due <= last, R.claimed_on.is_(None), R.lost_on.is_(None), *theirs)
    return unit.requests.batch(IS_OPEN, falls, R.id > after, order=(R.id,), limit=limit)


def asked_before(unit: UnitOfWork, since: datetime, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return requests without a lender's answer since before that instant, by number, after `cursor`."""
    return unit.requests.of_batch(_ASKED_BEFORE, limit, since=since, after=cursor)


def postponed(unit: UnitOfWork, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return requests that wait for the end of a suspension, with no lender asked, by number, after `cursor`."""
    return unit.requests.of_batch(_POSTPONED, limit, after=cursor)


def needed_before(unit: UnitOfWork, today: date, cursor: str, limit: int) -> tuple[Request, ...]:
    """Return requests with a need-before date in the past, by number, after `cursor`."""
    return unit.requests.of_batch(_NEEDED_BEFORE, limit, today=today, after=cursor)


def forget_documents(unit: UnitOfWork, now: datetime, limit: int) -> int:
    """Delete at most `limit` outcomes after the end of their window; return their number."""
    return _FORGET_DOCUMENTS.change(unit.connection, now=now, most=limit)


_AFTER = R.id > bindparam("after")
_PICKUPS_OVER = Batch(
    IS_OPEN,
    R.position == P.RECEIVED,
    R.expired_pickup.is_(False),
    R.pickup_last < bindparam("today"),
    _AFTER,
    order=(R.id,),
)
_DUE = (
    IS_OPEN,
    # Not plain `position = …`: the database would scan all loans, instead of those that are due.
    R.position + "" == P.ON_LOAN,
    R.due < bindparam("today"),
    R.claimed_on.is_(None),
    R.lost_on.is_(None),
    R.dropped_on.is_(None),
    or_(R.overdue_notice_for.is_(None), R.overdue_notice_for != R.due),
)
_DAY, _NUMBER = bindparam("day", type_=R.due.type), bindparam("after", type_=R.id.type)
_LOANS_OVER = Batch(*_DUE, order=(R.due, R.id))
_MORE_LOANS_OVER = Batch(*_DUE, R.due >= _DAY, tuple_(R.due, R.id) > tuple_(_DAY, _NUMBER), order=(R.due, R.id))
_ASKED_BEFORE = Batch(
    IS_OPEN, text(any_of(frozenset({P.REQUESTED, P.CANCELLING}))), R.moved_at < bindparam("since"), _AFTER, order=(R.id,)
)
_POSTPONED = Batch(IS_OPEN, R.position == P.NEW, R.attempt > 0, _AFTER, order=(R.id,))
_NEEDED_BEFORE = Batch(
    IS_OPEN, text(any_of(frozenset({P.NEW, P.REQUESTED}))), R.need_before < bindparam("today"), _AFTER, order=(R.id,)
)
_OLD_DOCUMENTS = select(INBOX.c.agency, INBOX.c.digest).where(INBOX.c.keep_until < bindparam("now")).limit(bindparam("most"))
_FORGET_DOCUMENTS = CompiledStatement(delete(INBOX).where(tuple_(INBOX.c.agency, INBOX.c.digest).in_(_OLD_DOCUMENTS)))


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request that failed in a round's last run, and a short text of the error."""

    round: str
    request: str
    at: datetime
    error: str


def set_aside(unit: UnitOfWork, one: FailedRequest) -> None:
    """Record a failed request until the next run of the round."""
    values = asdict(one)
    unit.execute(insert_or_write_over(SET_ASIDE, unit.dialect, values), values)


def forget_aside(unit: UnitOfWork, name: str) -> None:
    """Delete the failed requests of a round that starts anew, so that it tries them again."""
    _FORGET_ASIDE.change(unit.connection, name=name)


def all_aside(unit: UnitOfWork) -> tuple[FailedRequest, ...]:
    """Return all failed requests, the oldest failure first."""
    rows = unit.execute(select(SET_ASIDE).order_by(SET_ASIDE.c.at, SET_ASIDE.c.request)).mappings()
    return tuple(FailedRequest(**row) for row in rows)


@dataclass(frozen=True, slots=True)
class RoundState:
    """One round: its last end, its next due time, the number of requests done (in the last run, or so far), and its gateway."""

    name: str
    last_run: datetime | None
    next_run: datetime | None
    count: int
    cursor: str
    claimed_by: str
    lease_until: datetime | None

    def lag_s(self, now: datetime) -> int:
        """Return for how many seconds it has been due; 0 before that."""
        return max(0, int((now - self.next_run).total_seconds())) if self.next_run else 0

    def free(self, now: datetime, who: str = "") -> bool:
        """Return whether it is due and no other gateway is running it; `who` is the gateway that asks.

        A time that is later than it may be was written by a clock that was ahead: the round is due.
        """
        held = self.lease_until is not None and now <= self.lease_until <= now + LONGEST_LEASE and self.claimed_by != who
        return not held and (self.next_run is None or not now < self.next_run <= latest_run(self.name, now))


def latest_run(name: str, now: datetime) -> datetime:
    """Return the latest time for which the round may wait: its next one, by the fastest clock of a gateway beside this one."""
    return dates.next_after(name, now + dates.SKEW)


def never_run(name: str) -> RoundState:
    """Return a round that has never run."""
    return RoundState(name, None, None, 0, "", "", None)


def jobs(unit: UnitOfWork) -> tuple[RoundState, ...]:
    """Return every round that ever ran, by name."""
    return tuple(_job(row) for row in _JOBS.rows(unit.connection))


def claim(unit: UnitOfWork, name: str, who: str, now: datetime, lease_s: int, due_only: bool = True) -> RoundState | None:
    """Claim the round for the gateway named until the lease runs out; None if it is not due or another gateway is running it.

    Compare and set in one statement, so that only one of two gateways gets it. The round of a gateway that died is claimed with
    its cursor when the lease has run out, or at once by that gateway itself after a restart.
    """
    _begun(unit.dialect).change(unit.connection, called=ROUND + name)
    until = now + timedelta(seconds=lease_s)
    far = {"latest": latest_run(name, now), "longest": now + LONGEST_LEASE}
    row = _taking(due_only).first(unit.connection, called=ROUND + name, who=who, now=now, until=until, **far)
    return _job(row) if row else None


@cache
def _begun(dialect: str) -> CompiledStatement:
    return CompiledStatement(insert_or_leave(JOBS, dialect).values(name=bindparam("called"), count=0))


@cache
def _taking(due_only: bool) -> CompiledStatement:
    """Return a statement that claims a round if it is free (and due), and returns its row."""
    now, who = bindparam("now", type_=JOBS.c.lease_until.type), bindparam("who", type_=JOBS.c.claimed_by.type)
    latest, longest = (bindparam(one, type_=JOBS.c.lease_until.type) for one in ("latest", "longest"))
    held_no_more = or_(JOBS.c.lease_until < now, JOBS.c.lease_until > longest)
    free = [or_(JOBS.c.lease_until.is_(None), held_no_more, JOBS.c.claimed_by == who)]
    free += [or_(JOBS.c.next_run.is_(None), JOBS.c.next_run <= now, JOBS.c.next_run > latest)] if due_only else []
    until = bindparam("until", type_=JOBS.c.lease_until.type)
    taken = update(JOBS).where(JOBS.c.name == bindparam("called"), *free).values(claimed_by=who, lease_until=until)
    return CompiledStatement(taken.returning(*JOBS.c))


def keep_on(unit: UnitOfWork, job: RoundState, who: str, after: RoundState) -> bool:
    """Save the round's progress from `after`. False if another gateway took it: then this unit must be rolled back."""
    return _settle(unit, job, who, cursor=after.cursor, count=after.count, lease_until=after.lease_until)


def done(unit: UnitOfWork, job: RoundState, who: str, count: int, now: datetime, next_run: datetime) -> bool:
    """Complete the round; False if another gateway took it."""
    free = {"cursor": "", "claimed_by": "", "lease_until": None}
    return _settle(unit, job, who, count=count, last_run=now, next_run=next_run, **free)


def _settle(unit: UnitOfWork, job: RoundState, who: str, **values: Any) -> bool:
    mine = {"was_name": ROUND + job.name, "was_claimed_by": who, "was_lease_until": job.lease_until}
    new = {"new_" + name: value for name, value in values.items()}
    return _settling(tuple(values)).change(unit.connection, **mine, **new) == 1


@cache
def _settling(columns: tuple[str, ...]) -> CompiledStatement:
    """Return a statement that sets these columns of a round still claimed by this gateway."""
    return update_by_key(JOBS, ("name", "claimed_by", "lease_until"), columns)


def _job(row: Any) -> RoundState:
    values = {f.name: row[f.name] for f in fields(RoundState)}
    return RoundState(**values | {"name": str(row["name"]).removeprefix(ROUND)})


_FORGET_ASIDE = CompiledStatement(delete(SET_ASIDE).where(SET_ASIDE.c.round == bindparam("name")))
_JOBS = CompiledStatement(select(JOBS).where(JOBS.c.name.startswith(ROUND)).order_by(JOBS.c.name))
