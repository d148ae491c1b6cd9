"""docs/letters.md: every kind of letter in every language, from the templates that the gateway uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final

from hkall_gateway.delivery.letters import LANGUAGES, Facts, Sender, compose, plain_text
from hkall_gateway.rules.lender_reasons import LENDER_REASONS
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.letters import LETTERS
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.settings import Notices, Window
from hkall_gateway.rules.vocabulary import Borrower, Sensitive

NAMES: Final[Mapping[str, str]] = {"en": "English", "zh-Hant": "Traditional Chinese"}
AT: Final = datetime(2017, 3, 6, 2, tzinfo=UTC)
SENDER: Final = Sender(
    address="lending@lib.example.hk",
    library="The University of Hong Kong Libraries",
    places={"HKU-MAIN-LENDING": "the Lending Services counter of the Main Library"},
    library_zh="香港大學圖書館",
    places_zh={"HKU-MAIN-LENDING": "總館借還服務櫃檯"},
    record_url="https://hkall.lib.example.edu.hk/record",
    lenders_zh={"CUHK": "香港中文大學圖書館"},
)
READER: Final = Borrower(
    barcode="P0001",
    name=Sensitive("Chan Siu Fong"),
    category="undergraduates",
    name_zh=Sensitive("陳小芳"),
    email=Sensitive("p@x.hk"),
)
LETTER: Final = PatronNotice(
    send="", request="R1", patron="P0001", title="紅樓夢", at=AT, notice=1, pickup_location="HKU-MAIN-LENDING"
)
LENDER: Final = Partner(agency="CUHK", name="The Chinese University of Hong Kong Library")
WITH_COPY: Final = Facts(at=AT, author="曹雪芹", lender=LENDER, barcode="C09001")
WITHOUT_COPY: Final = Facts(at=AT, author="曹雪芹", lender=LENDER)

HEAD: Final = """\
# Letters to patrons

<!-- written by `make docs`; change the templates in the code instead -->

The gateway writes these letters, in the language of the patron's record (`en` or `zh-Hant`; BCP 47 tags and MARC codes of a
record are mapped, and `load patrons` names other ones). Each is plain text with the same words in HTML. Choose the letters in
`[notices]` of the policy file, and the mail server in `[smtp]` of gateway.toml. Each letter is checked against its request
when it is sent: if its reason is gone it is not sent, and `hkall-gateway notices` shows it as `not_needed`, or as `unsure` if
an earlier attempt may have arrived.

Where `[web]` is configured, each letter ends with the address of the patron's circulation record, `public_url` with `/record`
(`record_url` in the templates): it has no name, card or number in it, and asks for a login. A patron cannot unsubscribe: these
are notices about books that they have requested or borrowed, and `/help` says so.

Titles and names are data: control characters and line ends in them become blanks; other characters are unchanged.

## Bounces

Let the mail server pipe mail to the address in `smtp.from` into `hkall-gateway bounce`. The command needs the daemon's
environment: put a key into `/etc/hkall/environment` (`openssl rand -hex 32`), name its variable in `smtp.bounce_key_env`, and
write a script

<!-- walk: example -->
```sh
#!/bin/sh
set -a
. /etc/hkall/environment
hkall-gateway bounce --config /etc/hkall/gateway.toml
```

and name it in an alias of exim or postfix, `lending: "|/etc/hkall/bounce"`. The script must run as the daemon's user: the
`user =` of exim's pipe transport, the owner of postfix's file of aliases.

The Message-ID of every letter contains its number and a code made with the key, so that only real bounces can mark a letter.
A final failure marks the letter undeliverable (`hkall-gateway notices --failed`); the request goes on as before (R42). A
report of a delay marks no letter. The same bounce twice is no error. Exit code 1: no letter was marked, and one line gives
the reason.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One letter on the page. `when` describes when it is sent, if that differs from the letter's row."""

    send: Notification
    facts: Facts
    letter: Mapping[str, Any]
    when: str = ""

    @property
    def title(self) -> str:
        """The letter's heading on the page."""
        return (self.when or LETTERS[self.send].when).rstrip(".")


_RECALL: Final = {"due": date(2017, 3, 16), "recalled": True}
_LATE: Final = replace(WITH_COPY, day_cents=400, from_tomorrow=True)

_SUSPENSION: Final = Window(
    scope="borrow_request",
    start=date(2017, 6, 6),
    end=date(2017, 7, 17),
    message="please use Interlibrary Loans Services",
    message_zh="請使用館際互借服務",
)

OUR_SENTENCES: Final = tuple(row.key for row in LENDER_REASONS.values() if any(row.sentence))

# fmt: off
SAMPLES: Final[tuple[Sample, ...]] = (
    Sample(Notification.LETTER_PICKUP,           replace(WITH_COPY, last_day=date(2017, 3, 11)), {}),
    Sample(Notification.LETTER_PICKUP_REMINDER,  replace(WITH_COPY, last_day=date(2017, 3, 11)), {}),
    Sample(Notification.LETTER_RECALLED,         replace(WITH_COPY, day_cents=400), {**_RECALL, "old_due": date(2017, 3, 31)}),
    Sample(Notification.LETTER_RECALLED,         replace(WITH_COPY, day_cents=400), _RECALL,
           "The book was recalled before the patron borrowed it: at the loan (R24)."),
    Sample(Notification.LETTER_RECALLED,         _LATE, {**_RECALL, "due": date(2017, 3, 3)},
           "The book is recalled when it is overdue already (R26, R41)."),
    Sample(Notification.LETTER_RECALL_CANCELLED, WITH_COPY, {"due": date(2017, 3, 31)}),
    Sample(Notification.LETTER_RECALL_CANCELLED, replace(_LATE, day_cents=200), {"due": date(2017, 3, 3)},
           "The same when the book is overdue already (R26, R40)."),
    Sample(Notification.LETTER_OVERDUE,          replace(WITH_COPY, day_cents=200), {"due": date(2017, 3, 5)}),
    Sample(Notification.LETTER_OVERDUE,          replace(WITH_COPY, day_cents=400), {"due": date(2017, 3, 5), "recalled": True},
           "The same for a recalled book (R39, R41)."),
    Sample(Notification.LETTER_RENEWAL_DENIED,   WITH_COPY, {"due": date(2017, 3, 16)}),
    Sample(Notification.LETTER_UNFILLED,         WITHOUT_COPY, {"reason": "not_on_shelf"}),
    *(Sample(Notification.LETTER_UNFILLED,       WITHOUT_COPY, {"reason": reason}, f"The same because of `{reason}` (R38).")
      for reason in (*OUR_SENTENCES, "other", "Being rebound until May")),
    Sample(Notification.LETTER_DECLINED,         WITHOUT_COPY, {"reason": "checked_out_locally"}),
    *(Sample(Notification.LETTER_DECLINED,       WITHOUT_COPY, {"reason": reason}, f"The same because of `{reason}` (R38).")
      for reason in ("not_on_shelf", "not_suitable", *OUR_SENTENCES, "other")),
    Sample(Notification.LETTER_POSTPONED,        replace(WITHOUT_COPY, suspension=_SUSPENSION), {}),
    Sample(Notification.LETTER_EXPIRED,          WITH_COPY, {}),
)
# fmt: on


def letters_page() -> str:
    """Return the page, generated with the current templates."""
    return "\n".join([HEAD, *(_section(sample) for sample in SAMPLES)])


def _section(sample: Sample) -> str:
    key = LETTERS[sample.send].notice
    usual = "on" if getattr(Notices(), key) else "off"
    head = f"## {sample.title}\n\n`{sample.send}`; `notices.{key}`, {usual} by default.\n"
    return "\n".join([head, *_in_every_language(sample)])


def _in_every_language(sample: Sample) -> Iterator[str]:
    for language in LANGUAGES:
        letter = replace(LETTER, send=sample.send.value, **sample.letter)
        message = compose(letter, replace(READER, language=language), SENDER, sample.facts)
        yield f"{NAMES[language]}:\n\n```text\nSubject: {message['Subject']}\n\n{plain_text(message)}```\n"
