"""Partner statistics for choosing a lender: books sent each way, decline rate, and state of the channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import fmean
from typing import Final

from sqlalchemy import and_, bindparam, case, func, or_, select

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong
from hkall_gateway.db.tables import CANDIDATES, CLOSURES, IS_OPEN, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.circuit import DOWN
from hkall_gateway.rules.dates import after, civil
from hkall_gateway.rules.lenders import Record
from hkall_gateway.rules.positions import BORROWING, LENDER_SENT, LENDER_UNDECIDED, LENDING
from hkall_gateway.rules.stored_words import CandidateOutcome
from hkall_gateway.rules.vocabulary import Position, Side

BALANCE_DAYS, DECLINES_DAYS = 30, 7
DOWN_TOO_LONG = timedelta(hours=4)
"""If a partner's channel is down for longer, we request no books from the partner, because its reply would come too late."""

P = Position
R, C = REQUESTS.c, CANDIDATES.c
CAME: Final = tuple(sorted(LENDER_SENT & BORROWING))
UNDECIDED: Final = tuple(sorted(LENDER_UNDECIDED & BORROWING))
WENT: Final = tuple(sorted(LENDER_SENT & LENDING))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReplies:
    """Counts of a partner's recent replies. `asked` counts all requests, and `open` undecided or cancelled requests."""

    asked: int = 0
    declined: int = 0
    filled: int = 0
    open: int = 0

    @property
    def decline_rate(self) -> float:
        """The share of requests that the partner declined, from 0 to 1."""
        return self.declined / self.asked if self.asked else 0.0

    @property
    def fill_rate(self) -> float | None:
        """The share of filled requests among decided requests (0 to 1). A request without a timely reply counts as decided."""
        decided = self.asked - self.open
        return self.filled / decided if decided else None


def records(unit: UnitOfWork, now: datetime, agencies: Iterable[str], *, weighed: bool = True) -> dict[str, Record]:
    """Return the record of each of these agencies, for choosing a lender.

    Unless `weighed`, omit the balance and the decline rate, because these require counting a month of requests.
    """
    named, today = sorted(set(agencies)), civil(now)
    closed, circuits = _closed_soon(unit, named, today), unit.circuits.several(named)
    lent, borrowed = (balance(unit, side, now) if weighed else {} for side in (Side.BORROWING, Side.LENDING))
    replies = answers(unit, now) if weighed else {}
    since = now - DOWN_TOO_LONG
    down = {link.agency for link in circuits.values() if link.state == DOWN and link.down_since and link.down_since <= since}
    return {
        agency: Record(
            closures=closed[agency],
            lent=lent.get(agency, 0),
            borrowed=borrowed.get(agency, 0),
            declines=replies.get(agency, RequestReplies()).decline_rate,
            down=agency in down,
        )
        for agency in named
    }


def balance(unit: UnitOfWork, side: Side, now: datetime) -> Mapping[str, int]:
    """Count the books sent to us (BORROWING) or by us (LENDING), by partner, for open requests and for the last 30 days."""
    since, found = now - timedelta(days=BALANCE_DAYS), dict[str, int]()
    for query in _BALANCE[side]:
        for row in query.rows(unit.connection, since=since):
            found[row["partner"]] = found.get(row["partner"], 0) + row["books"]
    return found


def answers(unit: UnitOfWork, now: datetime) -> Mapping[str, RequestReplies]:
    """Return each partner's replies to the requests of the last 7 days."""
    rows = _ANSWERS.rows(unit.connection, since=now - timedelta(days=DECLINES_DAYS))
    return {
        row["agency"]: RequestReplies(asked=row["asked"], declined=row["declined"], filled=row["filled"], open=row["open"])
        for row in rows
    }


def turnaround_days(unit: UnitOfWork, now: datetime) -> Mapping[str, float]:
    """Return the mean number of days from request to our hold shelf, by partner, for requests of the last 30 days.

    Orphan copies are excluded, because they may have been sent for another request.
    """
    took: dict[str, list[int]] = {}
    for row in _ARRIVALS.rows(unit.connection, since=now - timedelta(days=BALANCE_DAYS)):
        took.setdefault(row["partner"], []).append((row["received_on"] - civil(row["placed_at"])).days)
    return {agency: fmean(days) for agency, days in took.items()}


def _closed_soon(unit: UnitOfWork, agencies: Sequence[str], today: date) -> dict[str, frozenset[date]]:
    """Return the closed days among today and tomorrow, by library. Later days do not matter for choosing a lender."""
    known = unit.transaction.ahead.closed_soon
    if new := [agency for agency in agencies if (agency, today) not in known]:
        known |= {(agency, today): frozenset() for agency in new}
        for agency, day in _CLOSED.cells(unit.connection, new, today=today, tomorrow=after(today, 1)):
            known[agency, today] |= {day}
    return {agency: known[agency, today] for agency in agencies}


_SINCE = bindparam("since", type_=R.placed_at.type)


def _count_books(side: Side, moved: tuple[Position, ...]) -> tuple[CompiledStatement, CompiledStatement]:
    """Return two statements that count books by partner: for recent requests, and for older requests that are open."""
    went = or_(*(R.position == position for position in moved))
    one_side = select(R.partner, func.count().label("books")).where(R.side == side, went).group_by(R.partner)
    return CompiledStatement(one_side.where(R.placed_at >= _SINCE)), CompiledStatement(
        one_side.where(IS_OPEN, R.placed_at < _SINCE)
    )


_NO = case((or_(C.outcome.startswith(CandidateOutcome.DECLINED), C.outcome.startswith(CandidateOutcome.REFUSED)), 1), else_=0)
_BALANCE = {Side.BORROWING: _count_books(Side.BORROWING, CAME), Side.LENDING: _count_books(Side.LENDING, WENT)}
_LAST = C.wire_id == R.wire_id
_CAME = case((and_(_LAST, or_(*(R.position == position for position in CAME))), 1), else_=0)
_OPEN = case((and_(_LAST, or_(*(R.position == position for position in UNDECIDED))), 1), else_=0)
_ARRIVALS = CompiledStatement(
    select(R.partner, R.placed_at, R.received_on).where(
        R.placed_at >= _SINCE, R.side == Side.BORROWING, R.received_on.is_not(None), R.unwanted.is_(False)
    )
)
_ANSWERS = CompiledStatement(
    select(
        C.agency,
        func.count().label("asked"),
        func.sum(_NO).label("declined"),
        func.sum(_CAME).label("filled"),
        func.sum(_OPEN).label("open"),
    )
    .select_from(REQUESTS.join(CANDIDATES, C.request == R.id))
    # With plain `wire_id != ''` the database would scan all candidates ever asked, instead of the recent requests.
    .where(R.placed_at >= _SINCE, R.side == Side.BORROWING, C.wire_id + "" != "")
    .group_by(C.agency)
)
_SOON = or_(CLOSURES.c.day == bindparam("today"), CLOSURES.c.day == bindparam("tomorrow"))
_CLOSED = StatementAmong(select(CLOSURES.c.agency, CLOSURES.c.day).where(_SOON), CLOSURES.c.agency)
