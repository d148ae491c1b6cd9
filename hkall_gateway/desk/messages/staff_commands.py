"""What staff, cashiers and owners ask for beside the daily round of asks.py, and the answers: recalls, money, deeds by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hkall_gateway.desk.messages.commands import InboxKey
from hkall_gateway.desk.messages.results import Outcome
from hkall_gateway.rules.records import record
from hkall_gateway.rules.vocabulary import By, ItemKey, Position

# ---- asks


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that a member of staff does to one request by hand, and why.

    `by.who` is the actor. The request is named by `request`, or by `barcode` and, where two libraries share it, `agency`.
    `on`: the day on which it happened, or until which it shall last. `cents`: a price that the owner has named.
    `position`: where `force` puts it.
    """

    by: By
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
    """Money for what a patron owes: for one charge where `fine` names it, else for the oldest first.

    The same `transaction_id` of the same device (`by.who`) for the same patron is taken once. Source: SIP2 2.00, fee paid.
    """

    by: By
    card: str
    cents: int
    transaction_id: str = ""
    fine: int | None = None
    currency: str = "HKD"
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class Waive:
    """A charge, or `cents` of it, need not be paid, and why."""

    by: By
    fine: int
    reason: str
    cents: int | None = None
    inbox: InboxKey | None = None


# ---- answers


@record
@dataclass(frozen=True, slots=True)
class Recalled:
    """The owner wants it back. `due` is the date in force now, None before the loan; `asked_due` the one the owner named.

    `due` later than `asked_due` is what the owner should be told (R26). `again`: it was recalled already, nothing changed.
    """

    request: str
    item: ItemKey | None
    due: date | None = None
    old_due: date | None = None
    asked_due: date | None = None
    again: bool = False
    late: bool = False


@record
@dataclass(frozen=True, slots=True)
class Done:
    """A deed is done. `again`: it was before, nothing changed. `due` and `cents` where the deed is about a date or money.

    `note`: what staff must know or do now, in English; "" = nothing.
    """

    request: str
    item: ItemKey | None
    position: Position
    title: str = ""
    again: bool = False
    due: date | None = None
    cents: int = 0
    note: str = ""


@record
@dataclass(frozen=True, slots=True)
class Paid:
    """Money was taken. `owed_cents` is what is left; `again`: this transaction was taken before."""

    card: str
    cents: int
    owed_cents: int
    transaction_id: str = ""
    again: bool = False


@record
@dataclass(frozen=True, slots=True)
class Waived:
    """So much is off. `again`: nothing was left to waive."""

    fine: int
    cents: int
    owed_cents: int
    again: bool = False


Answered = Outcome | Recalled | Done | Paid | Waived
