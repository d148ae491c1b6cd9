"""Results that several commands share, and the courier's answers: frozen records that each protocol renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from hkall_gateway.rules.messages.json_records import record, record_as
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, Side

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


TRY_AGAIN: Final = Refused(Reason.TRY_AGAIN)


@record
@dataclass(frozen=True, slots=True)
class CheckedOut:
    """Result: the loan exists. `again`: it existed before. `renewed`: it was renewed by checking out again.

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
class Renewed:
    """Result: a later due date, or the same one for a repeated request. `pending`: the lender is being asked.

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
class Noted:
    """Result: a partner's message was accepted. `late`: too late to change the request. `note`: its peculiarity.

    `position`: the request's position after it; None for messages that are about none.
    """

    request: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    late: bool = False
    note: str = ""
    position: Position | None = None


def noted_result(request: Request, *, late: bool = False, note: str = "") -> Noted:
    """Make the result of a partner's message that was accepted, with the request after it."""
    return Noted(request.id, request.wire_agency, request.wire_id, request.item, late, note, request.position)


@record
@dataclass(frozen=True, slots=True)
class Done:
    """The result of a staff command. `again`: it was done before, with no change.

    `due` and `cents` are set where it concerns a date or an amount. `note`: information or an instruction for staff, in
    English; "" for none. `mark`: the field of the request that a partner's report has set.
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


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one delivery attempt. `problem` and `detail` explain a `kind` that is not accepted.

    `untold`: no attempt was made, since there is no document or no address for it, so that the answer is no evidence about the
    channel. `pending`: accepted, and the decision follows later. `looked`: the look-up of the lender's shelf before the
    request, if one was made. A refusal is then ours, and the lender was not asked. `number`: the RequestId, as AGENCY:VALUE,
    that the lender gave our request.
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
