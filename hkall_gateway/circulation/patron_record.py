"""The record shown to a patron: requests, loans and charges, and which requests and loans can be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from hkall_gateway.circulation import loans
from hkall_gateway.circulation.borrowers import patron_blocks, waited_too_long
from hkall_gateway.circulation.command import Command, Context, question, refused
from hkall_gateway.circulation.fines import (
    ChargeEntry,
    charge_lines,
    credit_lines,
    left_to_charge,
    to_pay_cents,
    to_refund_cents,
)
from hkall_gateway.circulation.ports import BorrowerFacts, LocalLoan
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.notices import KeptLetter
from hkall_gateway.rules import dates, eligibility, overdue_fine, policy
from hkall_gateway.rules.positions import PATRON_LIST
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Actor, Grant, Position, Refusal, Request

P = Position
"""Positions before the loan, in display order: books ready for pickup come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRequest:
    """A request before the loan, with its status `label` (R35).

    Attributes:
        uncollected: Whether the pickup deadline has passed.
        refusal: Reason why the request cannot be cancelled, or None if it can be.
    """

    request: Request
    label: str
    uncollected: bool
    refusal: Refused | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatronLoan:
    """A book on loan to the patron.

    Attributes:
        fine_cents: Accrued fine that has not been charged yet.
        fine_stopped_on: Last day that is charged, or None while the fine accrues.
        renewals_left: Remaining number of renewals, even if other rules forbid them.
        pending: Whether the lender was asked for a renewal and has not answered.
        refusal: Reason why the loan cannot be renewed, or None if it can be.
    """

    request: Request
    overdue: bool
    fine_cents: int
    fine_stopped_on: date | None
    renewals_left: int
    pending: bool
    refusal: Refused | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatronRecord:
    """The record of one card. Loans are sorted by due date.

    Attributes:
        owed_cents: Sum of `charges`, which the patron is to pay.
        credit_cents: Sum of `credits`, which we owe the patron.
        libraries: Names of the lenders, by agency.
        refusal: Reason why the patron may not use the service, or None if the patron may, or this cannot be checked.
    """

    waiting: tuple[WaitingRequest, ...]
    loans: tuple[PatronLoan, ...]
    charges: tuple[ChargeEntry, ...]
    owed_cents: int
    credits: tuple[ChargeEntry, ...]
    credit_cents: int
    libraries: Mapping[str, str]
    refusal: Refused | None


@question
def patron_record(context: Context, card: str, facts: BorrowerFacts) -> PatronRecord:
    """Compile the record of a card, without ended requests and returned books."""
    unit = context.unit
    present = [one for one in unit.requests.open_of_patron(card) if not one.unwanted]
    charged = unit.patrons.charges(card)
    agencies = {one.item_agency or one.partner for one in present}
    return PatronRecord(
        waiting=tuple(
            _waiting_request(context, one) for position in PATRON_LIST for one in present if one.position is position
        ),
        loans=tuple(_patron_loan(context, one, facts) for one in sorted(present, key=_due_date) if one.position is P.ON_LOAN),
        charges=charge_lines(unit, charged),
        owed_cents=to_pay_cents(charged),
        credits=credit_lines(unit, charged),
        credit_cents=to_refund_cents(charged),
        libraries={agency: partner.name for agency, partner in unit.partners.among(agencies - {""}).items()},
        refusal=_service_refusal(context, facts),
    )


def other_loans(record: PatronRecord, found: Sequence[LocalLoan]) -> list[LocalLoan]:
    """Return the patron's loans in the local system, earliest due first, without the HKALL books of the record."""
    ours = {one.request.item_barcode for one in record.loans}  # a relayed local system may list HKALL books too
    return sorted((one for one in found if one.barcode not in ours), key=lambda one: (one.due or date.max, one.title))


@dataclass(frozen=True, slots=True)
class ChooseHistory(Command[None, None]):
    """A patron's choice whether we keep past loans and letters to read again."""

    by: Actor
    card: str
    keep: bool


def choose_history(context: Context, command: ChooseHistory) -> None:
    """Keep a patron's history from now on, or delete it. Nothing is kept unless the patron asks for it."""
    if command.keep:
        context.unit.patrons.keep_history(command.card, context.now)
    else:
        context.unit.patrons.forget_history(command.card)


@dataclass(frozen=True, slots=True)
class PatronHistory:
    """What we keep for a patron: ended loans and letters, newest first.

    Attributes:
        since: Time from which the patron has kept a history; None for a patron who keeps none. The rest is then empty.
    """

    since: datetime | None
    loans: tuple[Request, ...] = ()
    letters: tuple[KeptLetter, ...] = ()


@question
def patron_history(context: Context, card: str) -> PatronHistory:
    """Return the history that a patron keeps."""
    since = context.unit.patrons.history_since(card)
    if since is None:
        return PatronHistory(None)
    return PatronHistory(since, context.unit.requests.past_loans(card), context.unit.notices.kept(card))


def _waiting_request(context: Context, request: Request) -> WaitingRequest:
    rules = context.library.policy
    answer = policy.may_cancel(request, rules)
    label = rules.labels.get(request.position, request.position)
    return WaitingRequest(
        request=request, label=label, uncollected=waited_too_long(context, request), refusal=_refused_or_none(answer)
    )


def _patron_loan(context: Context, request: Request, facts: BorrowerFacts) -> PatronLoan:
    today = dates.civil(context.now)
    overdue = request.due is not None and today > request.due
    fine_cents = left_to_charge(context, request, today) if overdue else 0
    pending = request.renewal_sync is RenewalSync.PENDING
    left = max(0, context.library.policy.renewal.max_count - request.renewals)
    answer = Grant() if pending else loans.may_renew(context, request, facts)
    return PatronLoan(
        request=request,
        overdue=overdue,
        fine_cents=fine_cents,
        fine_stopped_on=overdue_fine.stopped_on(request, context.library.policy),
        renewals_left=left,
        pending=pending,
        refusal=_refused_or_none(answer),
    )


def _due_date(request: Request) -> date:
    return request.due or date.max


def _service_refusal(context: Context, facts: BorrowerFacts) -> Refused | None:
    if facts.borrower is None:
        return Refused(why=facts.stranger) if facts.reachable else None
    blocks = patron_blocks(context, facts.borrower.barcode)
    return _refused_or_none(eligibility.may_use(facts.borrower, context.library.policy, context.now, blocks))


def _refused_or_none(answer: Grant | Refusal) -> Refused | None:
    return refused(answer) if isinstance(answer, Refusal) else None
