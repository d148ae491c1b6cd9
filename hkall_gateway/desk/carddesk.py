"""The desk for what terminals ask beside checkout and return: cards, holds, all loans at once, money with a PIN."""

from __future__ import annotations

from hkall_gateway.desk import cards, local_messages, routing
from hkall_gateway.desk.base import TRY_AGAIN, as_present, locks_for
from hkall_gateway.desk.messages.results import Had, Refused, Whose
from hkall_gateway.desk.messages.staff_commands import Paid, Pay
from hkall_gateway.desk.messages.terminal_commands import (
    AllRenewed,
    BlockCard,
    CardSet,
    EnableCard,
    Held,
    Hold,
    NoteProperties,
    PropertiesNoted,
    RenewAll,
)
from hkall_gateway.desk.staff_desk import ByHand
from hkall_gateway.rules.local_messages import LocalMessage
from hkall_gateway.rules.vocabulary import NOTHING, By, Sensitive
from hkall_gateway.store.engine.locks import NO_LOCKS, Locks


class CardDesk(ByHand):
    """What a terminal may ask about a card. A PIN that came with the ask must be right; one that did not come is not missed."""

    async def block_card(self, ask: BlockCard) -> CardSet | Refused:
        """A card must not be used any more."""
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, locks_for(patron=ask.card), cards.block_card, ask, facts)

    async def enable_card(self, ask: EnableCard) -> CardSet | Refused:
        """What was blocked here is lifted."""
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, locks_for(patron=ask.card), cards.enable_card, ask, facts)

    async def hold(self, ask: Hold) -> Held | Refused:
        """A patron's wish is placed, changed or taken back."""
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, Locks(ask.card, whole=True), cards.hold, ask, facts)

    async def renew_all(self, ask: RenewAll) -> AllRenewed | Refused:
        """Everything that a patron has is kept longer."""
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, Locks(ask.card, whole=True), cards.renew_all, ask, facts)

    async def note_properties(self, ask: NoteProperties) -> PropertiesNoted | Refused:
        """A terminal says how a copy is made."""
        return await self._once(None, NO_LOCKS, cards.note_properties, ask)

    async def whose_copy(self, barcode: str, card: str = "", institution: str = "", *, arriving: bool) -> Whose:
        """Who has a copy: HKALL, or the library's own system. `card` is who wants to lend or renew it.

        `institution` is the library that the terminal names as the copy's, where it names another than ours.
        """
        return await self._store.glance(routing.copy, barcode, card, institution, arriving, self.house)

    async def tell_local_system_later(self, message: LocalMessage, by: By) -> None:
        """What was done here and could not be told there, or was asked there and not answered, waits in the outbox."""
        now = self._now()
        locks = locks_for(request=message.request, item=message.barcode)
        await self._store.run(local_messages.tell_later, message, now, by, locks=locks)

    async def local_system_differs(self, message: LocalMessage, by: By) -> None:
        """The local system refused what was done here."""
        locks = locks_for(request=message.request)
        await self._store.run(local_messages.differs, message, self._now(), by, locks=locks)

    async def local_system_answered(self, barcode: str, by: By) -> None:
        """It has answered a question about a copy: whether it did an earlier one need not be looked up any more."""
        if await self._store.glance(local_messages.waits, barcode):
            await self._store.run(local_messages.answered_again, barcode, self._now(), by, locks=locks_for(item=barcode))

    async def had(self, card: str) -> Had:
        """What a card has and owes here, whatever the local system knows of it."""
        return await self._store.glance(routing.had, card, self.house, self._now())

    async def is_our_wish(self, ask: Hold) -> bool:
        """Whether a hold is ours, or one for the library's own list."""
        return await self._store.glance(cards.is_ours, ask, self.house)

    async def pay_at_terminal(self, ask: Pay, pin: Sensitive = NOTHING) -> Paid | Refused:
        """Take money for what a patron owes, from a terminal that may have asked for the PIN."""
        return await self._pin_refused(ask.card, pin) or await self.pay(ask)
