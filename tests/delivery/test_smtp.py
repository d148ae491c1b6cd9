"""Sending letters: how SMTP replies are interpreted, and what is never sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import insert
from twisted.internet import error as connection
from twisted.internet.testing import MemoryReactor
from twisted.mail.smtp import SMTPConnectError, SMTPDeliveryError
from twisted.python.failure import Failure

from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.database import finished
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.letters import LANGUAGES, Sender
from hkall_gateway.delivery.smtp import Mailer, MailServer, smtp_post
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxKind, OutboxState
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases

NIGHT = datetime(2017, 3, 6, 15, 59, 59, tzinfo=UTC)  # one second before midnight in Hong Kong
MORNING = datetime(2017, 3, 6, 16, 0, 0, tzinfo=UTC)


def answer(
    fail: Exception | None = None,
    now: datetime = NIGHT,
    email: str = "p1@example.hk",
    given: date | None = None,
    letter_to: str = "P1",
    position: Position = Position.RECEIVED,
    languages: tuple[str, ...] = LANGUAGES,
    state: str = "waiting",
) -> tuple[DeliveryResult, list[EmailMessage]]:
    engine = databases.empty()
    with engine.connect() as connection:
        connection.execute(
            insert(PATRONS), {"barcode": "P1", "name": "Chan", "category": "x", "email": email, "language": "en"}
        )
    sent: list[EmailMessage] = []

    async def post(message: EmailMessage, _sender: str) -> None:
        if fail is not None:
            raise fail
        sent.append(message)

    store = SoleStore(engine, lambda c: UnitOfWork(c, lambda: "R1"))
    held = Request(
        id="R1", side=Side.BORROWING, position=position, title="Dune", bib_id="b-dune", patron="P1", pickup_last=given
    )
    store.now(UnitOfWork.open, held, now, Actor(who="test", channel="world"))
    library = Library(agency="HKU", name="HKU Libraries", policy=Policy(), pickup_locations=("MAIN",))
    sender = Sender(address="lending@lib.hk", library="HKU Libraries", languages=languages)
    mailer = Mailer(store, post, sender, lambda: library, lambda: now, "mail.test:25")
    letter = PatronNotice(send=Notification.LETTER_PICKUP.value, request="R1", patron=letter_to, title="Dune", at=now)
    row = OutboxRow(
        id=1,
        kind=OutboxKind.MAIL,
        send=Notification.LETTER_PICKUP,
        recipient="P1",
        line="mail",
        request="R1",
        payload=letter,
        corr="c1",
        state=OutboxState(state),
        made_at=now,
        next_at=now,
        attempts=1,
        last_error="",
    )
    return finished(mailer.deliver(row)), sent


def test_sent_letter_starts_the_pickup_period_on_its_day() -> None:
    left, (message,) = answer(now=NIGHT)
    assert (left.kind, left.sent_on, left.last_day) == ("accepted", date(2017, 3, 6), date(2017, 3, 11))
    assert "Saturday 11 March 2017" in message.as_string()


def test_letter_in_flight_follows_a_card_replacement() -> None:
    left, (message,) = answer(letter_to="P1-OLD")
    assert (left.kind, message["To"]) == ("accepted", "p1@example.hk")


def test_pickup_period_of_a_letter_sent_after_midnight_starts_the_next_day() -> None:
    left, _ = answer(now=MORNING)
    assert (left.sent_on, left.last_day) == (date(2017, 3, 7), date(2017, 3, 12))


@pytest.mark.parametrize(
    ("given", "last", "told"),
    [
        (date(2017, 3, 10), date(2017, 3, 11), "Saturday 11 March 2017"),
        (date(2017, 3, 20), date(2017, 3, 20), "Monday 20 March 2017"),
    ],
)
def test_r14_late_letter_states_the_extended_pickup_period(given: date, last: date, told: str) -> None:
    left, (message,) = answer(given=given)
    assert left.last_day == last
    assert told in message.as_string()


def test_r42_patron_without_an_email_address_is_not_an_error() -> None:
    left, sent = answer(email="")
    assert (left.kind, left.detail, sent) == ("undeliverable", "no address", [])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SMTPDeliveryError(550, b"no such user"), "undeliverable"),
        (SMTPDeliveryError(450, b"busy"), "later"),
        (SMTPConnectError(-1, b"gone"), "unknown"),  # type: ignore[no-untyped-call]
        (connection.ConnectionRefusedError(), "unreachable"),  # type: ignore[no-untyped-call]
        (TimeoutError(), "unreachable"),
    ],
)
def test_smtp_reply_code_decides_whether_to_retry(error: Exception, kind: str) -> None:
    left, _ = answer(error)
    assert left.kind == kind


@pytest.mark.parametrize(
    "email",
    [
        "=?utf-8?q?=0D=0ABcc:?=@example.hk",
        "nobody",
        "p1@",
        "@example.hk",
        "p1 @example.hk",
        "p1@example.hk\nBcc: all@example.hk",
        "p1@@hk",
        " ",
    ],
)
def test_r42_invalid_email_address_is_not_contacted(email: str) -> None:
    left, sent = answer(email=email)
    assert (left.kind, left.detail, sent) == ("undeliverable", "no address", [])


def test_international_address_is_left_to_the_mail_server() -> None:
    left, (message,) = answer(email="陳@example.hk")
    assert (left.kind, message["To"]) == ("accepted", "陳@example.hk")
    assert message.as_bytes().isascii()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            SMTPDeliveryError(550, b"5.1.1 <p1@example.hk>: user P1 is\r\n unknown"),
            "smtp 550 from mail.test:25: 5.1.1 …: user … is unknown",
        ),
        (SMTPDeliveryError(451, b"busy, p1@example.hk"), "smtp 451 from mail.test:25: busy, …"),
        (SMTPConnectError(-1, b"gone"), "smtp -1 SMTPConnectError from mail.test:25: gone"),  # type: ignore[no-untyped-call]
        (
            ConnectionRefusedError(111, "Connection refused"),
            "smtp ConnectionRefusedError from mail.test:25: [Errno 111] Connection refused",
        ),
        (SMTPDeliveryError(550, b"\xff\xfe" * 400), "smtp 550 from mail.test:25: "),
    ],
)
def test_failure_names_server_code_and_text_without_the_address(error: Exception, told: str) -> None:
    left, _ = answer(error)
    assert left.detail.startswith(told)
    assert "@" not in left.detail
    assert len(left.detail) <= 300


@pytest.mark.parametrize("position", [p for p in Position if p is not Position.RECEIVED])
def test_r12_letter_is_withheld_when_the_item_is_no_longer_on_the_hold_shelf(position: Position) -> None:
    left, sent = answer(position=position)
    assert (left.kind, sent) == (DeliveryKind.NOT_NEEDED, [])
    assert position.value in left.detail


def test_letter_of_unknown_outcome_is_not_reported_as_sent_when_no_longer_needed() -> None:
    left, sent = answer(position=Position.ON_LOAN, state="unsure")
    assert (left.kind, sent) == (DeliveryKind.NOT_NEEDED, [])


def test_letter_that_cannot_be_composed_is_undeliverable() -> None:
    left, sent = answer(languages=("tlh",))
    assert (left.kind, sent) == ("undeliverable", [])
    assert left.detail.startswith("it cannot be composed: ")


def test_dots_at_line_starts_are_preserved() -> None:
    body = b"." + b"x" * 20_000 + b"\n.\n"
    factory = factory_for(MailServer(host="mail", port=25))
    assert factory.file.read(16) == factory.file.getvalue()
    assert type(factory.file)(body).read(16) == body


def factory_for(server: MailServer) -> Any:
    reactor: Any = MemoryReactor()  # type: ignore[no-untyped-call]  # twisted has no types here
    message = EmailMessage()
    message["To"] = "p1@example.hk"
    post: Callable[..., Any] = smtp_post(reactor, server)
    post(message, "lending@lib.hk")
    ((host, port, factory, _, _),) = reactor.tcpClients
    assert (host, port) == (server.host, server.port)
    return factory


def test_plain_server_is_used_without_encryption() -> None:
    assert type(factory_for(MailServer(host="mail", port=25))).__name__ == "SMTPSenderFactory"


def test_login_is_sent_only_over_an_encrypted_connection() -> None:
    factory = factory_for(MailServer(host="mail", port=587, login="gateway", password=Sensitive("opensesame"), starttls=True))
    protocol = factory.buildProtocol(None)
    assert (factory.username, factory.password) == (b"gateway", b"opensesame")
    assert (protocol.requireAuthentication, protocol.requireTransportSecurity) == (True, True)


def broken(after: Callable[[Any], object], reason: Exception) -> Any:
    """The error of a message: `after` plays the client on the factory, then the connection ends for `reason`."""
    reactor: Any = MemoryReactor()  # type: ignore[no-untyped-call]
    message = EmailMessage()
    message["To"] = "p1@example.hk"
    message.set_content("A book waits for you.")
    post: Callable[..., Any] = smtp_post(reactor, MailServer(host="mail", port=25))
    done = post(message, "lending@lib.hk")
    factory = reactor.tcpClients[0][2]
    after(factory)
    factory.clientConnectionFailed(None, Failure(reason))  # type: ignore[no-untyped-call]
    failures: list[Any] = []
    done.addErrback(failures.append)
    return failures[0].value


def test_refused_connection_counts_as_not_sent() -> None:
    error = broken(lambda _: None, connection.ConnectionRefusedError())  # type: ignore[no-untyped-call]
    assert isinstance(error, ConnectionError)
    assert "refused" in str(error)
    assert answer(error)[0].kind == "unreachable"


def test_connection_broken_during_the_message_has_an_unknown_outcome() -> None:
    error = broken(lambda factory: factory.file.read(), connection.ConnectionLost())
    assert answer(error)[0].kind == "unknown"
