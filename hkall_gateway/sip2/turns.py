"""One terminal's turn: who asks, what was asked, and the reply that every handler writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from functools import cache, lru_cache
from typing import Final, Protocol

from hkall_gateway.desk.desk import Desk
from hkall_gateway.desk.messages.commands import Place
from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.edge.address_queue import AddressQueue
from hkall_gateway.edge.allow import AllowList
from hkall_gateway.edge.guesses import OF_A_TERMINAL, OF_AN_ADDRESS, Guesses, Ways
from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.edge.soon import at_once
from hkall_gateway.rules.calendar import end_of
from hkall_gateway.rules.vocabulary import By, Sensitive, Why
from hkall_gateway.sip2.codec import Message, Value
from hkall_gateway.sip2.dialects import DIALECTS, Dialect
from hkall_gateway.sip2.fields import TAGS, date18, parse_date18
from hkall_gateway.sip2.last_known import UNKNOWN, LastKnown, Standing
from hkall_gateway.sip2.messages import SHAPES
from hkall_gateway.sip2.session import Session
from hkall_gateway.sip2.upstream import Beyond
from hkall_gateway.sip2.words import CODES, EN, UNSAID, language_of, say

NOWHERE: Final = AllowList(())

OPEN: Final = frozenset({"93", "97", "99"})
"""Messages of every terminal, whatever its role."""
ASKED: Final = frozenset(code for code, shape in SHAPES.items() if shape.reply) - OPEN
"""All others that a terminal may send."""


@dataclass(frozen=True, slots=True)
class TerminalRow:
    """One login of the configuration.

    `role` is a row of the policy's roles; `dialect` its make. `messages` are the codes that it may send beside 93, 97 and 99.
    `offline`: what it did while the line was down (no block) is taken as done. `wrong_pins`: so many within a quarter of an
    hour, and no further PIN that comes from it is looked at.
    `max_connections` may be open under it at one time.
    """

    login: str
    secret_hash: str = field(repr=False)
    role: str
    location: str
    dialect: Dialect = DIALECTS["standard"]
    allow_from: AllowList = NOWHERE
    language: str = EN
    messages: frozenset[str] = ASKED
    offline: bool = False
    wrong_pins: int = OF_A_TERMINAL
    max_connections: int = 100


NOBODY: Final = TerminalRow("", "", "", "")
"""Who is not logged in."""


class Verifier(Protocol):
    """Whether `secret` is the one whose hash is `stored`; `edge.secrets.Secrets` is one."""

    def verify(self, subject: str, stored: str, secret: str) -> Awaitable[bool]: ...


def _without_limit() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Door:
    """All that answering a terminal needs. `terminals` is by login; `now` answers the aware UTC instant.

    `beyond()` is a line to the local system for one more terminal; None where lines are not passed on. `own_logins`: each
    terminal logs in there as it did here. `soon` does what can wait until the answer is out. `secrets` looks at logins; those
    of one address wait for each other in `logins`. `guesses` are the wrong PINs of late, at most `wrong_pins` of an address.
    `institution` is the AO that terminals with a line to the local system hear of us, "" for our agency. `budget_until()` is
    the second until which a message that begins now may ask other systems. `known` is what a living local system said of
    cards.
    """

    desk: Desk
    terminals: Mapping[str, TerminalRow]
    secrets: Verifier
    agency: str
    library_name: str
    timezone: tzinfo
    metrics: Metrics
    now: Callable[[], datetime]
    beyond: Callable[[], Beyond] | None = None
    own_logins: bool = True
    soon: Callable[[Callable[[], object]], None] = at_once
    logins: AddressQueue = field(default_factory=AddressQueue)
    guesses: Guesses = field(default_factory=Guesses)
    wrong_pins: int = OF_AN_ADDRESS
    institution: str = ""
    budget_until: Callable[[], float | None] = _without_limit
    known: LastKnown | None = None

    def admits(self, address: str) -> bool:
        """Whether any terminal may come from this address."""
        return any(row.allow_from.admits(address) for row in self.terminals.values())


@dataclass(slots=True)
class Turn:
    """One message of one terminal, and what was known when it came. Like Message, it is not frozen, and nobody changes it.

    `beyond` is this terminal's line to the local system; `peer` is the address that it came from; `corr` is unlike that of any
    other message, since a terminal asks one thing at a time.
    """

    door: Door
    session: Session
    message: Message
    terminal: TerminalRow
    peer: str
    now: datetime
    corr: str
    beyond: Beyond | None = None

    @property
    def institution(self) -> str:
        """The AO of our replies: one line says one institution, the local system's where its lines are passed on."""
        return (self.door.institution if self.beyond is not None else "") or self.door.agency

    def remember(self, *, valid: bool, pin_ok: bool) -> None:
        """Keep what the local system has just said of the card of this message, for the time when it is away."""
        if self.door.known is None:
            return
        self.door.known.note(self.message.get("AA"), valid=valid, pin_ok=pin_ok, pin=self.pin, now=self.now)

    def last_known(self, *, known: bool) -> Standing:
        """BL and CQ while the local system is away: as it last said, else left out, or N where this make needs them.

        `known`: the loaded file has the card. Who only asks whether a reader is one (role `lookup`) might read a missing field
        as a yes, and always hears N.
        """
        kept = self.door.known
        told = kept.of(self.message.get("AA"), self.pin, self.now) if kept else UNKNOWN
        leaves_out = self.session.dialect.unknown == "leave_out" and self.terminal.role != "lookup"
        unsaid = "" if leaves_out else "N"
        return Standing(told.valid or ("Y" if known else unsaid), told.pin or (unsaid if self.pin else "N"))

    @property
    def reply_code(self) -> str:
        return SHAPES[self.message.code].reply

    @property
    def by(self) -> By:
        """Who asks."""
        return By(self.terminal.login or self.peer, "sip2", self.message.code, self.corr)

    @property
    def place(self) -> Place:
        return Place(self.terminal.role, self.terminal.location)

    @property
    def pin(self) -> Sensitive:
        return Sensitive(self.message.get("AD"))

    @property
    def pin_missing(self) -> bool:
        """Whether this make of terminal asks for a PIN and none came."""
        return self.session.dialect.pin_required and not self.pin

    @property
    def no_block(self) -> bool:
        """Whether it has happened already, off line; said by a terminal that cannot be off line, it means nothing."""
        return self.terminal.offline and self.says("no_block")

    def offers(self, code: str) -> bool:
        """Whether this terminal may send that message: its make is offered it, and its role allows it."""
        return code not in self.session.dialect.withheld and (code in self.terminal.messages or code in OPEN)

    @property
    def ways(self) -> Ways:
        """How a PIN came here, and how many wrong ones may come that way; where a terminal may bring more, its address may."""
        most = self.terminal.wrong_pins
        return {f"terminal {self.terminal.login}": most, f"address {self.peer}": max(most, self.door.wrong_pins)}

    def says(self, flag: str) -> bool:
        """Whether the terminal said Y."""
        return self.message.get(flag) == "Y"

    def language(self, patron: str = "") -> str:
        """The language to write in; English where the terminal cannot show another."""
        chosen = language_of(self._code, patron, self.terminal.language)
        return chosen if chosen == EN or _shows_chinese(self.session.dialect.encoding) else EN

    def code_of(self, language: str) -> str:
        """SIP2's number of the language that is written in; or the one that was asked for, where one was."""
        code = self._code
        return CODES[language] if code in UNSAID else code

    @property
    def _code(self) -> str:
        return self.message.get("language").strip()

    def due(self, day: date | None) -> str:
        """A due date as this terminal shows it, the last second of the day; "" where there is none."""
        return self.session.dialect.due_text(end_of(day), self.door.timezone) if day else ""

    def date18(self, instant: datetime | None) -> str:
        """An instant in local time, "" where there is none."""
        return date18(instant, self.door.timezone) if instant else ""

    def instant(self, name: str) -> datetime | None:
        """What a date of the message means."""
        return parse_date18(self.message.get(name), self.door.timezone)

    def happened(self, *names: str) -> datetime | None:
        """The first usable instant among these fields; one that is still to come is a wrong clock and no instant."""
        found = (self.instant(name) for name in names)
        return next((instant for instant in found if instant and instant <= self.now), None)


@dataclass(slots=True)
class Reply:
    """The fields of an answer, and for the log why it is a no, and about which request. Nobody changes it.

    `body` is the answer of the local system, which goes out as it is; then there are no fields. `wrong_pin`: it said so of
    the PIN.
    """

    fields: Mapping[str, Value]
    no: Refused | None = None
    request: str = ""
    body: bytes = field(default=b"", repr=False)
    wrong_pin: bool = False


Handler = Callable[[Turn], Awaitable[Reply]]

# fmt: off
NEGATIVE: Final[Mapping[str, Mapping[str, Value]]] = {
    # What a no says beyond what the codec fills in by itself: unset flags are N, unset bits and numbers 0.
    "10": {"alert": "Y", "CL": "exception", "CV": "99"},
    "18": {"circulation_status": "01", "fee_type": "01"},
    "20": {"item_properties_ok": "0"},
    "24": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "26": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "64": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "98": {"protocol_version": "2.00", "BX": "N" * 16},
}
# fmt: on


def reply(turn: Turn, said: Mapping[str, Value], no: Refused | None = None, request: str = "") -> Reply:
    """A reply with what every reply repeats, and of `said` what this reply has a place for. Text comes last."""
    asked = turn.message
    fields: dict[str, Value] = {
        "transaction_date": turn.date18(turn.now),
        "language": "",
        "magnetic_media": "U",  # nobody here knows; only books are lent (R5)
        "AO": turn.institution,
        "AA": asked.get("AA"),
        "AB": asked.get("AB"),
        **said,
    }
    fields["language"] = fields["language"] or turn.code_of(turn.language())
    optional, strange = _places(turn.reply_code, tuple(fields))
    for name in optional:
        if not fields[name]:
            del fields[name]
    for name in strange:
        del fields[name]
    return Reply(fields, no, request)


def refuse(turn: Turn, outcome: object, **said: Value) -> Reply:
    """The message's own negative reply. An outcome that is no refusal is one that nobody expected: TypeError."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"{turn.message.code} was answered by {type(outcome).__name__}")
    known = {"AQ": outcome.item.agency if outcome.item else "", "AJ": outcome.title or turn.message.get("AJ")}
    words = say(outcome.why, turn.language(outcome.language), {"currency": turn.session.dialect.currency, **outcome.detail})
    return reply(turn, {**_negative(turn, outcome.why), **known, **said, "AF": (words,)}, outcome)


def _negative(turn: Turn, why: Why) -> Mapping[str, Value]:
    """What a no says beside its reason. That nobody can tell at the moment is no "invalid card"."""
    said = NEGATIVE.get(turn.reply_code, {})
    if why is not Why.TRY_AGAIN or "BL" not in said:
        return said
    told = turn.last_known(known=False)
    return {**said, "BL": told.valid, "CQ": told.pin}


def refuse_by(turn: Turn, why: Why) -> Reply:
    """The same for a reason that lies in the message and not at the desk."""
    return refuse(turn, Refused(why))


@lru_cache(maxsize=1024)
def dollars(cents: int) -> str:
    """An amount as BV has it: 1250 cents are "12.50"."""
    return f"{cents // 100}.{cents % 100:02}"


@lru_cache(maxsize=1024)
def _places(code: str, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of these names those that a reply has only where there is something to say, and those that it has no place for."""
    shape = SHAPES[code]
    always = {*shape.required, *(part.name for part in shape.fixed)}
    optional = {*shape.optional, *(row.tag for row in TAGS.values() if row.extension)} - always
    strange = (name for name in names if name not in always | optional)
    return tuple(name for name in names if name in optional), tuple(strange)


@cache
def _shows_chinese(encoding: str) -> bool:
    try:
        return bool("還書".encode(encoding))
    except UnicodeEncodeError:
        return False
