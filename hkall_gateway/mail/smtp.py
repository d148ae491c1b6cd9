"""The way out for letters: one message, one SMTP conversation, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from email.message import EmailMessage
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.mail.smtp import ESMTPSenderFactory, SMTPClientError, SMTPDeliveryError, SMTPSenderFactory

from hkall_gateway.desk.house import House
from hkall_gateway.desk.outcomes import Answer
from hkall_gateway.mail.letters import Sender, compose
from hkall_gateway.rules import calendar, policy
from hkall_gateway.rules.tidings import Letter
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Sensitive
from hkall_gateway.store.database import Store
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit

TIMEOUT_S = 30
_ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f@<>()\[\],;:\\\"]+@[^\s\x00-\x1f\x7f@<>()\[\],;:\\\"]+")
_plain: Any = SMTPSenderFactory  # twisted.mail has no types
_extended: Any = ESMTPSenderFactory


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that takes our mail. `password` is used where there is a `login`; `starttls` insists on encryption."""

    host: str
    port: int
    login: str = ""
    password: Sensitive = NOTHING
    starttls: bool = False


def smtp_post(reactor: Any, server: MailServer) -> Callable[[EmailMessage, str], Deferred[Any]]:
    """A function that hands one message to the mail server; its Deferred fails with an SMTP or a connection error."""

    def post(message: EmailMessage, sender: str) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        factory = _factory(server, sender, str(message["To"]), message.as_bytes(), done)
        reactor.connectTCP(server.host, server.port, factory, timeout=TIMEOUT_S)
        return done

    return post


def _factory(server: MailServer, sender: str, to: str, body: bytes, done: Deferred[Any]) -> Any:
    envelope = (sender.encode(), [to.encode()], BytesIO(body), done)
    if not server.login and not server.starttls:
        return _plain(*envelope, retries=0, timeout=TIMEOUT_S)
    return _extended(
        server.login.encode() or None,
        server.password.reveal().encode() or None,
        *envelope,
        retries=0,
        timeout=TIMEOUT_S,
        requireAuthentication=bool(server.login),
        requireTransportSecurity=server.starttls,
        hostname=server.host,
    )


class Mailer:
    """Carries letters. The address is looked up now; the days to collect count from today, unless more were given (R14)."""

    def __init__(
        self,
        store: Store,
        post: Callable[[EmailMessage, str], Any],
        sender: Sender,
        house: Callable[[], House],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._post, self._sender, self._house, self._now = store, post, sender, house, now

    async def deliver(self, row: OutboxRow) -> Answer:
        """Send one letter. A patron without an address, or a refused one, is an answer for the operators (R42)."""
        letter = row.payload
        assert isinstance(letter, Letter)
        borrower, closed, given = await self._store.read(_addressee, letter, self._house().agency)
        if borrower is None or not is_address(borrower.email.reveal()):
            return Answer("undeliverable", detail="no address")
        today, rules = calendar.civil(self._now()), self._house().policy
        last = max(policy.pickup_last(today, rules, closed), given or date.min)
        cents = rules.fine.recalled_cents if letter.recalled else rules.fine.overdue_cents
        return await self._send(compose(letter, borrower, self._sender, last, cents), today, last)

    async def _send(self, message: EmailMessage, today: date, last: date) -> Answer:
        try:
            await self._post(message, self._sender.address)
        except SMTPDeliveryError as error:
            return _refused(error.code)
        except SMTPClientError as error:
            return Answer("unknown", detail=f"smtp: {type(error).__name__}")
        except (OSError, ConnectError) as error:
            return Answer("unreachable", detail=f"smtp: {type(error).__name__}")
        return Answer("accepted", sent_on=today, last_day=last)


def is_address(text: str) -> bool:
    """Whether a text can stand after "To:" at all; whether somebody reads there is for the mail server to know (R42)."""
    return _ADDRESS.fullmatch(text) is not None


def _refused(code: int) -> Answer:
    """5xx is the server's last word about this address; 4xx is worth another try."""
    kind = "undeliverable" if code >= 500 else "later"
    return Answer(kind, detail=f"smtp {code}")


def _addressee(unit: Unit, letter: Letter, agency: str) -> tuple[Borrower | None, calendar.Closures, date | None]:
    """The reader, our closed days, and until when the book waits as it is."""
    request = unit.request(letter.request)
    card = request.patron if request and request.patron else letter.patron  # replaced since the letter was taken in hand
    return unit.patron(card), unit.closed_days(agency), request.pickup_last if request else None
