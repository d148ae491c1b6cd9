"""One exchange with a terminal: the terminal, its request and the reply of a handler; and each terminal's last activity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.net.limits.allow_list import AllowList, network_of
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
"""Stands for all names that no terminal has."""


@dataclass(slots=True)
class LastHeard:
    """The last activity of a terminal.

    `last_code` is the code of its last message. `refused` counts its refused logins, with the reason and the instant of the
    last one.
    """

    last_code: str = ""
    last_at: datetime | None = None
    refused: int = 0
    refused_why: str = ""
    refused_at: datetime | None = None


class TerminalLog:
    """Keeps one record for each configured login, and one for all unknown names. No peer can make it grow."""

    def __init__(self) -> None:
        self._heard: dict[str, LastHeard] = {}

    def heard(self, login: str, code: str, now: datetime) -> None:
        """Record a message of a logged-in terminal."""
        if login not in self._heard:
            self._heard[login] = LastHeard()
        last = self._heard[login]
        last.last_code, last.last_at = code, now

    def refused(self, login: str, why: str, now: datetime) -> None:
        """Record a refused login; `login` is UNKNOWN_NAMES for a name that no terminal has."""
        last = self._heard.setdefault(login, LastHeard())
        last.refused, last.refused_why, last.refused_at = last.refused + 1, why, now

    @property
    def rows(self) -> Mapping[str, LastHeard]:
        """Return the last activity of each terminal, by login."""
        return self._heard


Answer = TypeVar("Answer")

NOWHERE: Final = AllowList(())

OPEN: Final = frozenset({"93", "97", "99"})
"""Messages that every terminal may send, in every role."""
ASKED: Final = frozenset(code for code, shape in SHAPES.items() if shape.reply) - OPEN
"""All others that a terminal may send."""


@dataclass(frozen=True, slots=True)
class TerminalRow(Terminal):
    """One configured login.

    Attributes:
        role: A row of the policy's roles.
        dialect: The terminal's make.
        messages: The codes that it may send beside 93, 97 and 99.
        offline: Whether its offline transactions (no block) are accepted as done.
        wrong_pins: The wrong PINs within 15 minutes after which no further PIN from it is checked.
        max_connections: The most connections that may be open with this login at the same time.
    """

    dialect: Sip2Dialect = DIALECTS["standard"]
    allow_from: AllowList = NOWHERE
    language: str = EN
    messages: frozenset[str] = ASKED
    offline: bool = False
    wrong_pins: int = OF_A_TERMINAL


NOBODY: Final = TerminalRow("", "", "", "")
"""A terminal that is not logged in."""


class Verifier(Protocol):
    """Checks whether `secret` matches the hash `stored`; `net.secrets.Secrets` implements it."""

    def verify(self, subject: str, stored: str, secret: str) -> Awaitable[bool]:
        """Return whether the secret matches."""


@dataclass(frozen=True, slots=True)
class Sip2Services:
    """The services that handlers need.

    Attributes:
        terminals: The configured terminals by login.
        secrets: Checks logins; those of one address run one after another in `logins`.
        now: Returns the aware UTC instant.
        upstream: Returns a connection to the local system for one more terminal; None if messages are not relayed.
        own_logins: Whether each terminal logs in there as it did here.
        guesses: Counts recent wrong PINs, at most `wrong_pins` for an address.
        institution: The AO of replies to relayed terminals; "" for our agency.
        budget_until: Returns the second until which a message that begins now may query other systems, None for no limit.
        known: Caches the local system's answers about cards.
        activity: Keeps what each terminal did last.
        undoes_checkouts: Whether an unanswered checkout of an item that was in is cancelled in the local system.
        timeout: Limits the time to an answer; None for no limit.
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

    def admits(self, address: str) -> bool:
        """Return whether any terminal may connect from this address."""
        return any(row.allow_from.admits(address) for row in self.terminals.values())


@dataclass(slots=True)
class Exchange:
    """One message of one terminal, and its context on arrival.

    Like `Sip2Message` it is not frozen; treat it as immutable. `upstream` is this terminal's connection to the local system,
    `peer` the address that it came from. `corr` is a correlation id, unique because a terminal sends one request at a time.
    """

    services: Sip2Services
    session: Session
    message: Sip2Message
    terminal: TerminalRow
    peer: str
    now: datetime
    corr: str
    upstream: UpstreamInterface | None = None

    @property
    def institution(self) -> str:
        """Return the AO of our replies.

        A connection shows one institution: the local system's, if messages are relayed to it.
        """
        return (self.services.institution if self.upstream is not None else "") or self.services.agency

    def remember(self, *, valid: bool, pin_ok: bool) -> None:
        """Cache the local system's answer about this message's card, for use while that system is away."""
        if self.services.known is None:
            return
        self.services.known.note(self.message.get("AA"), valid=valid, pin_ok=pin_ok, pin=self.pin, now=self.now)

    def last_known(self, *, known: bool) -> KnownFlags:
        """Return BL and CQ while the local system is away.

        They are as last known, else left out, or N if the dialect needs them. A client that only checks membership (role
        `lookup`) might read a missing field as a yes and always gets N.

        Args:
            known: Whether the loaded file has the card.
        """
        kept = self.services.known
        flags = kept.of(self.message.get("AA"), self.pin, self.now) if kept else UNKNOWN_FLAGS
        leaves_out = self.session.dialect.unknown == "leave_out" and self.terminal.role != "lookup"
        unsaid = "" if leaves_out else "N"
        return KnownFlags(flags.valid or ("Y" if known else unsaid), flags.pin or (unsaid if self.pin else "N"))

    @property
    def reply_code(self) -> str:
        """Return the code of the reply to this message."""
        return SHAPES[self.message.code].reply

    @property
    def by(self) -> Actor:
        """Return the actor for a command: the terminal's login, or its address without a login."""
        return Actor(self.terminal.login or self.peer, "sip2", self.message.code, self.corr)

    @property
    def place(self) -> Place:
        """Return the terminal's role and location."""
        return Place(self.terminal.role, self.terminal.location)

    @property
    def pin(self) -> Sensitive:
        """Return the PIN of the message."""
        return Sensitive(self.message.get("AD"))

    @property
    def pin_missing(self) -> bool:
        """Return whether this make of terminal requires a PIN and none came."""
        return self.session.dialect.pin_required and not self.pin

    @property
    def no_block(self) -> bool:
        """Return whether the transaction was done off line already.

        The flag is ignored from a terminal that may not work off line.
        """
        return self.terminal.offline and self.is_set("no_block")

    def offers(self, code: str) -> bool:
        """Return whether this terminal may send the message, by its make and its role."""
        return code not in self.session.dialect.withheld and (code in self.terminal.messages or code in OPEN)

    @property
    def guess_sources(self) -> Ways:
        """Return the sources of a PIN with their limits of wrong PINs. A network allows at least as many as its terminal."""
        most = self.terminal.wrong_pins
        return {
            f"terminal {self.terminal.login}": most,
            f"network {network_of(self.peer)}": max(most, self.services.wrong_pins),
        }

    def is_set(self, flag: str) -> bool:
        """Return whether the flag is Y."""
        return self.message.get(flag) == "Y"

    def language(self, patron: str = "") -> str:
        """Return the language for texts; English if the terminal cannot show another."""
        return _choose_language(self.message.get("language"), patron, self.terminal.language, self.session.dialect.encoding)

    def code_of(self, language: str) -> str:
        """Return SIP2's code of the language of our texts; the requested code if there was one."""
        code = self.message.get("language").strip()
        return CODES[language] if code in UNSAID else code

    def due(self, day: date | None) -> str:
        """Format a due date as this terminal shows it, at the last second of the day; "" without one."""
        return _format_due(day, self.session.dialect, self.services.timezone) if day else ""

    def date18(self, instant: datetime | None) -> str:
        """Format an instant in local time; "" without one."""
        return date18(instant, self.services.timezone) if instant else ""

    def instant(self, name: str) -> datetime | None:
        """Return a date field of the message as a UTC instant; None if it is blank or invalid."""
        return parse_date18(self.message.get(name), self.services.timezone)

    def offline_instant(self, *names: str) -> datetime | None:
        """Return the first usable instant among these fields of an offline transaction; None for any other.

        An online transaction happens when it arrives here, whatever the terminal's clock shows. An instant in the future means
        a wrong clock and is ignored.
        """
        if not self.no_block:
            return None
        found = (self.instant(name) for name in names)
        return next((instant for instant in found if instant and instant <= self.now), None)


@dataclass(slots=True)
class Reply:
    """The fields of a reply, with its refusal and request for the log. Treat it as immutable.

    `body` is the local system's reply, which is sent unchanged and has no fields. `wrong_pin` says that the PIN was rejected.
    """

    fields: Mapping[str, Value]
    no: Refused | None = None
    request: str = ""
    body: bytes = field(default=b"", repr=False)
    wrong_pin: bool = False


Handler = Callable[[Exchange], Awaitable[Reply]]

# fmt: off
NEGATIVE: Final[Mapping[str, Mapping[str, Value]]] = {
    # Fields of a negative reply beyond the codec's defaults: unset flags are N, unset bits and numbers 0.
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
    """Make a reply with the fields common to all replies and those of `given` that it may contain. Texts come last."""
    message = exchange.message
    fields: dict[str, Value] = {
        "transaction_date": exchange.date18(exchange.now),
        "language": "",
        "magnetic_media": "U",  # not known here; only books are lent (R5)
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
    """Make the negative reply to the message.

    Raises:
        TypeError: `outcome` is not a refusal, which is a bug.
    """
    if not isinstance(outcome, Refused):
        raise TypeError(f"{exchange.message.code} was answered by {type(outcome).__name__}")
    known = {"AQ": outcome.item.agency if outcome.item else "", "AJ": outcome.title or exchange.message.get("AJ")}
    words = say(
        outcome.why, exchange.language(outcome.language), {"currency": exchange.session.dialect.currency, **outcome.detail}
    )
    language = exchange.language(outcome.language)
    unknown = (notice_text(Notice.PIN_UNKNOWN_NOW, language),) if outcome.detail.get("unknown") == "pin" else ()
    negative = NEGATIVE.get(exchange.reply_code, {})
    if outcome.why is Reason.TRY_AGAIN and "BL" in negative:  # the card's state is unknown now: not "invalid"
        flags = exchange.last_known(known=False)
        negative = {**negative, "BL": flags.valid, "CQ": flags.pin}
    return reply(exchange, {**negative, **known, **given, "AF": (words, *unknown)}, outcome)


def refuse_by(exchange: Exchange, why: Reason) -> Reply:
    """Make the negative reply for a reason that lies in the message itself."""
    return refuse(exchange, Refused(why))


async def unless_away(question: Awaitable[Answer]) -> Answer | None:
    """Return the result of a query after a completed command; None while the database is away.

    The reply then lacks some fields, but it does not refuse what was done.
    """
    try:
        return await question
    except Unavailable:
        return None


@lru_cache(maxsize=1024)
def dollars(cents: int) -> str:
    """Format an amount for BV: 1250 cents are "12.50"."""
    return f"{cents // 100}.{cents % 100:02}"


@lru_cache(maxsize=1024)
def _split_fields(code: str, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the optional fields of the reply among these names, and those that it may not contain."""
    shape = SHAPES[code]
    always = {*shape.required, *(part.name for part in shape.fixed)}
    optional = {*shape.optional, *(row.tag for row in TAGS.values() if row.extension)} - always
    strange = (name for name in names if name not in always | optional)
    return tuple(name for name in names if name in optional), tuple(strange)


@lru_cache(maxsize=1024)
def _format_due(day: date, dialect: Sip2Dialect, zone: tzinfo) -> str:
    # Due dates are few.
    return dialect.due_text(end_of(day), zone)


@lru_cache(maxsize=1024)
def _choose_language(code: str, patron: str, terminal: str, encoding: str) -> str:
    try:
        "還書".encode(encoding)
    except UnicodeEncodeError:
        return EN
    return language_of(code.strip(), patron, terminal)
