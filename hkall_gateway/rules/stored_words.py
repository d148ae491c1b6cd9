"""Enums whose values are stored in the database. Releases may add values, but never change them."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class StaffRole(IntEnum):
    """The role of a member of staff. Each role includes the rights of the lower roles."""

    VIEWER = 1
    CLERK = 2
    SUPERVISOR = 3
    SYSADMIN = 4

    @classmethod
    def of(cls, word: str) -> StaffRole:
        """Return the role for a word in the configuration, such as "clerk"."""
        return cls[word.upper()]

    @property
    def word(self) -> str:
        """Return the word for this role in the configuration."""
        return self.name.lower()


class StoredWord(StrEnum):
    """Base class for stored enums. A value stored by a newer release is read as a word that equals no member."""

    @classmethod
    def _missing_(cls, value: object) -> StoredWord | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


class RenewalSync(StoredWord):
    """Whether the lender's decision about a renewal is pending, or the last renewal was denied (R28)."""

    NONE = "none"
    PENDING = "pending"
    DENIED = "denied"


class DeliveryKind(StoredWord):
    """The outcome of a delivery attempt.

    Attributes:
        ALREADY: The recipient had already received the message.
        REFUSED: The recipient refused the message for good.
        LATER: The recipient refused the message temporarily.
        FAULT: The recipient rejects our identity, version or the service, which a person must fix.
        UNREACHABLE: The message was not sent.
        UNKNOWN: The message was sent, but got no usable reply.
        UNDELIVERABLE: The patron has no address.
        NOT_NEEDED: The letter became obsolete before it was sent.
    """

    ACCEPTED = "accepted"
    ALREADY = "already"
    REFUSED = "refused"
    LATER = "later"
    FAULT = "fault"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"
    UNDELIVERABLE = "undeliverable"
    NOT_NEEDED = "not_needed"


class OutboxKind(StoredWord):
    """The kind of an outbox row: a document to a partner, a letter, or a message to the library's own system."""

    NCIP = "ncip"
    MAIL = "mail"
    ILS = "ils"


class OutboxState(StoredWord):
    """The state of an outbox row.

    Attributes:
        UNSURE: The message was sent, but may not have arrived.
        DEAD: The courier has given up, so that staff must act.
        DONE: Staff informed the recipient by other means.
        DROPPED: Staff decided that the recipient need not be informed.
    """

    WAITING = "waiting"
    UNSURE = "unsure"
    DEAD = "dead"
    SENT = "sent"
    DONE = "done"
    DROPPED = "dropped"


class NoticeState(StoredWord):
    """The state of a letter to a patron.

    Attributes:
        UNSURE: It may have arrived, and is not sent again: its reason no longer applies, or staff dropped it. A correction
            goes out as if it had arrived. A new event of its occasion sends it again.
        NOT_NEEDED: Its reason no longer applied before it was sent.
        DROPPED: Staff discarded it before it was sent.
    """

    QUEUED = "queued"
    SENT = "sent"
    UNSURE = "unsure"
    UNDELIVERABLE = "undeliverable"
    NOT_NEEDED = "not_needed"
    DROPPED = "dropped"


class QuarantineState(StoredWord):
    """The state of a quarantined document, which is kept until staff replay or drop it."""

    KEPT = "kept"
    REPLAYED = "replayed"
    DROPPED = "dropped"


class CandidateOutcome(StoredWord):
    """The lender's decision, the first word of `Candidate.outcome`."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    REFUSED = "refused"

    def because(self, reason: str) -> str:
        """Return the outcome with a reason, such as "declined: not on the shelf"."""
        return f"{self.value}: {reason}"


class StaffFlag(StoredWord):
    """A task for staff, as a word in `Request.flags`. The flags from `offline` and `refused_there` contain a value."""

    LOCAL_CHECK_UNKNOWN = "local_check:unknown"
    QUOTA_CHECK_UNKNOWN = "quota_check:unknown"
    ILS_AWAY = "ils:away"
    ILS_NOT_TOLD = "ils:not_told"
    IN_BOOK_DROP = "HKALL_IN_BOOKDROP"
    NO_PRICE_LOST = "no_price:lost"
    NO_PRICE_DAMAGED = "no_price:damaged"
    OWNER_UNKNOWN = "owner_unknown"
    LOOK_ON_OUR_SHELF = "look_on_our_shelf"
    DECLINED_AFTER_SHIPMENT = "declined_after_shipment"
    CONTRADICTED = "contradicted"
    FAR_DATE = "far_date"
    ANOTHER_BOOK = "another_book"

    @staticmethod
    def offline(reason: str) -> str:
        """Return the flag for a terminal's offline transaction that violated a rule."""
        return f"offline:{reason}"

    @staticmethod
    def refused_there(send: str) -> str:
        """Return the flag for a message that the recipient refused for good."""
        return f"refused:{send}"
