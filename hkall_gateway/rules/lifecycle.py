"""The life cycle of a request on both sides, as listed in `lifecycle.toml`.

The table has no guards: the policy decides whether an event is allowed. Positions change only by this table (law 1).
Source: lifecycle of INN-Reach style consortial borrowing; HKALL rules R11 to R17, R22 to R45.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path
from typing import Final

from hkall_gateway.rules.vocabulary import BadStep, Position, Side

P = Position


class Event(StrEnum):
    """The events in the life of a request, once the policy has allowed them. Both sides have their own events."""

    # We borrow.
    ASK = auto()
    NO_LENDER = auto()
    ASK_NEXT = auto()
    ASK_NEXT_AFTER_SILENCE = auto()
    POSTPONE = auto()
    END_OF_LIST = auto()
    CANCEL = auto()
    CANCEL_SETTLED = auto()
    SHIP = auto()
    SHIP_UNWANTED = auto()
    NOT_SENT = auto()
    ARRIVE = auto()
    ARRIVE_UNANNOUNCED = auto()
    ARRIVE_UNWANTED = auto()
    NOTIFY = auto()
    EXPIRE_PICKUP = auto()
    CHECK_OUT = auto()
    UNDO_CHECK_OUT = auto()
    RENEW = auto()
    RENEW_PENDING = auto()
    RENEWAL_GRANTED = auto()
    RENEWAL_DENIED = auto()
    OWNER_RENEW = auto()
    ASK_LATER_DATE = auto()
    RECALL = auto()
    RECALL_NOTED = auto()
    CANCEL_RECALL = auto()
    FALL_DUE = auto()
    RETURN = auto()
    RETURN_UNUSED = auto()
    DISPATCH = auto()
    UNDO_RETURN = auto()
    CLAIM_RETURNED = auto()
    LOSE = auto()
    DAMAGE = auto()
    SETTLE = auto()
    HOME = auto()
    # We lend.
    PRINT = auto()
    SUBSTITUTE = auto()
    LEND = auto()
    DECLINE = auto()
    DECLINE_SHIPPED = auto()
    WITHDRAW = auto()
    BORROWER_HAS_IT = auto()
    BORROWER_RENEWED = auto()
    RECALL_LENT = auto()
    CANCEL_RECALL_LENT = auto()
    COMING_HOME = auto()
    CHECK_IN_HOME = auto()
    BORROWER_CLAIMS = auto()
    BORROWER_LOST = auto()
    SETTLE_LENT = auto()
    # Both sides.
    FORCE = auto()


class Notification(StrEnum):
    """Kinds of messages to partners and patrons. A partner's dialect may have no document for some of them."""

    ASK_LENDER = auto()
    CANCEL_AT_LENDER = auto()
    TELL_LENDER_RECEIVED = auto()
    TELL_LENDER_ON_LOAN = auto()
    TELL_LENDER_RENEWED = auto()
    ASK_LENDER_TO_RENEW = auto()
    ASK_LENDER_LATER_DATE = auto()
    TELL_LENDER_RETURNED = auto()
    TELL_LENDER_ON_ITS_WAY = auto()
    TELL_LENDER_CLAIMED = auto()
    TELL_LENDER_LOST = auto()
    TELL_BORROWER_SHIPPED = auto()
    TELL_BORROWER_DECLINED = auto()
    TELL_BORROWER_RECALLED = auto()
    TELL_BORROWER_RECALL_CANCELLED = auto()
    TELL_BORROWER_HOME = auto()
    LETTER_PICKUP = auto()
    LETTER_UNFILLED = auto()
    LETTER_RECALLED = auto()
    LETTER_RECALL_CANCELLED = auto()
    LETTER_OVERDUE = auto()
    LETTER_RENEWAL_DENIED = auto()
    LETTER_EXPIRED = auto()
    LETTER_DECLINED = auto()
    LETTER_POSTPONED = auto()
    LETTER_PICKUP_REMINDER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of the table: position, event, next position, messages to send."""

    source: Position
    event: Event
    target: Position
    sends: tuple[Notification, ...] = ()


_SIDES: Final[dict[str, dict[str, dict[str, list[str]]]]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
TABLE: Final = tuple(
    Step(
        source=Position[source], event=Event[event], target=Position[target], sends=tuple(Notification[name] for name in sends)
    )
    for positions in _SIDES.values()
    for source, events in positions.items()
    for event, (target, *sends) in events.items()
)
LENDING_EVENTS: Final = frozenset(Event[event] for events in _SIDES[Side.LENDING].values() for event in events)


def side_of(event: Event) -> Side:
    """Return the side on which an event occurs."""
    return Side.LENDING if event in LENDING_EVENTS else Side.BORROWING


_STEPS: Mapping[tuple[Side, Position, Event], Step] = {(side_of(s.event), s.source, s.event): s for s in TABLE}


def can(side: Side, position: Position, event: Event) -> bool:
    """Return whether the table has a row for an event in a position."""
    return (side, position, event) in _STEPS


def step(side: Side, position: Position, event: Event) -> Step:
    """Return the row for an event in a position. Raise BadStep if the table has no such row."""
    found = _STEPS.get((side, position, event))
    if found is None:
        raise BadStep(f"{side}: no step {event} from {position}")
    return found
