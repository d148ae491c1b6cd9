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
    CHECK_ILS_RETURN = auto()
    CHECK_ILS_PAYMENT = auto()


CHECKS: Final = frozenset({LocalSend.CHECK_ILS_LOAN, LocalSend.CHECK_ILS_RETURN, LocalSend.CHECK_ILS_PAYMENT})
"""Questions about transactions of the local system's own that have no answer, and may have been done."""


@record
@dataclass(frozen=True, slots=True)
class LocalMessage:
    """One action. No PIN and no password is kept. `request` is our request, if any; `amount` as the terminal sent it.

    `transaction` is a payment's own number (BK), and `text` the fee that it names, or the text of a block. `was_in`: the local
    system said just before a checkout that the item was not on loan, so a loan that is found later can only be this one.
    """

    send: str
    at: datetime
    request: str = ""
    patron: str = ""
    barcode: str = ""
    text: str = ""
    retained: bool = False
    amount: str = ""
    transaction: str = ""
    terminal: str = ""
    was_in: bool = False

    @property
    def ordering_key(self) -> str:
        """The key of messages that are sent in order: those of one copy, across requests, or of one card.

        Each payment has a key of its own, so it neither waits nor holds up others: staff settle it. A payment without a number
        is the same as another one of the same card, amount and fee. A card is only in a key as a hash.
        """
        if self.barcode:
            return key_of_copy(self.barcode)
        if self.send != LocalSend.CHECK_ILS_PAYMENT:
            return f"card:{_digest(self.patron)}"
        named = (self.terminal, self.transaction) if self.transaction else (self.amount, self.text)
        return f"payment:{_digest(self.patron, *named)}"


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def key_of_copy(barcode: str) -> str:
    """Return the ordering key of messages about one copy of the local system's own."""
    return f"item:{barcode}"
