"""The vocabulary of the rules: borrowers, items, requests and their positions, reasons of refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple, TypedDict

from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import RenewalSync


class Sensitive:
    """Text that must not be shown: a PIN, a password, a name, an address.

    It prints as a dot, so that a log line, an error message or a `repr` cannot leak it. `reveal()` is the only way to the plain
    text; searching for that word finds every place that needs it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the plain text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "•"


class Side(StrEnum):
    """Our part in a request."""

    BORROWING = "borrow"
    LENDING = "lend"


class Position(StrEnum):
    """The position of a request in its life cycle. All else is a field of the request (recalled, overdue, lost …)."""

    NEW = "NEW"
    REQUESTED = "REQUESTED"
    CANCELLING = "CANCELLING"
    IN_TRANSIT = "IN_TRANSIT"
    RECEIVED = "RECEIVED"
    ON_LOAN = "ON_LOAN"
    TO_RETURN = "TO_RETURN"
    UNFILLED = "UNFILLED"
    CANCELLED = "CANCELLED"

    PAGED = "PAGED"
    SHIPPED = "SHIPPED"
    AT_BORROWER = "AT_BORROWER"
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"

    RETURN_TRANSIT = "RETURN_TRANSIT"
    CLOSED = "CLOSED"


NOTHING = Sensitive("")


class ItemKey(NamedTuple):
    """An item's identity. Barcodes of eight universities overlap, so a barcode alone identifies no item."""

    agency: str
    barcode: str


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor of a change and its channel, for the journal and the log.

    `who` is a terminal, an agency, a member of staff or "timer"; `channel` is sip2, ncip, cli or timer; `message` is the code
    or service; `corr` follows one conversation from the first byte to the last delivery.
    """

    who: str
    channel: str
    message: str = ""
    corr: str = ""


@dataclass(frozen=True, slots=True)
class Borrower:
    """One of our patrons, as the local library system knows them.

    `category` is a key of the policy file or an ILS group that it maps; `local_loans` counts books on loan from our own
    shelves; `total_quota` is None where the local system does not say.
    """

    barcode: str
    name: Sensitive
    category: str
    name_zh: Sensitive = NOTHING
    study_mode: str = ""
    expires: date | None = None
    email: Sensitive = NOTHING
    language: str = "en"
    blocked: bool = False
    local_loans: int | None = 0
    total_quota: int | None = None
    pin_hash: Sensitive = NOTHING


@dataclass(frozen=True, slots=True)
class Holding:
    """One physical copy on one library's shelf, as the union catalogue knows it.

    `status` is an NCIP CirculationStatus; `bib_id` the union catalogue's number, `local_bib_id` the owner's own.
    """

    agency: str
    barcode: str
    bib_id: str
    title: str
    author: str = ""
    isbn: str = ""
    volume: str = ""
    call_number: str = ""
    status: str = "Available On Shelf"
    lendable: bool = True
    material: str = "book"
    local_bib_id: str = ""

    @property
    def key(self) -> ItemKey:
        """The copy's identity."""
        return ItemKey(self.agency, self.barcode)


BETWEEN_AUTHORS = " ; "


def authors_of(text: str) -> list[str]:
    """Return the authors of a title, the main one first."""
    return [author for author in text.split(BETWEEN_AUTHORS) if author]


@dataclass(frozen=True, slots=True)
class Title:
    """One title of the union catalogue, as its MARC record or its copies describe it.

    `author` may be several, with BETWEEN_AUTHORS; the main one is first. `isbns` are ISBN-13s; `linked_title` and
    `linked_author` are in the original script (field 880 of MARC).
    """

    bib_id: str
    title: str
    author: str = ""
    isbns: tuple[str, ...] = ()
    language: str = ""
    published: str = ""
    linked_title: str = ""
    linked_author: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One book for one borrower, on either side, from placing the request to its end.

    Borrowing: `partner` is the lender asked now, `patron` our patron. Lending: `partner` is the borrowing library and `patron`
    is empty, since a lender never learns the patron. `wire_agency` and `wire_id` are the RequestId under which `partner` knows
    it; `placed_by` and `placed_id` the RequestId of the system that placed it. Dates are civil dates in Hong Kong: the book is
    on time on the whole of `due`; `lender_due` is the date the lender expects it back. `recalled_on` is set while a recall is
    in force; a cancelled one is kept only for the fine, as `recall_was_on` and `recall_cancelled_on`. `due_before_recall` is
    the date that a recall shortened: `due` when we borrow, `lender_due` when we lend. `due_before_renewal` is the date that the
    last renewal moved, `due_asked` the one for which a lender is being asked. `dropped_on`: the day on which it was put into
    the book drop, while it is on loan and the counter does not have it. The book is not wanted after `need_before`.
    `anonymised`: the request has ended, and its borrower was removed.
    """

    id: str
    side: Side
    position: Position
    title: str
    bib_id: str
    kind: str = "normal"
    patron: str = ""
    partner: str = ""
    wire_agency: str = ""
    wire_id: str = ""
    attempt: int = 0
    item_agency: str = ""
    item_barcode: str = ""
    volume: str = ""
    pickup_location: str = ""
    placed_by: str = ""
    placed_id: str = ""
    placed_at: datetime | None = None
    moved_at: datetime | None = None
    received_on: date | None = None
    notified_on: date | None = None
    pickup_last: date | None = None
    first_checkout: date | None = None
    loan_days: int = 0
    due: date | None = None
    due_before_recall: date | None = None
    due_before_renewal: date | None = None
    due_asked: date | None = None
    lender_due: date | None = None
    returned_on: date | None = None
    renewals: int = 0
    renewed_at: datetime | None = None
    renewal_sync: RenewalSync = RenewalSync.NONE
    recalled_on: date | None = None
    recall_was_on: date | None = None
    recall_cancelled_on: date | None = None
    unwanted: bool = False
    used: bool = False
    expired_pickup: bool = False
    unannounced: bool = False
    skipped: str = ""
    claimed_on: date | None = None
    lost_on: date | None = None
    damaged: bool = False
    dropped_on: date | None = None
    overdue_notice_for: date | None = None
    need_before: date | None = None
    reopened_from: str = ""
    reason: str = ""
    flags: str = ""
    anonymised: bool = False

    @property
    def item(self) -> ItemKey | None:
        """The copy that the request has, if any."""
        return ItemKey(self.item_agency, self.item_barcode) if self.item_barcode else None


class RequestChange(TypedDict, total=False):
    """The fields of a request that a step may change, all but its number, side and position."""

    title: str
    bib_id: str
    kind: str
    patron: str
    partner: str
    wire_agency: str
    wire_id: str
    attempt: int
    item_agency: str
    item_barcode: str
    volume: str
    pickup_location: str
    placed_by: str
    placed_id: str
    placed_at: datetime | None
    moved_at: datetime | None
    received_on: date | None
    notified_on: date | None
    pickup_last: date | None
    first_checkout: date | None
    loan_days: int
    due: date | None
    due_before_recall: date | None
    due_before_renewal: date | None
    due_asked: date | None
    lender_due: date | None
    returned_on: date | None
    renewals: int
    renewed_at: datetime | None
    renewal_sync: RenewalSync
    recalled_on: date | None
    recall_was_on: date | None
    recall_cancelled_on: date | None
    unwanted: bool
    used: bool
    expired_pickup: bool
    unannounced: bool
    skipped: str
    claimed_on: date | None
    lost_on: date | None
    damaged: bool
    dropped_on: date | None
    overdue_notice_for: date | None
    need_before: date | None
    reopened_from: str
    reason: str
    flags: str
    anonymised: bool


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """The fields of a request that a patron's record and the checks of a borrower need, named as in `Request`."""

    id: str
    position: Position
    title: str
    bib_id: str
    item_agency: str
    item_barcode: str
    pickup_location: str
    placed_by: str
    placed_id: str
    placed_at: datetime | None
    received_on: date | None
    notified_on: date | None
    pickup_last: date | None
    expired_pickup: bool
    due: date | None
    renewals: int
    recalled_on: date | None
    claimed_on: date | None
    lost_on: date | None

    @property
    def item(self) -> ItemKey | None:
        """The copy that the request has, if any."""
        return ItemKey(self.item_agency, self.item_barcode) if self.item_barcode else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One copy that could fill a request, with its rank, or the reason why it was passed over.

    `wire_id` is the RequestId value under which its library was asked; empty until it was. `reason` explains its rank.
    `their_number` is the RequestId that the library uses itself, as AGENCY:VALUE; "" if it uses ours.
    """

    request: str
    rank: int
    agency: str
    barcode: str
    local_bib_id: str = ""
    skip: str = ""
    wire_id: str = ""
    outcome: str = ""
    reason: str = ""
    their_number: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission. `due` if the answer is a date; `facts` are the facts that decided, for `explain`."""

    due: date | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal and its reason. `detail` fills the placeholders of the text shown to people (numbers, dates, a place)."""

    why: Reason
    detail: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """The number of the published rule, or "" where the reason is not a rule."""
        return self.why.rule


class BadStep(Exception):
    """A step that is not in the life cycle: a bug."""


class LostRace(BadStep):
    """Another unit moved the request first. The unit is run again on its new position."""
