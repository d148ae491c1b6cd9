"""Every answer that the desk gives, and what the courier brings back: frozen records, rendered by each door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from hkall_gateway.rules.fixed import fixed
from hkall_gateway.rules.records import record
from hkall_gateway.rules.vocabulary import ItemKey, Position, RequestLine, Sensitive, Side, Why

# Every enum and record that the inbox or the outbox may keep is registered with @record.
record(Why)
record(Position)
record(Side)


@record
@dataclass(frozen=True, slots=True)
class Refused:
    """No. `why` has words in every language and a problem type; `detail` fills the blanks of the sentence."""

    why: Why
    rule: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    language: str = ""
    title: str = ""
    item: ItemKey | None = None
    due: date | None = None


@fixed(frozen=True, slots=True)
class LoanLine:
    """One line of a patron's record: a loan, or a request that waits, under the `label` that patrons see.

    `fine_cents` is what it costs so far and was not charged yet; `uncollected`: its last day on the hold shelf is over.
    """

    request: RequestLine
    label: str
    overdue: bool
    fine_cents: int = 0
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One charge on which something is left to pay. `fine` is its number; `kind` overdue, replacement, processing, damage."""

    fine: int
    request: str
    kind: str
    title: str
    item: ItemKey | None
    left_cents: int
    at: datetime
    bib_id: str = ""


class Whose(StrEnum):
    """Whom a copy concerns: HKALL, the library's own system, both (lent to a partner), or one of them, and who knows which.

    NOT_FOR_CARD: an HKALL copy that came for somebody else; the reader has the local system's of this barcode, if it has one.
    """

    OURS = "ours"
    THEIRS = "theirs"
    LENT = "lent"
    EITHER = "either"
    NOT_FOR_CARD = "not_for_card"


@dataclass(frozen=True, slots=True)
class Had:
    """What a card has of HKALL, and what is owed for it."""

    lines: tuple[LoanLine, ...] = ()
    charges: tuple[ChargeLine, ...] = ()


@fixed(frozen=True, slots=True)
class PatronSeen:
    """A patron's record. `owed_cents` is the sum of `charges`, less what we owe the patron.

    `may_renew`: the card itself speaks against no renewal (R2). `pin_ok` is None where no PIN came. `known`: the card has an
    owner, though nobody can say now whether it is they. Names and addresses stay wrapped until a reply needs them.
    """

    card: str
    name: Sensitive
    name_zh: Sensitive
    email: Sensitive
    language: str
    category: str
    valid: bool
    refusal: Refused | None
    pin_ok: bool | None
    lines: tuple[LoanLine, ...]
    loans_limit: int
    owed_cents: int
    expires: date | None
    charges: tuple[ChargeLine, ...] = ()
    may_renew: bool = False
    known: bool = False


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """A copy that takes part in a request now, or that stands on a shelf we know of."""

    item: ItemKey
    title: str
    position: Position | None
    side: Side | None
    owner: str
    request: str = ""
    status: str = ""
    call_number: str = ""
    author: str = ""
    bib_id: str = ""
    volume: str = ""
    due: date | None = None
    recalled_on: date | None = None
    earliest_recall: date | None = None
    pickup_last: date | None = None
    claimed: bool = False
    lost: bool = False
    held_for: str = ""
    destination: str = ""
    properties: str = ""


@record
@fixed(frozen=True, slots=True)
class CheckedOut:
    """The loan exists. `again` = it did already; `renewed` = the terminal asked for a renewal by checking out again.

    `recalled`: its owner wants it back, which staff should tell the patron (R24). `author`, `call_number`: of our own copy.
    """

    request: str
    item: ItemKey
    card: str
    title: str
    due: date | None
    language: str = ""
    again: bool = False
    renewed: bool = False
    undone: bool = False
    conflict: str = ""
    recalled: bool = False
    author: str = ""
    call_number: str = ""


@record
@fixed(frozen=True, slots=True)
class CheckedIn:
    """The copy is in our hands. `what`: received, again, returned, unwanted, uncollected, paged, home.

    `destination` is where it goes next; `recalled`: its owner wants it back; `fine_cents` is what this return costs.
    """

    request: str
    item: ItemKey
    title: str
    what: str
    card: str = ""
    destination: str = ""
    held_for: str = ""
    fine_cents: int = 0
    alert: bool = False
    conflict: str = ""
    recalled: bool = False


@record
@dataclass(frozen=True, slots=True)
class Renewed:
    """A later due date, or the same one where the same wish came again. `pending`: the lender is being asked.

    `fine_cents`: what the days until an overdue renewal cost.
    """

    request: str
    item: ItemKey
    card: str
    title: str
    due: date | None
    renewals: int
    language: str = ""
    pending: bool = False
    fine_cents: int = 0


@record
@dataclass(frozen=True, slots=True)
class Requested:
    """The request is placed. `request` is our number; `placed_by`/`placed_id` the asker's."""

    request: str
    patron: str
    placed_by: str
    placed_id: str
    bib_id: str


@record
@dataclass(frozen=True, slots=True)
class Cancelled:
    """The request ends, now or when the lender has confirmed."""

    request: str
    patron: str
    placed_by: str
    placed_id: str


@record
@dataclass(frozen=True, slots=True)
class Paged:
    """Our copy will be fetched from the shelf for a partner."""

    request: str
    wire_agency: str
    wire_id: str
    item: ItemKey
    title: str
    author: str = ""
    call_number: str = ""


@record
@dataclass(frozen=True, slots=True)
class Noted:
    """A partner's message was taken. `late`: it changed nothing any more; `note` says what was odd about it."""

    request: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    late: bool = False
    note: str = ""


Outcome = Refused | CheckedOut | CheckedIn | Renewed | Requested | Cancelled | Paged | Noted


# ---- what the courier brings back


NOT_NEEDED: Final = "not_needed"
"""The kind of an answer: a letter that is not true any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a delivery went.

    `kind`: accepted, already (they knew), refused (a final no, `problem` says which), later (a temporary no), fault (the
    partner does not take us, our version or the service: nothing is decided, and a person must mend it), unreachable (never
    sent), unknown (sent, no usable answer), undeliverable (no address), not_needed (a letter whose
    reason is gone, never sent). `untold`: nothing was even
    tried, since there is no document or no address for it, so the answer says nothing about the line. `pending`: accepted,
    and what was asked will be decided later. `looked`: what was seen on the lender's shelf before it was asked, if anybody
    looked; a refusal is then ours, and the lender was not asked. `number`: the RequestId, as AGENCY:VALUE, that the lender
    gave what was asked under ours.
    """

    kind: str
    problem: str = ""
    detail: str = ""
    retry_after_s: int = 0
    due: date | None = None
    item: ItemKey | None = None
    sent_on: date | None = None
    last_day: date | None = None
    untold: bool = False
    pending: bool = False
    looked: str = ""
    number: str = ""
