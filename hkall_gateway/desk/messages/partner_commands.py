"""What other systems ask beside asks.py, and the answers: a broker's errands, looks at requests and shelves, bills, reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from hkall_gateway.desk.messages.commands import InboxKey
from hkall_gateway.desk.messages.results import ItemSeen
from hkall_gateway.rules.records import record
from hkall_gateway.rules.vocabulary import By, ItemKey, Position, Side

MIRRORED: Final = "mirrored"
BROKERED: Final = "brokered"
"""Kinds of requests that another system placed for our patron: INN-Reach's central, which itself asks the lenders; a broker."""


# ---- asks


@dataclass(frozen=True, slots=True)
class Errand:
    """One thing that a system which drives us, or mirrors what it did to us, wants done: a row of brokered or mirrored.

    `partner` is that system. The request is named by `wire_agency`/`wire_id`, by `number` (the system's own number of a copy
    that has no barcode yet) or by the copy: `barcode` and, where it is known, `agency`. `card` is one of our patrons'.
    """

    by: By
    partner: str
    card: str = ""
    wire_agency: str = ""
    wire_id: str = ""
    number: str = ""
    barcode: str = ""
    agency: str = ""
    title: str = ""
    bib_id: str = ""
    pickup_location: str = ""
    at: datetime | None = None
    due: date | None = None
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class SeeRequest:
    """How is this request? `agency`/`value` are its RequestId; without one it is the one that holds `item`, for `card`.

    `caller` may see what it placed, what it borrows from us, and what we asked of it; a `client` also what carries our own
    number.
    """

    by: By
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True)
class SeeShelves:
    """Which copies are there of these titles, or what are these copies doing? At most `limit` copies, after `token`.

    `ours_only`: a partner is told of our shelves and no others.
    """

    by: By
    titles: tuple[str, ...] = ()
    items: tuple[ItemKey, ...] = ()
    ours_only: bool = False
    limit: int = 100
    token: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A wish is to be delivered elsewhere, or nobody needs it after `need_before`. Named as for SeeRequest."""

    by: By
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None
    pickup_location: str = ""
    need_before: date | None = None
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class SetStatus:
    """A library says what its own copy is doing (`status`: NCIP CirculationStatus)."""

    by: By
    item: ItemKey
    status: str
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A borrower says that a copy was returned, never borrowed, lost or is missing. `partner` or `card` says who has it.

    `deed` is the staff's deed that it amounts to: claim or lost.
    """

    by: By
    deed: str
    item: ItemKey
    partner: str = ""
    card: str = ""
    reason: str = ""
    on: date | None = None
    inbox: InboxKey | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """Another system charges one of our patrons, in cents, under its own `reference`, perhaps for one request or copy."""

    by: By
    card: str
    cents: int
    kind: str
    reference: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    inbox: InboxKey | None = None


# ---- answers


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """A request as it stands. `patron` is empty where we lend; `copy` is what its copy is doing, if it has one.

    `label` is the word of the patron's record (R35), "" where we lend.
    `uncollected`, for the patron's own system: its last day on the hold shelf is over (R14).
    """

    request: str
    side: Side
    position: Position
    title: str
    patron: str
    item: ItemKey | None
    pickup_location: str
    pickup_last: date | None
    placed_at: datetime | None
    need_before: date | None
    copy: ItemSeen | None
    label: str = ""
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """The copies of one title at one library; empty `copies` and `unknown` where there is no such title or copy."""

    bib_id: str
    agency: str
    copies: tuple[ItemSeen, ...]
    wanted: ItemKey | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class ShelvesSeen:
    """The shelves, in the order asked for. `token` asks for the rest; "" when there is none."""

    shelves: tuple[Shelf, ...]
    token: str = ""


@record
@dataclass(frozen=True, slots=True)
class Changed:
    """The wish as it stands now. `patron` is empty where we lend."""

    request: str
    placed_by: str
    placed_id: str
    patron: str
    item: ItemKey | None


@record
@dataclass(frozen=True, slots=True)
class StatusSet:
    """The copy's status is known. `again`: it was known before."""

    item: ItemKey
    again: bool = False


@record
@dataclass(frozen=True, slots=True)
class Billed:
    """The patron owes it. `fine` is our number of the charge."""

    card: str
    reference: str
    fine: int
