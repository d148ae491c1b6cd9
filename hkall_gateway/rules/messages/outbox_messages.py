"""The records in the outbox: messages to partners and to the local system, and letters to patrons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum, auto
from hashlib import blake2b
from typing import Final

from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.json_records import record, record_as
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Request

ILS_RECIPIENT: Final = "local-system"
"""The outbox recipient that stands for the library's own system. No agency may have this name."""


class LocalSend(StrEnum):
    """Kinds of notifications and queries to the local system."""

    TELL_ILS_BLOCKED = auto()
    TELL_ILS_ENABLED = auto()
    TELL_ILS_LENT = auto()
    TELL_ILS_BACK = auto()
    CHECK_ILS_LOAN = auto()
    CHECK_ILS_RETURN = auto()
    CHECK_ILS_PAYMENT = auto()
    CHECK_ILS_COPY = auto()


CHECKS: Final = frozenset({LocalSend.CHECK_ILS_LOAN, LocalSend.CHECK_ILS_RETURN, LocalSend.CHECK_ILS_PAYMENT})
"""Queries that find out whether the local system has performed a transaction to which it did not reply."""


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMessage:
    """An action at a terminal that is reported to the local system or checked there, without PIN and passwords.

    Actions that concern both systems are performed here and reported to the local system, later if it is unreachable. If the
    local system does not reply to an action of its own, a CHECK_… query finds out whether it was performed. CHECK_ILS_COPY
    finds out whether an unanswered action was performed after a later one that was answered: then the item is not where the
    later one left it.

    Attributes:
        at: Time of the action. In CHECK_ILS_COPY, the time at which the unanswered action was sent last.
        patron: The card. In CHECK_ILS_COPY, the card to which the item must be lent, or "" if it must not be on loan.
        text: The fee named in a payment, or the message of a block.
        amount: Amount of a payment, as sent by the terminal.
        transaction: Transaction id of a payment (BK).
        was_in: Whether the local system reported, just before a checkout, that the item was not on loan. A loan found later
            must then result from this checkout.
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
        """Return the key within which messages are sent in order: the item (for all requests), or the hashed card.

        Each payment has a separate key, so that it neither waits for other messages nor delays them. Payments without a
        transaction id share a key if card, amount and fee are equal.
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
    """Return the ordering key for messages to the local system about an item."""
    return f"item:{barcode}"


@record_as("Telling")
@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerMessage:
    """A message to a partner about a request, with the data at the time of the event. Dates are civil dates.

    `their_number` is the lender's own number for the request, as AGENCY:VALUE. Like `author` and `call_number`, it is looked
    up when the message is sent.
    """

    send: str
    request: str
    partner: str
    wire_agency: str
    wire_id: str
    at: datetime
    item: ItemKey | None = None
    bib_id: str = ""
    local_bib_id: str = ""
    title: str = ""
    volume: str = ""
    pickup_location: str = ""
    due: date | None = None
    renewals: int = 0
    reason: str = ""
    patron: str = ""
    need_before: date | None = None
    their_number: str = ""
    author: str = ""
    call_number: str = ""


@record_as("Letter")
@dataclass(frozen=True, slots=True, kw_only=True)
class PatronNotice:
    """A letter to a patron. Name and address are not stored, but looked up when the letter is sent.

    `lender` is the library named in the letter: the current lender, or the lender that declined.
    """

    send: str
    request: str
    patron: str
    title: str
    at: datetime
    notice: int = 0
    due: date | None = None
    old_due: date | None = None
    pickup_location: str = ""
    reason: str = ""
    recalled: bool = False
    lender: str = ""


def is_letter(send: Notification) -> bool:
    """Return whether a notification is a letter to a patron rather than a message to a partner."""
    return send.name.startswith("LETTER_")


ABOUT_THE_CHOSEN = frozenset({Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER})
"""Messages about the item to request from a lender. All other messages are about the item that the request has received."""
DESCRIBED = frozenset({Notification.ASK_LENDER, Notification.TELL_BORROWER_SHIPPED})
"""Messages that include the title, the author and the call number of the item."""


def partner_message(send: Notification, about: Request, now: datetime, chosen: Candidate | None = None) -> PartnerMessage:
    """Build a message to the partner about the current state of a request. `chosen` is the item to request from a lender."""
    asked_for = ItemKey(chosen.agency, chosen.barcode) if chosen else None
    return PartnerMessage(
        send=send.value,
        request=about.id,
        partner=about.partner,
        wire_agency=about.wire_agency,
        wire_id=about.wire_id,
        at=now,
        item=about.item or asked_for,
        bib_id=about.bib_id,
        local_bib_id=chosen.local_bib_id if chosen else "",
        title=about.full_title,
        volume=about.volume,
        pickup_location=about.pickup_location,
        due=about.due_asked if send is Notification.ASK_LENDER_TO_RENEW else about.due or about.lender_due,
        renewals=about.renewals,
        reason=about.reason,
        patron=about.patron,
        need_before=about.need_before,
    )
