"""The desk: reads the facts, runs one function in one transaction, and returns its result. Free of protocols and SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from hkall_gateway.desk import borrowing, counter, lending, queries, recalls, returning
from hkall_gateway.desk.base import TRY_AGAIN, as_present, heard_locks, locks_for
from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.ils.local_system import loaded_facts
from hkall_gateway.desk.messages.commands import (
    BorrowFromUs,
    CancelRequest,
    CheckIn,
    CheckOut,
    PartnerNotice,
    Renew,
    RequestTitle,
    SeeItem,
    SeePatron,
)
from hkall_gateway.desk.messages.results import DeliveryResult, ItemSeen, Outcome, PatronSeen, Refused
from hkall_gateway.desk.messages.staff_commands import Recalled
from hkall_gateway.desk.partner_desk import PartnerDesk
from hkall_gateway.desk.partners import deliveries, lender_notices
from hkall_gateway.desk.ports import AWAY, BorrowerFacts
from hkall_gateway.rules.circuit import Patience
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import Reason
from hkall_gateway.store.engine.locks import LockSet
from hkall_gateway.store.outbox import OutboxRow


class Desk(PartnerDesk):
    """All commands and queries of the gateway, for every protocol; see also partnerdesk, carddesk, staff_desk."""

    # ---- terminals and staff

    async def see_patron(self, ask: SeePatron) -> PatronSeen:
        """A patron's record."""
        if self._loaded:
            facts, seen = await self._read(_see_loaded, ask, patron=ask.card)
            if not ask.pin_given or facts.borrower is None:
                return seen
            fits = await self._local.hash_fits(facts, ask.pin)
            return replace(seen, pin_ok=fits, known=not facts.borrower.pin_hash)
        facts = await self._facts(ask.card)
        checked = ask.pin_given and facts.borrower is not None
        pin_ok = await self._pin_ok(ask.card, ask.pin) if checked else None
        unsure = checked and pin_ok is None  # the card has an owner, but the PIN cannot be checked
        facts = AWAY if unsure else facts
        seen = await self._read(queries.see_patron, ask, facts, pin_ok, patron=ask.card)
        return replace(seen, known=True) if unsure else seen

    async def see_item(self, ask: SeeItem) -> ItemSeen | Refused:
        """The state of a copy."""
        return await self._store.read_inline(queries.see_item, ask, self.library)

    async def check_out(self, ask: CheckOut) -> Outcome:
        """Lend a copy, or ship it when the card is a partner's."""
        if self._loaded and not ask.pin:
            locks = locks_for(patron=ask.card, item=ask.barcode)
            return await self._run(_check_out_loaded, ask, locks=locks, short=True)
        shipped = await self._store.read_inline(_is_partner_card, ask.card)
        if shipped:
            return await self._run(_ship, ask, locks=locks_for(item=ask.barcode), short=True)
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        if not ask.no_block and (no := await self._pin_refused(ask.card, ask.pin)):
            return no
        locks = locks_for(patron=ask.card, item=ask.barcode)
        return await self._run(counter.check_out, ask, facts, locks=locks, short=True)

    async def check_in(self, ask: CheckIn) -> Outcome:
        """Check in a copy."""
        locks = locks_for(item=ask.barcode)
        return await self._run(returning.check_in, ask, locks=locks, short=True)

    async def renew(self, ask: Renew) -> Outcome:
        """Renew a loan."""
        facts = await self._facts(ask.card) if ask.card else BorrowerFacts(None, "staff")
        ask = as_present(ask, facts)
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        locks = LockSet(ask.card, item=("", ask.barcode), whole=not ask.barcode)
        return await self._once(ask.inbox, locks, counter.renew, ask, facts)

    # ---- discovery systems

    async def request_title(self, ask: RequestTitle) -> Outcome:
        """Place a patron's request for a title of another library."""
        if self._loaded:
            return await self._once(ask.inbox, locks_for(patron=ask.patron), _request_loaded, ask)
        facts = await self.known(ask.patron, ask.bib_id)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(ask.inbox, locks_for(patron=ask.patron), borrowing.request_title, ask, facts)

    async def cancel(self, ask: CancelRequest) -> Outcome:
        """Cancel a patron's request."""
        locks = LockSet(ask.patron, ask.request, placed=(ask.placed_by, ask.placed_id))
        return await self._once(ask.inbox, locks, borrowing.cancel, ask)

    # ---- partners

    async def borrow_from_us(self, ask: BorrowFromUs) -> Outcome:
        """Page a copy of ours."""
        locks = LockSet(item=("", ask.item.barcode if ask.item else ""), wires=((ask.wire_agency, ask.wire_id),))
        return await self._once(ask.inbox, locks, lending.borrow_from_us, ask)

    async def shipped(self, ask: PartnerNotice) -> Outcome:
        """A shipped message: a lender sent a copy to us, or a borrower sent ours back."""
        ask = await self._under_our_number(ask)
        work = lender_notices.shipped if self._we_borrow(ask) else _coming_home
        return await self._once(ask.inbox, heard_locks(ask), work, ask)

    async def received(self, ask: PartnerNotice) -> Outcome:
        """A received message: the borrower has our copy, or the lender has its own again."""
        ask = await self._under_our_number(ask)
        work = lender_notices.home if self._we_borrow(ask) else _borrower_has_it
        return await self._once(ask.inbox, heard_locks(ask), work, ask)

    async def request_cancelled(self, ask: PartnerNotice) -> Outcome:
        """A cancellation: the lender declines, or the borrower withdraws."""
        ask = await self._under_our_number(ask)
        work = lender_notices.declined if self._we_borrow(ask) else _withdraw
        return await self._once(ask.inbox, heard_locks(ask), work, ask)

    async def recalled(self, ask: PartnerNotice) -> Recalled | Refused:
        """Recall a book that we borrow, for its owner."""
        ask = await self._under_our_number(ask)
        return await self._once(ask.inbox, heard_locks(ask), recalls.recalled, ask)

    async def recall_cancelled(self, ask: PartnerNotice) -> Recalled | Refused:
        """Cancel the owner's recall."""
        ask = await self._under_our_number(ask)
        return await self._once(ask.inbox, heard_locks(ask), recalls.recall_cancelled, ask)

    async def renewed(self, ask: PartnerNotice) -> Outcome:
        """A renewed message: the owner extends our patron's loan, or a borrower keeps our copy."""
        ask = await self._under_our_number(ask)
        work = recalls.owner_renewed if self._we_borrow(ask) else lending.renewed_by_borrower
        return await self._once(ask.inbox, heard_locks(ask), work, ask)

    async def renewed_by_borrower(self, ask: PartnerNotice) -> Outcome:
        """Renew the borrowing library's loan of our copy."""
        return await self._once(ask.inbox, heard_locks(ask), lending.renewed_by_borrower, ask)

    async def delivered(self, row: OutboxRow, answer: DeliveryResult, retry_at: datetime | None, patience: Patience) -> None:
        """Record the courier's result of a delivery, and the instant of its next try."""
        locks = locks_for(request=row.request, line=row.line)
        what = (row, answer, retry_at, patience)
        await self._run(deliveries.delivered, *what, locks=locks, repeatable=True, short=True)


def _is_partner_card(unit: Any, card: str) -> bool:
    return unit.partner_with_card(card) is not None


def _see_loaded(context: Context, ask: SeePatron) -> tuple[BorrowerFacts, PatronSeen]:
    """The loaded borrower, with the stored PIN hash, and the patron record as it is before the PIN is checked."""
    facts = loaded_facts(context.unit, ask.card)
    return facts, queries.see_patron(context, ask, facts, None)


def _check_out_loaded(context: Context, ask: CheckOut) -> Outcome:
    is_partner, facts, found = context.unit.at_once(
        lambda: _is_partner_card(context.unit, ask.card),
        lambda: loaded_facts(context.unit, ask.card),
        lambda: queries.one_with(context.unit, ask.barcode, ask.agency, ask.card),
    )
    return _ship(context, ask) if is_partner else counter.lend(context, ask, found, facts)


def _request_loaded(context: Context, ask: RequestTitle) -> Outcome:
    return borrowing.request_title(context, ask, loaded_facts(context.unit, ask.patron))


def _ship(context: Context, ask: CheckOut) -> Outcome:
    return lending.ship_at_counter(context, ask) or Refused(Reason.UNKNOWN_ITEM)


def _coming_home(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.COMING_HOME)


def _borrower_has_it(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.BORROWER_HAS_IT)


def _withdraw(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.WITHDRAW)
