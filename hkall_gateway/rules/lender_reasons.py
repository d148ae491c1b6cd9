"""Reasons why a library does not lend: one row for each reason, and the words that other systems use for them.

Source: HKALL rules R37, R38; NISO Z39.83 processing errors; ISO 10161 and ISO 18626 reasons unfilled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules.vendor_words.availability import ON_SHELF, VendorRows, circulation_status, folded, vendor_words
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, filled

NOT_ON_SHELF: Final = "not_on_shelf"
CHECKED_OUT_LOCALLY: Final = "checked_out_locally"
NOT_SUITABLE: Final = "not_suitable"
OTHER: Final = "other"
SILENCE: Final = "silence"
NEVER_SENT: Final = "never sent"
NONE_ON_SHELF: Final = "none on the shelf"
NOT_REACHED: Final = "not reached"
LENT_TO_ANOTHER: Final = "lent to another"
DROPPED: Final = "dropped by staff"

LAST_LENDER: Final[Mapping[str, str]] = {ENGLISH: "The last library that was asked", CHINESE: "最後一所圖書館"}


@dataclass(frozen=True, slots=True)
class Decline:
    """The CirculationStatus in our reply when we decline (`status`), and that of our item afterwards (`status_after`)."""

    status: str
    status_after: str


@dataclass(frozen=True, slots=True)
class LenderReason:
    """One reason why a library does not lend. Texts are pairs of English and Traditional Chinese.

    Attributes:
        key: The word stored in requests and candidates.
        label: Text for staff and statistics.
        cause: Text that follows a colon in letters; empty if the reason means nothing to a patron.
        sentence: Sentence in letters for a reason that this gateway found itself; `%(lender)s` is the lender's name.
        decline: CirculationStatuses to use when we decline for this reason; None if we never do.
    """

    key: str
    label: tuple[str, str]
    cause: tuple[str, str] = ("", "")
    sentence: tuple[str, str] = ("", "")
    decline: Decline | None = None

    @property
    def is_published(self) -> bool:
        """Return whether the reason is one of the three on the published page."""
        return self.decline is not None


_REASONS: Final = (
    LenderReason(
        NOT_ON_SHELF,
        ("Not found on the shelf", "書架上找不到"),
        ("it was not found on the shelf", "未能在書架上找到此書"),
        decline=Decline("Missing", status_after="Missing"),
    ),
    LenderReason(
        CHECKED_OUT_LOCALLY,
        ("Lent to a patron of the lender", "已由借出館讀者借出"),
        ("a reader of that library has it", "此書已由該館讀者借出"),
        decline=Decline("On Loan", status_after="On Loan"),
    ),
    LenderReason(
        NOT_SUITABLE,
        ("Not suitable for loan", "不宜外借"),
        ("it is not fit to be lent", "此書不宜外借"),
        decline=Decline("Not Available", status_after=ON_SHELF),
    ),
    LenderReason(OTHER, ("Another reason", "其他原因")),
    LenderReason(
        SILENCE,
        ("No answer", "沒有回覆"),
        ("that library did not answer", "該圖書館沒有回覆"),
        ("%(lender)s did not answer our request.", "%(lender)s 沒有回覆我們的申請。"),
    ),
    LenderReason(
        NEVER_SENT,
        ("Never sent", "從未寄出"),
        ("it did not leave that library", "此書未有寄出"),
        ("%(lender)s did not send the book.", "%(lender)s 未有寄出此書。"),
    ),
    LenderReason(
        NONE_ON_SHELF,
        ("No copy on the shelf when asked", "查詢時書架上沒有館藏"),
        ("it was not found on the shelf", "未能在書架上找到此書"),
        ("%(lender)s had no copy on its shelf.", "%(lender)s 的書架上沒有此書。"),
    ),
    LenderReason(
        NOT_REACHED,
        ("The lender was not reached", "未能聯絡借出館"),
        ("that library could not be reached", "未能聯絡該圖書館"),
        ("%(lender)s could not be reached.", "我們未能聯絡 %(lender)s。"),
    ),
    LenderReason(
        LENT_TO_ANOTHER,
        ("Came for another request", "已用於另一申請"),
        ("another of our readers has borrowed it", "此書已由本館另一讀者借得"),
        (
            "%(lender)s sent its copy for another request: another of our readers has borrowed it.",
            "%(lender)s 的複本已由本館另一讀者借得。",
        ),
    ),
    LenderReason(DROPPED, ("Dropped by staff", "由職員放棄")),
)
LENDER_REASONS: Final[Mapping[str, LenderReason]] = {row.key: row for row in _REASONS}
"""Reasons by key. A stored reason that is not in this table is text in the lender's own words."""

PUBLISHED: Final = tuple(row.key for row in _REASONS if row.is_published)
"""The reasons on the published page: (i) not found on shelf, (ii) checked out by local users, (iii) not suitable for loan."""
OURS: Final = frozenset(row.key for row in _REASONS if not row.is_published)
"""Keys of OTHER and of the reasons that this gateway found itself, such as a lender that did not answer."""


def reason_label(reason: str, language: str) -> str:
    """Return the text of a reason for staff. A reason that is not in the table is returned unchanged."""
    row = LENDER_REASONS.get(reason)
    return _in_language(row.label, language) if row else reason


def reason_cause(reason: str, language: str) -> str:
    """Return the text that follows a colon in a letter. A reason that is not in the table only loses its full stop."""
    row = LENDER_REASONS.get(reason)
    return _in_language(row.cause, language) if row else reason.rstrip(". ")


def reason_sentence(reason: str, lender: str, language: str) -> str:
    """Return the sentence in a letter for a reason that this gateway found itself; "" for a reason given by the lender.

    `lender` is the lender's name in that language, or "" if unknown.
    """
    row = LENDER_REASONS.get(reason)
    return filled(_in_language(row.sentence, language), lender=lender or LAST_LENDER[language]) if row else ""


def status_after_decline(reason: str) -> str:
    """Return the circulation status of our item after we declined for a reason (R37)."""
    row = LENDER_REASONS.get(reason)
    return row.decline.status_after if row and row.decline else ON_SHELF


def _in_language(texts: tuple[str, str], language: str) -> str:
    return texts[language == CHINESE]


PATRON_OR_REQUEST: Final = "patron or request"
"""The meaning of words about the patron or the request. The lender's details are then not searched for a reason.

The meaning "" stands for words that give no reason, although their details may give one.
"""
MOST_LETTERS: Final = 200

# fmt: off
_ROWS: Final[VendorRows] = (
    ("page",     NOT_ON_SHELF,        ("not_on_shelf", "Not found on shelf")),
    ("page",     CHECKED_OUT_LOCALLY, ("checked_out_locally", "Being checked out by the local users")),
    ("page",     NOT_SUITABLE,        ("not_suitable", "Found not suitable for loan", "Not suitable for loan")),
    ("niso",     NOT_ON_SHELF,        ("Unknown Item",)),
    ("niso",     CHECKED_OUT_LOCALLY, ("Item Not Available By Need Before Date",)),
    ("niso",     NOT_SUITABLE,        ("Item Does Not Circulate", "Item Access Denied")),
    ("niso",     "",                  ("Element Rule Violated", "Resource Cannot Be Provided", "Cannot Accept Item")),
    ("niso",     "",                  ("Cannot Fulfill Request", "User Ineligible To Request This Item")),
    ("niso",     PATRON_OR_REQUEST,   ("Unknown User", "User Blocked", "User Authentication Failed", "Needed Data Missing")),
    ("niso",     PATRON_OR_REQUEST,   ("Unknown Request", "Duplicate Request", "Request Already Processed", "Invalid Date")),
    ("niso",     PATRON_OR_REQUEST,   ("Maximum Check Outs Exceeded", "Unknown Agency")),
    ("koha",     CHECKED_OUT_LOCALLY, ("Check Out Not Allowed - Item Has Outstanding Requests",)),
    # Koha, C4::Reserves: results of `CanItemBeReserved`. "already on hold" and "recall" mean this patron's holds and recalls.
    ("koha",     NOT_SUITABLE,        ("notReservable", "damaged", "cannotBeTransferred")),
    ("koha",     PATRON_OR_REQUEST,   ("itemAlreadyOnHold", "recall", "alreadypossession", "ageRestricted", "tooManyReserves",
                                       "tooManyReservesToday", "tooManyHoldsForThisRecord", "noReservesAllowed",
                                       "libraryNotFound", "libraryNotPickupLocation", "cannotReserveFromOtherBranches")),
    ("folio",    NOT_SUITABLE,        tuple(f"{kind} requests are not allowed for this patron and item combination"
                                            for kind in ("Page", "Hold", "Recall"))),
    ("iso10161", NOT_ON_SHELF,        ("lost", "not-owned", "lacking")),
    ("iso10161", CHECKED_OUT_LOCALLY, ("in-use-on-loan", "on-hold")),
    ("iso10161", NOT_SUITABLE,        ("in-process", "non-circulating", "at-bindery", "poor-condition", "policy-problem",
                                       "on-reserve")),
    ("iso10161", PATRON_OR_REQUEST,   ("not-found-as-cited", "locations-not-found", "cost-exceeds-limit")),
    ("iso18626", NOT_ON_SHELF,        ("NotHeld", "NotOnShelf")),
    ("iso18626", NOT_SUITABLE,        ("NonCirculating", "NotAvailableForILL", "PolicyProblem", "PoorCondition")),
    ("ours",     "",                  tuple(sorted(OURS))),
)

_BY_STATUS: Final[Mapping[str, str]] = MappingProxyType({
    "On Loan":                            CHECKED_OUT_LOCALLY,
    "Recalled":                           CHECKED_OUT_LOCALLY,
    "Available For Pickup":               CHECKED_OUT_LOCALLY,
    "Missing":                            NOT_ON_SHELF,
    "Lost":                               NOT_ON_SHELF,
    "Claimed Returned Or Never Borrowed": NOT_ON_SHELF,
    "In Process":                         NOT_SUITABLE,
    "Not Available":                      NOT_SUITABLE,
})
"""Reason by CirculationStatus of an item, for lenders that send only a status."""

PHRASES: Final = (
    ("checked out",         CHECKED_OUT_LOCALLY),
    ("on loan",             CHECKED_OUT_LOCALLY),
    ("not on shelf",        NOT_ON_SHELF),
    ("not on the shelf",    NOT_ON_SHELF),
    ("cannot be found",     NOT_ON_SHELF),
    ("not found",           NOT_ON_SHELF),
    ("missing",             NOT_ON_SHELF),
    ("fragile",             NOT_SUITABLE),
    ("poor condition",      NOT_SUITABLE),
    ("not for loan",        NOT_SUITABLE),
    ("not suitable",        NOT_SUITABLE),
    ("non circulating",     NOT_SUITABLE),
    ("does not circulate",  NOT_SUITABLE),
    ("reference only",      NOT_SUITABLE),
    ("library use only",    NOT_SUITABLE),
)
"""Phrases in a lender's sentence, and their reasons. The first phrase that refers to an item is used."""
VAGUE: Final = frozenset({"cannot be found", "not found", "missing"})
"""Phrases that may refer to an item, the patron or the request."""
# fmt: on

_NO_WORD: Final = re.compile(r"[^\w\s-]")
_PERSON: Final = r"(?:patron|user|borrower|reader|member|customer|account|requester|library card)"
_PATRON: Final = re.compile(rf"\b{_PERSON}")
_OTHERS: Final = re.compile(rf"\b(?:another|other|different|local) {_PERSON}\w*")
_QUOTA: Final = re.compile(r"\b(?:too many|maximum|limits?|quota)\b")
_COPY: Final = re.compile(r"\b(?:item|copy|copies|book|volume|title|shelf|shelves|stacks?)\b")
_ASKED: Final = re.compile(rf"\b(?:{_PERSON}|requests?\b|holds?\b|element|field|data\b|value)")
_PLACE: Final = re.compile(r"\b(?:agency|library|location|branch|pickup)\b")

WORDS: Final = vendor_words(_ROWS)
_BY_WORD: Final[Mapping[str, str]] = MappingProxyType({folded(row.word): row.meaning for row in WORDS})


def decline_reason(kind: str, detail: str = "") -> str:
    """Convert a lender's `kind` (problem type or status) and `detail` (sentence) to the key of a published reason.

    If no published reason fits, return the lender's own words on one line of at most MOST_LETTERS characters, or OTHER.
    """
    kind, detail = _one_line(kind), _one_line(detail)
    if kind in OURS:
        return kind
    words = "" if folded(kind) in _BY_WORD else kind  # words in the table are too technical for patrons
    if PATRON_OR_REQUEST in {_BY_WORD.get(folded(kind)), _BY_WORD.get(folded(detail))}:
        return detail or OTHER
    return _published_reason(kind) or _published_reason(detail) or _by_phrase(f"{words} {detail}") or detail or words or OTHER


def _published_reason(text: str) -> str:
    return _BY_WORD.get(folded(text)) or _BY_STATUS.get(circulation_status(text), "")


def _by_phrase(text: str) -> str:
    words = f" {folded(_NO_WORD.sub(' ', text))} "
    return next((reason for phrase, reason in PHRASES if f" {phrase} " in words and _of_a_copy(phrase, reason, words)), "")


def _of_a_copy(phrase: str, reason: str, words: str) -> bool:
    """Check that `phrase` refers to an item in a sentence, rather than to the patron or the request."""
    if reason == CHECKED_OUT_LOCALLY:
        words = _OTHERS.sub("", words)
    before = words.partition(f" {phrase} ")[0]
    if before.endswith(" not") or _PATRON.search(before) or _QUOTA.search(words):
        return False
    of_something_else = _ASKED.search(words) or _PLACE.search(before)
    return phrase not in VAGUE or _COPY.search(words) is not None or not of_something_else


def _one_line(text: str) -> str:
    printed = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printed.split())[:MOST_LETTERS]
