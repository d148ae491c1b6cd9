"""A letter as text and HTML, in the patron's language. Pure: the same letter and the same day give the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hkall_gateway.rules import calendar
from hkall_gateway.rules.tidings import Letter
from hkall_gateway.rules.vocabulary import Borrower

CHINESE = "zh-Hant"
LANGUAGES = ("en", CHINESE)

# fmt: off
REASONS: Mapping[str, Mapping[str, str]] = {
    "not_on_shelf":        {"en": "it was not found on the shelf",         "zh-Hant": "未能在書架上找到此書"},
    "checked_out_locally": {"en": "a reader of that library has it",       "zh-Hant": "此書已由該館讀者借出"},
    "not_suitable":        {"en": "it is not fit to be lent",              "zh-Hant": "此書不宜外借"},
    "none on the shelf":   {"en": "it was not found on the shelf",         "zh-Hant": "未能在書架上找到此書"},
    "silence":             {"en": "that library did not answer",           "zh-Hant": "該圖書館沒有回覆"},
    "not reached":         {"en": "that library could not be reached",     "zh-Hant": "未能聯絡該圖書館"},
    "never sent":          {"en": "it did not leave that library",         "zh-Hant": "此書未有寄出"},
    "lent to another":     {"en": "another of our readers has borrowed it", "zh-Hant": "此書已由本館另一讀者借得"},
    "dropped by staff":    {"en": "",                                      "zh-Hant": ""},
    "other":               {"en": "",                                      "zh-Hant": ""},
}
# fmt: on
"""Why a library did not lend, in words for patrons; a reason without a row is the library's own words, told as they are
(R37, R38). Source: rules.decline_reasons."""


class _Headers(HeaderRegistry):
    """Most headers say the same in every letter: what was taken apart once is used again."""

    def __init__(self) -> None:
        super().__init__()
        self._made = lru_cache(maxsize=128)(super().__call__)

    def __call__(self, name: str, value: Any) -> Any:
        return self._made(name, value)


_POLICY = SMTP.clone(header_factory=_Headers())
_WEEKDAYS_ZH = "一二三四五六日"
_TEXT = Environment(
    loader=PackageLoader("hkall_gateway.mail"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701  # plain text; the HTML part escapes
)
_HTML = Environment(
    loader=PackageLoader("hkall_gateway.mail"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True
)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom a letter comes from: its names for people, and the languages that it writes, the usual one first.

    `places`: what people call a place of collection, by its code. What has no Chinese name is written as in English.
    """

    address: str
    library: str
    places: Mapping[str, str] = field(default_factory=dict)
    library_zh: str = ""
    places_zh: Mapping[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = LANGUAGES

    def named(self, language: str) -> str:
        """The library's name in that language."""
        return (self.library_zh if language == CHINESE else "") or self.library

    def place(self, code: str, language: str) -> str:
        """The name of a place of collection in that language; its code where nobody has named it."""
        found = self.places_zh.get(code) if language == CHINESE else None
        return found or self.places.get(code, code)


def in_words(day: date | None, language: str) -> str:
    """A date as a person says it: "Saturday 11 March 2017", or 2017年3月11日（星期六）."""
    if day is None:
        return ""
    if language == CHINESE:
        return f"{day.year}年{day.month}月{day.day}日（星期{_WEEKDAYS_ZH[day.weekday()]}）"
    return f"{day:%A} {day.day} {day:%B} {day.year}"


def language_of(borrower: Borrower, sender: Sender) -> str:
    """The language that the patron asked for, where the library writes it, else the library's usual one."""
    return borrower.language if borrower.language in sender.languages else sender.languages[0]


def reason_in_words(reason: str, language: str) -> str:
    """Why a library did not lend; where it is none of the page's reasons, the library's own words without their full stop."""
    row = REASONS.get(reason)
    return row[language] if row else reason.rstrip(". ")


def compose(letter: Letter, borrower: Borrower, sender: Sender, last_day: date | None, day_cents: int) -> EmailMessage:
    """The message to send. `last_day` is the last day to collect, counted from today (R14); `day_cents` what a late day costs
    in cents of Hong Kong dollars (R40, R41), 0 = nothing."""
    language = language_of(borrower, sender)
    words = {
        "name": borrower.name_zh.reveal() if language == CHINESE and borrower.name_zh else borrower.name.reveal(),
        "title": letter.title,
        "library": sender.named(language),
        "place": sender.place(letter.pickup_location, language),
        "rate": f"HK${day_cents / 100:.2f}" if day_cents else "",
        "last_day": in_words(last_day, language),
        "due": in_words(letter.due, language),
        "old_due": in_words(letter.old_due, language),
        "late": letter.due is not None and letter.due < calendar.civil(letter.at),
        "reason": reason_in_words(letter.reason, language),
    }
    kind = letter.send.removeprefix("letter_")
    subject, _, text = _TEXT.get_template(f"{kind}.{language}.txt").render(words).partition("\n")
    message = _headers(letter, borrower, sender, subject.removeprefix("Subject:").strip())
    message.set_content(text.strip() + "\n")
    paragraphs = [p.splitlines() for p in text.strip().split("\n\n")]
    shown = {"paragraphs": paragraphs, "language": language, "subject": message["Subject"], "title": letter.title}
    message.add_alternative(_HTML.get_template("letter.html").render(shown), subtype="html")
    return message


def _headers(letter: Letter, borrower: Borrower, sender: Sender, subject: str) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = subject
    message["From"] = formataddr((sender.library, sender.address))
    message["To"] = borrower.email.reveal()
    message["Message-ID"] = (
        f"<{letter.request}.{letter.notice}.{letter.send}@{sender.address.partition('@')[2] or 'localhost'}>"
    )
    message["Auto-Submitted"] = "auto-generated"
    return message
