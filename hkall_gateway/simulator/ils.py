"""Simulates a library system with patrons and books over SIP2, with the simplest possible rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.client import NOBODY, Login, Unanswered, encode_body
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.fields import date18
from hkall_gateway.sip2.codec.lines import Sip2Message, Value, body_of, decode
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.relay import FLAGS

LOAN_DAYS: Final = 30
FACT_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "name": str,
    "pin": str,
    "blocked": lambda text: text == "yes",
    "loans": int,
    "limit": int,
    "former": str,
}
"""Parsers for the patron fields that a scenario may set."""
STATES: Final = ("here", "away", "silent", "mute", "refusing")
"""States of the system. It answers requests ("here"), has no listener ("away"), listens but never answers ("silent"), executes
requests without answering ("mute"), or refuses every login ("refusing").
"""


@dataclass(slots=True)
class IlsPatron:
    """One patron of the library system.

    Attributes:
        loans: Number of loans in addition to the books in the system.
        limit: Maximum number of loans.
        former: Former card. A request with the former card returns this patron with the current card.
    """

    card: str
    name: str = ""
    pin: str = "1234"
    blocked: bool = False
    loans: int = 0
    limit: int = 60
    former: str = ""


@dataclass(slots=True)
class IlsBook:
    """One book in the library system. `reader` is the card of the patron who has the book, or ""."""

    barcode: str
    title: str = ""
    reader: str = ""
    bib_id: str = ""


@dataclass(slots=True)
class SimulatedIls:
    """The simulated library system.

    Attributes:
        state: One of STATES.
        heard: Bodies of all messages received.
        documents: NCIP replies to return next, instead of the usual replies.
        loses: Codes of messages that are executed once without a reply.
        omits: Tags of optional fields that its replies lack.
    """

    agency: str
    now: Callable[[], datetime]
    readers: dict[str, IlsPatron] = field(default_factory=dict)
    books: dict[str, IlsBook] = field(default_factory=dict)
    logins: Mapping[str, str] = field(default_factory=dict)
    state: str = "here"
    heard: list[str] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)
    loses: list[str] = field(default_factory=list)
    omits: frozenset[str] = frozenset()

    def answer(self, request: Sip2Message, dialect: Sip2Dialect) -> Sip2Message:
        """Return the reply to a message, without sequence number and checksum."""
        self.heard.append(body_of(request.line, dialect).decode(dialect.encoding, "replace"))
        reply: dict[str, Value] = {"transaction_date": date18(self.now(), HONG_KONG), "AO": self.agency}
        reply |= {
            "magnetic_media": "U",
            "AA": request.get("AA"),
            "AB": request.get("AB"),
            **REPLIES[request.code](self, request),
        }
        shape = SHAPES[SHAPES[request.code].reply]
        known = {*(part.name for part in shape.fixed), *shape.required, *shape.optional} - self.omits
        return Sip2Message(shape.code, {name: value for name, value in reply.items() if name in known})

    def loans_of(self, card: str) -> list[IlsBook]:
        """Return the books that a patron has on loan from this system."""
        return [book for book in self.books.values() if book.reader == card]

    def due(self) -> str:
        """Format the due date of a loan made today."""
        return f"{(self.now() + timedelta(days=LOAN_DAYS)).astimezone(HONG_KONG):%d/%m/%Y}"

    def become(self, state: str) -> None:
        """Change the state to one of STATES. Raise ValueError for any other text."""
        if state not in STATES:
            raise ValueError(f"the local system is {', '.join(STATES)}, not {state!r}")
        self.state = state

    def learn(self, card: str, facts: Mapping[str, str]) -> None:
        """Set fields of a patron from the words of a scenario. Raise ValueError for an unknown field."""
        reader = self.readers.setdefault(card, IlsPatron(card))
        for name, text in facts.items():
            if name not in FACT_PARSERS:
                raise ValueError(f"a reader has {', '.join(FACT_PARSERS)}, not {name!r}")
            setattr(reader, name, FACT_PARSERS[name](text))
        self.readers.pop(reader.former, None)

    def takes(self, login: Login) -> bool:
        """Check whether a terminal with this login may send requests, which is also allowed without a login."""
        known = not self.logins or self.logins.get(login.name) == login.password.reveal()
        return not login.name or (known and self.state != "refusing")

    def reader(self, card: str) -> IlsPatron | None:
        """Return the patron with this current or former card, or None."""
        was = next((reader for reader in self.readers.values() if card and reader.former == card), None)
        return self.readers.get(card, was)

    def _report_status(self, _asked: Sip2Message) -> dict[str, Value]:
        timeouts = {"timeout_period": "100", "retries_allowed": "3"}
        offers = dict.fromkeys(FLAGS, "Y")
        return {"on_line_status": "Y", "protocol_version": "2.00", "BX": "Y" * 16, **offers, **timeouts}

    def _describe_patron(self, request: Sip2Message) -> dict[str, Value]:
        reader = self.reader(request.get("AA"))
        if reader is None:
            return {"patron_status": "YYYY", "language": "001", "AE": "", "BL": "N", "CQ": "N", "AF": ("No such reader",)}
        loans, right = self.loans_of(reader.card), reader.pin == request.get("AD")
        full = reader.loans + len(loans) >= reader.limit
        reply: dict[str, Value] = {
            "patron_status": ("Y" if reader.blocked or full else " ") + "    " + ("Y" if full else " "),
            "language": "001",
            "AA": reader.card,
            "charged_items_count": f"{reader.loans + len(loans)}",
            "AE": reader.name,
            "BL": "Y",
            "CQ": "Y" if right else "N",
            "CB": f"{reader.limit:04}",
            "BV": "3.50",
        }
        if request.get("summary")[2:3] == "Y":
            reply["AU"] = tuple(book.barcode for book in loans)
        return reply

    def _describe_item(self, request: Sip2Message) -> dict[str, Value]:
        book = self.books.get(request.get("AB"))
        if book is None:
            return {"circulation_status": "01", "fee_type": "01", "AJ": ""}
        return {"circulation_status": "04" if book.reader else "03", "fee_type": "01", "AJ": book.title}

    def _lend_item(self, request: Sip2Message) -> dict[str, Value]:
        reader, book = self.readers.get(request.get("AA")), self.books.get(request.get("AB"))
        if reader is None or book is None or reader.blocked or book.reader not in ("", reader.card):
            return {"ok": "0", "AJ": book.title if book else "", "AF": ("Not lent",)}
        renewed, book.reader = book.reader == reader.card, reader.card
        return {"ok": "1", "renewal_ok": "Y" if renewed else "N", "desensitize": "Y", "AJ": book.title, "AH": self.due()}

    def _take_back_item(self, request: Sip2Message) -> dict[str, Value]:
        book = self.books.get(request.get("AB"))
        if book is None:
            return {"ok": "0", "alert": "Y", "AQ": "", "AF": ("No such book",)}
        card, book.reader = book.reader, ""
        return {"ok": "1", "resensitize": "Y", "AQ": "MAIN", "AJ": book.title, "AA": card}

    def _renew_item(self, request: Sip2Message) -> dict[str, Value]:
        book = self.books.get(request.get("AB"))
        lent_to_patron = book is not None and book.reader == request.get("AA")
        reply: dict[str, Value] = {"ok": "1" if lent_to_patron else "0", "renewal_ok": "Y" if lent_to_patron else "N"}
        return {**reply, "AJ": book.title if book else "", "AH": self.due()}

    def _renew_all_items(self, request: Sip2Message) -> dict[str, Value]:
        lent_to_patron = tuple(book.barcode for book in self.loans_of(request.get("AA")))
        return {"ok": "1", "renewed_count": f"{len(lent_to_patron)}", "unrenewed_count": "0", "BM": lent_to_patron}

    def _block_patron(self, request: Sip2Message) -> dict[str, Value]:
        if reader := self.readers.get(request.get("AA")):
            reader.blocked = request.code == "01"
        return self._describe_patron(request)

    def _take_payment(self, request: Sip2Message) -> dict[str, Value]:
        self.paid.append(request.get("BV"))
        return {"payment_accepted": "Y", "BK": request.get("BK")}


# fmt: off
REPLIES: Final[Mapping[str, Callable[[SimulatedIls, Sip2Message], dict[str, Value]]]] = {
    "01": SimulatedIls._block_patron,
    "09": SimulatedIls._take_back_item,
    "11": SimulatedIls._lend_item,
    "15": lambda ils, asked: {"ok": "1" if asked.get("AB") in ils.books else "0", "AF": ("On our own list",)},
    "17": SimulatedIls._describe_item,
    "19": lambda _ils, asked: {"item_properties_ok": "1", "CH": asked.get("CH")},
    "23": SimulatedIls._describe_patron,
    "25": SimulatedIls._block_patron,
    "29": SimulatedIls._renew_item,
    "35": lambda _ils, _asked: {"end_session": "Y"},
    "37": SimulatedIls._take_payment,
    "63": SimulatedIls._describe_patron,
    "65": SimulatedIls._renew_all_items,
    "93": lambda ils, asked: {"ok": "1" if ils.takes(Login(asked.get("CN"), Sensitive(asked.get("CO")))) else "0"},
    "99": SimulatedIls._report_status,
}
"""The handler for each message, by message code."""
# fmt: on


class DirectConnection:
    """A connection to a simulated system, without a socket and without delay."""

    dialect = DIALECTS["standard"]

    def __init__(self, system: SimulatedIls, health: CircuitBreaker, login: Login = NOBODY) -> None:
        self._system, self._health, self.login = system, health, login

    @property
    def up(self) -> bool:
        """Return whether the circuit breaker lets queries through."""
        return self._health.up

    @property
    def refused(self) -> bool:
        """Return whether the login was refused before."""
        return bool(self.login.name) and not self._health.may_log_in(self.login.name, self.login)

    async def __call__(self, body: bytes) -> bytes:
        """Send a message and return the reply, as `sip2.client.Ask` requires."""
        question = body[:2].decode()
        if not self._health.may_ask() or self.refused:
            raise Unreachable("it is down")
        here = self._system.state in ("here", "refusing") and question not in self._system.loses
        if here and not self._system.takes(self.login):
            self._health.login_refused(self.login.name, self.login, "the login was refused")
            raise Unreachable("the login was refused")
        if not here:
            if question in self._system.loses:
                self._system.loses.remove(question)
                self._system.answer(decode(body, self.dialect), self.dialect)
            elif self._system.state == "mute":
                self._system.answer(decode(body, self.dialect), self.dialect)
            self._health.record_failure(question, self._system.state)
            raise Unreachable("away") if self._system.state == "away" else Unanswered(self._system.state)
        self._health.login_taken(self.login.name)
        self._health.record_reply(question, 0)
        return encode_body(self._system.answer(decode(body, self.dialect), self.dialect), self.dialect)

    def close(self) -> None:
        """Do nothing: there is no connection to close."""
