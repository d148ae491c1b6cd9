"""Reasons why a library does not lend, and the words that other systems use for them, as listed in `lender_reasons.toml`.

Source: HKALL rules R37, R38; NISO Z39.83 processing errors; ISO 10161 and ISO 18626 reasons unfilled.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hkall_gateway.rules.reasons import Texts, texts
from hkall_gateway.rules.vendor_words.availability import ON_SHELF, circulation_status, folded, vendor_words
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, filled

CHECKED_OUT_LOCALLY: Final = "checked_out_locally"
OTHER: Final = "other"
SILENCE: Final = "silence"
NEVER_SENT: Final = "never sent"
NOT_REACHED: Final = "not reached"
LENT_TO_ANOTHER: Final = "lent to another"
DROPPED: Final = "dropped by staff"

LAST_LENDER: Final[Mapping[str, str]] = {ENGLISH: "The last library that was asked", CHINESE: "最後一所圖書館"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """The CirculationStatus in our reply when we decline (`status`), and that of our item afterwards (`status_after`)."""

    status: str
    status_after: str


@dataclass(frozen=True, slots=True, kw_only=True)
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
    label: Texts
    cause: Texts = ("", "")
    sentence: Texts = ("", "")
    decline: Decline | None = None

    @property
    def is_published(self) -> bool:
        """Return whether the reason is one of the three on the published page."""
        return self.decline is not None


_TABLES: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def read_reason(key: str, label: list[str], decline: dict[str, str] | None = None, **by_use: list[str]) -> LenderReason:
    """Build a reason from its row in `lender_reasons.toml`."""
    in_letters = {use: texts(pair) for use, pair in by_use.items()}
    return LenderReason(key=key, label=texts(label), decline=Decline(**decline) if decline else None, **in_letters)


_REASONS: Final = tuple(read_reason(key, **row) for key, row in _TABLES["reasons"].items())
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


def _in_language(pair: Texts, language: str) -> str:
    return pair[language == CHINESE]


PATRON_OR_REQUEST: Final = "patron or request"
"""The meaning of words about the patron or the request. The lender's details are then not searched for a reason."""
MOST_LETTERS: Final = 200

_BY_STATUS: Final = {status: reason for reason, listed in _TABLES["statuses"].items() for status in listed}
"""Reason by CirculationStatus of an item, for lenders that send only a status."""
PHRASES: Final = tuple((phrase, reason) for reason, listed in _TABLES["phrases"].items() for phrase in listed)
"""Phrases in a lender's sentence, and their reasons. The first phrase that refers to an item is used."""
VAGUE: Final = frozenset({"cannot be found", "not found", "missing"})
"""Phrases that may refer to an item, the patron or the request."""

_NO_WORD: Final = re.compile(r"[^\w\s-]")
_PERSON: Final = r"(?:patron|user|borrower|reader|member|customer|account|requester|library card)"
_PATRON: Final = re.compile(rf"\b{_PERSON}")
_OTHERS: Final = re.compile(rf"\b(?:another|other|different|local) {_PERSON}\w*")
_QUOTA: Final = re.compile(r"\b(?:too many|maximum|limits?|quota)\b")
_COPY: Final = re.compile(r"\b(?:item|copy|copies|book|volume|title|shelf|shelves|stacks?)\b")
_ASKED: Final = re.compile(rf"\b(?:{_PERSON}|requests?\b|holds?\b|element|field|data\b|value)")
_PLACE: Final = re.compile(r"\b(?:agency|library|location|branch|pickup)\b")

WORDS: Final = vendor_words({**_TABLES["words"], "ours": {"": sorted(OURS)}})
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


def _published_reason(text: str) -> str | None:
    return _BY_WORD.get(folded(text)) or _BY_STATUS.get(circulation_status(text))


def _by_phrase(text: str) -> str | None:
    words = f" {folded(_NO_WORD.sub(' ', text))} "
    return next((reason for phrase, reason in PHRASES if f" {phrase} " in words and _of_a_copy(phrase, reason, words)), None)


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
