"""The life cycle of a request on both sides, as one table: for each position and event, the next position and the messages.

The table has no guards: the policy decides whether an event is allowed. Positions change only by this table (law 1).
Source: lifecycle of INN-Reach style consortial borrowing; HKALL rules R11 to R17, R22 to R45.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

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


class Stage(StrEnum):
    """The coarse progress of a request, which changes seldom: without an item, with an item, or ended."""

    ASKED = "wish"
    IN_HAND = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table: position, event, next position, messages to send."""

    source: Position
    event: Event
    target: Position
    sends: tuple[Notification, ...] = ()


E = Event
S = Notification

# fmt: off
TABLE: tuple[Step, ...] = (
    # ---- we borrow: the request and the lenders
    Step(P.NEW,            E.ASK,                    P.REQUESTED,      (S.ASK_LENDER,)),
    Step(P.NEW,            E.NO_LENDER,              P.UNFILLED,       (S.LETTER_UNFILLED,)),
    Step(P.NEW,            E.CANCEL,                 P.CANCELLED),
    Step(P.NEW,            E.SHIP,                   P.IN_TRANSIT),    # the lender declined, and then sent it anyway
    Step(P.NEW,            E.ARRIVE_UNANNOUNCED,     P.RECEIVED,       (S.TELL_LENDER_RECEIVED, S.LETTER_PICKUP)),
    Step(P.REQUESTED,      E.ASK_NEXT,               P.REQUESTED,      (S.ASK_LENDER, S.LETTER_DECLINED)),
    Step(P.REQUESTED,      E.ASK_NEXT_AFTER_SILENCE, P.REQUESTED,      (S.CANCEL_AT_LENDER, S.ASK_LENDER)),
    Step(P.REQUESTED,      E.POSTPONE,               P.NEW),           # no lender is asked while the service is suspended
    Step(P.REQUESTED,      E.END_OF_LIST,            P.UNFILLED,       (S.LETTER_UNFILLED,)),
    Step(P.REQUESTED,      E.CANCEL,                 P.CANCELLING,     (S.CANCEL_AT_LENDER,)),
    Step(P.CANCELLING,     E.CANCEL_SETTLED,         P.CANCELLED),
    Step(P.CANCELLING,     E.SHIP_UNWANTED,          P.IN_TRANSIT),
    # ---- we borrow: shipment to us
    Step(P.REQUESTED,      E.SHIP,                   P.IN_TRANSIT),
    Step(P.IN_TRANSIT,     E.NOT_SENT,               P.REQUESTED,      (S.ASK_LENDER,)),
    Step(P.IN_TRANSIT,     E.POSTPONE,               P.NEW),
    Step(P.IN_TRANSIT,     E.END_OF_LIST,            P.UNFILLED,       (S.LETTER_UNFILLED,)),
    Step(P.IN_TRANSIT,     E.HOME,                   P.CLOSED),        # an orphan item that never left its library
    Step(P.IN_TRANSIT,     E.ARRIVE,                 P.RECEIVED,       (S.TELL_LENDER_RECEIVED, S.LETTER_PICKUP)),
    Step(P.REQUESTED,      E.ARRIVE_UNANNOUNCED,     P.RECEIVED,       (S.TELL_LENDER_RECEIVED, S.LETTER_PICKUP)),
    Step(P.IN_TRANSIT,     E.ARRIVE_UNWANTED,        P.TO_RETURN,      (S.TELL_LENDER_RECEIVED,)),
    Step(P.CANCELLING,     E.ARRIVE_UNWANTED,        P.TO_RETURN,      (S.TELL_LENDER_RECEIVED,)),
    # ---- we borrow: on our hold shelf
    Step(P.RECEIVED,       E.NOTIFY,                 P.RECEIVED),
    Step(P.RECEIVED,       E.EXPIRE_PICKUP,          P.RECEIVED,       (S.LETTER_EXPIRED,)),
    Step(P.RECEIVED,       E.CHECK_OUT,              P.ON_LOAN,        (S.TELL_LENDER_ON_LOAN,)),
    Step(P.RECEIVED,       E.RETURN_UNUSED,          P.TO_RETURN),
    Step(P.RECEIVED,       E.HOME,                   P.CLOSED),
    # ---- we borrow: on loan
    Step(P.ON_LOAN,        E.UNDO_CHECK_OUT,         P.RECEIVED),
    Step(P.ON_LOAN,        E.RENEW,                  P.ON_LOAN,        (S.TELL_LENDER_RENEWED,)),
    Step(P.ON_LOAN,        E.RENEW_PENDING,          P.ON_LOAN,        (S.ASK_LENDER_TO_RENEW,)),
    Step(P.ON_LOAN,        E.RENEWAL_GRANTED,        P.ON_LOAN),
    Step(P.ON_LOAN,        E.RENEWAL_DENIED,         P.ON_LOAN,        (S.LETTER_RENEWAL_DENIED,)),
    Step(P.ON_LOAN,        E.OWNER_RENEW,            P.ON_LOAN),
    Step(P.ON_LOAN,        E.ASK_LATER_DATE,         P.ON_LOAN,        (S.ASK_LENDER_LATER_DATE,)),
    Step(P.ON_LOAN,        E.RECALL,                 P.ON_LOAN,        (S.LETTER_RECALLED,)),
    Step(P.REQUESTED,      E.RECALL_NOTED,           P.REQUESTED),
    Step(P.IN_TRANSIT,     E.RECALL_NOTED,           P.IN_TRANSIT),
    Step(P.RECEIVED,       E.RECALL_NOTED,           P.RECEIVED),
    Step(P.REQUESTED,      E.CANCEL_RECALL,          P.REQUESTED),
    Step(P.IN_TRANSIT,     E.CANCEL_RECALL,          P.IN_TRANSIT),
    Step(P.RECEIVED,       E.CANCEL_RECALL,          P.RECEIVED),
    Step(P.ON_LOAN,        E.CANCEL_RECALL,          P.ON_LOAN,        (S.LETTER_RECALL_CANCELLED,)),
    Step(P.ON_LOAN,        E.FALL_DUE,               P.ON_LOAN,        (S.LETTER_OVERDUE,)),
    Step(P.ON_LOAN,        E.CLAIM_RETURNED,         P.ON_LOAN,        (S.TELL_LENDER_CLAIMED,)),
    Step(P.ON_LOAN,        E.LOSE,                   P.ON_LOAN,        (S.TELL_LENDER_LOST,)),
    Step(P.ON_LOAN,        E.DAMAGE,                 P.ON_LOAN),
    Step(P.ON_LOAN,        E.SETTLE,                 P.CLOSED),
    Step(P.ON_LOAN,        E.RETURN,                 P.TO_RETURN,      (S.TELL_LENDER_RETURNED,)),
    Step(P.ON_LOAN,        E.HOME,                   P.CLOSED),
    # ---- we borrow: return to the lender
    Step(P.TO_RETURN,      E.DISPATCH,               P.RETURN_TRANSIT, (S.TELL_LENDER_ON_ITS_WAY,)),
    Step(P.TO_RETURN,      E.UNDO_RETURN,            P.ON_LOAN,        (S.TELL_LENDER_ON_LOAN,)),
    Step(P.TO_RETURN,      E.DAMAGE,                 P.TO_RETURN),
    Step(P.TO_RETURN,      E.LOSE,                   P.TO_RETURN,      (S.TELL_LENDER_LOST,)),
    Step(P.TO_RETURN,      E.SETTLE,                 P.CLOSED),
    Step(P.TO_RETURN,      E.HOME,                   P.CLOSED),
    Step(P.RETURN_TRANSIT, E.UNDO_RETURN,            P.ON_LOAN,        (S.TELL_LENDER_ON_LOAN,)),
    Step(P.RETURN_TRANSIT, E.CLAIM_RETURNED,         P.RETURN_TRANSIT, (S.TELL_LENDER_CLAIMED,)),
    Step(P.RETURN_TRANSIT, E.DAMAGE,                 P.RETURN_TRANSIT),
    Step(P.RETURN_TRANSIT, E.LOSE,                   P.RETURN_TRANSIT, (S.TELL_LENDER_LOST,)),
    Step(P.RETURN_TRANSIT, E.SETTLE,                 P.CLOSED),
    Step(P.RETURN_TRANSIT, E.HOME,                   P.CLOSED),
    # ---- we lend
    Step(P.PAGED,          E.PRINT,                  P.PAGED),
    Step(P.PAGED,          E.SUBSTITUTE,             P.PAGED),
    Step(P.PAGED,          E.LEND,                   P.SHIPPED,        (S.TELL_BORROWER_SHIPPED,)),
    Step(P.PAGED,          E.DECLINE,                P.DECLINED,       (S.TELL_BORROWER_DECLINED,)),
    Step(P.PAGED,          E.WITHDRAW,               P.WITHDRAWN),
    Step(P.PAGED,          E.BORROWER_HAS_IT,        P.AT_BORROWER),
    Step(P.PAGED,          E.COMING_HOME,            P.RETURN_TRANSIT),  # it was shipped without a scan
    Step(P.PAGED,          E.CHECK_IN_HOME,          P.CLOSED,         (S.TELL_BORROWER_HOME,)),
    Step(P.SHIPPED,        E.DECLINE_SHIPPED,        P.DECLINED,       (S.TELL_BORROWER_HOME,)),  # too late to decline
    Step(P.SHIPPED,        E.BORROWER_HAS_IT,        P.AT_BORROWER),
    Step(P.SHIPPED,        E.BORROWER_RENEWED,       P.SHIPPED),
    Step(P.SHIPPED,        E.RECALL_LENT,            P.SHIPPED,        (S.TELL_BORROWER_RECALLED,)),
    Step(P.SHIPPED,        E.CANCEL_RECALL_LENT,     P.SHIPPED,        (S.TELL_BORROWER_RECALL_CANCELLED,)),
    Step(P.SHIPPED,        E.COMING_HOME,            P.RETURN_TRANSIT),
    Step(P.SHIPPED,        E.BORROWER_CLAIMS,        P.SHIPPED),
    Step(P.SHIPPED,        E.BORROWER_LOST,          P.SHIPPED),
    Step(P.SHIPPED,        E.SETTLE_LENT,            P.CLOSED),
    Step(P.SHIPPED,        E.CHECK_IN_HOME,          P.CLOSED,         (S.TELL_BORROWER_HOME,)),
    Step(P.AT_BORROWER,    E.BORROWER_RENEWED,       P.AT_BORROWER),
    Step(P.AT_BORROWER,    E.RECALL_LENT,            P.AT_BORROWER,    (S.TELL_BORROWER_RECALLED,)),
    Step(P.AT_BORROWER,    E.CANCEL_RECALL_LENT,     P.AT_BORROWER,    (S.TELL_BORROWER_RECALL_CANCELLED,)),
    Step(P.AT_BORROWER,    E.COMING_HOME,            P.RETURN_TRANSIT),
    Step(P.AT_BORROWER,    E.BORROWER_CLAIMS,        P.AT_BORROWER),
    Step(P.AT_BORROWER,    E.BORROWER_LOST,          P.AT_BORROWER),
    Step(P.AT_BORROWER,    E.SETTLE_LENT,            P.CLOSED),
    Step(P.AT_BORROWER,    E.CHECK_IN_HOME,          P.CLOSED,         (S.TELL_BORROWER_HOME,)),
    Step(P.RETURN_TRANSIT, E.BORROWER_CLAIMS,        P.RETURN_TRANSIT),
    Step(P.RETURN_TRANSIT, E.BORROWER_LOST,          P.RETURN_TRANSIT),
    Step(P.RETURN_TRANSIT, E.SETTLE_LENT,            P.CLOSED),
    Step(P.RETURN_TRANSIT, E.CHECK_IN_HOME,          P.CLOSED,         (S.TELL_BORROWER_HOME,)),
)

FIRST: Mapping[Side, frozenset[Position]] = {
    Side.BORROWING: frozenset({P.NEW, P.IN_TRANSIT}),   # IN_TRANSIT: an orphan item
    Side.LENDING:   frozenset({P.PAGED}),
}

FINAL: frozenset[Position] = frozenset({P.CLOSED, P.UNFILLED, P.CANCELLED, P.DECLINED, P.WITHDRAWN})

LENDING: frozenset[Position] = frozenset({
    P.PAGED, P.SHIPPED, P.AT_BORROWER, P.RETURN_TRANSIT, P.CLOSED, P.DECLINED, P.WITHDRAWN,
})

LENDING_EVENTS: frozenset[Event] = frozenset({
    E.PRINT, E.SUBSTITUTE, E.LEND, E.DECLINE, E.DECLINE_SHIPPED, E.WITHDRAW, E.BORROWER_HAS_IT, E.BORROWER_RENEWED,
    E.RECALL_LENT, E.CANCEL_RECALL_LENT, E.COMING_HOME, E.CHECK_IN_HOME, E.BORROWER_CLAIMS, E.BORROWER_LOST, E.SETTLE_LENT,
})

# A request counts towards the quota until the patron has returned the book (R20, R21).
TAKES_QUOTA: frozenset[Position] = frozenset({P.NEW, P.REQUESTED, P.IN_TRANSIT, P.RECEIVED, P.ON_LOAN})
HOLDS_ITEM: frozenset[Position] = frozenset({
    P.IN_TRANSIT, P.RECEIVED, P.ON_LOAN, P.TO_RETURN, P.RETURN_TRANSIT, P.PAGED, P.SHIPPED, P.AT_BORROWER,
})
# fmt: on

STAGES: Mapping[Position, Stage] = {
    position: Stage.ENDED if position in FINAL else Stage.IN_HAND if position in HOLDS_ITEM else Stage.ASKED
    for position in Position
}


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
