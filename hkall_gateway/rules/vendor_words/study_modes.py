"""Maps words of local systems (FT, Part-time, 全日制) to modes of study."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from hkall_gateway.rules.settings import StudyModes


class StudyMode(StrEnum):
    """A student's mode of study. The values are used in `categories.study_mode_required`."""

    FULL_TIME = "full_time"
    PART_TIME = "part_time"


def study_mode_of(word: str, words: StudyModes) -> StudyMode | None:
    """Return the mode of study for a local system's word, or None if the policy does not list the word.

    Case, blanks and punctuation are ignored. Source: HKALL rules R2.
    """
    return _modes_by_word(words).get(folded(word))


def folded(word: str) -> str:
    """Reduce a word to its letters and digits, so that `Full-time`, `FULL TIME` and `full_time` are equal."""
    return "".join(letter for letter in word.casefold() if letter.isalnum())


@lru_cache(maxsize=16)
def _modes_by_word(words: StudyModes) -> dict[str, StudyMode]:
    rows = ((StudyMode.FULL_TIME, words.full_time), (StudyMode.PART_TIME, words.part_time))
    return {folded(word): mode for mode, listed in rows for word in (mode.value, *listed) if folded(word)}
