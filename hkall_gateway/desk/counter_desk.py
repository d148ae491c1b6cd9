"""The desk for terminals and discovery systems: loans, records, requests, cards, payments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hkall_gateway.desk import borrowing, cards, counter, fines, lending, queries, returning
from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.ils import routing
from hkall_gateway.desk.ils.local_system import loaded_facts
from hkall_gateway.desk.messages.commands import (
    CancelRequest,
    CheckIn,
    CheckOut,
    InboxKey,
    Renew,
    RequestTitle,
    SeeItem,
    SeePatron,
)
from hkall_gateway.desk.messages.results import HkallRecord, ItemSeen, Outcome, PatronSeen, Refused
from hkall_gateway.desk.messages.staff_commands import Paid, Pay
from hkall_gateway.desk.messages.terminal_commands import (
    AllRenewed,
    BlockCard,
    CardSet,
    EnableCard,
    Hold,
    HoldResult,
    NoteProperties,
    PropertiesNoted,
    RenewAll,
)
from hkall_gateway.desk.ports import AWAY, BorrowerFacts, LocalLoan
from hkall_gateway.desk.services import TRY_AGAIN, WRONG_PIN, DeskServices, as_present, locks_for
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Sensitive
from hkall_gateway.store.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.store.unit import Unit

Said = TypeVar("Said")
CardCommand = TypeVar("CardCommand", BlockCard, EnableCard, Hold, RenewAll)


class CounterDesk:
    """Commands and queries of terminals and of discovery systems. A PIN that comes with a command must be right."""

    def __init__(self, services: DeskServices) -> None:
        self._services = services

    async def see_patron(self, ask: SeePatron) -> PatronSeen:
        """A patron's record."""
        if self._services.loaded:
            facts, seen = await self._services.read(_see_loaded, ask, patron=ask.card)
            if not ask.pin_given or facts.borrower is None:
                return seen
            fits = await self._services.local.hash_fits(facts, ask.pin)
            return replace(seen, pin_ok=fits, known=not facts.borrower.pin_hash)
        facts = await self._services.facts(ask.card)
        checked = ask.pin_given and facts.borrower is not None
        pin_ok = await self._services.pin_ok(ask.card, ask.pin) if checked else None
        unsure = checked and pin_ok is None  # the card has an owner, but the PIN cannot be checked
        facts = AWAY if unsure else facts
        seen = await self._services.read(queries.see_patron, ask, facts, pin_ok, patron=ask.card)
        return replace(seen, known=True) if unsure else seen

    async def fixed_loans(self, card: str) -> frozenset[str]:
        """The numbers of the patron's loans that could not be renewed now."""
        return await self._services.read(counter.fixed_loans, card, await self._services.facts(card))

    async def authenticate(self, card: str, pin: Sensitive) -> Borrower | Refused:
        """The patron with this card and PIN, from the web. An unknown card is refused as a wrong PIN, after the same time."""
        right = await self._services.local.web_pin_ok(card, pin)
        if not right:
            return TRY_AGAIN if right is None else WRONG_PIN
        return await self.identify(card)

    async def identify(self, card: str) -> Borrower | Refused:
        """The patron of a card that needs no PIN: an identity provider has named it."""
        facts = await self._services.facts(card)
        if not facts.reachable:
            return TRY_AGAIN
        return facts.borrower or Refused(facts.stranger)

    async def own_loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """The library's own books that a borrower has; None where the local system does not tell them. A minute old at most."""
        return await self._services.own_loans.of(card)

    async def leave(self, card: str) -> None:
        """Forget the cached loans of a borrower at logout."""
        self._services.own_loans.forget(card)

    async def see_item(self, ask: SeeItem) -> ItemSeen | Refused:
        """The state of a copy."""
        return await self._services.store.read_inline(queries.see_item, ask, self._services.library)

    async def check_out(self, ask: CheckOut) -> Outcome:
        """Lend a copy, or ship it when the card is a partner's."""
        if self._services.loaded and not ask.pin:
            locks = locks_for(patron=ask.card, item=ask.barcode)
            return await self._services.run(_check_out_loaded, ask, locks=locks, short=True)
        shipped = await self._services.store.read_inline(_is_partner_card, ask.card)
        if shipped:
            return await self._services.run(_ship, ask, locks=locks_for(item=ask.barcode), short=True)
        facts = await self._services.facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        if not ask.no_block and (no := await self._services.pin_refused(ask.card, ask.pin)):
            return no
        locks = locks_for(patron=ask.card, item=ask.barcode)
        return await self._services.run(counter.check_out, ask, facts, locks=locks, short=True)

    async def check_in(self, ask: CheckIn) -> Outcome:
        """Check in a copy."""
        locks = locks_for(item=ask.barcode)
        return await self._services.run(returning.check_in, ask, locks=locks, short=True)

    async def renew(self, ask: Renew) -> Outcome:
        """Renew a loan."""
        facts = await self._services.facts(ask.card) if ask.card else BorrowerFacts(None, "staff")
        ask = as_present(ask, facts)
        if no := await self._services.pin_refused(ask.card, ask.pin):
            return no
        locks = LockSet(ask.card, item=("", ask.barcode), whole=not ask.barcode)
        return await self._services.once(ask.inbox, locks, counter.renew, ask, facts)

    async def request_title(self, ask: RequestTitle) -> Outcome:
        """Place a patron's request for a title of another library."""
        if self._services.loaded:
            return await self._services.once(ask.inbox, locks_for(patron=ask.patron), _request_loaded, ask)
        facts = await self._services.known(ask.patron, ask.bib_id)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._services.once(ask.inbox, locks_for(patron=ask.patron), borrowing.request_title, ask, facts)

    async def cancel(self, ask: CancelRequest) -> Outcome:
        """Cancel a patron's request."""
        locks = LockSet(ask.patron, ask.request, placed=(ask.placed_by, ask.placed_id))
        return await self._services.once(ask.inbox, locks, borrowing.cancel, ask)

    async def block_card(self, ask: BlockCard) -> CardSet | Refused:
        """Block a card."""
        return await self._about_card(cards.block_card, ask)

    async def enable_card(self, ask: EnableCard) -> CardSet | Refused:
        """Lift a block that a terminal set here."""
        return await self._about_card(cards.enable_card, ask, ask.pin)

    async def hold(self, ask: Hold) -> HoldResult | Refused:
        """Place, change or cancel a patron's hold."""
        return await self._about_card(cards.hold, ask, ask.pin, whole=True)

    async def renew_all(self, ask: RenewAll) -> AllRenewed | Refused:
        """Renew all loans of a patron."""
        return await self._about_card(cards.renew_all, ask, ask.pin, ask.inbox, whole=True)

    async def _about_card(
        self,
        work: Callable[..., Said],
        ask: CardCommand,
        pin: Sensitive = NOTHING,
        inbox: InboxKey | None = None,
        *,
        whole: bool = False,
    ) -> Said | Refused:
        """Run `work` with the facts of the card's owner, under the present card; a `pin` must be right.

        `inbox` recognises a repetition; `whole` locks all of the patron's requests.
        """
        if no := await self._services.pin_refused(ask.card, pin):
            return no
        facts = await self._services.facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        return await self._services.once(inbox, LockSet(ask.card, whole=whole), work, ask, facts)

    async def note_properties(self, ask: NoteProperties) -> PropertiesNoted | Refused:
        """Record the properties of a copy as a terminal reports them."""
        return await self._services.once(None, NO_LOCKS, cards.note_properties, ask)

    async def is_our_request(self, ask: Hold) -> bool:
        """Whether a hold concerns HKALL, and not the library's own hold list."""
        return await self._services.store.read_inline(cards.is_ours, ask, self._services.library)

    async def pay_at_terminal(self, ask: Pay, pin: Sensitive = NOTHING) -> Paid | Refused:
        """Take a payment from a patron, at a terminal that may have asked for the PIN."""
        if no := await self._services.pin_refused(ask.card, pin):
            return no
        return await self._services.once(ask.inbox, locks_for(patron=ask.card), fines.pay, ask)

    async def had(self, card: str) -> HkallRecord:
        """The loans and charges of a card in HKALL, independent of the local system."""
        return await self._services.read(routing.had, card)


def _is_partner_card(unit: Unit, card: str) -> bool:
    return unit.partner_with_card(card) is not None


def _see_loaded(context: Context, ask: SeePatron) -> tuple[BorrowerFacts, PatronSeen]:
    """The loaded borrower, with the stored PIN hash, and the patron record as it is before the PIN is checked."""
    facts = loaded_facts(context.unit, ask.card)
    return facts, queries.see_patron(context, ask, facts, None)


def _check_out_loaded(context: Context, ask: CheckOut) -> Outcome:
    if _is_partner_card(context.unit, ask.card):
        return _ship(context, ask)
    return counter.check_out(context, ask, loaded_facts(context.unit, ask.card))


def _request_loaded(context: Context, ask: RequestTitle) -> Outcome:
    return borrowing.request_title(context, ask, loaded_facts(context.unit, ask.patron))


def _ship(context: Context, ask: CheckOut) -> Outcome:
    return lending.ship_at_counter(context, ask) or Refused(Reason.UNKNOWN_ITEM)
