"""Status of each partner: channel, unsent messages, lending balance, and response figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hkall_gateway.db import partners
from hkall_gateway.db.partners import RequestReplies
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.circuit import STALLED, circuit
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.rules.vocabulary import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerLine:
    """The status of one partner. Books and turnaround cover the last 30 days, replies cover the last 7 days.

    Attributes:
        line: State of the channel: up, down, or stalled if due messages do not leave although it is up.
        breaker: State of the circuit breaker, which decides whether messages are sent now.
        oldest: Time of the oldest unsent message.
        balance: `we_lent` minus `lent_us`, in books.
        fill_percent: Share of filled requests. Like `decline_percent`, it is None if there were no requests.
        turnaround_days: Time from the request to our hold shelf.
    """

    partner: str
    line: str
    breaker: str
    down_since: datetime | None
    heard_at: datetime | None
    waiting: int
    oldest: datetime | None
    dead: int
    lent_us: int
    we_lent: int
    balance: int
    asked: int
    fill_percent: int | None
    decline_percent: int | None
    turnaround_days: float | None
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Counts of one partner's unsent messages."""

    waiting: int = 0
    dead: int = 0
    oldest: datetime | None = None


def partner_lines(unit: UnitOfWork, now: datetime, agencies: Sequence[str]) -> tuple[PartnerLine, ...]:
    """Return the status of each of these agencies, in the given order."""
    lent, borrowed = partners.balance(unit, Side.BORROWING, now), partners.balance(unit, Side.LENDING, now)
    replies, took = partners.answers(unit, now), partners.turnaround_days(unit, now)
    messages, stalled = _unsent(unit), unit.outbox.stalled(now)
    lines = []
    for agency in agencies:
        link, unsent, answered = (
            unit.circuits.find(agency),
            messages.get(agency, Unsent()),
            replies.get(agency, RequestReplies()),
        )
        lent_us, we_lent, days = lent.get(agency, 0), borrowed.get(agency, 0), took.get(agency)
        lines.append(
            PartnerLine(
                partner=agency,
                line=STALLED if agency in stalled else link.state,
                breaker=circuit(link, now),
                down_since=link.down_since,
                heard_at=link.heard_at,
                waiting=unsent.waiting,
                oldest=unsent.oldest,
                dead=unsent.dead,
                lent_us=lent_us,
                we_lent=we_lent,
                balance=we_lent - lent_us,
                asked=answered.asked,
                fill_percent=None if answered.fill_rate is None else round(100 * answered.fill_rate),
                decline_percent=round(100 * answered.decline_rate) if answered.asked else None,
                turnaround_days=None if days is None else round(days, 1),
                fault=link.fault,
            )
        )
    return tuple(lines)


def _unsent(unit: UnitOfWork) -> Mapping[str, Unsent]:
    found: dict[str, Unsent] = {}
    for agency, state, count, oldest in unit.outbox.depths():
        before = found.get(agency, Unsent())
        dead = count if state is OutboxState.DEAD else 0
        found[agency] = Unsent(
            waiting=before.waiting + count - dead, dead=before.dead + dead, oldest=min(oldest, before.oldest or oldest)
        )
    return found
