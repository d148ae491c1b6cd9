"""Maps a lender's reason for not supplying to one of the published page's three reasons, or to the lender's own words.

Source: HKALL rules R37, R38; NISO Z39.83 processing errors; ISO 10161 and ISO 18626 reasons unfilled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules.vendor_words.availability import circulation_status, folded

NOT_ON_SHELF: Final = "not_on_shelf"
CHECKED_OUT_LOCALLY: Final = "checked_out_locally"
NOT_SUITABLE: Final = "not_suitable"
PUBLISHED: Final = (NOT_ON_SHELF, CHECKED_OUT_LOCALLY, NOT_SUITABLE)
"""The page's three reasons: (i) not found on shelf, (ii) checked out by local users, (iii) not suitable for loan."""

PATRON_OR_REQUEST: Final = "patron or request"
"""A reason about the patron or the request, not about the copy; its details are not searched."""

OTHER: Final = "other"
SILENCE: Final = "silence"
NEVER_SENT: Final = "never sent"
NONE_ON_SHELF: Final = "none on the shelf"
NOT_REACHED: Final = "not reached"
LENT_TO_ANOTHER: Final = "lent to another"
DROPPED: Final = "dropped by staff"
OURS: Final = frozenset({OTHER, SILENCE, NEVER_SENT, NONE_ON_SHELF, NOT_REACHED, LENT_TO_ANOTHER, DROPPED})
"""Reasons found by this gateway: no answer, a copy that did not leave, an empty shelf seen before asking, a message that never
reached the lender, a copy that came for another request, a message dropped by staff.
"""

MOST_LETTERS: Final = 200


@dataclass(frozen=True, slots=True)
class DeclineWord:
    """One reason of another system, as it spells it, and the page's reason that it means.

    "" is none of the three: the details may name one. PATRON_OR_REQUEST is none of them either, and no details are searched.
    Both prevent that patrons see a technical word.
    """

    system: str
    said: str
    reason: str


# fmt: off
_ROWS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
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
    # Koha, C4::Reserves: results of `CanItemBeReserved`. "already on hold" and "recall" mean this patron's own.
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
"""Reasons by a copy's CirculationStatus, for a lender that sends only the status."""

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
"""Phrases in a sentence of a lender's staff or system, and their reasons. The first phrase that is about a copy counts."""
VAGUE: Final = frozenset({"cannot be found", "not found", "missing"})
"""Phrases that may be about a copy, the patron or the request."""
# fmt: on

_NO_WORD: Final = re.compile(r"[^\w\s-]")
_PERSON: Final = r"(?:patron|user|borrower|reader|member|customer|account|requester|library card)"
_PATRON: Final = re.compile(rf"\b{_PERSON}")
_OTHERS: Final = re.compile(rf"\b(?:another|other|different|local) {_PERSON}\w*")
_QUOTA: Final = re.compile(r"\b(?:too many|maximum|limits?|quota)\b")
_COPY: Final = re.compile(r"\b(?:item|copy|copies|book|volume|title|shelf|shelves|stacks?)\b")
_ASKED: Final = re.compile(rf"\b(?:{_PERSON}|requests?\b|holds?\b|element|field|data\b|value)")
_PLACE: Final = re.compile(r"\b(?:agency|library|location|branch|pickup)\b")

ROWS: Final = tuple(DeclineWord(system, said, reason) for system, reason, all_said in _ROWS for said in all_said)
_REASONS: Final[Mapping[str, str]] = MappingProxyType({folded(row.said): row.reason for row in ROWS})


def decline_reason(kind: str, detail: str = "") -> str:
    """Return the page's reason that a lender's `kind` (a problem type, a status) and `detail` (a sentence) mean.

    If it is none of the three: the lender's own words, one line of at most 200 characters; OTHER if it gave none.
    """
    kind, detail = _one_line(kind), _one_line(detail)
    if kind in OURS:
        return kind
    own = _own_word(kind)
    if PATRON_OR_REQUEST in {_REASONS.get(folded(kind)), _REASONS.get(folded(detail))}:
        return detail or OTHER
    return _published(kind) or _published(detail) or _by_phrase(f"{own} {detail}") or detail or own or OTHER


def _published(said: str) -> str:
    return _REASONS.get(folded(said)) or _BY_STATUS.get(circulation_status(said), "")


def _by_phrase(said: str) -> str:
    words = f" {folded(_NO_WORD.sub(' ', said))} "
    return next((reason for phrase, reason in PHRASES if f" {phrase} " in words and _of_a_copy(phrase, reason, words)), "")


def _of_a_copy(phrase: str, reason: str, words: str) -> bool:
    """Return whether a sentence says this phrase of a copy: not of the patron, named before it, and not of the request."""
    if reason == CHECKED_OUT_LOCALLY:
        words = _OTHERS.sub("", words)
    before = words.partition(f" {phrase} ")[0]
    if before.endswith(" not") or _PATRON.search(before) or _QUOTA.search(words):
        return False
    of_something_else = _ASKED.search(words) or _PLACE.search(before)
    return phrase not in VAGUE or _COPY.search(words) is not None or not of_something_else


def _own_word(kind: str) -> str:
    """Return a problem type that is not in the table, in the lender's words; "" for one in the table, which is a technical
    word.
    """
    return "" if folded(kind) in _REASONS else kind


def _one_line(text: str) -> str:
    printed = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printed.split())[:MOST_LETTERS]
