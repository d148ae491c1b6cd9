"""Letters: in the patron's language, with the dates in words, as text and as HTML."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hkall_gateway.delivery.headers import one_line
from hkall_gateway.delivery.letters import LANGUAGES, NO_TITLE, Facts, Sender, compose, in_words
from hkall_gateway.rules.lender_reasons import DROPPED, LAST_LENDER, OTHER, OURS
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PatronNotice, is_letter
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.settings import Window
from hkall_gateway.rules.vocabulary import Borrower, Sensitive

SENDER = Sender(
    address="lending@lib.example.hk",
    library="The University of Hong Kong Libraries",
    places={"HKU-MAIN-LENDING": "the Lending Services counter"},
    library_zh="香港大學圖書館",
    places_zh={"HKU-MAIN-LENDING": "總館借還服務櫃檯"},
)
AT = datetime(2017, 3, 6, 2, tzinfo=UTC)
FACTS = Facts(at=AT, last_day=date(2017, 3, 11), day_cents=200)


def reader(language: str) -> Borrower:
    return Borrower(
        barcode="P1",
        name=Sensitive("Chan Siu Fong"),
        category="undergraduates",
        name_zh=Sensitive("陳小芳"),
        email=Sensitive("p1@example.hk"),
        language=language,
    )


def letter(send: Notification = Notification.LETTER_PICKUP, title: str = "紅樓夢 & <Dream>") -> PatronNotice:
    return PatronNotice(
        send=send.value,
        request="R1",
        patron="P1",
        title=title,
        at=AT,
        notice=7,
        due=date(2017, 3, 16),
        old_due=date(2017, 3, 31),
        pickup_location="HKU-MAIN-LENDING",
    )


def parts(message: EmailMessage) -> tuple[str, str]:
    sent = message_from_bytes(message.as_bytes(), policy=policy.default)
    text, html = sent.get_body(("plain",)), sent.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def test_r43_pickup_letter_states_item_place_last_day_and_overseas_rule() -> None:
    text, _ = parts(compose(letter(), reader("en"), SENDER, FACTS))
    assert "紅樓夢 & <Dream>" in text
    assert "the Lending Services counter" in text
    assert "Saturday 11 March 2017" in text
    assert "overseas" in text  # R43


def test_pickup_letter_is_in_chinese_for_patrons_who_chose_it() -> None:
    message = compose(letter(), reader("zh-Hant"), SENDER, FACTS)
    text, _ = parts(message)
    assert "陳小芳：" in text
    assert "2017年3月11日（星期六）" in text
    assert message["Subject"] == "可供領取：紅樓夢 & <Dream>"


def test_unsupported_language_falls_back_to_the_librarys_own() -> None:
    text, _ = parts(compose(letter(), reader("fr"), SENDER, FACTS))
    assert text.startswith("Dear Chan Siu Fong")
    chinese = replace(SENDER, languages=("zh-Hant",))
    text, _ = parts(compose(letter(), reader("en"), chinese, FACTS))
    assert text.startswith("陳小芳：")


def test_letter_uses_display_names_of_locations_and_libraries() -> None:
    text, _ = parts(compose(letter(), reader("zh-Hant"), SENDER, FACTS))
    assert "到總館借還服務櫃檯領取" in text
    assert text.rstrip().endswith("香港大學圖書館")
    text, _ = parts(compose(letter(), reader("zh-Hant"), Sender(address="a@b.hk", library="HKU Libraries"), FACTS))
    assert "到HKU-MAIN-LENDING領取" in text
    assert text.rstrip().endswith("HKU Libraries")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("send", [send for send in Notification if is_letter(send)])
def test_every_letter_links_to_the_patron_record_if_pages_are_configured(send: Notification, language: str) -> None:
    url = "https://hkall.test/record"
    text, page = parts(compose(letter(send), reader(language), replace(SENDER, record_url=url), FACTS))
    *_, link, signature = text.rstrip().split("\n\n")
    assert link.endswith(url)
    assert signature == SENDER.named(language)
    assert page.count(f'<a href="{url}"') == 1
    text, page = parts(compose(letter(send), reader(language), SENDER, FACTS))
    assert "record" not in text.casefold()
    assert "<a " not in page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("send", [Notification.LETTER_OVERDUE, Notification.LETTER_RECALLED])
def test_r40_r41_letter_states_the_daily_fine_of_the_policy(send: Notification, language: str) -> None:
    dear, _ = parts(compose(letter(send), reader(language), SENDER, replace(FACTS, day_cents=450)))
    free, _ = parts(compose(letter(send), reader(language), SENDER, replace(FACTS, day_cents=0)))
    assert "HK$4.50" in dear
    assert "HK$" not in free


def test_r26_recall_letter_for_an_overdue_item_asks_for_immediate_return() -> None:
    text, _ = parts(compose(replace(letter(Notification.LETTER_RECALLED), due=date(2017, 3, 5)), reader("en"), SENDER, FACTS))
    assert "It was due on Sunday 5 March 2017. Please return it at once" in text
    assert "by Sunday" not in text


@pytest.mark.parametrize(
    ("due", "from_tomorrow", "told"),
    [
        (date(2017, 3, 7), False, "Each day after that costs HK$2.00."),
        (date(2017, 3, 6), False, "Each day after that costs HK$2.00."),
        (date(2017, 3, 5), True, "From tomorrow each day costs HK$2.00."),
        (date(2017, 3, 5), False, "Each late day costs HK$2.00."),
    ],
)
def test_r41_recall_letter_states_the_rates_and_their_start_dates(due: date, from_tomorrow: bool, told: str) -> None:
    recalled = replace(letter(Notification.LETTER_RECALLED), due=due)
    text, _ = parts(compose(recalled, reader("en"), SENDER, replace(FACTS, from_tomorrow=from_tomorrow)))
    assert told in text
    text, _ = parts(compose(recalled, reader("zh-Hant"), SENDER, replace(FACTS, from_tomorrow=from_tomorrow)))
    assert ("由明天起每日罰款" in text) == from_tomorrow


def test_letter_identifies_the_item_by_title_volume_author_lender_and_barcode() -> None:
    facts = replace(
        FACTS, author="曹雪芹", volume="第二冊", lender=Partner(agency="CUHK", name="CUHK Library"), barcode="C00001"
    )
    text, html = parts(compose(letter(title="紅樓夢"), reader("en"), SENDER, facts))
    assert "\n\n紅樓夢, 第二冊\n曹雪芹\nLent by CUHK Library\nBarcode C00001\n\n" in text
    title, author = '<span lang="zh-Hant">紅樓夢, 第二冊</span>', '<span lang="zh">曹雪芹</span>'
    assert f"<strong>{title}</strong><br>{author}<br>Lent by CUHK Library<br>Barcode C00001</p>" in html
    text, _ = parts(compose(letter(title="紅樓夢"), reader("zh-Hant"), SENDER, facts))
    assert "\n\n紅樓夢，第二冊\n曹雪芹\n借出館：CUHK Library\n條碼：C00001\n\n" in text


def test_chinese_letter_marks_only_other_languages() -> None:
    _, html = parts(compose(letter(title="紅樓夢 / 红楼梦"), reader("zh-Hant"), SENDER, FACTS))
    assert "<strong>紅樓夢 / 红楼梦</strong>" in html
    _, html = parts(compose(letter(title="红楼梦 / Hong lou meng"), reader("zh-Hant"), SENDER, FACTS))
    assert '<strong><span lang="zh-Hans">红楼梦</span> / Hong lou meng</strong>' in html
    assert html.count("<span") == 1


def test_chinese_letter_uses_the_lenders_chinese_name_if_known() -> None:
    sender, facts = (
        replace(SENDER, lenders_zh={"CUHK": "中大圖書館"}),
        replace(FACTS, lender=Partner(agency="CUHK", name="CUHK Library")),
    )
    assert "借出館：中大圖書館\n" in parts(compose(letter(), reader("zh-Hant"), sender, replace(facts, barcode="C1")))[0]
    assert "Lent by CUHK Library\n" in parts(compose(letter(), reader("en"), sender, replace(facts, barcode="C1")))[0]


def test_title_is_emphasised_in_the_html_part() -> None:
    _, html = parts(compose(letter(title="Dune"), reader("en"), SENDER, FACTS))
    assert "<strong>Dune</strong>" in html


def test_html_in_a_title_is_escaped() -> None:
    _, html = parts(compose(letter(title="<script>alert(1)</script>"), reader("en"), SENDER, FACTS))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


# ---- titles and names are text, whatever they hold

EVIL = [
    "\r",
    "\n",
    "\0",
    "\x1b",
    "\u2028",
    "\u202e",
    "\u200f",
    "\ud800",
    "=?utf-8?q?=0D=0ABcc=3A_x=40evil.test?=",
    "=?",
    "Bcc: x",
    "\n\n.",
]
TITLES = st.lists(st.sampled_from(EVIL) | st.text(max_size=20), max_size=20).map("".join)


@given(TITLES | st.text(min_size=2000, max_size=2000), st.text(max_size=60), st.sampled_from(LANGUAGES))
@example("=?utf-8?q?=0D=0AReply-To=3A_x=40evil=0D=0A?=", "Chan", "en")
@example("x" * 2000, "陳", "zh-Hant")
@example("紅" * 2000, "陳", "zh-Hant")
@example("\r\n.\r\nQUIT", "=?utf-8?q?=0D=0A?=", "en")
def test_any_title_and_name_round_trip_through_mail_encoding(title: str, name: str, language: str) -> None:
    borrower = replace(reader(language), name=Sensitive(name), name_zh=Sensitive(name))
    message = compose(letter(title=title), borrower, replace(SENDER, library=f"Library {name}", library_zh=f"館 {name}"), FACTS)
    raw = message.as_bytes()

    back = message_from_bytes(raw, policy=policy.default)

    assert [part.defects for part in back.walk()] == [[]] * 3
    assert back.keys() == message.keys()
    assert str(back["Subject"]) == str(message["Subject"])
    assert str(back["Subject"]).endswith(one_line(title) or NO_TITLE[language])
    assert back["From"].addresses[0].addr_spec == SENDER.address
    text = back.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert f"\n{one_line(title)}" in text
    assert one_line(name) in text.split("\n")[0]
    assert raw.isascii()
    assert b"\r" not in raw
    assert max(map(len, raw.split(b"\n"))) <= 998


@given(TITLES)
def test_header_text_is_one_line_and_normalisation_is_idempotent(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line
    assert line.encode().decode() == line


def test_bidirectional_marks_in_a_title_are_kept() -> None:
    assert one_line("\u200fאבג\u200e 1") == "\u200fאבג\u200e 1"


def test_letter_without_title_or_name_uses_generic_text() -> None:
    nameless = replace(reader("en"), name=Sensitive(""))
    message = compose(letter(title="\r\n"), nameless, SENDER, FACTS)
    text, _ = parts(message)
    assert text.startswith("Dear reader,\n")
    assert message["Subject"] == "Ready for you: (without a title)"


@pytest.mark.walks_a_table
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("send", [s for s in Notification if is_letter(s)])
def test_every_letter_exists_in_every_language(send: Notification, language: str) -> None:
    text, html = parts(compose(letter(send), reader(language), SENDER, FACTS))
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
def test_dates_are_spelled_out(day: date | None, language: str, words: str) -> None:
    assert in_words(day, language) == words


def test_r38_lender_text_is_plain_text() -> None:
    words = replace(letter(Notification.LETTER_UNFILLED), reason='Rebound <b>until</b> May & "checked".')
    text, html = parts(compose(words, reader("en"), SENDER, FACTS))
    assert 'says: Rebound <b>until</b> May & "checked".' in text
    assert "Rebound &lt;b&gt;until&lt;/b&gt; May &amp;" in html


@pytest.mark.parametrize(
    ("lender", "said"),
    [
        (Partner(agency="HKUST", name="科大圖書館"), "\n科大圖書館未能借出"),
        (Partner(agency="CUHK", name="CUHK"), "\nCUHK 未能借出"),
        (None, "\n其中一所圖書館未能借出"),
    ],
)
def test_r38_only_latin_lender_names_are_separated_by_a_blank_in_chinese_text(lender: Partner | None, said: str) -> None:
    declined = compose(letter(Notification.LETTER_DECLINED), reader("zh-Hant"), SENDER, replace(FACTS, lender=lender))
    assert said in parts(declined)[0]


@pytest.mark.parametrize("reason", sorted(OURS - {OTHER, DROPPED}))
def test_refusal_letter_never_attributes_our_own_reason_to_the_lender(reason: str) -> None:
    for language, lender in product(LANGUAGES, (Partner(agency="CUHK", name="CUHK Library"), None)):
        unfilled = replace(letter(Notification.LETTER_UNFILLED), reason=reason)
        text, _ = parts(compose(unfilled, reader(language), SENDER, replace(FACTS, lender=lender)))
        assert "says" not in text
        assert "回覆：" not in text
        assert (lender.name if lender else LAST_LENDER[language]) in text


@pytest.mark.parametrize(
    ("due", "cents", "from_tomorrow", "language", "rate"),
    [
        (date(2017, 3, 3), 200, True, "en", "as soon as you can. From tomorrow each day costs HK$2.00."),
        (date(2017, 3, 3), 200, False, "en", "as soon as you can. Each late day costs HK$2.00."),
        (date(2017, 3, 3), 200, True, "zh-Hant", "請盡快歸還。由明天起每日罰款 HK$2.00。"),
        (date(2017, 3, 3), 0, False, "en", "as soon as you can.\n"),
        (date(2017, 3, 31), 200, False, "en", ""),
    ],
)
def test_cancelled_recall_letter_states_the_rate_for_an_overdue_item(
    due: date, cents: int, from_tomorrow: bool, language: str, rate: str
) -> None:
    facts = replace(FACTS, due=due, day_cents=cents, from_tomorrow=from_tomorrow)
    text, _ = parts(compose(letter(Notification.LETTER_RECALL_CANCELLED), reader(language), SENDER, facts))
    assert rate in text
    assert ("HK$" in text) is bool(rate and cents)


@pytest.mark.parametrize(("reason", "told"), [("other", False), ("not_on_shelf", True), ("dropped by staff", False)])
def test_r38_technical_reason_is_omitted(reason: str, told: bool) -> None:
    for language in LANGUAGES:
        text, _ = parts(compose(replace(letter(Notification.LETTER_UNFILLED), reason=reason), reader(language), SENDER, FACTS))
        assert ("last library" in text or "最後一所圖書館" in text) is told


@pytest.mark.parametrize(("language", "words"), [("en", "It is not what you asked for"), ("zh-Hant", "並非您所申請的圖書")])
def test_r8_letter_about_another_book_describes_the_book_that_came(language: str, words: str) -> None:
    came = replace(FACTS, title="Persuasion", author="Austen", volume="v.2", barcode="C9", asked_volume="v.1")

    text, _html = parts(compose(letter(title="Dune"), reader(language), SENDER, came))

    separator = "，" if language == "zh-Hant" else ", "
    assert f"Persuasion{separator}v.2\nAusten\n" in text
    assert words in text
    assert text.count("Dune") == 1
    assert "Dune, v.1" in text


@pytest.mark.parametrize(
    ("chinese", "meanwhile"), [("", "use Interlibrary Loans Services"), ("請使用館際互借服務", "請使用館際互借服務")]
)
def test_r1_letter_in_chinese_names_the_alternative_in_the_only_language_there_is(chinese: str, meanwhile: str) -> None:
    suspension = Window(
        scope="borrow_request",
        start=date(2017, 3, 1),
        end=date(2017, 3, 17),
        message="use Interlibrary Loans Services",
        message_zh=chinese,
    )
    postponed = letter(Notification.LETTER_POSTPONED)
    text, _page = parts(compose(postponed, reader("zh-Hant"), SENDER, replace(FACTS, suspension=suspension)))
    assert meanwhile in text
    assert "3月18日" in text
