"""The desk for other systems' further services: broker commands, mirrored events, queries, changes, reports, bills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from hkall_gateway.desk import lending
from hkall_gateway.desk.base import TRY_AGAIN, as_present, heard_locks, locks_for
from hkall_gateway.desk.card_desk import CardDesk
from hkall_gateway.desk.common.context import Context, in_context
from hkall_gateway.desk.messages.commands import PartnerNotice
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
from hkall_gateway.desk.messages.results import ItemSeen, Outcome, Refused
from hkall_gateway.desk.messages.staff_commands import Answered, Done
from hkall_gateway.desk.partners import lender_notices, partner_queries
from hkall_gateway.desk.partners.broker_services import BROKER_COMMANDS, Work
from hkall_gateway.desk.partners.innreach_events import EVENTS
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import Actor, Reason
from hkall_gateway.store import quarantine
from hkall_gateway.store.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.store.former_cards import card_now

WORKS: Final[Mapping[str, Work]] = MappingProxyType({**BROKER_COMMANDS, **EVENTS})
"""All broker commands and mirrored events by name."""

NOBODY: Final = BorrowerFacts(None, "nobody")


class PartnerDesk(CardDesk):
    """Commands of brokers, partners and discovery systems beside the borrowing and lending of desk.py."""

    async def command(self, name: str, ask: BrokerCommand) -> Answered:
        """Run one row of broker_services.ERRANDS or innreach_events.EVENTS. Raises KeyError for an unknown name."""
        work = WORKS[name]
        if ask.card:  # another system may still know a card that was replaced since
            ask = replace(ask, card=await self._store.read_inline(card_now, ask.card))
        facts = await self._facts(ask.card) if ask.card else NOBODY
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        wires = ((ask.wire_agency or ask.partner, ask.wire_id), (ask.partner, ask.number))
        locks = LockSet(ask.card, item=("", ask.barcode), wires=wires)
        return await self._once(ask.inbox, locks, work, ask, facts)

    # ---- events of partners

    async def checked_out(self, ask: PartnerNotice) -> Outcome:
        """A checkout notice: the lender has charged its copy to us, or the borrower ours to its patron."""
        ask = await self._under_our_number(ask)
        work = lender_notices.shipped if self._we_borrow(ask) else _borrower_has_it
        return await self._once(ask.inbox, heard_locks(ask), work, ask)

    async def checked_in(self, ask: PartnerNotice) -> Outcome:
        """A check-in notice: the lender has its copy back, or the borrower's patron has returned ours."""
        ask = await self._under_our_number(ask)
        work = lender_notices.home if self._we_borrow(ask) else _coming_home
        return await self._once(ask.inbox, heard_locks(ask), work, ask)

    async def report(self, ask: CopyReport) -> Done | Refused:
        """Record a borrower's report that a book is returned or lost."""
        return await self._once(ask.inbox, locks_for(item=ask.item.barcode), partner_queries.report, ask)

    async def keep_unplaced(self, by: Actor, digest: str, document: str, why: Reason) -> bool:
        """Keep a partner's notice that fits no request; False where too many of its documents are quarantined already."""
        told = (by.who, digest, by.message, document, why.value)
        return await self._store.run(quarantine.keep, *told, self._now())

    # ---- queries

    async def see_request(self, ask: SeeRequest) -> RequestSeen | Refused:
        """The state of a request."""
        return await self._store.read(in_context, partner_queries.see_request, self.library, self._now(), ask)

    async def serves(self, partner: str, card: str) -> bool:
        """Whether this partner has an open request for this patron."""
        return await self._store.read(_serves, partner, card)

    async def see_copy_of(self, ask: SeeRequest) -> ItemSeen | Refused:
        """The state of the copy of a request."""
        return await self._store.read(in_context, partner_queries.copy_of, self.library, self._now(), ask)

    async def see_shelves(self, ask: SeeShelves) -> ShelvesSeen | Refused:
        """The copies of titles, or the states of copies, a page at a time."""
        return await self._store.read(partner_queries.see_shelves, ask, self.library)

    # ---- changes

    async def change_request(self, ask: ChangeRequest) -> Changed | Refused:
        """Change a request's pickup location or last day."""
        named = (ask.agency, ask.value)
        locks = LockSet(ask.card, item=("", ask.item.barcode if ask.item else ""), wires=(named,), placed=named)
        return await self._once(ask.inbox, locks, partner_queries.change_request, ask)

    async def set_status(self, ask: SetStatus) -> StatusSet | Refused:
        """Set a copy's circulation status."""
        return await self._once(ask.inbox, NO_LOCKS, partner_queries.set_status, ask)

    async def bill(self, ask: Bill) -> Billed | Refused:
        """Charge one of our patrons."""
        return await self._once(ask.inbox, locks_for(patron=ask.card), partner_queries.bill, ask)


def _serves(unit: Any, partner: str, card: str) -> bool:
    return any(request.partner == partner for request in unit.open_requests(card))


def _borrower_has_it(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.BORROWER_HAS_IT)


def _coming_home(context: Context, ask: PartnerNotice) -> Outcome:
    return lending.heard(context, ask, Event.COMING_HOME)
