"""What every part of the desk needs: the facts, the one transaction, and the answer of the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from hkall_gateway.desk.asks import Heard, InboxKey
from hkall_gateway.desk.house import House
from hkall_gateway.desk.once import once
from hkall_gateway.desk.outcomes import Refused
from hkall_gateway.desk.ports import BorrowerFacts, LocalIls, Unreachable, Verb
from hkall_gateway.rules.vocabulary import RULES, Sensitive, Why
from hkall_gateway.store.cards import is_blocked
from hkall_gateway.store.database import Store
from hkall_gateway.store.locks import Locks
from hkall_gateway.store.unit import Unit

Said = TypeVar("Said")

LOADED = "snapshot"
"""The source of facts that are rows of ours."""

WRONG_PIN = Refused(Why.WRONG_PIN, RULES[Why.WRONG_PIN])
TRY_AGAIN = Refused(Why.TRY_AGAIN)


class Base:
    """The store, the local system, who we are and what time it is.

    `house` answers who we are now (a reload may change it); `now` is the aware UTC instant.
    """

    def __init__(self, store: Store, ils: LocalIls, house: Callable[[], House], now: Callable[[], datetime]) -> None:
        self._store, self._ils, self._house, self._now = store, ils, house, now

    @property
    def house(self) -> House:
        return self._house()

    @property
    def _loaded(self) -> bool:
        """Whether borrowers are rows of ours: then no question goes before the unit of work, which reads them itself."""
        return Verb.LOADED in self._ils.supports

    def _we_borrow(self, ask: Heard) -> bool:
        """Ours is the request that carries our agency; where none is named, the copy that is not ours."""
        if ask.wire_id and ask.wire_agency:
            return ask.wire_agency == self.house.agency
        return ask.item is None or ask.item.agency != self.house.agency

    async def _once(self, key: InboxKey | None, locks: Locks, work: Callable[..., Said], ask: Any, *facts: Any) -> Said:
        now, kept = self._now(), key is not None
        locks = replace(locks, document=(key.agency, key.digest)) if key else locks
        return await self._store.run(once, key, now, work, ask, *facts, self.house, now, locks=locks, repeatable=kept)

    async def _facts(self, card: str) -> BorrowerFacts:
        """What the local system says of a borrower; if it cannot be reached, what was loaded last, if anything was."""
        try:
            facts = await self._ils.borrower(card)
            return facts if facts.source == LOADED else await self._with_blocks(facts)
        except Unreachable:
            facts = await self._store.read(loaded_facts, card)
            return replace(facts, reachable=facts.borrower is not None)

    async def _with_blocks(self, facts: BorrowerFacts) -> BorrowerFacts:
        """What another system says of a borrower, and whether a terminal blocked the card here; our own rows know both."""
        borrower = facts.borrower
        if borrower is None or not await self._store.read(is_blocked, borrower.barcode):
            return facts
        return replace(facts, borrower=replace(borrower, blocked=True))

    async def _pin_ok(self, card: str, pin: Sensitive) -> bool:
        if not pin:
            return False
        try:
            return await self._ils.verify_pin(card, pin)
        except Unreachable:
            return False


def locks_for(patron: str = "", request: str = "", item: str = "", line: str = "") -> Locks:
    """The rows that an ask is about; `item` is a barcode, `line` the agency at the other end of a line."""
    return Locks(patron, request, ("", item), line=line)


def heard_locks(ask: Heard) -> Locks:
    """What a partner speaks of: a copy, a RequestId, or both."""
    return Locks(item=("", ask.item.barcode if ask.item else ""), wires=((ask.wire_agency, ask.wire_id),))


def loaded_facts(unit: Unit, card: str) -> BorrowerFacts:
    """What was loaded of a borrower."""
    return BorrowerFacts(unit.patron(card), LOADED)
