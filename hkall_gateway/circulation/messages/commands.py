"""Commands to the desk: frozen records in library terms, free of any protocol. The answers are in results.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from hkall_gateway.circulation.command import Command, Query
from hkall_gateway.circulation.ports import BorrowerFacts, Identified
from hkall_gateway.circulation.results import CopySystem, HkallRecord, ItemSeen, Outcome, PatronSeen, Recalled, Refused
from hkall_gateway.rules.vocabulary import NOTHING, Actor, ItemKey, Sensitive


@dataclass(frozen=True, slots=True)
class Place:
    """Location and kind of a terminal: `role` is counter, selfcheck, bookdrop or lookup."""

    role: str
    location: str


# ---- commands of terminals and staff


@dataclass(frozen=True, slots=True)
class SeePatron(Query[Identified, PatronSeen]):
    """Asks for a patron's record. `pin_given` tells an empty PIN from a missing one."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING
    pin_given: bool = False


@dataclass(frozen=True, slots=True)
class SeeItem(Query[None, ItemSeen | Refused]):
    """Asks for a copy's state. `agency` is empty where only a barcode was scanned."""

    by: Actor
    barcode: str
    agency: str = ""


@dataclass(frozen=True, slots=True)
class CheckOut(Command[BorrowerFacts, Outcome]):
    """Lends this copy to this card. `undo` takes back a checkout that the terminal could not finish.

    `staff` lifts refusals that apply to patrons only: a book that waited too long, or that its owner has recalled since.
    """

    by: Actor
    place: Place
    card: str
    barcode: str
    agency: str = ""
    pin: Sensitive = NOTHING
    pin_given: bool = False
    no_block: bool = False
    renewal_allowed: bool = False
    fee_acknowledged: bool = True
    happened_at: datetime | None = None
    due_told: date | None = None
    undo: bool = False
    staff: bool = False


@dataclass(frozen=True, slots=True)
class CheckIn(Command[None, Outcome]):
    """Checks in a copy at this place. `happened_at` is the instant that the terminal reports, for offline work.

    `undo` takes back a check-in that the terminal could not finish, for the patron with this `card` where one is named.
    """

    by: Actor
    place: Place
    barcode: str
    agency: str = ""
    no_block: bool = False
    happened_at: datetime | None = None
    undo: bool = False
    card: str = ""


@dataclass(frozen=True, slots=True)
class Renew(Command[BorrowerFacts, Outcome]):
    """Renews a loan. `card` is empty when the caller need not name it (staff).

    `staff` lifts refusals that apply to patrons only. `fee_acknowledged`: the caller accepts the fine that has accrued until
    now.
    """

    by: Actor
    card: str
    barcode: str = ""
    agency: str = ""
    title: str = ""
    pin: Sensitive = NOTHING
    pin_given: bool = False
    staff: bool = False
    fee_acknowledged: bool = True


# ---- commands of a discovery system


@dataclass(frozen=True, slots=True)
class RequestTitle(Command[BorrowerFacts, Outcome]):
    """A patron's request for a title of another library. `placed_by` and `placed_id` are the caller's own RequestId.

    `staff` lifts the ban on a second request for the same title; the request expires after `need_before`. `item` is a copy that
    the caller named: its volume is requested where `volume` is empty (R8); any copy of it will do.
    """

    by: Actor
    patron: str
    bib_id: str
    volume: str = ""
    pickup_location: str = ""
    placed_by: str = ""
    placed_id: str = ""
    hold: bool = False
    need_before: date | None = None
    staff: bool = False
    reopened_from: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest(Command[None, Outcome]):
    """Cancels a patron's request. `request` is our number, or empty where `placed_by`/`placed_id` name it."""

    by: Actor
    patron: str = ""
    placed_by: str = ""
    placed_id: str = ""
    request: str = ""


# ---- commands and notices of partners


@dataclass(frozen=True, slots=True)
class BorrowFromUs(Command[None, Outcome]):
    """A partner's request for a book of ours, to be paged. `wire_agency`/`wire_id` are the partner's RequestId.

    The request expires after `need_before`.
    """

    by: Actor
    partner: str
    wire_agency: str
    wire_id: str
    bib_id: str = ""
    item: ItemKey | None = None
    volume: str = ""
    pickup_location: str = ""
    need_before: date | None = None


@dataclass(frozen=True, slots=True)
class PartnerNotice:
    """A partner's notice of an event: shipped, received, declined, withdrew, renewed, recalled …

    `item` and the RequestId may each be absent; one of them names the request. `judged`: a person of ours has compared it with
    our own record, and believes it. `due` is the date that the partner asks for
    (asked), has granted its patron (told), or that a central has settled (decided). `reason` and `detail`: why it declines, in
    its words.
    """

    by: Actor
    partner: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    at: datetime | None = None
    due: date | None = None
    reason: str = ""
    detail: str = ""
    due_is: Literal["asked", "told", "decided"] = "told"
    judged: bool = False


@dataclass(frozen=True, slots=True)
class ItemShipped(PartnerNotice, Command[None, Outcome]):
    """A lender sent a copy to us, or a borrower sent ours back."""


@dataclass(frozen=True, slots=True)
class ItemReceived(PartnerNotice, Command[None, Outcome]):
    """The borrower has our copy, or the lender has its own again."""


@dataclass(frozen=True, slots=True)
class RequestCancelled(PartnerNotice, Command[None, Outcome]):
    """The lender declines, or the borrower withdraws."""


@dataclass(frozen=True, slots=True)
class ItemRecalled(PartnerNotice, Command[None, Recalled]):
    """The owner recalls a book that we borrow."""


@dataclass(frozen=True, slots=True)
class RecallCancelled(PartnerNotice, Command[None, Recalled]):
    """The owner cancels its recall."""


@dataclass(frozen=True, slots=True)
class ItemRenewed(PartnerNotice, Command[None, Outcome]):
    """The owner extends our patron's loan, or a borrower keeps our copy."""


@dataclass(frozen=True, slots=True)
class ItemCheckedOut(PartnerNotice, Command[None, Outcome]):
    """The lender has charged its copy to us, or the borrower ours to its patron."""


@dataclass(frozen=True, slots=True)
class ItemCheckedIn(PartnerNotice, Command[None, Outcome]):
    """The lender has its copy back, or the borrower's patron has returned ours."""


# ---- queries of terminals


@dataclass(frozen=True, slots=True)
class SeeRecord(Query[None, HkallRecord]):
    """Asks for the loans, requests and charges of a card in HKALL, independent of the local system."""

    card: str


@dataclass(frozen=True, slots=True)
class FindFixedLoans(Query[BorrowerFacts, frozenset[str]]):
    """Asks for the numbers of a patron's loans that could not be renewed now."""

    card: str


@dataclass(frozen=True, slots=True)
class FindCopySystem(Query[None, CopySystem]):
    """Asks which system holds a copy: HKALL or the library's own.

    `card` is the patron that wants to borrow or renew it; `institution` is the library that the terminal names as the copy's
    owner, where it is not ours; `arriving`: a copy without a shipped message counts too.
    """

    barcode: str
    card: str = ""
    institution: str = ""
    arriving: bool = False
