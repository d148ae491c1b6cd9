"""HANDLERS, the registry of all commands, queries and jobs: who may execute each, its handler, facts and locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeVar

from hkall_gateway.circulation import (
    borrowing,
    cards,
    fines,
    lending,
    loans,
    patron_record,
    queries,
    recalls,
    returning,
    settling,
    titles,
)
from hkall_gateway.circulation.command import Context, Face, Handler, Library
from hkall_gateway.circulation.partner_notice import (
    ItemCheckedIn,
    ItemCheckedOut,
    ItemReceived,
    ItemRenewed,
    ItemShipped,
    PartnerNotice,
    RequestAccepted,
    RequestCancelled,
    with_our_number,
)
from hkall_gateway.circulation.partners import (
    broker_services,
    deliveries,
    innreach_events,
    lender_notices,
    local_messages,
    partner_queries,
    partner_reports,
    reconciling,
    unsent,
)
from hkall_gateway.circulation.ports import BorrowerFacts, Gathered, LocalSystem
from hkall_gateway.circulation.results import Noted, Refused, Renewed
from hkall_gateway.circulation.staff import (
    actions,
    closure_changes,
    examinations,
    patron_page,
    scanned_rows,
    tokens,
)
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.fines import charge_numbered
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import NOTHING

BROKER_HANDLERS: Final[Mapping[str, broker_services.Work]] = MappingProxyType(
    {**broker_services.BROKER_COMMANDS, **innreach_events.EVENTS}
)
"""Handlers of all broker commands and mirrored events, by `BrokerCommand.service`."""
NO_BORROWER: Final = BorrowerFacts(borrower=None, source="nobody")
STAFF: Final = BorrowerFacts(borrower=None, source="staff")
_BATCH_LOCKS: Final = unlocked("each batch locks the rows that it selects")

Notice = TypeVar("Notice", bound=PartnerNotice)
Heard = TypeVar("Heard", Noted, Renewed)


def _lock_item(barcode: str) -> LockSet:
    return LockSet(item=("", barcode))


def _lock_copy_and_number(command: PartnerNotice | lending.BorrowFromUs) -> LockSet:
    return LockSet(
        item=("", command.item.barcode if command.item else ""), partner_ids=((command.wire_agency, command.wire_id),)
    )


def _lock_request_or_item(command: actions.Act) -> LockSet:
    return LockSet(command.card, command.request, ("", "" if command.request else command.barcode))


def _lock_message(command: local_messages.LocalCommand) -> LockSet:
    message = command.message
    return LockSet("" if message.barcode else message.patron, message.request, ("", message.barcode))


def _lock_delivery(command: deliveries.Delivered) -> LockSet:
    """Lock the patron of a letter too, who may end the history meanwhile."""
    letter = command.row.payload
    return LockSet(letter.patron if isinstance(letter, PatronNotice) else "", command.row.request, channel=command.row.line)


def _lock_brokered(command: broker_services.BrokerCommand) -> LockSet:
    numbers = ((command.wire_agency or command.partner, command.wire_id), (command.partner, command.number))
    return LockSet(command.card, item=("", command.barcode), partner_ids=numbers)


def _lock_changed_request(command: partner_reports.ChangeRequest) -> LockSet:
    named = (command.agency, command.value)
    barcode = command.item.barcode if command.item else ""
    our_number = command.value if command.client else ""  # a discovery system may name a request by our number
    return LockSet(command.card, our_number, ("", barcode), partner_ids=(named,), placed=named)


def _lock_pair(command: reconciling.Correct) -> LockSet:
    agency, _, value = command.pair.wire_id.partition(":")
    return LockSet(request=command.pair.request, partner_ids=((agency, value),))


def _under_our_number(command: Notice, library: Library) -> Callable[[UnitOfWork], Notice] | None:
    """Replace the lender's own request number in a notice with our RequestId."""
    if not command.wire_id or command.wire_agency == library.agency:
        return None
    return lambda unit: with_our_number(unit, command, library.agency)


OfCard = TypeVar("OfCard", broker_services.BrokerCommand, fines.Refund)


def _under_present_card(command: OfCard, _library: Library) -> Callable[[UnitOfWork], OfCard] | None:
    """Replace a former card, which another system or staff may still use, with the current card."""
    return (lambda unit: replace(command, card=card_now(unit, command.card))) if command.card else None


def _with_patron(command: actions.Reopen, _library: Library) -> Callable[[UnitOfWork], actions.Reopen]:
    def find(unit: UnitOfWork) -> actions.Reopen:
        request = unit.requests.find(command.request)
        if request is None:
            return command
        return replace(command, card=request.patron, bib_id=request.bib_id)

    return find


def _under_staffs_card(command: fines.Pay, _library: Library) -> Callable[[UnitOfWork], fines.Pay] | None:
    """Replace a former card that staff named with the current card."""
    if not command.staff:
        return None
    return lambda unit: replace(command, card=card_now(unit, command.card))


def _requesting_card(
    command: borrowing.RequestTitle, _library: Library
) -> Callable[[UnitOfWork], borrowing.RequestTitle] | None:
    """Replace a former card that staff named with the current card."""
    if not command.staff:
        return None
    return lambda unit: replace(command, patron=card_now(unit, command.patron))


async def _reopening_facts(local: LocalSystem, command: actions.Reopen) -> Gathered[BorrowerFacts] | Refused:
    if not command.card:  # the handler refuses: there is no such request
        return Gathered(lambda _unit: NO_BORROWER)
    return await local.for_request(command.card, command.bib_id)


OfCharge = TypeVar("OfCharge", fines.Waive, settling.SettleCharge)


def _with_debtor(command: OfCharge, _library: Library) -> Callable[[UnitOfWork], OfCharge]:
    def find(unit: UnitOfWork) -> OfCharge:
        charged = charge_numbered(unit, command.fine)
        return replace(command, card=charged.patron if charged else "")

    return find


def _with_payer(command: settling.SettlePayment, _library: Library) -> Callable[[UnitOfWork], settling.SettlePayment]:
    return lambda unit: replace(command, card=settling.card_of_payment(unit, command.payment) or "")


def _with_message(command: unsent.Settle, _library: Library) -> Callable[[UnitOfWork], unsent.Settle] | None:
    return (lambda unit: unsent.with_message(unit, command)) if command.kind == "outbox" else None


async def _renewal_facts(local: LocalSystem, command: loans.Renew) -> Gathered[BorrowerFacts] | Refused:
    return await local.owner(command.card, command.pin) if command.card else Gathered(lambda _unit: STAFF)


async def _broker_facts(local: LocalSystem, command: broker_services.BrokerCommand) -> Gathered[BorrowerFacts] | Refused:
    return await local.owner(command.card) if command.card else Gathered(lambda _unit: NO_BORROWER)


async def _present_facts(
    local: LocalSystem, query: patron_page.SeePatronPage | loans.FindFixedLoans
) -> Gathered[BorrowerFacts]:
    facts = await local.facts(query.card)
    return Gathered(lambda _unit: facts)


async def _right_pin(local: LocalSystem, command: fines.Pay) -> Gathered[None] | Refused:
    return await local.pin_refused(command.card, command.pin) or Gathered(lambda _unit: None)


def _by_side(
    as_borrower: Callable[[Context, PartnerNotice], Heard | Refused],
    as_lender: Callable[[Context, PartnerNotice], Heard | Refused],
) -> Callable[[Context, PartnerNotice], Heard | Refused]:
    """Combine two handlers of a notice: one for copies that we borrow, one for copies that we own."""

    def handle(context: Context, command: PartnerNotice) -> Heard | Refused:
        ours = lender_notices.we_borrow(command, context.library)
        return as_borrower(context, command) if ours else as_lender(context, command)

    return handle


def _broker_command(
    context: Context, command: broker_services.BrokerCommand, facts: BorrowerFacts
) -> broker_services.Brokered | Refused:
    return BROKER_HANDLERS[command.service](context, command, facts)


TERMINALS, PARTNERS, COMMAND_LINE, COURIER = (
    Face.TERMINALS,
    Face.PARTNERS,
    Face.COMMAND_LINE,
    Face.COURIER,
)
PATRON_FACES: Final = Face.PATRON_PAGES | Face.PATRON_API
STAFF_PAGES: Final = Face.STAFF_PAGES
STAFF_FACES: Final = Face.STAFF_PAGES | Face.STAFF_API
CLERK, SUPERVISOR = StaffRole.CLERK, StaffRole.SUPERVISOR

# fmt: off
HANDLERS: Final[Mapping[type[object], Handler]] = MappingProxyType(dict((
    # Terminals and discovery systems. The scan station of the staff's pages is a terminal too.
    loans.CheckOut.decided_by(
        loans.check_out,
        lambda local, c: local.for_checkout(c.card, NOTHING if c.no_block else c.pin),  # offline: no PIN
        lambda c: LockSet(c.card, item=("", c.barcode)),
        faces=TERMINALS | STAFF_PAGES, staff=CLERK,
        under_card=lambda c, card: replace(c, card=card)),
    returning.CheckIn.handled_by(
        returning.check_in, lambda c: _lock_item(c.barcode),
        faces=TERMINALS | STAFF_PAGES, staff=CLERK),
    loans.Renew.decided_by(
        loans.renew, _renewal_facts,
        lambda c: LockSet(c.card, item=("", c.barcode), whole=not c.barcode),
        faces=TERMINALS | PARTNERS | PATRON_FACES,
        under_card=lambda c, card: replace(c, card=card)),
    loans.RenewAll.decided_by(
        loans.renew_all, lambda local, c: local.owner(c.card, c.pin),
        lambda c: LockSet(c.card, whole=True),
        faces=TERMINALS | PATRON_FACES,
        under_card=lambda c, card: replace(c, card=card)),
    borrowing.RequestTitle.decided_by(
        borrowing.request_title, lambda local, c: local.for_request(c.patron, c.bib_id),
        lambda c: LockSet(c.patron, placed=(c.placed_by, c.placed_id), title=c.bib_id),
        faces=PARTNERS | PATRON_FACES | STAFF_FACES | COMMAND_LINE, staff=CLERK,
        resolve=_requesting_card, under_card=lambda c, card: replace(c, patron=card)),
    borrowing.CancelRequest.handled_by(
        borrowing.cancel, lambda c: LockSet(c.patron, c.request, placed=(c.placed_by, c.placed_id)),
        faces=PARTNERS | PATRON_FACES),
    cards.Hold.decided_by(
        cards.hold, lambda local, c: local.owner(c.card, c.pin), lambda c: LockSet(c.card, whole=True),
        faces=TERMINALS, under_card=lambda c, card: replace(c, card=card)),
    cards.BlockCard.decided_by(
        cards.block_card, lambda local, c: local.owner(c.card), lambda c: LockSet(c.card),
        faces=TERMINALS, under_card=lambda c, card: replace(c, card=card)),
    cards.EnableCard.decided_by(
        cards.enable_card, lambda local, c: local.owner(c.card, c.pin), lambda c: LockSet(c.card),
        faces=TERMINALS, under_card=lambda c, card: replace(c, card=card)),
    cards.NoteProperties.handled_by(
        cards.note_properties, lambda c: _lock_item(c.barcode), faces=TERMINALS),
    patron_record.ChooseHistory.handled_by(
        patron_record.choose_history, lambda c: LockSet(c.card),
        faces=Face.PATRON_PAGES, repeatable=True),
    fines.Pay.decided_by(
        lambda x, c, _pin_is_right: fines.pay(x, c), _right_pin, lambda c: LockSet(c.card),
        faces=TERMINALS | PARTNERS | STAFF_PAGES | COMMAND_LINE, staff=CLERK,
        resolve=_under_staffs_card),
    queries.SeePatron.answered_with(
        queries.see_patron, lambda local, q: local.identify(q.card, q.pin, q.pin_given),
        lambda q: LockSet(q.card),
        faces=TERMINALS | PARTNERS | STAFF_PAGES, staff=CLERK),
    queries.SeeItem.answered_by(queries.see_item, faces=TERMINALS | PARTNERS),
    queries.SeeRecord.answered_by(queries.see_record, faces=TERMINALS),
    loans.FindFixedLoans.answered_with(loans.find_fixed_loans, _present_facts, faces=PARTNERS),
    queries.FindCopySystem.answered_by(queries.find_copy_system, faces=TERMINALS),
    cards.ConcernsHkall.answered_by(cards.concerns_hkall, faces=TERMINALS),
    scanned_rows.FindScanned.answered_by(
        scanned_rows.find_scanned, faces=STAFF_PAGES, staff=CLERK),
    scanned_rows.FindAfterScan.answered_by(
        scanned_rows.find_after_scan, faces=STAFF_PAGES, staff=CLERK),

    # Messages of terminals to the local system.
    local_messages.EnqueueLocal.handled_by(
        local_messages.enqueue, _lock_message, faces=TERMINALS, settles=True),
    local_messages.TakeOffline.handled_by(
        local_messages.enqueue, _lock_message, faces=TERMINALS),
    local_messages.BeginTransaction.handled_by(
        local_messages.begin_transaction, _lock_message, faces=TERMINALS, settles=True),
    local_messages.EndTransaction.handled_by(
        local_messages.end_transaction, _lock_message, faces=TERMINALS, settles=True),
    local_messages.MarkDelivered.handled_by(
        local_messages.mark_delivered, _lock_message, faces=TERMINALS, settles=True),
    local_messages.MarkUndelivered.handled_by(
        local_messages.mark_undelivered, _lock_message, faces=TERMINALS, settles=True),
    local_messages.MarkRefused.handled_by(
        local_messages.mark_refused, _lock_message, faces=TERMINALS, settles=True),

    # Partners, brokers, and the courier.
    lending.BorrowFromUs.handled_by(
        lending.borrow_from_us, _lock_copy_and_number, faces=PARTNERS),
    ItemShipped.handled_by(
        _by_side(lender_notices.apply_shipped, lending.notice_handler(Event.COMING_HOME)),
        _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    ItemReceived.handled_by(
        _by_side(lender_notices.apply_home, lending.notice_handler(Event.BORROWER_HAS_IT)),
        _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    RequestAccepted.handled_by(
        lender_notices.apply_accepted, _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    RequestCancelled.handled_by(
        _by_side(lender_notices.apply_declined, lending.notice_handler(Event.WITHDRAW)),
        _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    ItemCheckedOut.handled_by(
        _by_side(lender_notices.apply_shipped, lending.notice_handler(Event.BORROWER_HAS_IT)),
        _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    ItemCheckedIn.handled_by(
        _by_side(lender_notices.apply_home, lending.notice_handler(Event.COMING_HOME)),
        _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    ItemRenewed.handled_by(
        _by_side(recalls.apply_owner_renewal, lending.renewed_by_borrower),
        _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    recalls.RenewalRefused.handled_by(
        recalls.apply_later_refusal, _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    recalls.ItemRecalled.handled_by(
        recalls.apply_recall, _lock_copy_and_number, faces=PARTNERS, resolve=_under_our_number),
    recalls.RecallCancelled.handled_by(
        recalls.apply_recall_cancelled, _lock_copy_and_number,
        faces=PARTNERS, resolve=_under_our_number),
    broker_services.BrokerCommand.decided_by(
        _broker_command, _broker_facts, _lock_brokered, faces=PARTNERS,
        resolve=_under_present_card, under_card=lambda c, card: replace(c, card=card)),
    deliveries.Delivered.handled_by(
        deliveries.delivered, _lock_delivery, faces=COURIER, repeatable=True, settles=True),
    partner_reports.CopyReport.handled_by(
        partner_reports.report_copy, lambda c: _lock_item(c.item.barcode), faces=PARTNERS),
    partner_reports.KeepUnplaced.handled_by(
        partner_reports.keep_unplaced, lambda c: LockSet(document=(c.by.who, c.digest)),
        faces=PARTNERS),
    partner_reports.ChangeRequest.handled_by(
        partner_reports.change_request, _lock_changed_request, faces=PARTNERS),
    partner_reports.SetStatus.handled_by(
        partner_reports.set_status, lambda c: _lock_item(c.item.barcode), faces=PARTNERS),
    partner_reports.Bill.handled_by(
        partner_reports.bill, lambda c: LockSet(c.card), faces=PARTNERS),
    partner_queries.SeeRequest.answered_by(
        partner_queries.see_request, faces=PARTNERS, is_long=True),
    partner_queries.SeeCopyOf.answered_by(
        partner_queries.see_copy_of, faces=PARTNERS, is_long=True),
    partner_queries.FindInstitution.answered_by(
        partner_queries.find_institution, faces=PARTNERS, is_long=True),
    titles.FindClosedVolumes.answered_by(titles.closed_volumes, faces=PARTNERS, is_long=True),
    partner_queries.ServesPatron.answered_by(
        partner_queries.serves_patron, faces=PARTNERS, is_long=True),
    partner_queries.SeeShelves.answered_by(
        partner_queries.see_shelves, faces=PARTNERS, is_long=True),

    # Staff. `permitted.ACTIONS` names a higher role for some actions.
    patron_page.SeePatronPage.answered_with(
        patron_page.patron_page, _present_facts, faces=STAFF_PAGES, staff=CLERK),
    actions.Act.handled_by(
        actions.act_and_pay, _lock_request_or_item, faces=STAFF_FACES | COMMAND_LINE, staff=CLERK),
    actions.Reopen.decided_by(
        actions.reopen, _reopening_facts, lambda c: LockSet(c.card, c.request),
        faces=STAFF_FACES | COMMAND_LINE, staff=CLERK, resolve=_with_patron),
    fines.Refund.handled_by(
        fines.refund, lambda c: LockSet(c.card),
        faces=STAFF_FACES | COMMAND_LINE, staff=CLERK, resolve=_under_present_card),
    fines.Waive.handled_by(
        fines.waive, lambda c: LockSet(c.card), faces=COMMAND_LINE, resolve=_with_debtor),
    settling.SettleCharge.handled_by(
        settling.settle_charge, lambda c: LockSet(c.card), faces=COMMAND_LINE, resolve=_with_debtor),
    settling.SettlePayment.handled_by(
        settling.settle_payment, lambda c: LockSet(c.card), faces=COMMAND_LINE, resolve=_with_payer),
    unsent.Settle.handled_by(
        unsent.settle, lambda c: LockSet(request=c.request, channel=c.line),
        faces=STAFF_PAGES | COMMAND_LINE, staff=SUPERVISOR, resolve=_with_message),
    deliveries.MarkBounced.handled_by(
        deliveries.mark_bounced, lambda c: LockSet(request=c.request), faces=COMMAND_LINE),
    reconciling.Correct.handled_by(reconciling.correct, _lock_pair, faces=COMMAND_LINE),
    unsent.MarkReplayed.handled_by(
        unsent.mark_replayed, lambda _: unlocked("one UPDATE, only of a document that still waits"),
        faces=STAFF_PAGES | COMMAND_LINE, staff=SUPERVISOR),
    closure_changes.CloseDay.handled_by(
        closure_changes.close_day, lambda _: unlocked("one INSERT of a day"),
        faces=STAFF_PAGES, staff=SUPERVISOR),
    closure_changes.MoveClosedDays.run_in_batches(
        closure_changes.move, lambda _: _BATCH_LOCKS,
        faces=STAFF_PAGES | COMMAND_LINE, staff=SUPERVISOR),
    closure_changes.MoveDueDates.run_in_batches(
        closure_changes.move_due_dates, lambda _: _BATCH_LOCKS, faces=STAFF_PAGES, staff=SUPERVISOR),
    examinations.RecordExamination.handled_by(
        examinations.record_examination, lambda _: unlocked("one upsert, and the last run counts"),
        faces=COMMAND_LINE),
    tokens.MakeToken.handled_by(
        tokens.make_token, lambda _: unlocked("one INSERT under a unique name"), faces=COMMAND_LINE),
    tokens.RevokeToken.handled_by(
        tokens.revoke_token, lambda _: unlocked("one UPDATE of a token in force"), faces=COMMAND_LINE),
)))
"""Handlers of all commands, queries and jobs, by class."""
# fmt: on


def staff_role_of(command: type[object]) -> StaffRole:
    """Return the lowest role of staff who may execute a command.

    Raises:
        LookupError: No role of staff may.
    """
    role = HANDLERS[command].staff
    if role is None:
        raise LookupError(f"{command.__name__} is not for staff")
    return role
