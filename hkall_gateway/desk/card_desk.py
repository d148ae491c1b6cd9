"""The desk for terminals beyond checkout and return: cards, holds, renew all, payments with a PIN."""

from __future__ import annotations

from hkall_gateway.desk import cards
from hkall_gateway.desk.base import TRY_AGAIN, as_present, locks_for
from hkall_gateway.desk.ils import local_messages, routing
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
from hkall_gateway.desk.staff_desk import StaffDesk
from hkall_gateway.rules.messages.local_messages import LocalMessage
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Sensitive
from hkall_gateway.store.engine.locks import NO_LOCKS, LockSet


class CardDesk(StaffDesk):
    """The commands of a terminal about a card. A PIN that comes with a command must be right; none is required."""

    async def block_card(self, ask: BlockCard) -> CardSet | Refused:
        """Block a card."""
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, locks_for(patron=ask.card), cards.block_card, ask, facts)

    async def enable_card(self, ask: EnableCard) -> CardSet | Refused:
        """Lift a block that a terminal set here."""
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, locks_for(patron=ask.card), cards.enable_card, ask, facts)

    async def hold(self, ask: Hold) -> Held | Refused:
        """Place, change or cancel a patron's hold."""
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, LockSet(ask.card, whole=True), cards.hold, ask, facts)

    async def renew_all(self, ask: RenewAll) -> AllRenewed | Refused:
        """Renew all loans of a patron."""
        if no := await self._pin_refused(ask.card, ask.pin):
            return no
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._once(None, LockSet(ask.card, whole=True), cards.renew_all, ask, facts)

    async def note_properties(self, ask: NoteProperties) -> PropertiesNoted | Refused:
        """Record the properties of a copy as a terminal reports them."""
        return await self._once(None, NO_LOCKS, cards.note_properties, ask)

    async def whose_copy(self, barcode: str, card: str = "", institution: str = "", *, arriving: bool) -> Whose:
        """Which system holds a copy: HKALL or the library's own. `card` is the patron that wants to borrow or renew it.

        `institution` is the library that the terminal names as the copy's owner, where it is not ours.
        """
        return await self._store.read_inline(routing.copy, barcode, card, institution, arriving, self.library)

    async def tell_local_system(self, message: LocalMessage, by: Actor) -> int | None:
        """What was done here is to be told there. The number to say how that went with; None: it waits for its turn."""
        return await self._store.run(local_messages.tell, message, self._now(), by, locks=_about(message))

    async def local_system_told(self, number: int, message: LocalMessage, by: Actor) -> None:
        """It was told at once."""
        await self._store.run(local_messages.told, number, message, self._now(), by, locks=_about(message))

    async def local_system_not_told(self, number: int, message: LocalMessage, by: Actor, *, unsure: bool) -> None:
        """It could not be told at once, and is later; `unsure`: it was sent and not answered."""
        await self._store.run(local_messages.not_told, number, message, unsure, self._now(), by, locks=_about(message))

    async def tell_local_system_later(self, message: LocalMessage, by: Actor) -> None:
        """What was asked there and not answered waits in the outbox."""
        await self._store.run(local_messages.tell_later, message, self._now(), by, locks=_about(message))

    async def local_system_differs(self, number: int | None, message: LocalMessage, by: Actor) -> None:
        """The local system refused what was done here."""
        await self._store.run(local_messages.differs, number, message, self._now(), by, locks=_about(message))

    async def copy_waits(self, barcode: str) -> bool:
        """Whether the local system is still to hear something about a copy, or to say what it did with it."""
        return await self._store.read_inline(local_messages.waits, barcode)

    async def put_off(self, barcode: str) -> bool:
        """It is about to be asked about a copy: what waits about it waits on. False if that is under way."""
        return await self._store.run(local_messages.put_off, barcode, self._now(), locks=locks_for(item=barcode))

    async def local_system_answered(self, barcode: str, by: Actor) -> None:
        """It has done something new with a copy: what waited about it is overtaken."""
        await self._store.run(local_messages.answered_again, barcode, self._now(), by, locks=locks_for(item=barcode))

    async def had(self, card: str) -> Had:
        """The loans and charges of a card in HKALL, independent of the local system."""
        return await self._read(routing.had, card)

    async def is_our_request(self, ask: Hold) -> bool:
        """Whether a hold concerns HKALL, and not the library's own hold list."""
        return await self._store.read_inline(cards.is_ours, ask, self.library)

    async def pay_at_terminal(self, ask: Pay, pin: Sensitive = NOTHING) -> Paid | Refused:
        """Take a payment from a patron, at a terminal that may have asked for the PIN."""
        return await self._pin_refused(ask.card, pin) or await self.pay(ask)


def _about(message: LocalMessage) -> LockSet:
    return locks_for(patron="" if message.barcode else message.patron, request=message.request, item=message.barcode)
