"""The tables of screen messages."""

from __future__ import annotations

import string
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.rules.dates import window
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.sip2.screen_messages import LANGUAGES, Notice, language_of, notice_text, say

REFUSALS = {why.value: dict(zip(LANGUAGES, why.terminal, strict=True)) for why in Reason}
ROWS = {**REFUSALS, **{news.name: dict(zip(LANGUAGES, news.value, strict=True)) for news in Notice}}


def _blanks(text: str) -> set[str]:
    """Return the placeholders; one ending in _zh counts as the same placeholder, filled in Chinese."""
    return {name.removesuffix("_zh") for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_reason_and_notice_has_a_screen_message() -> None:
    assert all(any(why.terminal) for why in Reason)
    assert len({*Notice.__members__}) == len(Notice), "two notices with the same words are one"


@pytest.mark.parametrize("name", list(ROWS))
def test_every_screen_message_has_all_languages_with_the_same_placeholders(name: str) -> None:
    row = ROWS[name]
    assert set(row) == set(LANGUAGES)
    assert len({frozenset(_blanks(text)) for text in row.values()}) == 1


@pytest.mark.parametrize("name", list(ROWS))
def test_screen_message_fits_a_small_screen(name: str) -> None:
    assert 0 < len(ROWS[name]["en"]) <= 80
    assert 0 < len(ROWS[name]["zh-Hant"]) <= 60


@pytest.mark.parametrize("name", list(ROWS))
def test_chinese_text_is_in_big5(name: str) -> None:
    text = ROWS[name]["zh-Hant"]
    assert text.encode("big5hkscs").decode("big5hkscs") == text
    assert not text.isascii()


def test_no_two_reasons_have_the_same_text() -> None:
    for language in LANGUAGES:
        assert len({ROWS[why.value][language] for why in Reason}) == len(Reason)


@pytest.mark.parametrize("why", [reason for reason in Reason if reason.rule])
@pytest.mark.parametrize("language", LANGUAGES)
def test_refusal_names_its_rule(why: Reason, language: str) -> None:
    assert say(why, language, {}).endswith(f"({why.rule})")


def test_refusal_without_a_rule_names_no_rule() -> None:
    assert say(Reason.TRY_AGAIN, "en", {}) == "Not possible at the moment. Please try again"


@pytest.mark.parametrize("language", LANGUAGES)
def test_self_check_refers_patrons_to_the_lending_services_counter(language: str) -> None:
    text = say(Reason.COUNTER_ONLY, language, {"place": "HKU-MAIN-LENDING"})
    assert "Lending Services" in text
    assert "HKU-MAIN-LENDING" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_suspension_message_refers_to_interlibrary_loans(language: str) -> None:
    suspended = window("borrow_request", Policy(), date(2017, 7, 1), ("",))
    assert suspended is not None
    detail = {"end": suspended.end, "message": suspended.message, "message_zh": suspended.message_zh}
    assert "Interlibrary Loans Services" in say(Reason.SERVICE_SUSPENDED, language, detail)


def test_dates_are_filled_in_as_days() -> None:
    detail = {"from": date(2017, 3, 8), "due": datetime(2017, 3, 15, 23, 59, 59)}  # noqa: DTZ001
    assert say(Reason.RENEWAL_TOO_SOON, "en", detail) == "Can be renewed from 2017-03-08 on. Due on 2017-03-15 (R29)"


def test_missing_placeholder_value_is_shown_without_an_error() -> None:
    assert say(Reason.PATRON_EXPIRED, "en", {}) == "Your card expired on … (R2)"
    assert notice_text(Notice.RENEWED, "en", due=None) == "Renewed until …"


def test_unknown_language_falls_back_to_english() -> None:
    assert say(Reason.NOT_ON_LOAN, "fr", {}) == "This book is not on loan"


@given(
    st.sampled_from(Reason), st.text(), st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.integers(), st.dates()))
)
def test_any_detail_or_language_is_accepted(why: Reason, language: str, detail: dict[str, object]) -> None:
    assert say(why, language, detail)


@given(st.text())
def test_placeholders_in_a_detail_are_not_expanded(value: str) -> None:
    said = say(Reason.PICKUP_LOCATION, "en", {"place": "{" + value + "}"})
    assert said == f"Books can be collected at {{{value}}} only (R4)"


@pytest.mark.parametrize(
    ("code", "patron", "terminal", "language"),
    [
        ("000", "zh-Hant", "en", "zh-Hant"),
        ("000", "", "zh-Hant", "zh-Hant"),
        ("000", "en", "zh-Hant", "en"),
        ("000", "", "", "en"),
        ("000", "fr", "zh-Hant", "en"),
        ("000", "zh-HK", "en", "zh-Hant"),
        ("", "zh-Hant", "en", "zh-Hant"),
        ("001", "zh-Hant", "zh-Hant", "en"),
        ("019", "en", "en", "zh-Hant"),
        ("027", "en", "en", "zh-Hant"),
        ("014", "zh-Hant", "zh-Hant", "en"),
        ("xyz", "zh-Hant", "zh-Hant", "en"),
    ],
)
def test_message_language_overrides_patron_and_terminal_language(code: str, patron: str, terminal: str, language: str) -> None:
    assert language_of(code, patron, terminal) == language
