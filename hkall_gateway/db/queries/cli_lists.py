"""The lists of the command line: each is a query on open work, with the conditions of the work lists where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, func, literal_column, or_, select

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.partner_circuit import HOW
from hkall_gateway.db.queries import work_lists
from hkall_gateway.db.queries.queries import Batch, Queries
from hkall_gateway.db.tables import (
    CLOSURES,
    EARLIER_UNSETTLED,
    FINES,
    IS_OPEN,
    IS_UNDELIVERABLE,
    IS_UNPAID,
    IS_WAITING,
    JOBS,
    LINKS,
    NOTICES,
    OUTBOX,
    REQUESTS,
    Condition,
)
from hkall_gateway.rules.circuit import DOWN, CircuitState
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.stored_words import NoticeState, RenewalSync
from hkall_gateway.rules.vocabulary import Position, Request

# ---- Queries for messages that may leave: channel by channel, the first unsettled one of each key (request and recipient).
# The channels with waiting messages are found by a skip scan of the index that begins with the channel, and rows are read
# only of
# channels that have room: messages for a partner that rests cost no time.


MAIL: Final = "mail"
"""The channel of all patron letters."""
Room = Callable[[CircuitState, int], int]
"""Returns how many more messages may leave by a channel, given the number in delivery."""

_ROWS = OUTBOX.c
_NOW: Any = bindparam("now", type_=_ROWS.next_at.type)
_EARLIER = OUTBOX.alias("earlier")
# Each key is looked up separately (OFFSET 0) and by its request (BETWEEN: PostgreSQL always estimates a range as
# small). With its statistics, perhaps taken when there were few rows, it would join everything, or scan the numbers.
_SAME_KEY = and_(_EARLIER.c.request.between(_ROWS.request, _ROWS.request), _EARLIER.c.recipient == _ROWS.recipient)
_HOLDING = select(_EARLIER.c.id).where(_SAME_KEY, _EARLIER.c.id < _ROWS.id, EARLIER_UNSETTLED)
_IS_FIRST = ~_HOLDING.offset(literal_column("0")).exists()
_IS_FREE = or_(_ROWS.lease_until.is_(None), _ROWS.lease_until < _NOW)

_JUMP = select(func.min(_ROWS.line).label("line")).where(IS_WAITING)
_BEGUN = _JUMP.cte("lines", recursive=True)
_LINES = _BEGUN.union_all(select(_JUMP.where(_ROWS.line > _BEGUN.c.line).scalar_subquery()).where(_BEGUN.c.line.is_not(None)))
_LINKED = _LINES.outerjoin(LINKS, LINKS.c.agency == _LINES.c.line)
_ON_IT = and_(IS_WAITING, _ROWS.line == _LINES.c.line)
_FIRST_AT = select(func.min(_ROWS.next_at)).where(_ON_IT).scalar_subquery()
_FIRST_OF_KEY = select(_ROWS.next_at).where(_ON_IT, _IS_FIRST).order_by(_ROWS.next_at, _ROWS.id).limit(literal_column("1"))

DUE_LINES = CompiledStatement(
    select(_LINES.c.line, *HOW).select_from(_LINKED).where(_FIRST_AT <= _NOW).order_by(_FIRST_AT, _LINES.c.line)
)
"""The channels with due messages, the longest waiting first (then by name), and their state."""

DUE = CompiledStatement(
    select(OUTBOX)
    .where(IS_WAITING, _ROWS.line == bindparam("of"), _ROWS.next_at <= _NOW, _IS_FREE, _IS_FIRST)
    .order_by(_ROWS.next_at, _ROWS.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
"""The first `most` rows of a channel that may leave now. On PostgreSQL they stay locked until the transaction ends."""

NEXT = CompiledStatement(select(_FIRST_OF_KEY.scalar_subquery().label("next_at"), LINKS.c.rests_until).select_from(_LINKED))
"""For each channel, when the first message of a key is due and until when the channel rests."""

_SINCE: Any = bindparam("since", type_=_ROWS.next_at.type)
_QUIET = and_(*(or_(at.is_(None), at <= _SINCE) for at in (LINKS.c.heard_at, LINKS.c.rests_until)))
STALLED = CompiledStatement(
    select(_LINES.c.line)
    .select_from(_LINKED)
    .where(_FIRST_OF_KEY.scalar_subquery() <= _SINCE, func.coalesce(LINKS.c.state, "") != DOWN, _QUIET)
    .order_by(_LINES.c.line)
)
"""The channels that count as up, where a message has been due since `since` and no answer has come since."""

UNDER_WAY = CompiledStatement(
    select(_ROWS.line, func.count().label("count")).where(_ROWS.lease_until >= _NOW).group_by(_ROWS.line)
)


P = Position
R = REQUESTS.c
MOST = 10_000


def pull_list(unit: Queries) -> tuple[Request, ...]:
    """Return our copies that partners wait for, oldest first; it can be repeated at any time."""
    return _open(unit, *work_lists.PULL)


def expected(unit: Queries) -> tuple[Request, ...]:
    """Return the books on their way to our counter: from lenders, and our own copies coming home."""
    return _open(unit, *work_lists.EXPECTED)


def expired_pickups(unit: Queries) -> tuple[Request, ...]:
    """Return the books to take off the hold shelf, which were not collected in time (R15)."""
    return _open(unit, *work_lists.EXPIRED)


def overdues(unit: Queries, today: date) -> tuple[Request, ...]:
    """Return loans past their due date."""
    return _open(unit, *work_lists.overdue(today))


def recalls(unit: Queries) -> tuple[Request, ...]:
    """Return open requests with a recall."""
    return _open(unit, *work_lists.RECALLS)


def ended_with(unit: Queries, partner: str, since: datetime) -> tuple[Request, ...]:
    """Return the ended requests placed since then, between a partner and us."""
    wanted = (R.placed_at >= since, R.partner == partner, R.position.in_(sorted(FINAL)))
    return unit.batch(*wanted, order=(R.placed_at, R.id), limit=MOST)


def renewals(unit: Queries) -> tuple[Request, ...]:
    """Return loans with a renewal pending at the lender, or denied by it (R28)."""
    return _open(unit, R.position == P.ON_LOAN, R.renewal_sync.in_((RenewalSync.PENDING, RenewalSync.DENIED)))


def lender_dates(unit: Queries) -> tuple[Request, ...]:
    """Return loans that run past the date on which their lender expects the book (R19, R32)."""
    return _open(unit, R.position == P.ON_LOAN, R.due > R.lender_due)


def stalled(unit: Queries, since: Mapping[Position, datetime], due_before: date, after: str, most: int) -> tuple[Request, ...]:
    """Return stalled requests by number, after `after`: in a position since before the instant given for it, or lent by us and
    due before `due_before`.
    """
    instants = {f"since_{position.value}": instant for position, instant in since.items()}
    return unit.asked(_stalled(tuple(since)), most, due_before=due_before, after=after, **instants)


@cache
def _stalled(positions: tuple[Position, ...]) -> Batch:
    still = [and_(R.position == p, R.moved_at < bindparam(f"since_{p.value}")) for p in positions]
    kept = and_(R.position == P.AT_BORROWER, R.lender_due < bindparam("due_before"))
    # Not plain `id > …`: the database would scan all requests, instead of those that are open.
    return Batch(IS_OPEN, or_(*still, kept), R.id + "" > bindparam("after"), order=(R.id + "",))


def flagged(unit: Queries) -> tuple[Request, ...]:
    """Return the requests that staff should look at, for the reason in `flags`: work of a channel that was down, a book in the
    drop.
    """
    return _open(unit, *work_lists.FLAGGED)


def stuck(unit: Queries, at: work_lists.Moment) -> tuple[Request, ...]:
    """Return the requests that do not move on by themselves, longest in their position first."""
    return unit.batch(work_lists.stuck(unit, at), order=(R.moved_at, R.id), limit=MOST)


def notices(
    unit: Queries, states: Sequence[NoticeState], after: int = 0, most: int | None = None
) -> tuple[dict[str, Any], ...]:
    """Return letters in these states, oldest first; never an address. At most `most`, with a number above `after`."""
    wanted: list[Any] = [NOTICES.c.state.in_(states), NOTICES.c.id > after]
    wanted += [IS_UNDELIVERABLE] if set(states) == {NoticeState.UNDELIVERABLE} else []
    return _rows(unit, select(NOTICES).where(*wanted).order_by(NOTICES.c.id).limit(most))


def undelivered(unit: Queries) -> int:
    """Return the number of letters that could not be delivered."""
    return int(unit.execute(select(func.count()).select_from(NOTICES).where(IS_UNDELIVERABLE)).scalar_one())


def charges(unit: Queries, card: str = "") -> tuple[dict[str, Any], ...]:
    """Return the unpaid charges, of all patrons or of one."""
    left = FINES.c.cents - FINES.c.paid_cents - FINES.c.waived_cents
    question = select(FINES, left.label("left_cents")).where(IS_UNPAID).order_by(FINES.c.id)
    return _rows(unit, question.where(FINES.c.patron == card) if card else question)


def closures(unit: Queries, since: date) -> tuple[dict[str, Any], ...]:
    """Return the closed days of every library from that day on."""
    return _rows(unit, select(CLOSURES).where(CLOSURES.c.day >= since).order_by(CLOSURES.c.day, CLOSURES.c.agency))


def last_closure(unit: Queries, agency: str) -> date | None:
    """Return the last day in a library's calendar of closures; None if it has none."""
    found: date | None = unit.execute(select(func.max(CLOSURES.c.day)).where(CLOSURES.c.agency == agency)).scalar()
    return found


def jobs(unit: Queries) -> tuple[dict[str, Any], ...]:
    """Return the last runs of rounds and imports."""
    return _rows(unit, select(JOBS).order_by(JOBS.c.name))


def _open(unit: Queries, *where: Condition) -> tuple[Request, ...]:
    return unit.batch(IS_OPEN, *where, order=(R.moved_at, R.id), limit=MOST)


def _rows(unit: Queries, question: Select[Any]) -> tuple[dict[str, Any], ...]:
    return tuple(dict(row) for row in unit.execute(question).mappings())
