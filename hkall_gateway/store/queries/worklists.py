"""The lists of the nine o'clock questions: each is a query on open work, never a file that was printed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, or_, select

from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.store.queries.overview import Batch, Overview
from hkall_gateway.store.tables import (
    CLOSURES,
    FINES,
    IS_FLAGGED,
    IS_FORCED,
    IS_OPEN,
    IS_UNPAID,
    JOBS,
    JOURNAL,
    NOTICES,
    REQUESTS,
)

P = Position
R = REQUESTS.c
MOST = 10_000


def pull_list(unit: Overview) -> tuple[Request, ...]:
    """Our copies that partners wait for, oldest first; it can be asked again and again."""
    return _open(unit, R.position == P.PAGED, R.side == Side.LENDING)


def expected(unit: Overview) -> tuple[Request, ...]:
    """What is on its way to our counter: from lenders, and our own copies coming home."""
    coming = (R.position == P.IN_TRANSIT) | ((R.position == P.RETURN_TRANSIT) & (R.side == Side.LENDING))
    return _open(unit, coming)


def expired_pickups(unit: Overview) -> tuple[Request, ...]:
    """What comes off the hold shelf: nobody collected it in time (R15)."""
    return _open(unit, R.position == P.RECEIVED, R.expired_pickup.is_(True))


def overdues(unit: Overview, today: date) -> tuple[Request, ...]:
    """Loans whose due date is over."""
    return _open(unit, R.position == P.ON_LOAN, R.due < today)


def recalls(unit: Overview) -> tuple[Request, ...]:
    """What its owner has recalled and what is not home yet."""
    return _open(unit, R.recalled_on.is_not(None))


def ended_with(unit: Overview, partner: str, since: datetime) -> tuple[Request, ...]:
    """What was placed since then, between a partner and us, and has ended."""
    wanted = (R.placed_at >= since, R.partner == partner, R.position.in_(sorted(FINAL)))
    return unit.batch(*wanted, order=(R.placed_at, R.id), limit=MOST)


def renewals(unit: Overview) -> tuple[Request, ...]:
    """Loans whose lender is being asked for a renewal, or has denied one (R28)."""
    return _open(unit, R.position == P.ON_LOAN, R.renewal_sync.in_(("pending", "denied")))


def lender_dates(unit: Overview) -> tuple[Request, ...]:
    """Loans that run past the date on which their lender expects the book (R19, R32)."""
    return _open(unit, R.position == P.ON_LOAN, R.due > R.lender_due)


def standing(
    unit: Overview, since: Mapping[Position, datetime], due_before: date, after: str, most: int
) -> tuple[Request, ...]:
    """Requests that stand in a position since before the instant named for it, or that a borrower should have sent home
    before `due_before`; by number, those after `after`."""
    instants = {f"since_{position.value}": instant for position, instant in since.items()}
    return unit.asked(_standing(tuple(since)), most, due_before=due_before, after=after, **instants)


@cache
def _standing(positions: tuple[Position, ...]) -> Batch:
    still = [and_(R.position == p, R.moved_at < bindparam(f"since_{p.value}")) for p in positions]
    kept = and_(R.position == P.AT_BORROWER, R.lender_due < bindparam("due_before"))
    # Not `id > …` as it stands: the database would walk through all requests, instead of those that are open.
    return Batch(IS_OPEN, or_(*still, kept), R.id + "" > bindparam("after"), order=(R.id + "",))


def flagged(unit: Overview) -> tuple[Request, ...]:
    """What a person should look at, for the reason in `flags`: work of a line that was down, a book in the drop."""
    return _open(unit, IS_FLAGGED)


def notices(unit: Overview, states: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Letters in these states, oldest first; never an address."""
    return _rows(unit, select(NOTICES).where(NOTICES.c.state.in_(states)).order_by(NOTICES.c.id))


def charges(unit: Overview, card: str = "") -> tuple[dict[str, Any], ...]:
    """What is still owed, by everybody or by one patron."""
    left = FINES.c.cents - FINES.c.paid_cents - FINES.c.waived_cents
    question = select(FINES, left.label("left_cents")).where(IS_UNPAID).order_by(FINES.c.id)
    return _rows(unit, question.where(FINES.c.patron == card) if card else question)


def closures(unit: Overview, since: date) -> tuple[dict[str, Any], ...]:
    """The closed days of every library from that day on."""
    return _rows(unit, select(CLOSURES).where(CLOSURES.c.day >= since).order_by(CLOSURES.c.day, CLOSURES.c.agency))


def last_closure(unit: Overview, agency: str) -> date | None:
    """The last day of a library's calendar of closures; None where none is known."""
    found: date | None = unit.execute(select(func.max(CLOSURES.c.day)).where(CLOSURES.c.agency == agency)).scalar()
    return found


def jobs(unit: Overview) -> tuple[dict[str, Any], ...]:
    """What ran last and when: rounds and imports."""
    return _rows(unit, select(JOBS).order_by(JOBS.c.name))


def overrides(unit: Overview) -> tuple[dict[str, Any], ...]:
    """What was moved by force, newest first."""
    return _rows(unit, select(JOURNAL).where(IS_FORCED).order_by(JOURNAL.c.id.desc()))


def _open(unit: Overview, *where: Any) -> tuple[Request, ...]:
    return unit.batch(IS_OPEN, *where, order=(R.moved_at, R.id), limit=MOST)


def _rows(unit: Overview, question: Select[Any]) -> tuple[dict[str, Any], ...]:
    return tuple(dict(row) for row in unit.execute(question).mappings())
