"""Adapters that need no live system, since they use the patrons and holdings from the last `load`."""

from __future__ import annotations

from hkall_gateway.circulation.ports import BorrowerFacts, Verb
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules.vocabulary import Holding, Sensitive


class Snapshot:
    """Connector that uses the loaded patrons and holdings, and so is always reachable."""

    supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN, Verb.COPIES, Verb.LOADED})

    def __init__(self, tools: ConnectorTools) -> None:
        self._store, self._agency, self._verify = tools.store, tools.agency, tools.verify

    async def borrower(self, card: str) -> BorrowerFacts:
        """Return the facts about a loaded borrower."""
        return BorrowerFacts(borrower=await self._store.read(lambda unit: unit.patrons.find(card)), source="snapshot")

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        """Compare the PIN with the loaded hash."""
        known = await self._store.read(lambda unit: unit.patrons.find(card))
        return known is not None and bool(known.pin_hash) and await self._verify(card, known.pin_hash, pin)

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return the loaded items of a title."""
        return await self._store.read(lambda unit: unit.holdings.of_title(bib_id, self._agency), is_long=True)


class Manual(Snapshot):
    """Connector for a library whose system has no interface: item statuses are unknown, and PINs are never accepted."""

    supports = frozenset({Verb.BORROWER})

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:  # noqa: ARG002
        """Reject every PIN."""
        return False

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:  # noqa: ARG002
        """Return None, since item statuses are unknown."""
        return None
