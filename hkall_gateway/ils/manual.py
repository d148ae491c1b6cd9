"""A library without an interface: its patrons are loaded by hand, and a PIN can never be checked."""

from __future__ import annotations

from hkall_gateway.circulation.ports import Verb
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.rules.vocabulary import Holding, Sensitive


class Manual(Snapshot):
    """Knows the loaded borrowers only: copies at home are unknown, PINs are not verified."""

    supports = frozenset({Verb.BORROWER})

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:  # noqa: ARG002
        return False

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:  # noqa: ARG002
        return None
