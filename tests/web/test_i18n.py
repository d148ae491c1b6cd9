"""Both languages: every text translated, the language kept, dates in library time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web import i18n
from tests.web import catalogue
from tests.web.conftest import Site

NAMED = re.compile(r"%\(\w+\)[sd]|(?<!%)\{\w+\}")


def test_every_text_is_in_the_catalogue_and_translated() -> None:
    """`make catalogue` adds missing texts; a person translates them."""
    there = {message.id: message.string for message in catalogue.chinese() if message.id}
    wanted = {message.id for message in catalogue.texts() if message.id}

    assert wanted == set(there)
    assert [text for text, words in there.items() if not all(words if isinstance(words, tuple) else (words,))] == []


def test_translations_have_the_placeholders_of_their_texts() -> None:
    for message in catalogue.chinese():
        assert set(NAMED.findall(str(message.id))) == set(NAMED.findall(str(message.string))), message.id


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("en-GB", "en"),
        ("zh-HK,zh;q=0.9", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
        ("fr, zh;q=0.5, en;q=0.3", "zh-Hant"),
        ("fr", "en"),
    ],
)
def test_language_follows_the_accept_language_header(site: Site, accepted: str, language: str) -> None:
    page = site.browser().get("/help", headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in page


def test_chosen_language_is_kept_and_returns_to_the_page(site: Site) -> None:
    browser = site.browser()
    page = browser.get("/staff/login?next=/staff/").text
    chinese = re.search(r'<a href="([^"]+)" lang="zh-Hant"[^>]*>繁體中文</a>', page)
    assert chinese
    back = browser.get(chinese[1].replace("&amp;", "&"))

    assert (back.status_code, back.location) == (303, "/staff/login?next=/staff/")
    assert "<h1>職員登入</h1>" in browser.get("/staff/login").text


def test_chinese_templates_are_filled_without_blanks_between_characters(site: Site) -> None:
    app = site.app
    with app.test_request_context("/", headers={"Accept-Language": "zh"}):
        for name, filled in (("<b>圖書館", "前往 &lt;b&gt;圖書館"), ("圖書館", "前往圖書館"), ("LU", "前往 LU")):
            template = app.jinja_env.from_string("{{ _('Go to %(library)s', library=name) }}")
            assert template.render(name=name) == filled
        assert i18n.gettext("Go to %(library)s", library="圖書館") == "前往圖書館"


def test_unknown_language_is_ignored(site: Site) -> None:
    answer = site.browser().get("/language/tlh?next=/help")
    assert answer.location == "/help"
    assert answer.headers.getlist("Set-Cookie") == []


def test_dates_are_formatted_in_library_time(site: Site) -> None:
    late = datetime(2017, 3, 15, 16, 30, tzinfo=UTC)  # half past midnight in Hong Kong
    with site.app.test_request_context("/help"):
        assert i18n.day(date(2017, 3, 16)) == "16 March 2017 (Thursday)"
        assert i18n.moment(late) == "16 March 2017 (Thursday), 00:30"
        assert i18n.clock(late) == "00:30:00"
        assert i18n.day(None) == i18n.moment(None) == i18n.clock(None) == ""
    with site.app.test_request_context("/help", headers={"Accept-Language": CHINESE}):
        assert i18n.day(date(2017, 3, 16)) == "2017年3月16日（星期四）"
        assert i18n.moment(late) == "2017年3月16日（星期四）00:30"


def test_amounts_are_formatted_with_cents() -> None:
    assert [i18n.money(cents) for cents in (0, 5, 1250, 123456)] == ["HK$0.00", "HK$0.05", "HK$12.50", "HK$1,234.56"]
