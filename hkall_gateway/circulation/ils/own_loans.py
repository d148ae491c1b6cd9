"""The library's own loans of a borrower, from the local system; cached for a minute."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.circulation.ports import LocalLoan

KEPT: Final = timedelta(minutes=1)
"""The local system is asked again after this time; by SIP2 one answer takes a question for each book."""
ROOM: Final = 1_000
"""Borrowers whose loans are kept."""

Loans = tuple[LocalLoan, ...]


class OwnLoans:
    """Keeps the answers of `ask` for a minute, until the borrower logs out; "not told" and "away" (None) are not kept."""

    def __init__(self, ask: Callable[[str], Awaitable[Loans | None]], now: Callable[[], datetime]) -> None:
        self._ask, self._now = ask, now
        self._kept: OrderedDict[str, tuple[datetime, Loans]] = OrderedDict()

    async def of(self, card: str) -> Loans | None:
        """The loans of a borrower; None where the local system does not tell them, or is away."""
        self._forget_old()
        if card in self._kept:
            return self._kept[card][1]
        loans = await self._ask(card)
        if loans is not None:
            self._kept.pop(card, None)
            self._kept[card] = self._now(), loans
            if len(self._kept) > ROOM:
                self._kept.popitem(last=False)
        return loans

    def forget(self, card: str) -> None:
        """Forget the loans of a borrower."""
        self._kept.pop(card, None)

    def _forget_old(self) -> None:
        while self._kept and next(iter(self._kept.values()))[0] <= self._now() - KEPT:
            self._kept.popitem(last=False)
