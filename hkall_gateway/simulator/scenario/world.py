"""A complete gateway in one process without sockets or threads, with its real handlers, database, codecs and courier.

    world = World.open(Path("fixtures/worlds/consortium.toml"))
    world.sip2("counter-1", "09N20170306    100000                  APHKU|AOHKU|ABC1|AC|")   -> "101YUY…"
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b1 request=d-1")                   -> the reply as a Message
    world.pump()                                                                             delivers all due messages
    world.request("R1").position

The clock advances only by `go_to` and `wait`. New requests are named R1, R2 … after the highest number in the world file.
"""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import ClassVar, Final

from sqlalchemy import Connection, Engine
from twisted.internet.task import Clock
from twisted.mail.smtp import SMTPDeliveryError

from hkall_gateway.app.carriers import partner_carrier
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.jobs.rounds import Rounds
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS
from hkall_gateway.db.database import finished
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.tables import create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery import courier
from hkall_gateway.delivery.courier import Carrier, Courier, Schedule
from hkall_gateway.delivery.letters import Sender, plain_text
from hkall_gateway.delivery.smtp import Mailer
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.ils.local_system import ConnectedSystem, OfflineRules
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.ncip.service_request import NcipServices
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.ncip.transport.client import NcipClient
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.http_post import Post
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.circuit import CircuitSettings
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.stored_words import OutboxKind
from hkall_gateway.rules.vocabulary import Request, Sensitive
from hkall_gateway.simulator.databases import DatabaseFactory, Memory, SoleStore
from hkall_gateway.simulator.ils import DirectConnection, SimulatedIls
from hkall_gateway.simulator.ils_ncip import IlsResponder
from hkall_gateway.simulator.scenario.in_memory import HERE, InMemoryTerminals, PlainSecrets, callers
from hkall_gateway.simulator.scenario.scripted_partner import Peers
from hkall_gateway.simulator.scenario.world_file import Start, begin, cheap_hash, load, read_world, secret_of
from hkall_gateway.sip2.client import LastKnown
from hkall_gateway.sip2.exchange import Sip2Services
from hkall_gateway.sip2.queued_messages import QueuedMessages

INSTANCE: Final = "lab"
ANSWER_S: Final = 8.0
"""Seconds within which a message is answered. In a world, the clock for this deadline never advances."""
BOUNCES: Final = "@bounces.test"
"""A domain in which the mail server refuses every address as unknown."""
LETTER_KEY: Final = Sensitive("lab")


class Died(BaseException):
    """The process died, as by kill -9. It is a BaseException, so that `except Exception` does not catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedLetter:
    """A letter in a patron's mailbox. `number` is its Message-ID."""

    patron: str
    subject: str
    text: str
    number: str = ""


class World:
    """A gateway, its patrons, partners and terminals, and the time of day.

    The partners are `peers`, unless `post` is given. `secret` returns the secret agreed with an agency. `listen` is called
    with the journal entries of each commit.
    """

    ground: ClassVar[DatabaseFactory] = Memory()
    """Default factory for the databases of worlds."""

    def __init__(
        self,
        start: Start,
        engine: Engine | None = None,
        post: Post | None = None,
        secret: Callable[[str], str] = secret_of,
        listen: Callable[[Sequence[JournalEntry]], None] = lambda _moves: None,
        circuit_settings: CircuitSettings = CIRCUIT_SETTINGS,
        make_store: Callable[..., SoleStore] = SoleStore,
    ) -> None:
        self._make_store = make_store
        self.start, self.secret, self._listen, self._circuit_settings = start, secret, listen, circuit_settings
        self.now = start.time
        self.letters: deque[ReceivedLetter] = deque()
        self.mail_away = False
        self.replies: list[bytes] = []
        self.on_commit: Callable[[], None] | None = None
        self.peers = Peers({partner.url: partner.agency for partner in start.partners}, secret_of, start.holdings)
        self.post = post or self.peers.post
        self.ils = SimulatedIls(
            start.ils.institution or start.agency,
            lambda: self.now,
            {one.card: replace(one) for one in start.readers},
            {one.barcode: replace(one) for one in start.books},
        )
        self._alone = engine is None
        self.engine = engine or World.ground.fresh()
        found = (re.fullmatch(r"R([0-9]+)", request.id) for request in start.requests)
        self._numbers = count(max((int(number[1]) for number in found if number), default=0) + 1)
        self._commits_left = 0
        if not self._alone:
            create_all(self.engine)
        with self.engine.connect() as connection:
            load(connection, start)
        self._start_gateway()
        self.store.now(begin, start)

    @classmethod
    def open(cls, path: Path, engine: Engine | None = None) -> World:
        """Open the world described in a file, in a new database or in the empty database of `engine`."""
        return cls(read_world(path), engine)

    # ---- messages to the gateway

    def sip2(self, terminal: str, line: str) -> str:
        """Return the reply to a terminal's message, or "", without sequence number, checksum and terminator.

        The terminal logs in before its first message. A line that ends in `AY` and a digit is sent with that sequence number.
        """
        return self.terminals.ask(terminal, line)

    def ncip(self, agency: str, document: bytes) -> bytes:  # noqa: ARG002  # the document names its sender
        """Return the reply to a document sent from this machine."""
        reply = finished(respond(self.services, document, None, Peer(address=HERE)))
        self.replies.append(reply)
        return reply

    def tell(self, agency: str, text: str) -> NcipMessage:
        """Return the reply to a document in shorthand (ncip/shorthand.py): `RequestItem user=UG1 bib=b1`."""
        service, *words = shlex.split(text)
        secret = secret_of(agency)
        message = make_message(service, words, agency, self.start.agency, secret, self.now)
        dialect = next((partner.dialect for partner in self.start.partners if partner.agency == agency), "direct")
        return documents.decode(self.ncip(agency, documents.encode(message, DIALECTS[dialect])))

    # ---- time and crashes

    def go_to(self, when: datetime) -> None:
        """Set the clock forward to `when`. Messages that become due earlier are delivered at their own time."""
        if when < self.now:
            raise ValueError(f"time does not run backwards, from {self.now.isoformat()} to {when.isoformat()}")
        while (due := self.next_due()) is not None and due <= when:
            self.now = max(due, self.now)
            self.pump()
        self.now = when

    def wait(self, how_long: timedelta) -> None:
        """Set the clock forward by `how_long`."""
        self.go_to(self.now + how_long)

    def pump(self) -> datetime | None:
        """Deliver all due messages and the messages that follow. Return the time at which the next message is due."""
        while (due := self.next_due()) is not None and due <= self.now:
            rows = self.store.now(self.courier.claim)
            for row in rows:
                finished(self.courier.deliver(row))
            if not rows:
                break
        return due

    def crash(self, commits: int = 1) -> None:
        """Make the process die at the `commits`-th commit from now, before that commit is on disk."""
        self._commits_left = commits

    def restart(self) -> None:
        """Start a new gateway on the same database. Clients must connect again."""
        self.store.close()
        self._commits_left = 0
        self._start_gateway()
        self.release()

    def close(self) -> None:
        """Release the database, and delete it if it was created for this world."""
        self.store.close()
        if self._alone:
            self.engine.dispose()

    def round(self, name: str) -> int:
        """Run one round now, due or not, and return its count. Raise KeyError for an unknown name."""
        return finished(self.rounds.do(name))

    # ---- observations

    def request(self, number: str) -> Request:
        """Return a request in its current state. Raise KeyError if no request has this number."""
        found = finished(self.store.read(lambda unit: unit.requests.find(number), is_long=True))
        if found is None:
            raise KeyError(number)
        return found

    def outbox(self) -> Sequence[OutboxRow]:
        """Return the unsent messages, waiting or dead, oldest first."""
        return finished(self.store.read(lambda unit: unit.outbox.rows(), is_long=True))

    def next_due(self) -> datetime | None:
        """Return the time at which the courier's next message is due, or None if no message waits."""
        return finished(self.store.read(lambda unit: unit.outbox.next_due(), is_long=True))

    def _start_gateway(self) -> None:
        metrics = Metrics()
        now = lambda: self.now  # noqa: E731
        self.store = self._make_store(self.engine, self._make_unit, self._before_commit)
        library = Library(
            agency=self.start.agency,
            name=self.start.name,
            policy=self.start.policy,
            pickup_locations=self.start.pickup_locations,
        )
        ils = self.start.ils
        known = LastKnown(lambda: ils.keep_s if ils.fallback == "allow" else 0)
        terms = OfflineRules(
            fallback=ils.fallback, keep_s=ils.keep_s, pin=ils.pin, verify=_right_pin, recent_pin=known.is_right
        )
        health = CircuitBreaker("connector", now, metrics)
        out = ConnectorServices(
            now=now, health=health, line=lambda: DirectConnection(self.ils, health), post=IlsResponder(self.ils).post
        )
        adapter = find_adapter(ils.connector).build(
            ConnectorTools(store=self.store, agency=library.agency, verify=_right_pin, settings=ils, outside=out)
        )
        local = ConnectedSystem(self.store, adapter, lambda: library, now, lambda: terms)
        self.circulation = Circulation(self.store, local, lambda: library, now)
        relay = CircuitBreaker("relay", now, metrics)
        timeout = Timeout(Clock(), ANSWER_S)
        terminals = Sip2Services(
            circulation=self.circulation,
            terminals={terminal.login: terminal for terminal in self.start.terminals},
            secrets=PlainSecrets(),
            agency=library.agency,
            library_name=library.name,
            timezone=HONG_KONG,
            metrics=metrics,
            now=now,
            upstream=(lambda: DirectConnection(self.ils, relay)) if ils.relay else None,
            institution=ils.institution,
            known=known if ils.is_living else None,
            undoes_checkouts=ils.unanswered_checkout == "undo",
            timeout=timeout,
            late_execution=timedelta(seconds=ils.late_execution_s),
        )
        self.terminals = InMemoryTerminals(terminals)
        self.services = NcipServices(
            circulation=self.circulation,
            callers={caller.agency: caller for caller in callers(self.start, self.secret)},
            agency=library.agency,
            timezone=HONG_KONG,
            metrics=metrics,
            now=now,
            timeout=timeout,
            places={code: code for code in library.pickup_locations},
            name_order="surname_first",
        )
        client = NcipClient(self.post, library.agency, {one.agency: self.secret(one.agency) for one in self.start.partners})
        sender = Sender(address="lending@lib.test", library=self.start.name, key=LETTER_KEY)
        mailer = Mailer(self.store, self._take_letter, sender, lambda: library, now)
        carriers: dict[OutboxKind, Carrier] = {
            OutboxKind.NCIP: partner_carrier(lambda _partner: client, self.store, lambda: library, now),
            OutboxKind.MAIL: mailer.deliver,
            OutboxKind.ILS: QueuedMessages(DirectConnection(self.ils, relay), self.ils.agency, now, HONG_KONG),
        }
        schedule = Schedule(attempts=12, first_wait_s=30, longest_wait_s=21_600, draw=lambda: 0.0)
        self.rounds = Rounds(self.store, lambda: library, now, Clock(), INSTANCE)
        self.courier = Courier(
            self.store,
            self.circulation,
            carriers,
            schedule,
            Clock(),
            now,
            INSTANCE,
            lambda _line: courier.ChannelTerms(in_flight=1),
            self._circuit_settings,
        )

    def _make_unit(self, connection: Connection) -> UnitOfWork:
        return UnitOfWork(connection, lambda: f"R{next(self._numbers)}", self.circulation.library.silent, self._listen)

    def release(self) -> None:
        """Release the rows that the courier claimed, but could not settle because the database refused the commit."""
        self.store.now(lambda unit: unit.outbox.release(INSTANCE, self.now))

    def _before_commit(self) -> None:
        if self.on_commit is not None:
            self.on_commit()
        if self._commits_left:
            self._commits_left -= 1
            if not self._commits_left:
                raise Died

    async def _take_letter(self, message: EmailMessage, _sender: str) -> None:
        if self.mail_away:
            raise ConnectionRefusedError
        if str(message["To"]).endswith(BOUNCES):
            raise SMTPDeliveryError(550, b"nobody here has that name")
        readers = {patron.email.reveal(): patron.barcode for patron in self.start.patrons}
        to, subject, number = (str(message[name]) for name in ("To", "Subject", "Message-ID"))
        self.letters.append(ReceivedLetter(patron=readers[to], subject=subject, text=plain_text(message), number=number))


async def _right_pin(_card: str, stored: Sensitive, pin: Sensitive) -> bool:
    return stored.reveal() == cheap_hash(pin.reveal())
