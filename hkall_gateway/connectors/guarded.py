"""A connector whose PINs cannot be guessed: after too many wrong ones for a card nobody is asked about it for a while."""

from __future__ import annotations

from collections import Counter

from hkall_gateway.desk.ports import BorrowerFacts, LocalIls, Verb
from hkall_gateway.edge.secrets import WrongPins
from hkall_gateway.rules.vocabulary import Holding, Sensitive


class Guarded:
    """Passes every question on; `wrong` counts the wrong PINs of each card. While a card is shut the right PIN is wrong too."""

    def __init__(self, ils: LocalIls, wrong: WrongPins) -> None:
        self._ils, self._wrong, self._asking = ils, wrong, Counter[str]()

    @property
    def supports(self) -> frozenset[Verb]:
        return self._ils.supports

    async def borrower(self, card: str) -> BorrowerFacts:
        return await self._ils.borrower(card)

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return await self._ils.copies(bib_id)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        """Guesses that are under way count as wrong until they are known, so that many at once are no way round."""
        if self._wrong.shut(card, pending=self._asking[card]):
            return False
        self._asking[card] += 1
        try:
            right = await self._ils.verify_pin(card, pin)
        finally:
            self._asking[card] -= 1
            self._asking += Counter()  # what is nought is forgotten
        if right:
            self._wrong.forget(card)
        else:
            self._wrong.count(card)
        return right
