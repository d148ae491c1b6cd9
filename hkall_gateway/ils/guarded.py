"""Protects a connector against PIN guessing: after too many wrong PINs a card is not checked for a while."""

from __future__ import annotations

from collections import Counter
from typing import cast

from hkall_gateway.circulation.ports import BorrowerFacts, LocalIls, LocalLoan, TellsLoans, Verb
from hkall_gateway.net.secrets import WrongPins
from hkall_gateway.rules.vocabulary import Holding, Sensitive


class Guarded:
    """Passes every query on; `wrong` counts the wrong PINs of each card. While a card is locked, the right PIN fails too."""

    def __init__(self, ils: LocalIls, wrong: WrongPins) -> None:
        self._ils, self._wrong, self._asking = ils, wrong, Counter[str]()

    @property
    def supports(self) -> frozenset[Verb]:
        return self._ils.supports

    async def borrower(self, card: str) -> BorrowerFacts:
        return await self._ils.borrower(card)

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return await self._ils.copies(bib_id)

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
        return await cast(TellsLoans, self._ils).loans(card)

    async def check_pin(self, card: str, pin: Sensitive) -> bool:
        """Whether the PIN is right, for callers that have limits of their own: a wrong one is not counted."""
        return await self._ils.verify_pin(card, pin)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        """Whether the PIN is right. Pending checks count as wrong, so that parallel guesses do not evade the limit."""
        if self._wrong.shut(card, pending=self._asking[card]):
            return False
        self._asking[card] += 1
        try:
            right = await self._ils.verify_pin(card, pin)
        finally:
            self._asking[card] -= 1
            self._asking += Counter()  # drops the zero counts
        if right:
            self._wrong.forget(card)
        else:
            self._wrong.count(card)
        return right
