"""Words for the study mode: those of the policy are recognised in any spelling, all others are unknown."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.settings import StudyModes
from hkall_gateway.rules.vendor_words.study_modes import StudyMode, folded, study_mode_of

WORDS = StudyModes()
FULL, PART = StudyMode.FULL_TIME, StudyMode.PART_TIME


@pytest.mark.parametrize(
    ("word", "mode"),
    [
        ("full_time", FULL),
        ("FT", FULL),
        (" ft ", FULL),
        ("F/T", FULL),
        ("F", FULL),
        ("full time", FULL),
        ("Full-Time", FULL),
        ("FULLTIME", FULL),
        ("全日制", FULL),
        ("PT", PART),
        ("P", PART),
        ("part time", PART),
        ("Part-time", PART),
        ("兼讀制", PART),
        ("", None),
        ("-", None),
        ("evening", None),
        ("FTX", None),
    ],
)
def test_r2_study_mode_is_recognised_by_the_words_in_the_policy(word: str, mode: StudyMode | None) -> None:
    assert study_mode_of(word, WORDS) is mode


@pytest.mark.parametrize("mode", StudyMode)
def test_site_specific_study_mode_words_map_to_the_standard_name(mode: StudyMode) -> None:
    words = StudyModes(full_time=("day",), part_time=("evening",))
    assert [study_mode_of(word, words) for word in ("Day", "EVENING", mode.value)] == [FULL, PART, mode]


def test_every_study_mode_word_has_one_meaning() -> None:
    listed = [folded(word) for word in (*WORDS.full_time, *WORDS.part_time)]
    assert len(set(listed)) == len(listed)
    assert all(listed)
