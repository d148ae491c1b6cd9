"""The results of the desk and the courier's answers: frozen records that each protocol renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from hkall_gateway.rules.messages.json_records import record, record_as
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import ItemKey, Position, RequestEntry, Sensitive, Side

# Every enum and record that the inbox or the outbox may keep is registered with @record.
record_as("Why")(Reason)
record(Position)
record(Side)


@record
@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal. `why` has a text in every language and a problem type; `detail` fills in the text's variables."""

    why: Reason
    rule: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    language: str = ""
    title: str = ""
    item: ItemKey | None = None
    due: date | None = None


@dataclass(frozen=True, slots=True)
class LoanEntry:
    """One entry of a patron's record: a loan, or a waiting request, with the `label` that patrons see.

    `fine_cents` is the accrued fine that is not charged yet; `uncollected`: its last day on the hold shelf is over.
    """

    request: RequestEntry
    label: str
    overdue: bool
    fine_cents: int = 0
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class ChargeEntry:
    """One charge that is not fully paid. `fine` is its number; `kind` overdue, replacement, processing, damage."""

    fine: int
    request: str
    kind: str
    title: str
    item: ItemKey | None
    left_cents: int
    at: datetime
    bib_id: str = ""


class CopySystem(StrEnum):
    """The system that a copy concerns: HKALL, the library's own system, both (lent to a partner), or either, still undecided.

    NOT_FOR_CARD: an HKALL copy that came for another patron, or a partner's for which nobody waits: the local system's copy of
    the barcode, if it has one.
    """

    OURS = "ours"
    THEIRS = "theirs"
    LENT = "lent"
    EITHER = "either"
    NOT_FOR_CARD = "not_for_card"


@dataclass(frozen=True, slots=True)
class HkallRecord:
    """The loans, requests and charges of a card in HKALL."""

    lines: tuple[LoanEntry, ...] = ()
    charges: tuple[ChargeEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class PatronSeen:
    """A patron's record. `owed_cents` is the sum of `charges`, less the refunds that we owe the patron.

    `may_renew`: the card itself does not bar renewals (R2). `pin_ok` is None where no PIN came. `known`: the card has an owner,
    but its PIN cannot be checked. Names and addresses stay wrapped until a reply needs them.
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
    lines: tuple[LoanEntry, ...]
    loans_limit: int
    owed_cents: int
    expires: date | None
    charges: tuple[ChargeEntry, ...] = ()
    may_renew: bool = False
    known: bool = False


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """The state of a copy that is part of a request, or of one from the loaded holdings."""

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
@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The loan exists. `again` = it existed before; `renewed` = the terminal asked for a renewal by checking out again.

    `recalled`: its owner has recalled it, and staff should inform the patron (R24). `author`, `call_number`: of our own copy.
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
@dataclass(frozen=True, slots=True)
class CheckedIn:
    """The copy is in our hands. `what`: received, again, returned, unwanted, uncollected, paged, home.

    `destination` is where it goes next; `recalled`: its owner has recalled it; `fine_cents` is the fine that this return adds.
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
    """A later due date, or the same date for a repeated request. `pending`: the lender is being asked.

    `fine_cents`: the fine of the days before an overdue renewal.
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
    """The request is placed. `request` is our number; `placed_by`/`placed_id` the caller's."""

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
    """Our copy is paged for a partner."""

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
    """A partner's message was accepted. `late`: it came too late to change the request; `note`: its peculiarity.

    `position`: where the request stands after it; None for messages that are about no position.
    """

    request: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    late: bool = False
    note: str = ""
    position: Position | None = None


# ---- results of staff, owners and cashiers


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


Outcome = Refused | CheckedOut | CheckedIn | Renewed | Requested | Cancelled | Paged | Noted


Answered = Outcome | Recalled | Done | Paid | Waived


# ---- the courier's result


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one delivery attempt. `problem` and `detail` explain a `kind` that is not accepted.

    `untold`: no attempt was made, since there is no document or no address for it, so the answer is no evidence about the
    channel. `pending`: accepted, and the decision follows later. `looked`: the look-up of the lender's shelf before it was
    asked, if one was made; a refusal is then ours, and the lender was not asked. `number`: the RequestId, as AGENCY:VALUE, that
    the lender gave our request.
    """

    kind: DeliveryKind
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
