"""Commands of staff, cashiers and owners beside commands.py, and their results: recalls, money, staff commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hkall_gateway.desk.messages.commands import InboxKey
from hkall_gateway.desk.messages.results import Outcome
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position

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
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class Pay:
    """A payment: for the charge `fine` if it is given, else for the oldest first.

    The same `transaction_id` of the same device (`by`) for the same patron is taken once. Source: SIP2 2.00, fee paid.
    """

    by: Actor
    card: str
    cents: int
    transaction_id: str = ""
    fine: int | None = None
    currency: str = "HKD"
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class Waive:
    """Waives a charge, or `cents` of it, with the reason."""

    by: Actor
    fine: int
    reason: str
    cents: int | None = None
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """The settlement of an unsent message, an undelivered letter or a document in the quarantine, by its number."""

    by: Actor
    number: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CloseDay:
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


# ---- answers


@record
@dataclass(frozen=True, slots=True)
class Recalled:
    """The owner recalls its book. `due` is the date in force now, None before the loan; `asked_due` the one the owner named.

    If `due` is later than `asked_due`, the reply must tell the owner (R26). `again`: it was recalled already, with no change.
    `position` and `recalled`: where the request stands after it, and whether a recall is in force.
    """

    request: str
    item: ItemKey | None
    due: date | None = None
    old_due: date | None = None
    asked_due: date | None = None
    again: bool = False
    late: bool = False
    position: Position | None = None
    recalled: bool = False


@record
@dataclass(frozen=True, slots=True)
class Done:
    """The result of a staff command. `again`: it was done before, with no change.

    `due` and `cents` are set where it concerns a date or an amount. `note`: information or an instruction for staff, in
    English; "" = none. `mark`: the field of the request that a partner's report has set.
    """

    request: str
    item: ItemKey | None
    position: Position
    title: str = ""
    again: bool = False
    due: date | None = None
    cents: int = 0
    note: str = ""
    mark: str = ""


@record
@dataclass(frozen=True, slots=True)
class Paid:
    """A payment was taken. `owed_cents` is the remaining debt; `again`: this transaction was taken before."""

    card: str
    cents: int
    owed_cents: int
    transaction_id: str = ""
    again: bool = False


@record
@dataclass(frozen=True, slots=True)
class Waived:
    """The amount waived, in cents. `again`: the charge was settled or waived already."""

    fine: int
    cents: int
    owed_cents: int
    again: bool = False


Answered = Outcome | Recalled | Done | Paid | Waived
