"""All reasons for refusals. Their rules and texts in English and Traditional Chinese are in `reasons.toml`.

Protocols map reasons to their own codes in separate tables (such as `ncip/tables/problems.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from enum import StrEnum, auto
from pathlib import Path
from typing import Any, Final

Texts = tuple[str, str]
"""A text in English and Traditional Chinese. Placeholders such as {due} are replaced by the details of the refusal."""

_ROWS: Final[dict[str, dict[str, Any]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def texts(pair: Iterable[str]) -> Texts:
    """Return the texts of an entry in a table. Raise ValueError if one of the languages is missing."""
    english, *others = pair
    if len(others) != 1:
        raise ValueError(f"needs one text in each of two languages: {english!r}")
    return english, others[0]


class Reason(StrEnum):
    """A reason for a refusal. The value is the word that is stored, and the name of its row in `reasons.toml`.

    Attributes:
        rule: Number of the published rule; "" if no rule applies.
        staff: Sentence for staff.
        terminal: Screen message, to which the terminal appends the rule.
        patron: Sentence that addresses the patron.
    """

    rule: str
    staff: Texts
    terminal: Texts
    patron: Texts

    def __new__(cls, word: str) -> Reason:
        """Create a member from its row."""
        made = str.__new__(cls, word)
        made._value_ = word
        row = _ROWS[word]
        made.rule, made.staff = row.get("rule", ""), texts(row["staff"])
        made.terminal = texts(row.get("terminal") or (text.rstrip(".。") for text in made.staff))
        made.patron = texts(row.get("patron", made.staff))
        return made

    # The patron.
    SERVICE_SUSPENDED = auto()
    UNKNOWN_BORROWER = auto()
    CARD_REPLACED = auto()
    WRONG_PIN = auto()
    NOT_ELIGIBLE = auto()
    NOT_ELIGIBLE_PART_TIME_SPACE = auto()
    ELIGIBILITY_UNKNOWN = auto()
    PATRON_EXPIRED = auto()
    PATRON_BLOCKED = auto()
    PATRON_OWES = auto()
    # The request.
    PICKUP_LOCATION = auto()
    MATERIAL_NOT_REQUESTABLE = auto()
    UNKNOWN_TITLE = auto()
    AVAILABLE_LOCALLY = auto()
    AVAILABILITY_UNKNOWN = auto()
    NO_AVAILABLE_COPY = auto()
    DUPLICATE_REQUEST = auto()
    QUOTA_HKALL = auto()
    QUOTA_TOTAL = auto()
    QUOTA_UNKNOWN = auto()
    HOLDS_NOT_ALLOWED = auto()
    # The hold shelf and the counter.
    NOT_REQUESTER = auto()
    NOT_YET_ARRIVED = auto()
    PICKUP_EXPIRED = auto()
    COUNTER_ONLY = auto()
    NOT_IN_BOOK_DROP = auto()
    AMBIGUOUS_ITEM = auto()
    UNKNOWN_ITEM = auto()
    BELONGS_ELSEWHERE = auto()
    UNKNOWN_REQUEST = auto()
    # On loan.
    NOT_ON_LOAN = auto()
    ON_LOAN_TO_ANOTHER = auto()
    RENEWAL_LIMIT = auto()
    RENEWAL_TOO_SOON = auto()
    RENEWAL_OVERDUE = auto()
    RENEWAL_DENIED = auto()
    RECALLED = auto()
    BOOK_LOST = auto()
    CLAIMED_RETURNED = auto()
    # The request and the partners.
    TOO_LATE_TO_CANCEL = auto()
    ALREADY_SHIPPED = auto()
    AGENCY_NOT_OWNER = auto()
    NOT_THEIR_COPY = auto()
    CONTRADICTS_US = auto()
    AGENCY_NOT_ALLOWED = auto()
    ITEM_NOT_LENDABLE = auto()
    LENDING_SUSPENDED = auto()
    WRONG_POSITION = auto()
    # Payments and messages.
    FEE_NOT_ACKNOWLEDGED = auto()
    NOT_OWED = auto()
    TRANSACTION_REUSED = auto()
    UNKNOWN_FINE = auto()
    REASON_NEEDED = auto()
    WRONG_DATE = auto()
    NOT_SUPPORTED = auto()
    NOT_AT_THIS_TERMINAL = auto()
    TOO_MANY_WRONG_PINS = auto()
    LOG_IN_FIRST = auto()
    UNUSABLE_MESSAGE = auto()
    TRY_AGAIN = auto()
