"""The mode of study, by the words that local systems write for it: FT, Part-time, 全日制."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from hkall_gateway.rules.settings import StudyModes


class StudyMode(StrEnum):
    """A student's mode of study; the values are those of `categories.study_mode_required`."""

    FULL_TIME = "full_time"
    PART_TIME = "part_time"


def study_mode_of(word: str, words: StudyModes) -> StudyMode | None:
    """Return the mode that a word of the local system means; None for no word, and for one that the policy does not list.

    Case, blanks, hyphens, underscores and full stops do not count.
    Source: HKALL rules R2.
    """
    return _modes_by_word(words).get(folded(word))


def folded(word: str) -> str:
    """Return a word for comparison: `Full-time`, `FULL TIME` and `full_time` are one; "" for a word of signs only."""
    return "".join(letter for letter in word.casefold() if letter.isalnum())


@lru_cache(maxsize=16)
def _modes_by_word(words: StudyModes) -> dict[str, StudyMode]:
    rows = ((StudyMode.FULL_TIME, words.full_time), (StudyMode.PART_TIME, words.part_time))
    return {folded(word): mode for mode, listed in rows for word in (mode.value, *listed) if folded(word)}
