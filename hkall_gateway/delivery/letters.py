"""Composes letters as text and HTML in the patron's language. Has no side effects: equal input gives equal output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from hkall_gateway.delivery.headers import POLICY, message_id, one_line
from hkall_gateway.rules import dates
from hkall_gateway.rules.lender_reasons import reason_cause, reason_sentence
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.letters import LETTERS
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.settings import Window
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, filled, marked
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Sensitive

LANGUAGES = (ENGLISH, CHINESE)

NO_TITLE: Mapping[str, str] = {"en": "(without a title)", "zh-Hant": "（沒有書名）"}

_WEEKDAYS_ZH = "一二三四五六日"
_HTML = Environment(
    loader=PackageLoader("hkall_gateway.delivery"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=True,
)
_HTML.filters["marked"] = marked
_TEXT = _HTML.overlay(autoescape=False)
_TEXT.globals["filled"] = filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The sender of letters.

    Attributes:
        places: Names of the pickup locations, by code.
        languages: Languages in which the library writes, the default first. A name without a Chinese form stays English.
        key: Key that signs Message-IDs.
        record_url: URL of the patron's record, or "" if the gateway has no web pages.
        lenders_zh: Chinese names of other libraries, by agency.
    """

    address: str
    library: str
    places: Mapping[str, str] = field(default_factory=dict)
    library_zh: str = ""
    places_zh: Mapping[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = LANGUAGES
    key: Sensitive = NOTHING
    record_url: str = ""
    lenders_zh: Mapping[str, str] = field(default_factory=dict)

    def named(self, language: str) -> str:
        """Return the library's name in this language."""
        return (self.library_zh if language == CHINESE else "") or self.library

    def place(self, code: str, language: str) -> str:
        """Return the name of a pickup location in this language, or the code if the location has no name."""
        found = self.places_zh.get(code) if language == CHINESE else None
        return found or self.places.get(code, code)

    def lender(self, partner: Partner | None, language: str) -> str:
        """Return the lender's name in this language, or "" if `partner` is None."""
        if partner is None:
            return ""
        return (self.lenders_zh.get(partner.agency, "") if language == CHINESE else "") or partner.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Data for a letter at the time of sending, in addition to the data that was queued.

    Attributes:
        at: Time of sending.
        last_day: Pickup deadline (R14).
        day_cents: Fine for each further late day, in Hong Kong cents, or 0 for no fine (R40, R41).
        title: Title of the copy that came, if it is not what was asked for, else "". `author`, `volume` and `barcode` are
            of the same book.
        ask_first: Whether the patron's card cannot borrow now, because of its category, end or block (R2).
        suspension: The suspension of requests on the day of sending, if there is one (R1).
        asked_volume: Volume that the patron asked for.
        from_tomorrow: Whether `day_cents` applies only from tomorrow on, because today has another rate.
    """

    at: datetime
    due: date | None = None
    last_day: date | None = None
    day_cents: int = 0
    from_tomorrow: bool = False
    author: str = ""
    title: str = ""
    asked_volume: str = ""
    ask_first: bool = False
    suspension: Window | None = None
    volume: str = ""
    lender: Partner | None = None
    barcode: str = ""


def in_words(day: date | None, language: str) -> str:
    """Format a date in words: "Saturday 11 March 2017", or 2017年3月11日（星期六）."""
    if day is None:
        return ""
    if language == CHINESE:
        return f"{day.year}年{day.month}月{day.day}日（星期{_WEEKDAYS_ZH[day.weekday()]}）"
    return f"{day:%A} {day.day} {day:%B} {day.year}"


def language_of(borrower: Borrower, sender: Sender) -> str:
    """Return the patron's language if the library writes in that language, else the library's default language."""
    return borrower.language if borrower.language in sender.languages else sender.languages[0]


def compose(letter: PatronNotice, borrower: Borrower, sender: Sender, facts: Facts) -> EmailMessage:
    """Compose the message with LF line ends. Reduce each text from a catalogue or a file to one line."""
    language = language_of(borrower, sender)
    words = _template_variables(letter, borrower, sender, facts, language)
    book = [line for line in _TEXT.get_template(f"book.{language}.txt").render(words).split("\n") if line]
    template = _TEXT.get_template(f"{LETTERS[Notification(letter.send)].template}.{language}.txt")
    subject, _, rest = template.render({**words, "book": "\n".join(book)}).partition("\n")
    text = rest.strip("\n")
    message = _make_message(letter, borrower, sender, facts, subject.removeprefix("Subject:").strip(), sender.named(language))
    message.set_content(f"{text}\n")
    paragraphs = [paragraph.split("\n") for paragraph in text.split("\n\n")]
    of_html = {"paragraphs": paragraphs, "language": language, "subject": str(message["Subject"]), "book": book}
    of_html["record_url"] = sender.record_url
    message.add_alternative(_HTML.get_template("letter.html").render(of_html), subtype="html")
    message["Content-Language"] = language  # set last, since adding a body removes this field
    return message


def plain_text(message: EmailMessage) -> str:
    """Return the text of a message, without its HTML form; "" if it has no text."""
    body = message.get_body(("plain",))
    return str(body.get_content()) if body else ""


def _template_variables(
    letter: PatronNotice, borrower: Borrower, sender: Sender, facts: Facts, language: str
) -> dict[str, object]:
    """Return the template variables. Each text is a single line."""
    due, name_zh = facts.due or letter.due, borrower.name_zh.reveal() if language == CHINESE else ""
    texts = {
        "name": name_zh or borrower.name.reveal(),
        "title": one_line(facts.title) or one_line(letter.title) or NO_TITLE[language],
        "asked_for": _asked_for(letter, facts) if facts.title else "",
        "author": facts.author,
        "volume": facts.volume,
        "lender": sender.lender(facts.lender, language),
        "barcode": facts.barcode,
        "library": sender.named(language),
        "place": sender.place(letter.pickup_location, language),
        "rate": f"HK${facts.day_cents / 100:.2f}" if facts.day_cents else "",
        "last_day": in_words(facts.last_day, language),
        "due": in_words(due, language),
        **_suspension_texts(facts.suspension, language),
        "old_due": in_words(letter.old_due, language),
        "reason": reason_cause(letter.reason, language),
        "our_sentence": reason_sentence(letter.reason, sender.lender(facts.lender, language), language),
        "record_url": sender.record_url,
    }
    late = due is not None and due < dates.civil(facts.at)
    claims = {
        "late": late,
        "recalled": letter.recalled,
        "from_tomorrow": facts.from_tomorrow,
        "ask_first": facts.ask_first,
    }
    return {**{name: one_line(text) for name, text in texts.items()}, **claims}


def _suspension_texts(suspension: Window | None, language: str) -> dict[str, str]:
    """Return the day on which requests are open again, and what the patron can do until then."""
    if suspension is None:
        return {"resumes_on": "", "meanwhile": ""}
    return {
        "resumes_on": in_words(dates.first_day_after(suspension), language),
        "meanwhile": dates.suspension_message(suspension, language),
    }


def _asked_for(letter: PatronNotice, facts: Facts) -> str:
    """Return what the patron asked for, for a letter about another book that came instead."""
    return ", ".join(filter(None, (letter.title, facts.asked_volume)))


def _make_message(
    letter: PatronNotice, borrower: Borrower, sender: Sender, facts: Facts, subject: str, library: str
) -> EmailMessage:
    """Create a message with the RFC 5322 header fields, marked as automatic (RFC 3834)."""
    message = EmailMessage(policy=POLICY)
    domain = sender.address.partition("@")[2]
    message["Date"] = format_datetime(facts.at.astimezone(dates.HONG_KONG))
    message["From"] = f"{one_line(library)} <{sender.address}>"
    message["To"] = borrower.email.reveal()
    message["Subject"] = subject
    message["Message-ID"] = message_id(letter.notice, letter.send, letter.request, sender.key, domain)
    message["Auto-Submitted"] = "auto-generated"
    return message
