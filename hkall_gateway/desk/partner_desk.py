"""The desk for partner systems: borrowing, lending, broker commands, mirrored events, queries, deliveries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from hkall_gateway.desk import lending, recalls, titles
from hkall_gateway.desk.common.context import Context, in_context
from hkall_gateway.desk.messages.commands import (
    BorrowFromUs,
    PartnerNotice,
)
from hkall_gateway.desk.messages.partner_commands import (
    Bill,
    Billed,
    BrokerCommand,
    Changed,
    ChangeRequest,
    CopyReport,
    RequestSeen,
    SeeRequest,
    SeeShelves,
    SetStatus,
    ShelvesSeen,
    StatusSet,
)
from hkall_gateway.desk.messages.results import DeliveryResult, ItemSeen, Outcome, Refused
from hkall_gateway.desk.messages.staff_commands import Answered, Done, Recalled
from hkall_gateway.desk.partners import deliveries, lender_notices, partner_queries
from hkall_gateway.desk.partners.broker_services import BROKER_COMMANDS, Work
from hkall_gateway.desk.partners.innreach_events import EVENTS
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.services import TRY_AGAIN, DeskServices, as_present, heard_locks, locks_for
from hkall_gateway.rules.circuit import CircuitSettings
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Partner
from hkall_gateway.store import quarantine
from hkall_gateway.store.engine.deadline import current
from hkall_gateway.store.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.store.loads.former_cards import card_now
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit

WORKS: Final[Mapping[str, Work]] = MappingProxyType({**BROKER_COMMANDS, **EVENTS})
"""All broker commands and mirrored events by name."""

NO_BORROWER: Final = BorrowerFacts(None, "nobody")


class PartnerDesk:
    """Commands and notices of partners and brokers, and the results of deliveries to them."""

    def __init__(self, services: DeskServices) -> None:
        self._services = services

    async def borrow_from_us(self, ask: BorrowFromUs) -> Outcome:
        """Page a copy of ours."""
        locks = LockSet(item=("", ask.item.barcode if ask.item else ""), partner_ids=((ask.wire_agency, ask.wire_id),))
        return await self._services.once(ask.inbox, locks, lending.borrow_from_us, ask)

    async def shipped(self, ask: PartnerNotice) -> Outcome:
        """A shipped message: a lender sent a copy to us, or a borrower sent ours back."""
        ask = await self._services.under_our_number(ask)
        work = lender_notices.shipped if self._services.we_borrow(ask) else _coming_home
        return await self._services.once(ask.inbox, heard_locks(ask), work, ask)

    async def received(self, ask: PartnerNotice) -> Outcome:
        """A received message: the borrower has our copy, or the lender has its own again."""
        ask = await self._services.under_our_number(ask)
        work = lender_notices.home if self._services.we_borrow(ask) else _borrower_has_it
        return await self._services.once(ask.inbox, heard_locks(ask), work, ask)

    async def request_cancelled(self, ask: PartnerNotice) -> Outcome:
        """A cancellation: the lender declines, or the borrower withdraws."""
        ask = await self._services.under_our_number(ask)
        work = lender_notices.declined if self._services.we_borrow(ask) else _withdraw
        return await self._services.once(ask.inbox, heard_locks(ask), work, ask)

    async def recalled(self, ask: PartnerNotice) -> Recalled | Refused:
        """Recall a book that we borrow, for its owner."""
        ask = await self._services.under_our_number(ask)
        return await self._services.once(ask.inbox, heard_locks(ask), recalls.recalled, ask)

    async def recall_cancelled(self, ask: PartnerNotice) -> Recalled | Refused:
        """Cancel the owner's recall."""
        ask = await self._services.under_our_number(ask)
        return await self._services.once(ask.inbox, heard_locks(ask), recalls.recall_cancelled, ask)

    async def renewed(self, ask: PartnerNotice) -> Outcome:
        """A renewed message: the owner extends our patron's loan, or a borrower keeps our copy."""
        ask = await self._services.under_our_number(ask)
        work = recalls.owner_renewed if self._services.we_borrow(ask) else lending.renewed_by_borrower
        return await self._services.once(ask.inbox, heard_locks(ask), work, ask)

    async def renewed_by_borrower(self, ask: PartnerNotice) -> Outcome:
        """Renew the borrowing library's loan of our copy."""
        return await self._services.once(ask.inbox, heard_locks(ask), lending.renewed_by_borrower, ask)

    async def delivered(
        self, row: OutboxRow, answer: DeliveryResult, retry_at: datetime | None, circuit_settings: CircuitSettings
    ) -> None:
        """Record the courier's result of a delivery, and the instant of its next try."""
        locks = locks_for(request=row.request, channel=row.line)
        what = (row, answer, retry_at, circuit_settings)
        await self._services.run(deliveries.delivered, *what, locks=locks, repeatable=True, short=True)

    async def command(self, name: str, ask: BrokerCommand) -> Answered:
        """Run one row of broker_services.BROKER_COMMANDS or innreach_events.EVENTS. Raises KeyError for an unknown name."""
        work = WORKS[name]
        if ask.card:  # another system may still know a card that was replaced since
            ask = replace(ask, card=await self._services.store.read_inline(card_now, ask.card))
        facts = await self._services.facts(ask.card) if ask.card else NO_BORROWER
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        partner_ids = ((ask.wire_agency or ask.partner, ask.wire_id), (ask.partner, ask.number))
        locks = LockSet(ask.card, item=("", ask.barcode), partner_ids=partner_ids)
        return await self._services.once(ask.inbox, locks, work, ask, facts)

    async def checked_out(self, ask: PartnerNotice) -> Outcome:
        """A checkout notice: the lender has charged its copy to us, or the borrower ours to its patron."""
        ask = await self._services.under_our_number(ask)
        work = lender_notices.shipped if self._services.we_borrow(ask) else _borrower_has_it
        return await self._services.once(ask.inbox, heard_locks(ask), work, ask)

    async def checked_in(self, ask: PartnerNotice) -> Outcome:
        """A check-in notice: the lender has its copy back, or the borrower's patron has returned ours."""
        ask = await self._services.under_our_number(ask)
        work = lender_notices.home if self._services.we_borrow(ask) else _coming_home
        return await self._services.once(ask.inbox, heard_locks(ask), work, ask)

    async def report(self, ask: CopyReport) -> Done | Refused:
        """Record a borrower's report that a book is returned or lost."""
        return await self._services.once(ask.inbox, locks_for(item=ask.item.barcode), partner_queries.report, ask)

    async def keep_unplaced(self, by: Actor, digest: str, document: str, why: Reason) -> bool:
        """Keep a partner's notice that fits no request; False where too many of its documents are quarantined already."""
        told = (by.who, digest, by.message, document, why.value)
        return await self._services.store.run(quarantine.keep, *told, self._services.now(), deadline=current())

    async def see_request(self, ask: SeeRequest) -> RequestSeen | Refused:
        """The state of a request."""
        return await self._services.store.read(
            in_context, partner_queries.see_request, self._services.library, self._services.now(), ask
        )

    async def institution(self, card: str) -> Partner | None:
        """The partner whose institutional card this is."""
        return await self._services.store.read(Unit.partner_with_card, card)

    async def serves(self, partner: str, card: str) -> bool:
        """Whether this partner has an open request for this patron."""
        return await self._services.store.read(_serves, partner, card)

    async def see_copy_of(self, ask: SeeRequest) -> ItemSeen | Refused:
        """The state of the copy of a request."""
        return await self._services.store.read(
            in_context, partner_queries.copy_of, self._services.library, self._services.now(), ask
        )

    async def see_shelves(self, ask: SeeShelves) -> ShelvesSeen | Refused:
        """The copies of titles, or the states of copies, a page at a time."""
        return await self._services.store.read(partner_queries.see_shelves, ask, self._services.library)

    async def closed_volumes(self, bib_ids: Collection[str]) -> frozenset[tuple[str, str]]:
        """The (record number, volume) of these titles that no patron could request now."""
        return await self._services.read(titles.closed_volumes, bib_ids)

    async def change_request(self, ask: ChangeRequest) -> Changed | Refused:
        """Change a request's pickup location or last day."""
        named = (ask.agency, ask.value)
        locks = LockSet(ask.card, item=("", ask.item.barcode if ask.item else ""), partner_ids=(named,), placed=named)
        return await self._services.once(ask.inbox, locks, partner_queries.change_request, ask)

    async def set_status(self, ask: SetStatus) -> StatusSet | Refused:
        """Set a copy's circulation status."""
        return await self._services.once(ask.inbox, NO_LOCKS, partner_queries.set_status, ask)

    async def bill(self, ask: Bill) -> Billed | Refused:
        """Charge one of our patrons."""
        return await self._services.once(ask.inbox, locks_for(patron=ask.card), partner_queries.bill, ask)


def _coming_home(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.COMING_HOME)


def _borrower_has_it(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.BORROWER_HAS_IT)


def _withdraw(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.WITHDRAW)


def _serves(unit: Unit, partner: str, card: str) -> bool:
    return any(request.partner == partner for request in unit.open_requests(card))
