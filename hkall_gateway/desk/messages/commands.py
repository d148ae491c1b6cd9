"""What may be asked at the desk: frozen records in library words, no protocol in them. The answers are in outcomes.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from hkall_gateway.rules.fixed import fixed
from hkall_gateway.rules.vocabulary import NOTHING, By, ItemKey, Sensitive


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
    """Where a terminal stands and what it is: `role` is counter, selfcheck, bookdrop or lookup."""

    role: str
    location: str


# ---- asks of a terminal or of staff


@fixed(frozen=True, slots=True)
class SeePatron:
    """Who is this, and what do they have? `pin_given` tells an empty PIN from none; `wants` names lists (held, charged …)."""

    by: By
    card: str
    pin: Sensitive = NOTHING
    pin_given: bool = False


@dataclass(frozen=True, slots=True)
class SeeItem:
    """What is this copy? `agency` is empty where only a barcode was scanned."""

    by: By
    barcode: str
    agency: str = ""


@fixed(frozen=True, slots=True)
class CheckOut:
    """Lend this copy to this card. `undo` takes back a checkout that the terminal could not finish.

    `staff` lifts what only patrons are refused: a book that waited too long, or that its owner has recalled since.
    """

    by: By
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


@fixed(frozen=True, slots=True)
class CheckIn:
    """This copy has come to this place. `happened_at` is the instant on the terminal's slip, for offline work.

    `undo` takes back a check-in that the terminal could not finish, for the reader with this `card` where one is named.
    """

    by: By
    place: Place
    barcode: str
    agency: str = ""
    no_block: bool = False
    happened_at: datetime | None = None
    undo: bool = False
    card: str = ""


@dataclass(frozen=True, slots=True)
class Renew:
    """Keep it longer. `card` is empty when the asker need not say (staff); `staff` lifts what only patrons are refused.

    `fee_acknowledged`: what the days until now cost is agreed to.
    """

    by: By
    card: str
    barcode: str = ""
    agency: str = ""
    title: str = ""
    pin: Sensitive = NOTHING
    pin_given: bool = False
    staff: bool = False
    fee_acknowledged: bool = True
    inbox: InboxKey | None = None


# ---- asks of a discovery system


@dataclass(frozen=True, slots=True)
class RequestTitle:
    """A patron wants a title from another library. `placed_by` and `placed_id` are the asker's own RequestId.

    `staff` lifts the ban on a second request for the same title; after `need_before` nobody wants it any more. `item` is a
    copy that was pointed at: its volume is wanted, where `volume` names none (R8); any copy of it will do.
    """

    by: By
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
    """The patron no longer wants it. `request` is our number, or empty where `placed_by`/`placed_id` name it."""

    by: By
    patron: str = ""
    placed_by: str = ""
    placed_id: str = ""
    request: str = ""
    inbox: InboxKey | None = None


# ---- what a partner asks or tells


@dataclass(frozen=True, slots=True)
class BorrowFromUs:
    """A partner's patron wants a book of ours: page it. `wire_agency`/`wire_id` are the partner's RequestId.

    Nobody there wants it after `need_before`.
    """

    by: By
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
class Heard:
    """A partner tells what it did: shipped, received, declined, withdrew, renewed, recalled … `what` is an event's name.

    `item` and the RequestId may each be absent; one of them names the request. `due` is what it wishes (asked), what it has
    granted its reader (told), or what a central has settled (decided). `reason` and `detail`: why it declines, in its words.
    """

    by: By
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
