"""Languages as systems write them: tags of BCP 47 and codes of MARC become the two in which letters are written."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, written


@pytest.mark.parametrize("tag", ["en", "EN", "en-GB", "en_US", "eng", " en "])
def test_every_english_is_english(tag: str) -> None:
    assert written(tag) == ENGLISH


@pytest.mark.parametrize(
    "tag",
    ["zh", "zh-HK", "zh_TW", "ZH-hant", "zh-Hant-HK", "zh-Hans", "zh-CN", "zh-SG", "chi", "zho", "yue", "yue-Hant", "cmn"],
)
def test_every_chinese_is_the_one_that_is_written_here(tag: str) -> None:
    assert written(tag) == CHINESE


@pytest.mark.parametrize("tag", ["", "fr", "fre", "enm", "zhuang", "e", "zha"])
def test_what_is_neither_stays_as_it_is(tag: str) -> None:
    assert written(tag) == tag
