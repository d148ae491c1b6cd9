"""Commands to the desk: frozen records in library terms, free of any protocol. The answers are in results.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from hkall_gateway.rules.vocabulary import NOTHING, Actor, ItemKey, Sensitive


@dataclass(frozen=True, slots=True)
class InboxKey:
    """The identity of a document that changes something; the same document again gets the same outcome.

    `keep_s`: how long the outcome is kept, in seconds.
    """

    agency: str
    digest: str
    keep_s: int


@dataclass(frozen=True, slots=True)
class Place:
    """Location and kind of a terminal: `role` is counter, selfcheck, bookdrop or lookup."""

    role: str
    location: str


# ---- commands of terminals and staff


@dataclass(frozen=True, slots=True)
class SeePatron:
    """Asks for a patron's record. `pin_given` tells an empty PIN from a missing one."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING
    pin_given: bool = False


@dataclass(frozen=True, slots=True)
class SeeItem:
    """Asks for a copy's state. `agency` is empty where only a barcode was scanned."""

    by: Actor
    barcode: str
    agency: str = ""


@dataclass(frozen=True, slots=True)
class CheckOut:
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
class CheckIn:
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
class Renew:
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
    inbox: InboxKey | None = None


# ---- commands of a discovery system


@dataclass(frozen=True, slots=True)
class RequestTitle:
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
    inbox: InboxKey | None = None
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Cancels a patron's request. `request` is our number, or empty where `placed_by`/`placed_id` name it."""

    by: Actor
    patron: str = ""
    placed_by: str = ""
    placed_id: str = ""
    request: str = ""
    inbox: InboxKey | None = None


# ---- commands and notices of partners


@dataclass(frozen=True, slots=True)
class BorrowFromUs:
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
    inbox: InboxKey | None = None


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
    inbox: InboxKey | None = None
    due_is: Literal["asked", "told", "decided"] = "told"
    judged: bool = False
