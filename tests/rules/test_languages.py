"""Language tags: BCP 47 tags and MARC codes map to the two languages of letters."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, filled, marked, written


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Dune & <b>", "Dune &amp; &lt;b&gt;"),
        ("城南舊事 / Cheng nan jiu shi", '<span lang="zh-Hant">城南舊事</span> / Cheng nan jiu shi'),
        ("城南旧事", '<span lang="zh-Hans">城南旧事</span>'),
        ("程式裏的鳥", '<span lang="zh-Hant">程式裏的鳥</span>'),
        ("中文", '<span lang="zh">中文</span>'),
        ("你好", '<span lang="zh">你好</span>'),
        ("紅樓夢：第 1 冊 & x", '<span lang="zh-Hant">紅樓夢：第 1 冊</span> &amp; x'),
        ("図書館の本 Toshokan", '<span lang="ja">図書館の本</span> Toshokan'),
        ("経済学", '<span lang="ja">経済学</span>'),
        ("한국의 文化", '<span lang="ko">한국의 文化</span>'),
        ("Война и мир / Voĭna i mir", '<span lang="ru">Война и мир</span> / Voĭna i mir'),
        ("كتاب", '<span lang="ar">كتاب</span>'),
        ("陳大文 Chan Tai Man 先生", '<span lang="zh-Hant">陳大文</span> Chan Tai Man <span lang="zh">先生</span>'),
        ("<'鳥'>", '&lt;&#39;<span lang="zh-Hant">鳥</span>&#39;&gt;'),
        ("", ""),
    ],
)
def test_each_script_other_than_latin_is_marked_with_its_language(text: str, shown: str) -> None:
    assert marked(text) == shown


def test_language_of_ideographs_follows_the_marc_record_and_the_page() -> None:
    assert marked("東京", "jpn") == '<span lang="ja">東京</span>'
    assert marked("東京", "chi") == '<span lang="zh-Hant">東京</span>'
    assert marked("城南舊事", page=CHINESE) == "城南舊事"
    assert marked("中文", page=CHINESE) == "中文"
    assert marked("城南旧事", page=CHINESE) == '<span lang="zh-Hans">城南旧事</span>'
    assert marked("Война 城", page="ru") == 'Война <span lang="zh">城</span>'
