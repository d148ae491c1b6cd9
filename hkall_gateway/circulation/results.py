"""Results that several commands share, and the courier's delivery results. Each protocol renders these records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from hkall_gateway.rules.messages.json_records import record, record_as
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import NOTHING, ItemKey, Position, Request, Sensitive, Side

# Every enum and record that the inbox or the outbox may store must be registered with @record.
record_as("Why")(Reason)
record(Position)
record(Side)


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refusal. `why` selects the message and the problem type. `detail` fills in the message's variables.

    `held` is set if the message is kept for staff, because it contradicts our record.
    """

    why: Reason
    rule: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    language: str = ""
    title: str = ""
    item: ItemKey | None = None
    due: date | None = None
    held: bool = False


TRY_AGAIN: Final = Refused(why=Reason.TRY_AGAIN)


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    """Result: the copy is on loan.

    Attributes:
        again: Whether the copy was already on loan to this patron.
        renewed: Whether the repeated checkout renewed the loan.
        conflict: Reason why this offline checkout would have been refused.
        recalled: Whether the owner has recalled the copy. Staff should then inform the patron (R24).
        author: The copy's author. Like `call_number`, set only for our own copy.
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
@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """Result: the loan has a later due date, or the same date after a repetition.

    While `pending`, the lender must still agree. `fine_cents` is the fine for the overdue days before the renewal.
    `late` and `again` are those of `Noted`, and `held` is that of `Refused`, for a renewal by the owner.
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
    late: bool = False
    again: bool = False
    held: bool = False


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Result: a partner's message was accepted.

    Attributes:
        late: Whether the message came too late to change the request.
        again: Whether the request had the message's news already.
        note: Description of anything unusual about the message.
        position: Position of the request afterwards, or None if the message concerns no request.
    """

    request: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    late: bool = False
    note: str = ""
    position: Position | None = None
    again: bool = False


def noted_result(request: Request, *, late: bool = False, again: bool = False, note: str = "") -> Noted:
    """Create the result for an accepted message from the updated request."""
    return Noted(
        request=request.id,
        wire_agency=request.wire_agency,
        wire_id=request.wire_id,
        item=request.item,
        late=late,
        note=note,
        position=request.position,
        again=again,
    )


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The result of a staff command.

    Attributes:
        again: Whether the command had already been carried out, so that nothing changed.
        due: Resulting date, if the command concerns a date.
        cents: Resulting amount, if the command concerns an amount.
        note: Information or an instruction for staff, in English.
        mark: Name of the request's field that a partner's report has set.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """The result of one delivery attempt.

    Attributes:
        problem: Reason for a `kind` other than accepted. `detail` explains it.
        untold: Whether nothing was sent, because a document or an address is missing. The channel's state does not change.
        pending: Whether the message was accepted, but the decision will follow. A refusal is a decision, and never pending.
        looked: Result of checking the lender's shelf before the request. If `kind` is a refusal, the lender was not asked.
        number: RequestId (AGENCY:VALUE) that the lender assigned to our request.
        text: Text of a sent letter.
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
    text: Sensitive = NOTHING
