"""Enums of the words that the database stores. Their values never change; a release only adds some."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class StaffRole(IntEnum):
    """The role of a member of staff; each role includes the rights of those before it."""

    VIEWER = 1
    CLERK = 2
    SUPERVISOR = 3
    SYSADMIN = 4

    @classmethod
    def of(cls, word: str) -> StaffRole:
        """Return the role of a configuration's word, "clerk"."""
        return cls[word.upper()]

    @property
    def word(self) -> str:
        """The configuration's word for it."""
        return self.name.lower()


class StoredWord(StrEnum):
    """A word with a fixed set of values. A word that a newer release stored is kept, and equals no member."""

    @classmethod
    def _missing_(cls, value: object) -> StoredWord | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


class RenewalSync(StoredWord):
    """Whether a lender decides about a renewal of this loan, or has denied the last one (R28)."""

    NONE = "none"
    PENDING = "pending"
    DENIED = "denied"


class DeliveryKind(StoredWord):
    """How a delivery attempt ended.

    accepted; already: the recipient knew; refused: a final no; later: a temporary no; fault: the recipient rejects our
    identity, version or the service, so the request is undecided and a person must fix it; unreachable: never sent; unknown:
    sent, no usable answer; undeliverable: no address; not_needed: a letter that lost its reason, never sent.
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
    """The kind of a row of the outbox: a document to a partner, a letter, or a message to the library's own system."""

    NCIP = "ncip"
    MAIL = "mail"
    ILS = "ils"


class OutboxState(StoredWord):
    """The state of a row of the outbox.

    unsure: it left, and it is unknown whether it arrived; dead: given up, staff must look. Staff settle a row as done (told
    by other means) or dropped (not to be told).
    """

    WAITING = "waiting"
    UNSURE = "unsure"
    DEAD = "dead"
    SENT = "sent"
    DONE = "done"
    DROPPED = "dropped"


class NoticeState(StoredWord):
    """The state of a letter to a patron. not_needed: its reason was gone before it left; dropped: by staff, never sent."""

    QUEUED = "queued"
    SENT = "sent"
    UNDELIVERABLE = "undeliverable"
    NOT_NEEDED = "not_needed"
    DROPPED = "dropped"


class QuarantineState(StoredWord):
    """The state of a document that matches no request: kept until staff replay or drop it."""

    KEPT = "kept"
    REPLAYED = "replayed"
    DROPPED = "dropped"


class CandidateOutcome(StoredWord):
    """The first word of a lender's answer in `Candidate.outcome`; `because` adds the reason."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    REFUSED = "refused"

    def because(self, reason: str) -> str:
        """Return the outcome with its reason: "declined: not on the shelf"."""
        return f"{self.value}: {reason}"


class StaffFlag(StoredWord):
    """A task for staff: a word of `Request.flags`. Two families carry a value: `offline` and `refused_there`."""

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

    @staticmethod
    def offline(reason: str) -> str:
        """Return the flag of a transaction that a terminal made while offline, against a rule."""
        return f"offline:{reason}"

    @staticmethod
    def refused_there(send: str) -> str:
        """Return the flag of a message that its recipient finally refuses."""
        return f"refused:{send}"
