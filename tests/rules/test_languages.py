"""Language tags: BCP 47 tags and MARC codes map to the two languages of letters."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, filled, written


@pytest.mark.parametrize("tag", ["en", "EN", "en-GB", "en_US", "eng", " en "])
def test_every_english_language_tag_maps_to_english(tag: str) -> None:
    assert written(tag) == ENGLISH


@pytest.mark.parametrize(
    "tag",
    ["zh", "zh-HK", "zh_TW", "ZH-hant", "zh-Hant-HK", "zh-Hans", "zh-CN", "zh-SG", "chi", "zho", "yue", "yue-Hant", "cmn"],
)
def test_every_chinese_language_tag_maps_to_chinese(tag: str) -> None:
    assert written(tag) == CHINESE


@pytest.mark.parametrize("tag", ["", "fr", "fre", "enm", "zhuang", "e", "zha"])
def test_other_language_tag_is_unchanged(tag: str) -> None:
    assert written(tag) == tag


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        ("向 %(name)s 申請", "香港大學圖書館", "向香港大學圖書館申請"),
        ("向 %(name)s 申請", "HKU", "向 HKU 申請"),
        ("向 %(name)s 申請", "HKU圖書館", "向 HKU圖書館申請"),
        ("向 %(name)s 申請", "圖書館 B", "向圖書館 B 申請"),
        ("於 %(name)s 休館", "2017年3月11日（星期六）", "於 2017年3月11日（星期六）休館"),
        ("搜尋 HKALL %(name)s 及 %(name)s 申請", "大學 圖書館", "搜尋 HKALL 大學 圖書館及大學 圖書館申請"),
        ("向 %(name)s 申請", "", "向  申請"),
        ("to %(name)s", "香港大學圖書館", "to 香港大學圖書館"),
    ],
)
def test_chinese_characters_are_not_separated_by_blanks(text: str, name: str, shown: str) -> None:
    assert filled(text, name=name) == shown
