"""Commands of staff, cashiers and owners beside commands.py, and their results: recalls, money, staff commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hkall_gateway.circulation.command import Command
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Answered, Noted, Outcome, Paid, Waived
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Position, Sensitive

# ---- asks


@dataclass(frozen=True, slots=True)
class StaffCommand:
    """A staff command on one request, with its reason.

    `by` names the actor. The request is named by `request`, or by `barcode` and, where two libraries share it, `agency`. `on`:
    the day on which it happened, or until which it shall last. `cents`: a price that the owner has named. `position`: the
    target of `force`.
    """

    by: Actor
    request: str = ""
    barcode: str = ""
    agency: str = ""
    reason: str = ""
    on: date | None = None
    cents: int | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Act(StaffCommand, Command[None, Answered]):
    """One command of `staff.actions.STAFF_ACTIONS`: receive, return, return_unused, dispatch, lost …"""

    action: str = ""


@dataclass(frozen=True, slots=True)
class Reopen(StaffCommand, Command[BorrowerFacts, Outcome]):
    """Places an ended request again, as a new one. `request` names the old one; the registry finds its patron's `card`."""

    card: str = ""


@dataclass(frozen=True, slots=True)
class Pay(Command[None, Paid]):
    """A payment: for the charge `fine` if it is given, else for the oldest first.

    The same `transaction_id` of the same device (`by`) for the same patron is taken once. Source: SIP2 2.00, fee paid.
    """

    by: Actor
    card: str
    cents: int
    transaction_id: str = ""
    fine: int | None = None
    currency: str = "HKD"
    pin: Sensitive = NOTHING


@dataclass(frozen=True, slots=True)
class Waive(Command[None, Waived]):
    """Waives a charge, or `cents` of it, with the reason."""

    by: Actor
    fine: int
    reason: str
    cents: int | None = None
    card: str = ""


@dataclass(frozen=True, slots=True)
class Settle(Command[None, Outcome]):
    """The settlement of an unsent message, an undelivered letter or a document in the quarantine, by its number.

    `kind` and `how` are a row of `partners.unsent.JUDGEMENTS`. `request` and `line` are those of the message, which the row of
    the registry finds.
    """

    by: Actor
    number: int
    reason: str = ""
    kind: str = ""
    how: str = ""
    request: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class MarkReplayed(Command[None, Outcome]):
    """Records that a document of the quarantine was heard again."""

    by: Actor
    number: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CloseDay(Command[None, Noted]):
    """A day on which our counter is closed, announced late, and why."""

    by: Actor
    day: date
    reason: str


@dataclass(frozen=True, slots=True)
class MoveDueDates:
    """Moves due dates of our patrons on the days `first` to `last` to `to`; of one partner's books or of all (R19)."""

    by: Actor
    first: date
    last: date
    to: date
    reason: str
    partner: str = ""
