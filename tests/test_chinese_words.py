"""One Chinese word for a thing: 申請 is a request, 預約 a hold at the own library, for which HKALL has only the hold shelf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hkall_gateway.rules.published_rules import SENTENCES
from hkall_gateway.sip2.screen_messages import EN, GOOD, WORDS, ZH
from tests.web import catalogue

HOLD = re.compile(r"\bholds?\b", re.IGNORECASE)
REQUEST, HELD = "申請", "預約"
LETTERS = Path(__file__).parents[1] / "hkall_gateway" / "mail" / "templates"


def pairs() -> Iterator[tuple[str, str]]:
    """Every text that has both languages beside each other: English, Chinese."""
    yield from SENTENCES.values()
    for words in (*WORDS.values(), *GOOD.values()):
        yield words[EN], words[ZH]
    for message in catalogue.chinese():
        if message.id:
            yield str(message.id), str(message.string)


def test_a_hold_has_a_word_of_its_own() -> None:
    assert [(english, chinese) for english, chinese in pairs() if bool(HOLD.search(english)) != (HELD in chinese)] == []


def test_the_letters_know_requests_only() -> None:
    letters = "".join(path.read_text("utf-8") for path in sorted(LETTERS.glob("*.zh-Hant.txt")))
    assert REQUEST in letters
    assert HELD not in letters
