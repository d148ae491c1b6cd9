"""One Chinese term for each concept in letters, pages, slips, screen messages and published rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hkall_gateway.rules.lender_reasons import LENDER_REASONS
from hkall_gateway.rules.published_rules import PUBLISHED, PUBLISHED_ZH
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import CATEGORIES
from hkall_gateway.sip2.screen_messages import Notice
from tests.web import catalogue

GLOSSARY = {
    "lender": ("借出館", ("借出圖書館", "藏書館", "所屬館", "擁有此書的圖書館")),
    "ask a library": ("提出申請", ("提出要求",)),
    "loan period": ("借閱期", ("的借期", "新借期", "長借期")),
    "home library": ("所屬圖書館", ("本屬圖書館",)),
    "patron's card": ("讀者證", ("圖書證", "借書證")),
    "patron": ("讀者", ("借書人", "用戶")),
    "book": ("圖書", ("書籍",)),
    "last pickup day": ("領取期限", ("取書期限",)),
    "pickup location": ("領取地點", ("取書地點",)),
    "hold shelf": ("預約書架", ("預約架", "留書架")),
    "recall": ("催還", ("召回", "追還")),
    "PIN, password": ("密碼", ("個人識別碼", "口令")),
    "send home": ("送還", ("寄還", "退還")),
    "title": ("書名", ("題名",)),
    "you": ("您", ("你", "閣下")),
}
"""Each English term, its Chinese translation, and translations that a text must not use."""

HOLD = re.compile(r"\bholds?\b", re.IGNORECASE)
REQUEST, HELD = "申請", "預約"
LETTERS = Path(__file__).parents[1] / "hkall_gateway" / "delivery" / "templates"


def pairs() -> Iterator[tuple[str, str]]:
    """Yield every pair of an English and a Chinese text."""
    yield from zip(PUBLISHED.values(), PUBLISHED_ZH.values(), strict=True)
    for reason in Reason:
        yield from (reason.staff, reason.terminal, reason.patron)
    yield from (notice.value for notice in Notice)
    for message in catalogue.chinese():
        if message.id:
            yield str(message.id), str(message.string)


def chinese_texts() -> Iterator[str]:
    """Yield every Chinese text that a patron, a terminal or a clerk may see."""
    for _, chinese in pairs():
        yield chinese
    for path in sorted(LETTERS.glob("*.zh-Hant.txt")):
        yield path.read_text("utf-8")
    for reason in LENDER_REASONS.values():
        yield from (reason.label[1], reason.cause[1], reason.sentence[1])
    for category in CATEGORIES:
        yield category.label_zh


@pytest.mark.parametrize("thing", GLOSSARY)
def test_chinese_texts_use_the_glossary_term(thing: str) -> None:
    word, others = GLOSSARY[thing]
    texts = list(chinese_texts())
    assert [text for text in texts if any(other in text for other in others)] == []
    assert any(word in text for text in texts)


def test_chinese_rule_r3_does_not_say_that_our_library_never_lends() -> None:
    english, chinese = PUBLISHED["R3"], PUBLISHED_ZH["R3"]
    assert "our own" in english
    assert "本館讀者申請的圖書" in chinese
    assert "從不" not in chinese


def test_holds_have_their_own_chinese_term() -> None:
    assert [(english, chinese) for english, chinese in pairs() if bool(HOLD.search(english)) != (HELD in chinese)] == []


def test_letters_use_the_request_term_only_for_requests() -> None:
    letters = "".join(path.read_text("utf-8") for path in sorted(LETTERS.glob("*.zh-Hant.txt")))
    assert REQUEST in letters
    assert HELD not in letters
