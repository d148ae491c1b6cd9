"""Queries of the command line. Its work lists use the same conditions as the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Select, and_, func, or_, select

from hkall_gateway.db.queries.work_lists import ListName, Moment, conditions
from hkall_gateway.db.tables import (
    CLOSURES,
    FINES,
    IS_OPEN,
    IS_REFUND_OWED,
    IS_UNDELIVERABLE,
    IS_UNPAID,
    JOBS,
    NOTICES,
    REQUESTS,
    Condition,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.stored_words import NoticeState, RenewalSync
from hkall_gateway.rules.vocabulary import Position, Request

P = Position
R = REQUESTS.c
MOST = 10_000
Line: TypeAlias = dict[str, Any]


LISTS: Final[Mapping[str, ListName | tuple[Condition, ...]]] = {
    "pull-list": ListName.PULL,
    "expected": ListName.EXPECTED,
    "expired-pickups": ListName.EXPIRED,
    "overdues": ListName.OVERDUE,
    "recalls": ListName.RECALLS,
    "renewals": (IS_OPEN, R.position == P.ON_LOAN, R.renewal_sync.in_((RenewalSync.PENDING, RenewalSync.DENIED))),
    "lender-dates": (IS_OPEN, R.position == P.ON_LOAN, R.due > R.lender_due),
    "stuck": ListName.STUCK,
    "flagged": ListName.FLAGGED,
}
"""The requests that each list command shows, as a work list of the console or as separate conditions."""


def open_list(unit: UnitOfWork, name: str, at: Moment) -> tuple[Request, ...]:
    """Return the requests on a list of LISTS, sorted by their time in the position, longest first."""
    listed = LISTS[name]
    where = conditions(unit, listed, at) if isinstance(listed, ListName) else listed
    return unit.requests.batch(*where, order=(R.moved_at, R.id), limit=MOST)


def ended_with(unit: UnitOfWork, partner: str, since: datetime) -> tuple[Request, ...]:
    """Return the ended requests between a partner and us that were placed since `since`."""
    wanted = (R.placed_at >= since, R.partner == partner, R.position.in_(sorted(FINAL)))
    return unit.requests.batch(*wanted, order=(R.placed_at, R.id), limit=MOST)


def stalled(
    unit: UnitOfWork, since: Mapping[Position, datetime], due_before: date, after: str, most: int
) -> tuple[Request, ...]:
    """Return requests that entered their position before its limit in `since`, or are lent and due before `due_before`."""
    still = [and_(R.position == position, R.moved_at < instant) for position, instant in since.items()]
    kept = and_(R.position == P.AT_BORROWER, R.lender_due < due_before)
    # With plain `id > …` the database would scan all requests, instead of the open requests.
    return unit.requests.batch(IS_OPEN, or_(*still, kept), R.id + "" > after, order=(R.id + "",), limit=most)


def notices(unit: UnitOfWork, states: Sequence[NoticeState], after: int = 0, most: int | None = None) -> tuple[Line, ...]:
    """Return at most `most` letters in these states with a number above `after`, oldest first, without addresses."""
    wanted: list[Condition] = [NOTICES.c.state.in_(states), NOTICES.c.id > after]
    wanted += [IS_UNDELIVERABLE] if set(states) == {NoticeState.UNDELIVERABLE} else []
    return _read_dicts(unit, select(NOTICES).where(*wanted).order_by(NOTICES.c.id).limit(most))


def undelivered(unit: UnitOfWork) -> int:
    """Count the letters that could not be delivered."""
    return int(unit.execute(select(func.count()).select_from(NOTICES).where(IS_UNDELIVERABLE)).scalar_one())


def charges(unit: UnitOfWork, card: str = "") -> tuple[Line, ...]:
    """Return charges to pay and refunds that we owe, of the patron with this card or, if `card` is empty, of all."""
    left = FINES.c.cents - FINES.c.paid_cents - FINES.c.waived_cents
    query = select(FINES, left.label("left_cents"))
    if card:
        of_card = query.where(FINES.c.patron == card, or_(IS_UNPAID, IS_REFUND_OWED))
        return _read_dicts(unit, of_card.order_by(FINES.c.id))
    # Each half has an index of its own, which a condition with "or" would not use.
    to_pay = _read_dicts(unit, query.where(IS_UNPAID).order_by(FINES.c.id))
    to_refund = _read_dicts(unit, query.where(IS_REFUND_OWED).order_by(FINES.c.id))
    return (*to_pay, *to_refund)


def closures(unit: UnitOfWork, since: date) -> tuple[Line, ...]:
    """Return every library's closed days from the day `since`."""
    return _read_dicts(unit, select(CLOSURES).where(CLOSURES.c.day >= since).order_by(CLOSURES.c.day, CLOSURES.c.agency))


def last_closure(unit: UnitOfWork, agency: str) -> date | None:
    """Return the last day in a library's calendar of closures, or None if the calendar is empty."""
    found: date | None = unit.execute(select(func.max(CLOSURES.c.day)).where(CLOSURES.c.agency == agency)).scalar()
    return found


def jobs(unit: UnitOfWork) -> tuple[Line, ...]:
    """Return the last runs of scheduled jobs and imports."""
    return _read_dicts(unit, select(JOBS).order_by(JOBS.c.name))


def _read_dicts(unit: UnitOfWork, query: Select[*tuple[Any, ...]]) -> tuple[Line, ...]:
    return tuple(dict(row) for row in unit.execute(query).mappings())
