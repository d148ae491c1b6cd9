"""Letters: in the patron's language, with the dates in words, as text and as HTML."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from hkall_gateway.mail.letters import LANGUAGES, Sender, compose, in_words
from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.tidings import Letter, is_letter
from hkall_gateway.rules.vocabulary import Borrower, Sensitive

SENDER = Sender(
    "lending@lib.example.hk", "The University of Hong Kong Libraries", {"HKU-MAIN-LENDING": "the Lending Services counter"}
)
LAST = date(2017, 3, 11)


def reader(language: str) -> Borrower:
    return Borrower(
        "P1",
        Sensitive("Chan Siu Fong"),
        "undergraduates",
        Sensitive("陳小芳"),
        email=Sensitive("p1@example.hk"),
        language=language,
    )


def letter(send: Send = Send.LETTER_PICKUP, title: str = "紅樓夢 & <Dream>") -> Letter:
    at = datetime(2017, 3, 6, 2, tzinfo=UTC)
    return Letter(send.value, "R1", "P1", title, at, 7, date(2017, 3, 16), date(2017, 3, 31), "HKU-MAIN-LENDING")


def parts(message: EmailMessage) -> tuple[str, str]:
    sent = message_from_bytes(message.as_bytes(), policy=policy.default)
    text, html = sent.get_body(("plain",)), sent.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def test_r43_the_pickup_letter_says_what_where_until_when_and_not_overseas() -> None:
    text, _ = parts(compose(letter(), reader("en"), SENDER, LAST))
    assert "紅樓夢 & <Dream>" in text
    assert "the Lending Services counter" in text
    assert "Saturday 11 March 2017" in text
    assert "overseas" in text  # R43


def test_the_pickup_letter_speaks_chinese_to_who_asked_for_it() -> None:
    message = compose(letter(), reader("zh-Hant"), SENDER, LAST)
    text, _ = parts(message)
    assert "陳小芳：" in text
    assert "2017年3月11日（星期六）" in text
    assert message["Subject"] == "可供領取：紅樓夢 & <Dream>"


def test_a_language_that_we_cannot_write_becomes_english() -> None:
    text, _ = parts(compose(letter(), reader("fr"), SENDER, LAST))
    assert text.startswith("Dear Chan Siu Fong")


def test_a_title_cannot_bring_markup_into_the_html_part() -> None:
    _, html = parts(compose(letter(title="<script>alert(1)</script>"), reader("en"), SENDER, LAST))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_title_cannot_bring_another_header_into_the_letter() -> None:
    message = compose(letter(title="Dune\r\nBcc: all@example.hk"), reader("en"), SENDER, LAST)
    assert message["Bcc"] is None
    assert "\n" not in str(message["Subject"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("send", [s for s in Send if is_letter(s)])
def test_every_letter_exists_in_every_language(send: Send, language: str) -> None:
    text, html = parts(compose(letter(send), reader(language), SENDER, LAST))
    assert "紅樓夢" in text
    assert "紅樓夢" in html
    assert "{" not in text + html.partition("<body")[2].replace("style=", "")


@pytest.mark.parametrize(
    ("day", "language", "words"),
    [
        (date(2017, 3, 5), "en", "Sunday 5 March 2017"),
        (date(2017, 12, 31), "zh-Hant", "2017年12月31日（星期日）"),
        (date(2018, 1, 1), "zh-Hant", "2018年1月1日（星期一）"),
        (None, "en", ""),
    ],
)
def test_dates_are_said_in_words(day: date | None, language: str, words: str) -> None:
    assert in_words(day, language) == words
