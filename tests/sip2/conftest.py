"""Fixtures of the SIP2 tests: the fixture lines, the schema, and a server with a real circulation service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.ports import BorrowerFacts, Verb
from hkall_gateway.circulation.queries import ItemSeen, SeeItem
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.connection_limit import ConnectionLimit
from hkall_gateway.net.proxy_protocol import ProxyProtocolFactory
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import Sip2Message, decode
from hkall_gateway.sip2.codec.session import Refuse, Session
from hkall_gateway.sip2.dispatch import PLAIN, Listener, Sip2Services, TerminalRow, respond
from hkall_gateway.sip2.server import TerminalFactory
from tests import databases
from tests.bounds import refusals
from tests.readers import CATEGORY, POLICY

FOLDER = Path(__file__).parents[2] / "fixtures" / "sip2"
SCHEMA = Path(__file__).parents[3] / "shared/sip2/schema.json"


SPOKEN_BY = b"# dialect: "
"""The `#` line of a fixture that names the dialect of the following lines, if it is not the standard one."""


@dataclass(frozen=True, slots=True)
class FixtureLine:
    """One line of a fixture, and its dialect."""

    line: bytes
    dialect: Sip2Dialect


def fixtures() -> dict[str, FixtureLine]:
    """Return every fixture line by file and number; `#` lines are comments."""
    found = {}
    for path in sorted(FOLDER.glob("*.txt")):
        dialect = DIALECTS["standard"]
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if line.startswith(SPOKEN_BY):
                dialect = DIALECTS[line.removeprefix(SPOKEN_BY).decode()]
            elif line and not line.startswith(b"#"):
                found[f"{path.stem}:{number}"] = FixtureLine(line, dialect)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `line` with each fixture line, and `spoken` with its dialect."""
    if "line" in metafunc.fixturenames:
        found = fixtures()
        wanted = {"line": [one.line for one in found.values()], "spoken": [one.dialect for one in found.values()]}
        names = [name for name in wanted if name in metafunc.fixturenames]
        metafunc.parametrize(names, list(zip(*(wanted[name] for name in names), strict=True)), ids=list(found))


@pytest.fixture
def lines() -> dict[str, bytes]:
    return {name: one.line for name, one in fixtures().items()}


@pytest.fixture
def standard() -> Sip2Dialect:
    return DIALECTS["standard"]


@pytest.fixture
def schema() -> dict[str, Any]:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is not on this machine; it restates the SIP2 document and is not part of the product")
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


# ---- a real circulation service, for tests of replies


class LocalIls:
    """The local system, replying from loaded data; every PIN is 1234."""

    supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN})

    def __init__(self, store: SoleStore) -> None:
        self._store = store

    async def borrower(self, card: str) -> BorrowerFacts:
        return BorrowerFacts(
            borrower=await self._store.read(lambda unit: unit.patrons.find(card), is_long=True), source="snapshot"
        )

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        return pin == Sensitive("1234")

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return None


class PlainSecrets:
    """Compares terminal passwords as plain text."""

    async def verify(self, subject: str, stored: str, secret: str) -> bool:
        return stored == secret


def _row(
    login: str, role: str = "counter", dialect: str = "standard", language: str = "en", offline: bool = False
) -> TerminalRow:
    make, allowed, messages = DIALECTS[dialect], AllowList(["10.0.0.0/8"]), messages_of(role, Policy())
    return TerminalRow(
        login=login,
        secret_hash=f"{login}-pw",
        role=role,
        location="HKU-MAIN-LENDING",
        max_connections=100,
        dialect=make,
        allow_from=allowed,
        language=language,
        messages=messages,
        offline=offline,
    )


TERMINALS = (
    _row("counter-1"),
    _row("selfcheck-1", "selfcheck"),
    _row("bookdrop-1", "bookdrop"),
    _row("lookup-1", "lookup"),
    _row("counter-2"),
    _row("offline-1", "selfcheck", offline=True),
    _row("offline-2", offline=True),
    _row("pin-1", dialect="pin"),
    _row("staff-1", dialect="counter"),
    _row("zh-1", language="zh-Hant"),
    _row("ascii-1", dialect="ascii-stripped", language="zh-Hant"),
    _row("iso-1", dialect="iso-due"),
    _row("plain-1", dialect="plain"),
    _row("public-1", dialect="public"),
    _row("sorter-1", dialect="sorter"),
    _row("alert-1", dialect="alert-only"),
    _row("big5-1", dialect="big5"),
    _row("utf8-1", language="zh-Hant"),
)

PEOPLE: tuple[dict[str, Any], ...] = (
    {"barcode": "P1", "name": "Chan Tai Man", "email": "p1@connect.test", "category": CATEGORY.key, "language": "en"},
    {"barcode": "P2", "name": "Wong Mei", "name_zh": "王美", "category": "postgraduates", "language": "zh-Hant"},
    {"barcode": "P3", "name": "Late Lee", "category": "undergraduates", "expires": date(2017, 1, 31)},
)


@pytest.fixture
def clock() -> list[datetime]:
    """The current time as the only list element: 10:00 in Hong Kong; replace it to change the time."""
    return [datetime(2017, 3, 1, 2, tzinfo=UTC)]


@pytest.fixture
def store() -> Iterator[SoleStore]:
    engine = databases.empty()
    with engine.connect() as connection:
        for person in PEOPLE:
            connection.execute(insert(PATRONS), person)
    numbers = count(1)
    kept = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: f"R{next(numbers)}"))
    kept.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK Library", institutional_card="CUHK-INST")]))
    yield kept
    kept.close()
    engine.dispose()


@pytest.fixture
def policy() -> Policy:
    """The published rules; a test file may override this fixture."""
    return POLICY


@pytest.fixture
def services(store: SoleStore, clock: list[datetime], policy: Policy) -> Sip2Services:
    library = Library(
        agency="HKU", name="The University of Hong Kong Libraries", policy=policy, pickup_locations=("HKU-MAIN-LENDING",)
    )
    return Sip2Services(
        circulation=Circulation(
            store, ConnectedSystem(store, LocalIls(store), lambda: library, lambda: clock[0]), lambda: library, lambda: clock[0]
        ),
        terminals={row.login: row for row in TERMINALS},
        secrets=PlainSecrets(),
        agency="HKU",
        library_name=library.name,
        timezone=HONG_KONG,
        metrics=Metrics(),
        now=lambda: clock[0],
    )


@pytest.fixture
def place(store: SoleStore, clock: list[datetime]) -> Callable[..., Request]:
    """Inserts a request with a position and any fields. By default P1 borrows C1 of CUHK, "Dune"."""

    def put(position: Position, **facts: Any) -> Request:
        given: dict[str, Any] = {"side": Side.BORROWING, "title": "Dune", "bib_id": "b1", "patron": "P1", "partner": "CUHK"}
        given |= {"item_agency": "CUHK", "item_barcode": "C1", "pickup_location": "HKU-MAIN-LENDING", **facts}
        return store.now(
            UnitOfWork.open, Request(id="", position=position, **given), clock[0], Actor(who="test", channel="world")
        )

    return put


@pytest.fixture
def ask(services: Sip2Services) -> Callable[[str, str], str]:
    """The reply to a message of a logged-in terminal, without terminator."""

    def asked(login: str, line: str) -> str:
        session = Session(DIALECTS["standard"])
        session.log_in(login, services.terminals[login].dialect)
        (piece,) = session.receive(line.encode(session.dialect.encoding) + b"\r")
        assert isinstance(piece, Sip2Message | Refuse)
        reply = finished(respond(services, session, piece, "10.0.0.7"))
        return reply.decode(session.dialect.encoding).rstrip("\r\n")

    return asked


@pytest.fixture
def fields(ask: Callable[[str, str], str]) -> Callable[[str, str], Sip2Message]:
    """The decoded reply."""
    return lambda login, line: decode(ask(login, line).encode(), DIALECTS["standard"])


# ---- a listening port

HOME = IPv4Address("TCP", "10.0.0.7", 50000)
SOCKET: Any = StringTransport  # Twisted's test transport has no types


class SlowDesk:
    """A service whose item lookup blocks until the test releases it; other commands run normally."""

    def __init__(self) -> None:
        self.looking: dict[str, list[Deferred[None]]] = {}

    async def execute(self, command: SeeItem) -> ItemSeen | Refused:
        waiting: Deferred[None] = Deferred()
        self.looking.setdefault(command.barcode, []).append(waiting)
        await waiting
        return Refused(why=Reason.UNKNOWN_ITEM)

    def found(self, barcode: str) -> None:
        self.looking[barcode].pop(0).callback(None)


@dataclass
class Port:
    """A listening port: `call` connects a terminal."""

    services: Sip2Services
    per_address: int = 100
    in_all: int = 100
    unproven: int = 100
    clock: Clock = field(default_factory=Clock)
    circulation: SlowDesk = field(default_factory=SlowDesk)
    listener: Listener = PLAIN
    slow: bool = True

    def __post_init__(self) -> None:
        slow: Any = self.circulation
        services = replace(self.services, circulation=slow) if self.slow else self.services
        self.limit = ConnectionLimit(self.in_all, self.per_address, self.unproven, queues=True)
        refused = refusals("sip2", services.metrics)
        self.terminals = TerminalFactory(lambda: services, self.limit, refused, self.clock, idle_s=900, listener=self.listener)
        balancers = self.listener.proxy_from
        self.factory: Any = self.terminals
        if balancers:
            self.factory = ProxyProtocolFactory(self.terminals, balancers, refused, self.clock)

    def call(self, address: Any = HOME, *, log_in: bool = True) -> Caller:
        caller = Caller(self, address)
        if log_in:
            assert caller.hears(b"9300CNcounter-1|COcounter-1-pw|\r") == b"941\r"
        return caller


class Caller:
    """One terminal's end of a connection."""

    def __init__(self, port: Port, address: Any) -> None:
        self.socket = SOCKET(peerAddress=address)
        self.below = port.factory.buildProtocol(address)
        # A port that expects PROXY headers wraps the protocol.
        self.line: Any = getattr(self.below, "wrappedProtocol", self.below)
        self.below.makeConnection(self.socket)

    def hears(self, data: bytes = b"") -> bytes:
        """Send `data` and return everything received since the last call."""
        if data:
            self.below.dataReceived(data)
        heard: bytes = self.socket.value()
        self.socket.clear()
        return heard

    @property
    def hung_up(self) -> bool:
        return bool(self.socket.disconnecting)

    def goes(self) -> None:
        self.below.connectionLost(connectionDone)


@pytest.fixture
def port(services: Sip2Services) -> Port:
    return Port(services)
