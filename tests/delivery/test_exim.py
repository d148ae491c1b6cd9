"""Every kind of letter, in both languages, from the real daemon through a real mail server into a mailbox."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner
from sqlalchemy import insert
from twisted.internet.threads import blockingCallFromThread
from twisted.protocols import portforward

from demo import demo_setup
from hkall_gateway import clock
from hkall_gateway.cli import main
from hkall_gateway.config import gateway as configuration
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import HOLDINGS, NOTICES, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.bounces import read_bounce
from hkall_gateway.delivery.letters import LANGUAGES, in_words
from hkall_gateway.rules import dates
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import is_letter
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import exim
from tests.company import COMMAND, PATIENCE_S, Gateway, until
from tests.exim import BUSY, GONE, Exim
from tests.ports import free_ports

pytestmark = pytest.mark.long

P = Position
KINDS: Final = tuple(send for send in Notification if is_letter(send))
TITLE: Final = "紅樓夢 & <Dream> =?utf-8?q?=0D=0ABcc=3A_all=40evil.test?= \u202eabc"
AUTHOR: Final = "曹雪芹"
KEY: Final = "opensesame-of-the-letters"


def facts(send: Notification, today: date) -> dict[str, Any]:
    """The position of a request for which this kind of letter is valid."""

    def day(number: int) -> date:
        return today + timedelta(days=number)

    # fmt: off
    rows: dict[Notification, dict[str, Any]] = {
        Notification.LETTER_PICKUP:           {"position": P.RECEIVED, "received_on": today},
        Notification.LETTER_PICKUP_REMINDER:  {"position": P.RECEIVED, "pickup_last": day(1)},
        Notification.LETTER_UNFILLED:         {"position": P.UNFILLED, "reason": "not_on_shelf"},
        Notification.LETTER_RECALLED:         {"position": P.ON_LOAN, "due": day(7), "recalled_on": today},
        Notification.LETTER_RECALL_CANCELLED: {"position": P.ON_LOAN, "due": day(20), "recall_was_on": today},
        Notification.LETTER_OVERDUE:          {"position": P.ON_LOAN, "due": day(-1), "overdue_notice_for": day(-1)},
        Notification.LETTER_RENEWAL_DENIED:   {"position": P.ON_LOAN, "due": day(5), "renewal_sync": RenewalSync.DENIED},
        Notification.LETTER_EXPIRED:          {"position": P.RECEIVED, "expired_pickup": True},
        Notification.LETTER_POSTPONED:        {"position": P.NEW},
        Notification.LETTER_DECLINED:         {"position": P.REQUESTED, "reason": "not_suitable"},
    }
    # fmt: on
    return rows[send]


WITHOUT_COPY: Final = {P.NEW, P.UNFILLED, P.REQUESTED}
RETURNED: Final = {
    Notification.LETTER_RECALLED,
    Notification.LETTER_RECALL_CANCELLED,
    Notification.LETTER_OVERDUE,
    Notification.LETTER_RENEWAL_DENIED,
}
"""Letters that say where to return the item."""
DROP: Final = {"en": "not the book drop", "zh-Hant": "切勿投入還書箱"}
PLACE: Final = {"en": "the Lending Services counter of the Main Library", "zh-Hant": "總館借還服務櫃檯"}
SIGNED: Final = {"en": "The University of Hong Kong Libraries", "zh-Hant": "香港大學圖書館"}
LENDER: Final = {"en": "The Chinese University of Hong Kong Library", "zh-Hant": "香港中文大學圖書館"}


class _Recorder(portforward.ProxyServer):
    """One SMTP session: the bytes that the gateway sends to the mail server."""

    def connectionMade(self) -> None:  # noqa: N802
        self.said = bytearray()
        factory: Any = self.factory
        factory.conversations.append(self.said)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.said += data
        super().dataReceived(data)  # type: ignore[no-untyped-call]


class Relay(portforward.ProxyFactory):
    """A proxy between the gateway and the mail server that records what the gateway sends."""

    protocol = _Recorder

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.conversations: list[bytearray] = []


Read = tuple[bytes, EmailMessage]
"""A delivered message, as stored in its file and as parsed by Python."""


@dataclass(frozen=True)
class Sent:
    """The gateway, the mail server, the recorded sessions, and the delivered letters."""

    gateway: Gateway
    server: Exim
    relay: Relay
    letters: Mapping[tuple[str, str], Read]
    began: datetime

    @property
    def today(self) -> date:
        return dates.civil(self.began)

    def letter(self, send: Notification, language: str) -> EmailMessage:
        """The letter of this kind to the reader of this language."""
        return self.letters[send.value, _reader(language)][1]

    def bounces(self) -> list[bytes]:
        return [raw for raw in self.server.delivered() if b"multipart/report" in raw]


def _letters(server: Exim) -> dict[tuple[str, str], Read]:
    """What was delivered, but for bounces, by the kind of letter and the address."""
    read = [(raw, message_from_bytes(raw, policy=policy.default)) for raw in server.delivered()]
    return {
        (one["Message-ID"].split(".")[1], str(one["To"])): (raw, one)
        for raw, one in read
        if one["Auto-Submitted"] == "auto-generated"
    }


def _reader(language: str) -> str:
    return f"reader-{language.lower()}@connect.test"


@pytest.fixture(scope="module")
def sent(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    exim.refuse_or_skip()
    server = Exim(free_ports(1)[0])
    server.start()
    made, began = Gateway(reactor, tmp_path_factory.mktemp("letters")), clock.now()
    relay = Relay(server.port)
    listening = blockingCallFromThread(reactor, reactor.listenTCP, made.ports.smtp, relay, 50, "127.0.0.1")
    try:
        _prepare(made, began)
        made.start()
        until(lambda: len(server.delivered()) > len(EVERY), "all letters and a bounce are delivered")
        yield Sent(made, server, relay, _letters(server), began)
    finally:
        made.end()
        blockingCallFromThread(reactor, listening.stopListening)
        server.stop()


def _prepare(made: Gateway, now: datetime) -> None:
    """A letter of each kind to a reader of each language, one to an address that is gone, one to a busy one."""
    text = made.path.read_text(encoding="utf-8")
    made.path.write_text(text.replace("[smtp]\n", '[smtp]\nbounce_key_env = "HKALL_BOUNCE_KEY"\n'), encoding="utf-8")
    made.environ["HKALL_BOUNCE_KEY"] = KEY
    engine = open_engine(configuration.load(made.path, made.environ).database.url)
    with engine.begin() as connection:
        copy = {"agency": "CUHK", "bib_id": "b-dream", "title": TITLE, "author": AUTHOR, "barcode": "C-DREAM", "status": "x"}
        connection.execute(insert(HOLDINGS), copy)
        for card, language, address in _patrons():
            row = {"barcode": card, "name": "Chan Siu Fong", "name_zh": "陳小芳", "category": "undergraduates"}
            connection.execute(insert(PATRONS), row | {"email": address, "language": language})
        for language in LANGUAGES:  # the end of a recall is told to a person who has heard of it
            heard = {
                "request": f"{Notification.LETTER_RECALL_CANCELLED.value}-{language}",
                "kind": Notification.LETTER_RECALLED.value,
            }
            connection.execute(insert(NOTICES), heard | {"patron": language, "about": "", "state": "sent", "made_at": now})
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "unused"))
    for send in KINDS:
        for language in LANGUAGES:
            store.now(_write, send, f"{send.value}-{language}", language, now)
    for card in ("GONE", "BUSY"):
        store.now(_write, Notification.LETTER_PICKUP, card, card, now)
    store.close()
    engine.dispose()


def _patrons() -> list[tuple[str, str, str]]:
    readers = [(language, language, _reader(language)) for language in LANGUAGES]
    return [*readers, ("GONE", "en", f"reader@{GONE}"), ("BUSY", "en", f"reader@{BUSY}")]


def _write(unit: UnitOfWork, send: Notification, number: str, card: str, now: datetime) -> None:
    by, told = Actor(who="test", channel="world"), facts(send, dates.civil(now))
    of_copy: dict[str, Any] = {} if told["position"] in WITHOUT_COPY else {"item_agency": "CUHK", "item_barcode": f"C-{number}"}
    request = Request(id=number, side=Side.BORROWING, title=TITLE, bib_id="b-dream", patron=card, partner="CUHK", **told)
    opened = unit.open(replace(request, pickup_location=demo_setup.LOCATION, **of_copy), now, by)
    unit.enqueue(send, opened, now, by)


EVERY = [(send, language) for send in KINDS for language in LANGUAGES]
every_letter = pytest.mark.parametrize(("send", "language"), EVERY, ids=[f"{s.value}-{one}" for s, one in EVERY])


# ---- what a reader's program finds


def test_every_letter_is_delivered_once(sent: Sent) -> None:
    assert sent.letters.keys() == {(send.value, _reader(language)) for send, language in EVERY}
    assert len(sent.server.delivered()) - len(sent.bounces()) == len(EVERY)


@every_letter
def test_received_letter_has_no_parsing_defects(sent: Sent, send: Notification, language: str) -> None:
    found = sent.letter(send, language)
    assert [part.defects for part in found.walk()] == [[]] * 3
    assert [header for part in found.walk() for header in part.values() if header.defects] == []


@every_letter
def test_letter_has_each_standard_header_once(sent: Sent, send: Notification, language: str) -> None:
    found = sent.letter(send, language)
    once = ("Date", "Message-ID", "From", "To", "Subject", "Auto-Submitted", "Content-Language", "MIME-Version")
    assert {name: len(found.get_all(name, [])) for name in once} == dict.fromkeys(once, 1)
    assert timedelta(seconds=-1) < found["Date"].datetime - sent.began < timedelta(seconds=PATIENCE_S)
    assert found["Date"].datetime.utcoffset() == timedelta(hours=8)
    assert found["From"].addresses == (Address(SIGNED[language], addr_spec="lending@lib.example.hk"),)
    assert found["To"].addresses == (Address("", addr_spec=_reader(language)),)
    assert (found["Auto-Submitted"], found["Content-Language"], found["MIME-Version"]) == ("auto-generated", language, "1.0")
    assert found["Bcc"] is None
    bodies = [part for part in found.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in bodies] == ["text/plain", "text/html"]
    assert [part.get_content_charset() for part in bodies] == ["utf-8", "utf-8"]


@every_letter
def test_received_letter_has_the_sent_text(sent: Sent, send: Notification, language: str) -> None:
    found, told = sent.letter(send, language), facts(send, sent.today)
    text, html = (found.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[union-attr]
    assert str(found["Subject"]).endswith(TITLE)
    assert text.startswith({"en": "Dear Chan Siu Fong,\n\n", "zh-Hant": "陳小芳：\n\n"}[language])
    assert text.endswith(f"\n\n{SIGNED[language]}\n")
    assert f"\n{TITLE}\n{AUTHOR}\n" in text
    assert "紅樓夢 &amp; &lt;Dream&gt; =?utf-8?q?" in html
    with_copy = told["position"] not in WITHOUT_COPY
    assert (LENDER[language] in text) == (with_copy or told.get("reason", "") != "")
    assert (f"C-{send.value}-{language}\n" in text) == with_copy
    assert (DROP[language] in text) == (send in RETURNED | {Notification.LETTER_PICKUP})
    to_collect = {Notification.LETTER_PICKUP, Notification.LETTER_PICKUP_REMINDER}
    assert (PLACE[language] in text) == (send in RETURNED | to_collect)
    assert "due" not in told or in_words(told["due"], language) in text


@every_letter
def test_delivered_file_has_no_carriage_return_and_no_overlong_line(sent: Sent, send: Notification, language: str) -> None:
    raw, _ = sent.letters[send.value, _reader(language)]
    assert b"\r" not in raw
    assert max(len(line) for line in raw.split(b"\n")) <= 998


def test_every_smtp_line_ends_with_one_crlf(sent: Sent) -> None:
    assert len(sent.relay.conversations) == len(EVERY) + 2
    for said in sent.relay.conversations:
        assert said.endswith(b"\r\n")
        assert re.search(rb"\r(?!\n)|(?<!\r)\n", said) is None
        assert said.count(b"\r\n.\r\n") == 1
        assert said.isascii()


# ---- what comes back


def run(sent: Sent, *words: str, message: bytes = b"") -> tuple[int, str]:
    """A command in this process, beside the daemon."""
    done = CliRunner().invoke(main, [*words, "--config", str(sent.gateway.path)], input=message, env=sent.gateway.environ)
    return done.exit_code, done.output


def states(sent: Sent) -> dict[str, str]:
    rows = json.loads(run(sent, "notices", "--json")[1])
    return {row["request"]: f"{row['state']} {row['error']}".strip() for row in rows if row["kind"] == "letter_pickup"}


def test_mail_alias_can_call_the_command(sent: Sent) -> None:
    command: list[str | Path] = [COMMAND, "bounce", "--config", sent.gateway.path]
    message = b"Subject: out of office\n\nI am away.\n"
    done = subprocess.run(
        command, input=message, env=sent.gateway.environ, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"nothing was marked: this is no delivery status notification (multipart/report)\n"


def test_r42_exim_bounce_marks_its_letter_once(sent: Sent) -> None:
    (message,) = until(lambda: [raw for raw in sent.bounces() if GONE.encode() in raw], "the bounce")
    assert states(sent)["GONE"] == "sent"

    first, again = run(sent, "bounce", message=message), run(sent, "bounce", message=message)

    assert (first[0], again[0]) == (0, 0)
    assert "letter_pickup of GONE: undeliverable (5." in first[1]
    assert "undeliverable already" in again[1]
    assert states(sent)["GONE"].startswith("undeliverable bounced 5.")
    assert "LETTER_BOUNCED" in run(sent, "requests", "trace", "GONE")[1]


def test_r42_exim_delay_notification_is_ignored(sent: Sent) -> None:
    def delayed() -> list[bytes]:
        sent.server.run_queue()
        return [raw for raw in sent.bounces() if BUSY.encode() in raw]

    message, *_ = until(delayed, "word of the delay")
    assert read_bounce(message).action == "delayed"

    code, said = run(sent, "bounce", message=message)

    assert (code, said.count("\n")) == (0, 1)
    assert "delayed 4." in said
    assert states(sent)["BUSY"] == "sent"


def test_bounce_with_a_forged_check_code_is_ignored(sent: Sent) -> None:
    (message,) = until(lambda: [raw for raw in sent.bounces() if GONE.encode() in raw], "the bounce")
    letter = sent.letter(Notification.LETTER_PICKUP, "en")["Message-ID"]
    number = re.match(r"<(\d+)\.", letter)[1]  # type: ignore[index]
    forged = re.sub(
        rb"(?m)^(Message-ID: *<)\d+(\.letter_pickup)", rb"\g<1>" + number.encode() + rb"\2", message, flags=re.IGNORECASE
    )
    assert forged != message

    code, said = run(sent, "bounce", message=forged)

    assert (code, said.count("\n")) == (1, 1)
    assert states(sent)["letter_pickup-en"] == "sent"
