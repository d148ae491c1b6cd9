"""The exchange of one message with a terminal: request, context and reply. Also records each terminal's last activity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.partners.local_messages import LATE_EXECUTION
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.net.client_certificate import ClientCertificate, show_none
from hkall_gateway.net.limits.allow_list import AllowList, networks_of
from hkall_gateway.net.limits.connection_limit import AddressQueue
from hkall_gateway.net.limits.rate_limiter import OF_A_TERMINAL, OF_AN_ADDRESS, Guesses, Ways
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.callers import Terminal
from hkall_gateway.rules.dates import end_of
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Sensitive
from hkall_gateway.sip2.client import UNKNOWN_FLAGS, KnownFlags, LastKnown, UpstreamInterface
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.fields import TAGS, date18, parse_date18
from hkall_gateway.sip2.codec.lines import Sip2Message, Value
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.codec.session import Session
from hkall_gateway.sip2.screen_messages import CODES, EN, UNSAID, Notice, language_of, notice_text, say

UNKNOWN_NAMES = ""
"""The key under which logins with unknown names are recorded."""


@dataclass(slots=True)
class LastHeard:
    """The last activity of a terminal.

    Attributes:
        last_code: Code of the last message.
        refused: Number of refused logins.
        refused_why: Reason for the last refusal.
    """

    last_code: str = ""
    last_at: datetime | None = None
    refused: int = 0
    refused_why: str = ""
    refused_at: datetime | None = None


class TerminalLog:
    """Keeps one record for each configured login and one for all unknown names, so that peers cannot make the log grow."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, LastHeard] = defaultdict(LastHeard)
        """The last activity of each terminal, by login."""

    def heard(self, login: str, code: str, now: datetime) -> None:
        """Record a message of a logged-in terminal."""
        last = self.rows[login]
        last.last_code, last.last_at = code, now

    def refused(self, login: str, why: str, now: datetime) -> None:
        """Record a refused login; `login` is UNKNOWN_NAMES if no terminal has the login name."""
        last = self.rows[login]
        last.refused, last.refused_why, last.refused_at = last.refused + 1, why, now


Answer = TypeVar("Answer")

NOWHERE: Final = AllowList(())

OPEN: Final = frozenset({"93", "97", "99"})
"""Messages that every terminal may send, in every role."""
ASKED: Final = frozenset(code for code, shape in SHAPES.items() if shape.reply) - OPEN
"""Messages that terminals send, apart from OPEN. A terminal's role may allow only some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalRow(Terminal):
    """One configured login.

    Attributes:
        role: Name of a role in the policy.
        dialect: SIP2 variant of the terminal's model.
        messages: Codes of the messages that the terminal may send besides 93, 97 and 99.
        offline: Whether offline transactions (no block) of the terminal are accepted as done.
        wrong_pins: Number of wrong PINs within 15 minutes after which no PIN from this terminal is checked.
        max_connections: Maximum number of simultaneous connections with this login.
    """

    dialect: Sip2Dialect = DIALECTS["standard"]
    allow_from: AllowList = NOWHERE
    language: str = EN
    messages: frozenset[str] = ASKED
    offline: bool = False
    wrong_pins: int = OF_A_TERMINAL


NOBODY: Final = TerminalRow(login="", secret_hash="", role="", location="")
"""A terminal that is not logged in."""


class Verifier(Protocol):
    """Checks passwords; implemented by `net.secrets.Secrets`."""

    def verify(self, subject: str, stored: str, secret: str) -> Awaitable[bool]:
        """Check whether `secret` matches the hash `stored`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sip2Services:
    """The services that handlers need.

    Attributes:
        terminals: The configured terminals by login.
        secrets: Checks passwords of logins.
        now: Returns the current time as an aware datetime in UTC.
        upstream: Creates a connection to the local system for a terminal; None if messages are not relayed.
        own_logins: Whether the gateway logs in to the local system with each terminal's own login.
        logins: Runs the password checks for one address one after another.
        guesses: Counts recent wrong PINs.
        wrong_pins: Number of wrong PINs from one network after which no PIN from it is checked.
        institution: AO in replies if messages are relayed; "" for our agency.
        budget_until: Returns the time, in seconds of the clock, until which a message that begins now may query other systems;
            None for no limit.
        known: Caches the local system's answers about cards.
        undoes_checkouts: Whether an unanswered checkout is cancelled in the local system if the item was on the shelf before.
        timeout: Limits the time until a message is answered; None for no limit.
        late_execution: How long after an unanswered message the local system may still carry it out.
    """

    circulation: Circulation
    terminals: Mapping[str, TerminalRow]
    secrets: Verifier
    agency: str
    library_name: str
    timezone: tzinfo
    metrics: Metrics
    now: Callable[[], datetime]
    upstream: Callable[[], UpstreamInterface] | None = None
    own_logins: bool = True
    logins: AddressQueue = field(default_factory=AddressQueue)
    guesses: Guesses = field(default_factory=Guesses)
    wrong_pins: int = OF_AN_ADDRESS
    institution: str = ""
    budget_until: Callable[[], float | None] | None = None
    known: LastKnown | None = None
    activity: TerminalLog = field(default_factory=TerminalLog)
    undoes_checkouts: bool = False
    timeout: Timeout | None = None
    late_execution: timedelta = LATE_EXECUTION

    def admits(self, address: str) -> bool:
        """Check whether any terminal may connect from this address."""
        return any(row.allow_from.admits(address) for row in self.terminals.values())


@dataclass(slots=True)
class Exchange:
    """One message from a terminal with its context. Treat it as immutable, although it is not frozen (see `Sip2Message`).

    Attributes:
        peer: Address from which the message came.
        now: Time of arrival.
        corr: Correlation id; unique because a terminal sends one request at a time.
        upstream: This terminal's connection to the local system.
        certificate: Returns the certificate that the terminal shows over TLS.
    """

    services: Sip2Services
    session: Session
    message: Sip2Message
    terminal: TerminalRow
    peer: str
    now: datetime
    corr: str
    upstream: UpstreamInterface | None = None
    certificate: Callable[[], ClientCertificate] = show_none

    @property
    def institution(self) -> str:
        """Return the AO for our replies. If messages are relayed, it is the local system's AO, so that all replies agree."""
        return (self.services.institution if self.upstream is not None else "") or self.services.agency

    def remember(self, *, valid: bool, pin_ok: bool, record: Sip2Message | None = None) -> None:
        """Cache the local system's answer about this message's card, for use while that system is unreachable.

        `record` is the 24 or 64 with which the local system answered, if it did so itself.
        """
        if self.services.known is None:
            return
        status, name = "", ""
        if record is not None:
            status, name = record.get("patron_status"), record.get("AE")
        self.services.known.note(
            self.message.get("AA"),
            valid=valid,
            pin_ok=pin_ok,
            pin=self.pin,
            now=self.now,
            status=status,
            name=Sensitive(name),
        )

    def last_known(self, *, known: bool) -> KnownFlags:
        """Return BL and CQ, as last known, for a reply while the local system is unreachable.

        An unknown flag is left out, or sent as N if the dialect requires it. A client that only checks membership (role
        `lookup`) also receives N, since it might take a missing flag for a yes.

        Args:
            known: Whether the card is in the loaded patron file.
        """
        kept = self.services.known
        flags = kept.of(self.message.get("AA"), self.pin, self.now) if kept else UNKNOWN_FLAGS
        leaves_out = self.session.dialect.unknown == "leave_out" and self.terminal.role != "lookup"
        unsaid = "" if leaves_out else "N"
        valid = flags.valid or ("Y" if known else unsaid)
        pin = flags.pin or (unsaid if self.pin else "N")
        return KnownFlags(valid=valid, pin=pin, status=flags.status, name=flags.name)

    @property
    def reply_code(self) -> str:
        """Return the code of the reply to this message."""
        return SHAPES[self.message.code].reply

    @property
    def by(self) -> Actor:
        """Return the actor for a command: the terminal's login, or its address if it is not logged in."""
        return Actor(who=self.terminal.login or self.peer, channel="sip2", message=self.message.code, corr=self.corr)

    @property
    def place(self) -> Place:
        """Return the terminal's role and location."""
        return Place(role=self.terminal.role, location=self.terminal.location)

    @property
    def pin(self) -> Sensitive:
        """Return the PIN of the message."""
        return Sensitive(self.message.get("AD"))

    @property
    def pin_missing(self) -> bool:
        """Return whether the dialect requires a PIN and the message has none."""
        return self.session.dialect.pin_required and not self.pin

    @property
    def no_block(self) -> bool:
        """Return whether the transaction was already done off line; always False if the terminal may not work off line."""
        return self.terminal.offline and self.is_set("no_block")

    def offers(self, code: str) -> bool:
        """Check whether this terminal's dialect and role allow the message."""
        return code not in self.session.dialect.withheld and (code in self.terminal.messages or code in OPEN)

    @property
    def guess_sources(self) -> Ways:
        """Return the sources for which wrong PINs are counted, with limits. A network gets at least the terminal's limit."""
        most = self.terminal.wrong_pins
        most_of_network = max(most, self.services.wrong_pins)
        return {
            f"terminal {self.terminal.login}": most,
            **{f"network {name}": factor * most_of_network for name, factor in networks_of(self.peer)},
        }

    def is_set(self, flag: str) -> bool:
        """Check whether a flag in the message is Y."""
        return self.message.get(flag) == "Y"

    def language(self, patron: str = "") -> str:
        """Return the language for texts: English if the terminal's character set has no Chinese characters."""
        return _choose_language(self.message.get("language"), patron, self.terminal.language, self.session.dialect.encoding)

    def code_of(self, language: str) -> str:
        """Return the SIP2 language code for a reply: the request's code or, if it is unspecified, the code of `language`."""
        code = self.message.get("language").strip()
        return CODES[language] if code in UNSAID else code

    def due(self, day: date | None) -> str:
        """Format a due date for this terminal, as the last second of the day; "" for None."""
        return _format_due(day, self.session.dialect, self.services.timezone) if day else ""

    def date18(self, instant: datetime | None) -> str:
        """Format a time as a SIP2 date in local time; "" for None."""
        return date18(instant, self.services.timezone) if instant else ""

    def instant(self, name: str) -> datetime | None:
        """Return a date field of the message as a datetime in UTC, or None if it is blank or invalid."""
        return parse_date18(self.message.get(name), self.services.timezone)

    def offline_instant(self, *names: str) -> datetime | None:
        """Return the time of an offline transaction, from the first usable field in `names`; None for an online transaction.

        An online transaction counts from its arrival, whatever the terminal's clock shows. A time in the future is ignored,
        because the terminal's clock must be wrong.
        """
        if not self.no_block:
            return None
        found = (self.instant(name) for name in names)
        return next((instant for instant in found if instant and instant <= self.now), None)


@dataclass(slots=True)
class Reply:
    """A handler's reply. Treat it as immutable.

    Attributes:
        no: The refusal, if any, for the log.
        request: Id of the request concerned, for the log.
        body: The local system's reply, which is sent unchanged; `fields` is then empty.
        wrong_pin: Whether the PIN was rejected.
    """

    fields: Mapping[str, Value]
    no: Refused | None = None
    request: str = ""
    body: bytes = field(default=b"", repr=False)
    wrong_pin: bool = False


Handler = Callable[[Exchange], Awaitable[Reply]]

# fmt: off
NEGATIVE: Final[Mapping[str, Mapping[str, Value]]] = {
    # The table lists only values that differ from the codec's defaults (N for flags, 0 for bits and numbers).
    "10": {"alert": "Y", "CL": "exception", "CV": "99"},
    "18": {"circulation_status": "01", "fee_type": "01"},
    "20": {"item_properties_ok": "0"},
    "24": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "26": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "64": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "98": {"protocol_version": "2.00", "BX": "N" * 16},
}
# fmt: on


def reply(exchange: Exchange, given: Mapping[str, Value], no: Refused | None = None, request: str = "") -> Reply:
    """Build a reply from the fields common to all replies and the fields in `given` that this reply may contain."""
    message = exchange.message
    fields: dict[str, Value] = {
        "transaction_date": exchange.date18(exchange.now),
        "language": "",
        "magnetic_media": "U",  # unknown to the gateway; only books are lent (R5)
        "AO": exchange.institution,
        "AA": message.get("AA"),
        "AB": message.get("AB"),
        **given,
    }
    fields["language"] = fields["language"] or exchange.code_of(exchange.language())
    optional, strange = _split_fields(exchange.reply_code, tuple(fields))
    for name in optional:
        if not fields[name]:
            del fields[name]
    for name in strange:
        del fields[name]
    return Reply(fields, no, request)


def refuse(exchange: Exchange, outcome: object, **given: Value) -> Reply:
    """Build the negative reply to the message. Raise TypeError if `outcome` is not a refusal, which would be a bug."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"{exchange.message.code} was answered by {type(outcome).__name__}")
    known = {"AQ": outcome.item.agency if outcome.item else "", "AJ": outcome.title or exchange.message.get("AJ")}
    words = say(
        outcome.why, exchange.language(outcome.language), {"currency": exchange.session.dialect.currency, **outcome.detail}
    )
    language = exchange.language(outcome.language)
    unknown = (notice_text(Notice.PIN_UNKNOWN_NOW, language),) if outcome.detail.get("unknown") == "pin" else ()
    negative = NEGATIVE.get(exchange.reply_code, {})
    if outcome.why is Reason.TRY_AGAIN and "BL" in negative:  # the card cannot be checked now, which is not "invalid"
        flags = exchange.last_known(known=False)
        negative = {**negative, "BL": flags.valid, "CQ": flags.pin}
    return reply(exchange, {**negative, **known, **given, "AF": (words, *unknown)}, outcome)


def refuse_by(exchange: Exchange, why: Reason) -> Reply:
    """Build the negative reply for a reason without further details."""
    return refuse(exchange, Refused(why=why))


async def unless_away(question: Awaitable[Answer]) -> Answer | None:
    """Return the result of a query after a completed command, or None if the database is unavailable.

    The reply then lacks some fields, but still reports the success of the command.
    """
    try:
        return await question
    except Unavailable:
        return None


@lru_cache(maxsize=1024)
def dollars(cents: int) -> str:
    """Format an amount for BV: 1250 cents become "12.50"."""
    return f"{cents // 100}.{cents % 100:02}"


@lru_cache(maxsize=1024)
def _split_fields(code: str, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that are optional in the reply, and the names that the reply may not contain."""
    shape = SHAPES[code]
    always = {*shape.required, *(part.name for part in shape.fixed)}
    optional = {*shape.optional, *(row.tag for row in TAGS.values() if row.extension)} - always
    strange = (name for name in names if name not in always | optional)
    return tuple(name for name in names if name in optional), tuple(strange)


@lru_cache(maxsize=1024)
def _format_due(day: date, dialect: Sip2Dialect, zone: tzinfo) -> str:
    # Cached because many loans have the same due date.
    return dialect.due_text(end_of(day), zone)


@lru_cache(maxsize=1024)
def _choose_language(code: str, patron: str, terminal: str, encoding: str) -> str:
    try:
        "還書".encode(encoding)
    except UnicodeEncodeError:
        return EN
    return language_of(code.strip(), patron, terminal)
