"""Decide which staff commands are allowed for a request's position and a role, and why other commands are not.

The life cycle defines what a position allows. The rows here give each command's events, its role, and the fields of its form. A
command may still be refused when it runs, because rules, dates and other requests are not checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Final

from hkall_gateway.circulation.staff import lender_list
from hkall_gateway.circulation.staff.actions import STAFF_ACTIONS
from hkall_gateway.rules import lifecycle
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.positions import FINAL, HAS_SLIP, LENDER_LIST_OPEN, MAY_EXTEND, ON_HOLD_SHELF, WITH_PATRON
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Position, Request, Side

# Names and cards are shown from the role clerk upwards. A viewer sees a request without its patron, but with the patron's
# category and the random number of the patron's page, if any. Viewers see no documents and no free text (of staff,
# partners or mail servers), because these may name a patron. The rule is in SECURITY.md.
SEES_NAMES: Final = StaffRole.CLERK

# fmt: off
IMPERSONAL: Final = frozenset({
    "agency", "asked_due", "attempt", "barcode", "bib_id", "call_number", "cents", "claimed_on", "count", "day",
    "destination", "dropped_on", "due", "due_before_recall", "fine_cents", "first_checkout", "item", "item_agency",
    "item_barcode", "lender_due", "limit", "loan_days", "lost_on", "need_before", "old_due", "on", "partner",
    "pickup_last", "pickup_location", "position", "recalled", "recalled_on", "received_on", "renewal_sync",
    "renewals", "request", "returned_on", "title", "until", "volume", "wire_id",
})
# fmt: on
"""Names of journal facts that say nothing about a person. Viewers see only these facts."""
PERSONAL: Final = frozenset({"card", "patron", "held_for"})
"""Names of the facts of a decision that identify a patron. Viewers see all other facts."""


def sees_names(role: StaffRole) -> bool:
    """Check whether this role sees names and cards."""
    return role >= SEES_NAMES


def request_for(request: Request, role: StaffRole) -> Request:
    """Return a request as this role sees it."""
    return request if sees_names(role) else replace(request, patron="", reason="")


def impersonal(facts: Mapping[str, str]) -> Mapping[str, str]:
    """Select the facts that a viewer may see."""
    return {name: value for name, value in facts.items() if name in IMPERSONAL}


E, P = Event, Position
CLERK, SUPERVISOR = StaffRole.CLERK, StaffRole.SUPERVISOR
REOPEN: Final = "reopen"


class DenialReason(StrEnum):
    """The reason why a command is not allowed: the role, the position, or a fact that the command needs."""

    ROLE = auto()
    POSITION = auto()
    NO_FLAG = auto()
    NO_RECALL = auto()
    NOT_MISSING = auto()
    NO_PATRON = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRow:
    """A command with the minimum role for it.

    Attributes:
        events: Life-cycle events that the command may trigger.
        positions: Positions to which the command is limited, if any.
        takes: Form fields besides the reason: lender, item (AGENCY/BARCODE), on (a date), cents, to (a position).
        needs: Condition on the request's other fields, and the denial reason if it is not met.
    """

    name: str
    role: StaffRole
    events: tuple[Event, ...] = ()
    positions: frozenset[Position] = frozenset()
    takes: tuple[str, ...] = ()
    needs: tuple[Callable[[Request], object], DenialReason] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A command as offered for one request. `role` is the minimum role. `hindrance` is None if the command is allowed."""

    name: str
    role: StaffRole
    needs_reason: bool
    takes: tuple[str, ...]
    hindrance: DenialReason | None = None

    @property
    def allowed(self) -> bool:
        """Whether the command is allowed."""
        return self.hindrance is None


_ANYWHERE: Final = frozenset(Position)

ACTIONS: Final[tuple[ActionRow, ...]] = (
    ActionRow(
        name="receive",
        role=CLERK,
        events=(E.ARRIVE, E.ARRIVE_UNANNOUNCED, E.ARRIVE_UNWANTED, E.CHECK_IN_HOME),
        positions=_ANYWHERE - {P.NEW},
        takes=("item",),
    ),
    ActionRow(name="lend", role=CLERK, events=(E.CHECK_OUT,)),
    ActionRow(name="return", role=CLERK, events=(E.RETURN,), takes=("on",)),
    ActionRow(name="renew", role=CLERK, events=(E.RENEW,)),
    ActionRow(name="return_unused", role=CLERK, events=(E.RETURN_UNUSED,)),
    ActionRow(name="dispatch", role=CLERK, events=(E.DISPATCH,)),
    ActionRow(name="cancel", role=CLERK, events=(E.CANCEL,)),
    ActionRow(name="ship", role=CLERK, events=(E.LEND,)),
    ActionRow(name="print", role=CLERK, positions=HAS_SLIP, needs=(lender_list.has_slip, DenialReason.POSITION)),
    ActionRow(name="decline", role=CLERK, events=(E.DECLINE, E.DECLINE_SHIPPED)),
    ActionRow(name="substitute", role=CLERK, events=(E.SUBSTITUTE,), takes=("item",)),
    ActionRow(name="recall", role=CLERK, events=(E.RECALL_LENT,), takes=("on",)),
    ActionRow(
        name="cancel_recall",
        role=CLERK,
        events=(E.CANCEL_RECALL_LENT,),
        needs=(lambda r: r.recalled_on, DenialReason.NO_RECALL),
    ),
    ActionRow(name="lost", role=CLERK, events=(E.LOSE, E.BORROWER_LOST), takes=("cents", "on")),
    ActionRow(name="damaged", role=CLERK, events=(E.DAMAGE,), takes=("cents",)),
    ActionRow(name="claim", role=CLERK, events=(E.CLAIM_RETURNED, E.BORROWER_CLAIMS), takes=("on",)),
    ActionRow(name="seen", role=CLERK, positions=_ANYWHERE, needs=(lambda r: r.flags, DenialReason.NO_FLAG)),
    ActionRow(name=REOPEN, role=CLERK, positions=FINAL, needs=(lambda r: r.patron, DenialReason.NO_PATRON)),
    ActionRow(
        name="settle",
        role=SUPERVISOR,
        events=(E.SETTLE, E.SETTLE_LENT),
        needs=(lambda r: r.lost_on or r.claimed_on, DenialReason.NOT_MISSING),
    ),
    ActionRow(name="overseas", role=SUPERVISOR, positions=(ON_HOLD_SHELF | WITH_PATRON), takes=("on",)),
    ActionRow(name="extend", role=SUPERVISOR, positions=MAY_EXTEND, takes=("on",)),
    ActionRow(name="pin", role=SUPERVISOR, positions=LENDER_LIST_OPEN, takes=("lender",)),
    ActionRow(name="skip", role=SUPERVISOR, positions=LENDER_LIST_OPEN, takes=("lender",)),
    ActionRow(name="insert", role=SUPERVISOR, positions=LENDER_LIST_OPEN, takes=("lender",)),
    ActionRow(name="force", role=SUPERVISOR, positions=_ANYWHERE, takes=("to",)),
)


def actions(request: Request, role: StaffRole) -> tuple[Action, ...]:
    """Return every staff command in the order of the table, with the hindrance for this request and role."""
    return tuple(
        Action(
            name=row.name,
            role=row.role,
            needs_reason=row.name == REOPEN or STAFF_ACTIONS[row.name].needs_reason,
            takes=row.takes,
            hindrance=_hindrance(row, request, role),
        )
        for row in ACTIONS
    )


def permitted(request: Request, role: StaffRole, name: str) -> bool:
    """Check whether a role may run this command for the request now. Raises KeyError for an unknown command."""
    return _hindrance(_ROWS[name], request, role) is None


def row_of(name: str) -> ActionRow:
    """Return the row of a command. Raises KeyError for an unknown command."""
    return _ROWS[name]


def _hindrance(row: ActionRow, request: Request, role: StaffRole) -> DenialReason | None:
    if role < row.role:
        return DenialReason.ROLE
    here = not row.positions or request.position in row.positions
    steps = not row.events or any(lifecycle.can(request.side, request.position, event) for event in row.events)
    if not here or not steps or (row.name == REOPEN and request.side is Side.LENDING):
        return DenialReason.POSITION
    return None if row.needs is None or row.needs[0](request) else row.needs[1]


_ROWS: Final = {row.name: row for row in ACTIONS}
