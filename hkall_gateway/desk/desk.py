"""The desk: gather what must be known, run one function in one transaction, answer. It knows no protocol and no SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from hkall_gateway.desk import borrowing, circulation, deliveries, lending, returning
from hkall_gateway.desk.asks import (
    Answer,
    BorrowFromUs,
    CancelRequest,
    CheckIn,
    CheckOut,
    Heard,
    InboxKey,
    ItemSeen,
    Outcome,
    PatronSeen,
    Refused,
    Renew,
    RequestTitle,
    SeeItem,
    SeePatron,
)
from hkall_gateway.desk.house import House
from hkall_gateway.desk.once import once
from hkall_gateway.desk.ports import BorrowerFacts, LocalIls, Unreachable
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import RULES, Sensitive, Why
from hkall_gateway.store.database import NO_LOCKS, Locks, Store
from hkall_gateway.store.outbox import OutboxRow

WRONG_PIN = Refused(Why.WRONG_PIN, RULES[Why.WRONG_PIN])
TRY_AGAIN = Refused(Why.TRY_AGAIN)


class Desk:
    """Everything that may be asked of the gateway, by whichever door.

    `house` answers who we are now (a reload may change it); `now` is the aware UTC instant.
    """

    def __init__(self, store: Store, ils: LocalIls, house: Callable[[], House], now: Callable[[], datetime]) -> None:
        self._store, self._ils, self._house, self._now = store, ils, house, now

    @property
    def house(self) -> House:
        return self._house()

    # ---- terminals and staff

    async def see_patron(self, ask: SeePatron) -> PatronSeen:
        """A patron's record."""
        facts = await self._facts(ask.card)
        pin_ok = await self._pin_ok(ask.card, ask.pin) if ask.pin_given and facts.borrower else None
        return await self._store.read(circulation.see_patron, ask, facts, pin_ok, self.house, self._now())

    async def see_item(self, ask: SeeItem) -> ItemSeen | Refused:
        """What a copy is doing."""
        return await self._store.read(circulation.see_item, ask, self.house)

    async def check_out(self, ask: CheckOut) -> Outcome:
        """Lend a copy, or ship it when the card is a partner's."""
        shipped = await self._store.read(_is_partner_card, ask.card)
        if shipped:
            return await self._store.run(_ship, ask, self.house, self._now(), locks=_locks(item=ask.barcode))
        facts = await self._facts(ask.card)
        if not facts.reachable:
            return TRY_AGAIN
        if ask.pin and not await self._pin_ok(ask.card, ask.pin):
            return WRONG_PIN
        locks = _locks(patron=ask.card, item=ask.barcode)
        return await self._store.run(circulation.check_out, ask, facts, self.house, self._now(), locks=locks)

    async def check_in(self, ask: CheckIn) -> Outcome:
        """Take a copy in."""
        return await self._store.run(returning.check_in, ask, self.house, self._now(), locks=_locks(item=ask.barcode))

    async def renew(self, ask: Renew) -> Outcome:
        """Keep it longer."""
        facts = await self._facts(ask.card) if ask.card else BorrowerFacts(None, "staff")
        if ask.pin and not await self._pin_ok(ask.card, ask.pin):
            return WRONG_PIN
        locks = _locks(patron=ask.card, item=ask.barcode)
        return await self._once(ask.inbox, locks, circulation.renew, ask, facts)

    # ---- discovery systems

    async def request_title(self, ask: RequestTitle) -> Outcome:
        """A patron wants a title from another library."""
        facts = await self._facts(ask.patron)
        if not facts.reachable:
            return TRY_AGAIN
        return await self._once(ask.inbox, _locks(patron=ask.patron), borrowing.request_title, ask, facts)

    async def cancel(self, ask: CancelRequest) -> Outcome:
        """The patron no longer wants it."""
        return await self._once(ask.inbox, _locks(patron=ask.patron, request=ask.request), borrowing.cancel, ask)

    # ---- partners

    async def borrow_from_us(self, ask: BorrowFromUs) -> Outcome:
        """Page a copy of ours."""
        return await self._once(ask.inbox, NO_LOCKS, lending.borrow_from_us, ask)

    async def shipped(self, ask: Heard) -> Outcome:
        """The lender sent a copy to us, or the borrower sent ours back: who owns the request decides."""
        work = borrowing.shipped if self._we_borrow(ask) else _coming_home
        return await self._once(ask.inbox, _heard_locks(ask), work, ask)

    async def received(self, ask: Heard) -> Outcome:
        """The borrower has our copy, or the lender has its own again."""
        work = borrowing.home if self._we_borrow(ask) else _borrower_has_it
        return await self._once(ask.inbox, _heard_locks(ask), work, ask)

    async def request_cancelled(self, ask: Heard) -> Outcome:
        """The lender declines, or the borrower withdraws."""
        work = borrowing.declined if self._we_borrow(ask) else _withdraw
        return await self._once(ask.inbox, _heard_locks(ask), work, ask)

    async def renewed_by_borrower(self, ask: Heard) -> Outcome:
        """The borrowing library keeps our copy longer."""
        return await self._once(ask.inbox, _heard_locks(ask), lending.renewed_by_borrower, ask)

    async def delivered(self, row: OutboxRow, answer: Answer, retry_at: datetime | None) -> None:
        """The courier says how a delivery went."""
        locks = _locks(request=row.request)
        await self._store.run(deliveries.delivered, row, answer, retry_at, self.house, self._now(), locks=locks)

    # ---- private

    def _we_borrow(self, ask: Heard) -> bool:
        """Ours is the request that carries our agency; where none is named, the copy that is not ours."""
        if ask.wire_id and ask.wire_agency:
            return ask.wire_agency == self.house.agency
        return ask.item is None or ask.item.agency != self.house.agency

    async def _once(self, key: InboxKey | None, locks: Locks, work: Callable[..., Outcome], ask: Any, *facts: Any) -> Outcome:
        now = self._now()
        return await self._store.run(once, key, now, work, ask, *facts, self.house, now, locks=locks)

    async def _facts(self, card: str) -> BorrowerFacts:
        """What the local system says of a borrower; if it cannot be reached, what was loaded last, if anything was."""
        try:
            return await self._ils.borrower(card)
        except Unreachable:
            loaded = await self._store.read(_loaded_patron, card)
            return BorrowerFacts(loaded, "snapshot", None, loaded is not None)

    async def _pin_ok(self, card: str, pin: Sensitive) -> bool:
        if not pin:
            return False
        try:
            return await self._ils.verify_pin(card, pin)
        except Unreachable:
            return False


def _loaded_patron(unit: Any, card: str) -> Any:
    return unit.patron(card)


def _is_partner_card(unit: Any, card: str) -> bool:
    return any(p.institutional_card == card for p in unit.partners().values() if card)


def _ship(unit: Any, ask: CheckOut, house: House, now: datetime) -> Outcome:
    return lending.ship_at_counter(unit, ask, house, now) or Refused(Why.UNKNOWN_ITEM)


def _coming_home(unit: Any, ask: Heard, house: House, now: datetime) -> Outcome:
    return lending.heard(unit, ask, Event.COMING_HOME, house, now)


def _borrower_has_it(unit: Any, ask: Heard, house: House, now: datetime) -> Outcome:
    return lending.heard(unit, ask, Event.BORROWER_HAS_IT, house, now)


def _withdraw(unit: Any, ask: Heard, house: House, now: datetime) -> Outcome:
    return lending.heard(unit, ask, Event.WITHDRAW, house, now)


def _locks(patron: str = "", request: str = "", item: str = "") -> Locks:
    return Locks(patron, request, ("", item))


def _heard_locks(ask: Heard) -> Locks:
    return _locks(item=ask.item.barcode if ask.item else "")
