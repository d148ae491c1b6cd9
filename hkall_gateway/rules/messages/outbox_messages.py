"""Messages to partners and letters to patrons about a request, as records in the outbox."""

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
    """One action at a terminal, to be reported to the local system or checked there. No PIN and no password is kept.

    An action that concerns both sides is done here and reported to the local system, later if it was away. If the local system
    did not answer an action of its own, it is asked whether it has done it.

    `request` is our request, if any; `amount` as the terminal sent it. `transaction` is a payment's own number (BK), and `text`
    the fee that it names, or the text of a block. `was_in`: the local system reported just before a checkout that the item was
    not on loan, so a loan that is found later can only be this one.
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


@record_as("Telling")
@dataclass(frozen=True, slots=True)
class PartnerMessage:
    """A message to a partner about a request, with the facts at the time of the event. Dates are civil dates.

    `their_number` is the lender's own number of the request, as AGENCY:VALUE; it, `author` and `call_number` are looked up when
    the message is sent.
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
@dataclass(frozen=True, slots=True)
class PatronNotice:
    """A letter to a patron. Name and address are looked up when it is sent, never kept in the outbox.

    `lender` is the library that the letter names: the one that declined, in a letter about that, else the present lender.
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
    """Return whether it goes to a patron by mail; all others go to a partner."""
    return send.name.startswith("LETTER_")


ABOUT_THE_CHOSEN = frozenset({Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER})
"""Messages about the copy that a lender is asked for; all others are about a copy that the request has."""
DESCRIBED = frozenset({Notification.ASK_LENDER, Notification.TELL_BORROWER_SHIPPED})
"""Messages with the title, the author and the call number of the copy."""


def partner_message(send: Notification, about: Request, now: datetime, chosen: Candidate | None = None) -> PartnerMessage:
    """Return the message to the partner about a request in its present state; `chosen` is the copy to ask a lender for."""
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
        title=about.title,
        volume=about.volume,
        pickup_location=about.pickup_location,
        due=about.due_asked if send is Notification.ASK_LENDER_TO_RENEW else about.due or about.lender_due,
        renewals=about.renewals,
        reason=about.reason,
        patron=about.patron,
        need_before=about.need_before,
    )
