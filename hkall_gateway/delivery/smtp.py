"""Sends letters by SMTP, one message per session."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.message import EmailMessage
from io import BytesIO
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.mail.smtp import ESMTPSenderFactory, SMTPClientError, SMTPDeliveryError, SMTPSenderFactory
from twisted.python.failure import Failure

from hkall_gateway.circulation.borrowers import patron_blocks
from hkall_gateway.circulation.command import Context, Library
from hkall_gateway.circulation.find_request import is_another_book
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db import bind
from hkall_gateway.db.database import Store
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.letters import Facts, Sender, compose, plain_text
from hkall_gateway.rules import dates, eligibility, overdue_fine, policy
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages import letters
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Grant, Holding, Request, Sensitive

LOG = structlog.get_logger()

TIMEOUT_S = 30
_ADDRESS = re.compile(r"(?!.*=\?)[^\s\x00-\x1f\x7f@<>()\[\],;:\\\"]+@[^\s\x00-\x1f\x7f@<>()\[\],;:\\\"]+")
"""Matches an email address without blanks, control characters, or the syntax for comments, lists and encoded words."""
_SHOWN_ADDRESS = re.compile(r"<?[^\s<>@]+@[^\s<>@]+>?")
_plain: Callable[..., SMTPSenderFactory] = SMTPSenderFactory  # twisted.mail has no types
_extended: Callable[..., SMTPSenderFactory] = ESMTPSenderFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """The mail server for our letters. `password` is used only with a `login`. `starttls` requires encryption."""

    host: str
    port: int
    login: str = ""
    password: Sensitive = NOTHING
    starttls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Whole(BytesIO):
    """A file that is always read in one chunk.

    Twisted's client escapes leading dots chunk by chunk, and would miss a dot at the beginning of a chunk.
    """

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002  # returns everything, whatever `size` is
        return super().read()


def smtp_post(reactor: Any, server: MailServer) -> Callable[[EmailMessage, str], Deferred[object]]:
    """Return a function that sends one message to the mail server.

    The function's Deferred fails with SMTPDeliveryError if the server refused the message, with ConnectionError if the session
    failed before the first byte of the message, and with another SMTPClientError if the message may have arrived.
    """

    def post(message: EmailMessage, sender: str) -> Deferred[object]:
        done: Deferred[object] = Deferred()
        factory = sender_factory(server, sender, str(message["To"]), message.as_bytes(), done)
        reactor.connectTCP(server.host, server.port, factory, timeout=TIMEOUT_S)
        return done.addErrback(_connection_error, factory.file)

    return post


def _connection_error(failure: Failure, body: BytesIO) -> Failure:
    error = failure.value
    if isinstance(error, SMTPClientError) and not isinstance(error, SMTPDeliveryError) and not body.tell():
        raise ConnectionError(str(error)) from error
    return failure


def sender_factory(server: MailServer, sender: str, to: str, body: bytes, done: Deferred[object]) -> Any:  # callers modify it
    """Create the client for one SMTP session. `body` has LF line ends, which Twisted's client converts to CRLF."""
    envelope = (sender.encode(), [to.encode()], _Whole(body), done)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _LetterRows:
    """Rows for a letter, read when it is sent. `earlier` are the letters that the patron has or may have."""

    borrower: Borrower | None
    request: Request | None
    earlier: Sequence[letters.EarlierLetter]
    closed: dates.Closures
    copy: Holding | None
    copy_title: str
    may_borrow: bool
    lender: Partner | None


class Mailer:
    """Sends letters to patrons' current addresses. The pickup period starts today unless staff granted a longer period (R14).

    `server` is the mail server's name in error messages.
    """

    def __init__(
        self,
        store: Store,
        post: Callable[[EmailMessage, str], Awaitable[object]],
        sender: Sender,
        library: Callable[[], Library],
        now: Callable[[], datetime],
        server: str = "the mail server",
    ) -> None:
        self._store, self._post, self._sender, self._library, self._now = store, post, sender, library, now
        self._server = server

    async def deliver(self, row: OutboxRow) -> DeliveryResult:
        """Send one letter if the reason for it still holds. Return a missing or refused address as a result (R42)."""
        letter = row.payload
        assert isinstance(letter, PatronNotice)
        found = await self._store.read(bind(_read_letter_rows, letter, self._library(), self._now()), is_long=True)
        if found.request is None or not letters.reason_stands(letter, found.request, found.earlier):
            why = "the request is not here any more"
            if found.request is not None:
                due = f", due on {found.request.due}" if found.request.due else ""
                why = f"it holds no more: the request is {found.request.position}{due}"
            return DeliveryResult(kind=DeliveryKind.NOT_NEEDED, detail=why)
        if found.borrower is None or not is_address(found.borrower.email.reveal()):
            return DeliveryResult(kind=DeliveryKind.UNDELIVERABLE, detail="no address")
        now = self._now()
        last = _last_day_to_collect(letter, found.request, self._library(), found.closed, now)
        try:
            message = compose(
                letter, found.borrower, self._sender, _letter_facts(found, found.request, last, self._library(), now)
            )
        except Exception as error:
            LOG.exception("mail.letter_not_composed", notice=letter.notice, letter=letter.send)
            why = f"it cannot be composed: {type(error).__name__}; see the log"
            return DeliveryResult(kind=DeliveryKind.UNDELIVERABLE, detail=why)
        return await self._send(message, dates.civil(now), last)

    async def _send(self, message: EmailMessage, today: date, last: date | None) -> DeliveryResult:
        try:
            await self._post(message, self._sender.address)
        except SMTPDeliveryError as error:
            # A 5xx reply is final for this address. A 4xx reply may be retried.
            kind = DeliveryKind.UNDELIVERABLE if error.code >= 500 else DeliveryKind.LATER
            detail = self._error_detail(f"smtp {error.code}", error.resp, message)
        except SMTPClientError as error:
            kind, name = DeliveryKind.UNKNOWN, type(error).__name__
            detail = self._error_detail(f"smtp {error.code} {name}", error.resp, message)
        except (OSError, ConnectError) as error:
            kind, detail = DeliveryKind.UNREACHABLE, self._error_detail(f"smtp {type(error).__name__}", str(error), message)
        else:
            text = Sensitive(f"{message['Subject']}\n\n{plain_text(message)}")
            return DeliveryResult(kind=DeliveryKind.ACCEPTED, sent_on=today, last_day=last, text=text)
        return DeliveryResult(kind=kind, detail=detail)

    def _error_detail(self, what: str, text: bytes | str, message: EmailMessage) -> str:
        """Describe the error in the server's words, without the patron's address, which must not reach the log."""
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        user = str(message["To"]).partition("@")[0]
        shown = _SHOWN_ADDRESS.sub("…", words)
        shown = re.sub(rf"(?<!\w){re.escape(user)}(?!\w)", "…", shown, flags=re.IGNORECASE)
        return f"{what} from {self._server}: {' '.join(shown.split())}"[:300]


def is_address(text: str) -> bool:
    """Check that an email address is well-formed. Only the mail server knows whether the mailbox exists (R42)."""
    return _ADDRESS.fullmatch(text) is not None


def _read_letter_rows(unit: UnitOfWork, letter: PatronNotice, library: Library, now: datetime) -> _LetterRows:
    request = unit.requests.find(letter.request)
    card = request.patron if request and request.patron else letter.patron  # the card may have been replaced
    copy = unit.holdings.find(request.item) if request and request.item else None
    copy_title = ""
    if request and is_another_book(request, copy):
        copy_title = unit.holdings.full_title(copy) if copy else ""
    elif request and copy is None:
        copy = next(iter(unit.holdings.of_title(request.bib_id)), None)  # which has the same author
    borrower = unit.patrons.find(card)
    may_borrow = True
    if borrower is not None:
        blocks = patron_blocks(Context(unit, library, now), card)
        may_borrow = isinstance(eligibility.may_use(borrower, library.policy, now, blocks), Grant)
    return _LetterRows(
        borrower=borrower,
        may_borrow=may_borrow,
        request=request,
        earlier=unit.notices.earlier(letter.request),
        closed=unit.partners.closed_days(library.agency),
        copy=copy,
        copy_title=copy_title,
        lender=unit.partners.find(letter.lender or (request.partner if request else "")),
    )


def _last_day_to_collect(
    letter: PatronNotice, request: Request, library: Library, closed: dates.Closures, now: datetime
) -> date | None:
    """Return the last day to collect the book. The pickup letter starts the period, unless staff granted a longer one."""
    if letter.send != Notification.LETTER_PICKUP:
        return request.pickup_last
    pickup_last = policy.pickup_last(dates.civil(now), library.policy, closed)
    return max(pickup_last, request.pickup_last or date.min)


def _letter_facts(found: _LetterRows, request: Request, last: date | None, library: Library, now: datetime) -> Facts:
    today = dates.civil(now)
    tomorrow = dates.after(max(today, request.due or today), 1)
    cents, today_cents = (overdue_fine.rate_for(request, day, library.policy) for day in (tomorrow, today))
    return Facts(
        at=now,
        suspension=dates.requests_suspended_on(library.policy, today),
        due=request.due,
        last_day=last,
        day_cents=cents,
        from_tomorrow=cents != today_cents,
        author=found.copy.author if found.copy else "",
        title=found.copy_title,
        ask_first=not found.may_borrow,
        volume=found.copy.volume if found.copy and found.copy_title else request.volume,
        asked_volume=request.volume,
        lender=found.lender,
        barcode=request.item_barcode,
    )
