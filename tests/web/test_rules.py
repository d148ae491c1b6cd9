"""/help: every published rule in both languages, each at the URL that refusals link to."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from lxml import html
from sqlalchemy import delete

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.ports import AWAY, BorrowerFacts
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.rules.published_rules import PUBLISHED, PUBLISHED_ZH
from hkall_gateway.rules.settings import CATEGORIES, Policy
from hkall_gateway.web.patron.home import chapters
from tests.web.conftest import Browser, Site


@pytest.mark.parametrize(("language", "sentences"), [("en", PUBLISHED), ("zh-Hant", PUBLISHED_ZH)])
def test_every_rule_is_shown_without_login(site: Site, language: str, sentences: dict[str, str]) -> None:
    page = html.fromstring(site.browser().get("/help", headers={"Accept-Language": language}).text)
    shown = {row.get("id"): row.findtext("dd") for row in page.xpath("//dl/div")}
    assert shown == dict(sentences)


@pytest.mark.parametrize(("language", "words"), [("en", "you cannot unsubscribe"), ("zh-Hant", "不能取消訂閱")])
def test_rules_page_explains_that_letters_are_notices(site: Site, language: str, words: str) -> None:
    page = html.fromstring(site.browser().get("/help", headers={"Accept-Language": language}).text)
    assert words in page.xpath("string(//section[@id='letters'])")
    assert page.xpath("//section[@id='letters']//a/@href") == ["/record"]


@pytest.mark.parametrize(
    ("language", "label", "full_time"),
    [("en", "Undergraduates", "full-time students only"), ("zh-Hant", "本科生", "只限全日制學生")],
)
def test_help_lists_quota_loan_period_and_renewals_of_every_category(
    site: Site, monkeypatch: pytest.MonkeyPatch, language: str, label: str, full_time: str
) -> None:
    library = replace(site.world.circulation.library, policy=Policy())
    monkeypatch.setattr(Circulation, "library", library)
    page = html.fromstring(site.browser().get("/help", headers={"Accept-Language": language}).text)
    rows = [[" ".join(cell.text_content().split()) for cell in row] for row in page.xpath("//*[@id='categories']//tbody/tr")]
    assert [row[1:] for row in rows] == [[str(one.quota), str(one.loan_days), "2"] for one in CATEGORIES]
    assert [label, "15", "15", "2"] in rows
    assert sum(full_time in row[0] for row in rows) == 2


def test_help_page_marks_the_category_of_the_patron_who_is_logged_in(site: Site) -> None:
    def marked(browser: Browser) -> list[str]:
        page = html.fromstring(browser.get("/help").text)
        return [row.xpath("string(th)").split()[0] for row in page.xpath("//*[@id='categories']//tr[@aria-current]")]

    assert marked(site.patron("UG1")) == ["Undergraduates"]
    assert marked(site.browser()) == marked(site.staff()) == []


def test_help_page_asks_the_local_system_only_about_a_patron_who_is_not_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def known(_ils: object, card: str, _bib_id: str = "") -> BorrowerFacts:
        asked.append(card)
        return AWAY

    loaded, other = site.patron("UG1"), site.patron("UG2")
    monkeypatch.setattr(ConnectedSystem, "known", known)
    site.world.store.now(lambda unit: unit.execute(delete(PATRONS).where(PATRONS.c.barcode == "UG2")))
    assert [browser.get("/help").status_code for browser in (loaded, other)] == [200, 200]
    assert asked == ["UG2"]


def test_both_languages_state_the_same_figures() -> None:
    """Days, times and dollars of the English text are in the Chinese one."""
    words = {"five": "五", "twelve": "十二", "fifteen": "十五", "seven": "七", "twice": "兩次", "HK$2": "2 元", "HK$4": "4 元"}
    assert PUBLISHED.keys() == PUBLISHED_ZH.keys()
    for number, english in PUBLISHED.items():
        for word, chinese in words.items():
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", english, re.IGNORECASE) and number != "R11a":
                assert chinese in PUBLISHED_ZH[number], (number, word)


def test_every_rule_is_in_exactly_one_chapter() -> None:
    assert [number for _, numbers in chapters() for number in numbers] == list(PUBLISHED)
    assert len(chapters()) == 5
