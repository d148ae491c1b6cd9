"""The record types of the rules: borrowers, items, requests and their positions, grants and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple, TypedDict

from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import RenewalSync


class Sensitive:
    """Text that must not be shown, such as a PIN, password, name or address.

    It prints as a dot, so that log lines, error messages and `repr` cannot leak it. Only `reveal()` gives the plain text, so
    that a search for this name finds all uses.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the plain text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __repr__(self) -> str:
        return "•"


class Side(StrEnum):
    """Our role in a request."""

    BORROWING = "borrow"
    LENDING = "lend"


class Position(StrEnum):
    """The position of a request in its life cycle. Other conditions (recalled, overdue, lost) are fields of the request."""

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
    """The identity of an item: a barcode alone is not unique, since different libraries may use the same barcodes."""

    agency: str
    barcode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The person or system that makes a change, for the journal and the log.

    Attributes:
        who: A terminal, an agency, a member of staff, or "timer".
        channel: The interface, such as sip2, ncip, cli or timer.
        message: Message code or service.
        corr: Correlation id, which all deliveries caused by one message share.
    """

    who: str
    channel: str
    message: str = ""
    corr: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrower:
    """One of our patrons, with data from the local system.

    Attributes:
        category: Key of a category in the policy, or a local group code that the policy maps to a category.
        local_loans: Number of our own books on loan; None if unknown.
        total_quota: Quota of the local system for all books; None if unknown.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One item of a library, as described in the union catalogue.

    Attributes:
        bib_id: Record number of the title in the union catalogue.
        local_bib_id: Record number of the title in the owner's system.
        status: Status word of the owner's system, or a CirculationStatus.
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
        """Return the identity of the item."""
        return ItemKey(self.agency, self.barcode)


BETWEEN_AUTHORS = " ; "


def authors_of(text: str) -> list[str]:
    """Split the `author` of a Title into authors, with the main author first."""
    return [author for author in text.split(BETWEEN_AUTHORS) if author]


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """One title of the union catalogue, from its MARC record or its items.

    Attributes:
        author: Authors joined by BETWEEN_AUTHORS, with the main author first.
        isbns: ISBNs with 13 digits.
        linked_title, linked_author: Title and authors in the original script (MARC field 880).
    """

    bib_id: str
    title: str
    author: str = ""
    isbns: tuple[str, ...] = ()
    language: str = ""
    published: str = ""
    linked_title: str = ""
    linked_author: str = ""


class Titled:
    """A record with a `title`, usually romanised, and `linked_title`, which is the same title in the original script or ""."""

    __slots__ = ()
    title: str
    linked_title: str

    @property
    def full_title(self) -> str:
        """Return both forms in one line, original script first: 城南舊事 / Cheng nan jiu shi."""
        return full_title(self.title, self.linked_title)

    def is_named(self, text: str) -> bool:
        """Check whether the text is the title in either form or both. A terminal sends the form that it was shown."""
        return text in {self.title, self.linked_title, self.full_title}


def full_title(title: str, linked_title: str) -> str:
    """Join the original script and the romanised title. Show a title without a second form only once."""
    return f"{linked_title} / {title}" if title and linked_title and title != linked_title else linked_title or title


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Titled):
    """A request for one book, on the borrowing or lending side. Dates are civil dates in Hong Kong.

    Attributes:
        patron: Card of our patron; empty if we lend, since the lender is not told who the patron is.
        partner: The current lender if we borrow, the borrowing library if we lend.
        wire_agency, wire_id: The RequestId in messages to and from `partner`.
        placed_by, placed_id: The RequestId assigned by the system that placed the request.
        due: Last day on which the patron can return the book in time.
        due_before_recall: The due date before a recall: `due` if we borrow, `lender_due` if we lend.
        due_before_renewal: `due` before the last renewal.
        due_asked: New due date for which the lender's approval is pending.
        lender_due: Date on which the lender expects the book back.
        recalled_on: Set while a recall is in force.
        recall_was_on, recall_cancelled_on: Dates of a cancelled recall and its cancellation, needed only for the fine.
        dropped_on: Day on which the book was put into the book drop; cleared when it is returned at the counter.
        need_before: Last day on which the patron needs the book.
        anonymised: Whether the request has ended and the patron's data were removed.
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
    linked_title: str = ""
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
        """Return the item of the request, or None."""
        return ItemKey(self.item_agency, self.item_barcode) if self.item_barcode else None


class RequestChange(TypedDict, total=False):
    """The fields of a request that a step may change: all except id, side and position."""

    title: str
    linked_title: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEntry(Titled):
    """The fields of a Request that are needed for a patron's record and the checks of a borrower."""

    id: str
    position: Position
    title: str
    linked_title: str
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
        """Return the item of the request, or None."""
        return ItemKey(self.item_agency, self.item_barcode) if self.item_barcode else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One item that could fill a request.

    Attributes:
        skip: Reason why the item cannot be requested, or "".
        wire_id: RequestId value in our request to the item's library; empty until the library is asked.
        reason: Explanation of `rank`.
        their_number: The library's own RequestId, as AGENCY:VALUE; "" if the library uses our RequestId.
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
    """A permission, with the due date, if any, and the facts behind the decision for the command `explain`."""

    due: date | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal. `detail` has the values to substitute into the reason's text, `facts` the facts behind the decision."""

    why: Reason
    _: KW_ONLY
    detail: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """Return the number of the published rule, or ""."""
        return self.why.rule


class BadStep(Exception):
    """A step that the life cycle does not allow, which is a bug."""


class LostRace(BadStep):
    """Another unit of work has moved the request, so that this unit must run again with the new position."""
