"""Messages to the library's own system about actions at terminals, as records in the outbox.

An action that concerns both sides is done here, and the local system is notified: later if it was away. If it was asked and did
not answer, it is asked whether it has done the action.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from hashlib import blake2b
from typing import Final

from hkall_gateway.rules.messages.json_records import record

ILS_RECIPIENT: Final = "local-system"
"""The outbox channel to the library's own system; no agency may have this name."""


class LocalSend(StrEnum):
    """Kinds of notifications and questions to the local system."""

    TELL_ILS_BLOCKED = auto()
    TELL_ILS_ENABLED = auto()
    TELL_ILS_LENT = auto()
    TELL_ILS_BACK = auto()
    CHECK_ILS_LOAN = auto()
    CHECK_ILS_PAYMENT = auto()


CHECKS: Final = frozenset({LocalSend.CHECK_ILS_LOAN, LocalSend.CHECK_ILS_PAYMENT})
"""Questions about actions without an answer, which may have been done."""


@record
@dataclass(frozen=True, slots=True)
class LocalMessage:
    """One action. No PIN and no password is kept. `request` is our request, if any; `amount` as the terminal sent it."""

    send: str
    at: datetime
    request: str = ""
    patron: str = ""
    barcode: str = ""
    text: str = ""
    retained: bool = False
    amount: str = ""

    @property
    def ordering_key(self) -> str:
        """The key of messages that are sent in order: those of one copy, across requests, or of one card.

        Payments have a key of their own, so they neither wait nor hold up others: staff settle them. A card is only in it as a
        hash.
        """
        card = blake2b(self.patron.encode(), digest_size=6).hexdigest()
        of_card = f"payment:{card}" if self.send == LocalSend.CHECK_ILS_PAYMENT else f"card:{card}"
        return key_of_copy(self.barcode) if self.barcode else of_card


def key_of_copy(barcode: str) -> str:
    """Return the ordering key of messages about one copy of the local system's own."""
    return f"item:{barcode}"
