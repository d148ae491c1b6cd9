"""The circulation service without network: real database and rules, four lenders, three patrons, and a fixed clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.command import InboxKey, Library
from hkall_gateway.circulation.fines import Pay
from hkall_gateway.circulation.jobs.rounds import ROUNDS, Rounds
from hkall_gateway.circulation.lending import BorrowFromUs
from hkall_gateway.circulation.loans import CheckOut, Renew
from hkall_gateway.circulation.partner_notice import (
    ItemCheckedIn,
    ItemCheckedOut,
    ItemReceived,
    ItemRenewed,
    ItemShipped,
    PartnerNotice,
    RequestAccepted,
    RequestCancelled,
)
from hkall_gateway.circulation.partners.deliveries import Delivered
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled, RenewalRefused
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.circulation.returning import CheckIn
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.db import rounds
from hkall_gateway.db.database import finished
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.rounds import RoundState
from hkall_gateway.db.tables import CLOSURES, FINES, HOLDINGS, JOURNAL, NOTICES, OUTBOX, PATRONS, REQUESTS, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules.circuit import CircuitSettings
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.json_records import from_json
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, PatronNotice
from hkall_gateway.rules.partners import Charges, Partner
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Actor, Candidate, Holding, ItemKey, Position, Request, Sensitive, Side
from tests import databases
from tests.circulation.witness import WitnessedCirculation, WitnessStore
from tests.readers import CATEGORY, with_readers

PUBLISHED = Policy()
PLACE = "HKU-MAIN-LENDING"
COUNTER = Place(role="counter", location=PLACE)
TERMINAL = Actor(who="counter-1", channel="sip2", message="09")
CLERK = Actor(who="mei", channel="cli", message="request")
WORLD = Actor(who="world", channel="world")

CHARGES = Charges(processing_cents=10_000, replacement_cents=30_000, damage_cents=5_000, refund_if_found_days=30)
PARTNERS = (
    Partner(agency="CUHK", name="Chinese University", priority=10, institutional_card="CUHK-INST", charges=CHARGES),
    Partner(agency="HKUST", name="University of Science and Technology", priority=20),
    Partner(agency="POLYU", name="Polytechnic University", priority=30),
)
PATRONS_ROWS = (
    {"barcode": "UG1", "name": "Chan", "category": CATEGORY.key, "local_loans": 0, "total_quota": 60, "language": "en"},
    {"barcode": "UG2", "name": "Wong", "category": CATEGORY.key, "local_loans": 0, "total_quota": 60, "language": "en"},
    {"barcode": "PG1", "name": "Lee", "category": "postgraduates", "local_loans": 0, "total_quota": 120, "language": "en"},
)
COPIES = (
    Holding(agency="CUHK", barcode="C1", bib_id="dune", title="Dune"),
    Holding(agency="HKUST", barcode="S1", bib_id="dune", title="Dune"),
    Holding(agency="POLYU", barcode="P1", bib_id="solaris", title="Solaris"),
    Holding(agency="HKU", barcode="K9", bib_id="lend", title="Love in a Fallen City"),
)


def hkt(text: str) -> datetime:
    """Convert Hong Kong time, such as `2017-03-06 10:00`, to UTC."""
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC)


NEWS_KINDS: dict[str, Any] = {
    "shipped": ItemShipped,
    "received": ItemReceived,
    "request_cancelled": RequestCancelled,
    "checked_out": ItemCheckedOut,
    "checked_in": ItemCheckedIn,
    "accepted": RequestAccepted,
    "renewed": ItemRenewed,
    "renewal_refused": RenewalRefused,
    "recalled": ItemRecalled,
    "recall_cancelled": RecallCancelled,
}
"""Short names of the partner notifications."""


def sent_as(kind: Any, notice: PartnerNotice) -> Any:
    """Return the command of this kind with the fields of a notice."""
    return kind(**{field.name: getattr(notice, field.name) for field in fields(notice)})


class DeskWorld:
    """The circulation service and its database. `now` may be changed; every command is answered at once."""

    def __init__(
        self, policy: Policy = PUBLISHED, partners: tuple[Partner, ...] = PARTNERS, engine: Engine | None = None
    ) -> None:
        self.now = hkt("2017-03-01 10:00")
        self.library = Library(agency="HKU", name="HKU Libraries", policy=with_readers(policy), pickup_locations=(PLACE,))
        self.engine = engine or databases.empty()
        if engine is not None:
            create_all(engine)
        self._numbers = count(1)
        self.listen: Callable[[Sequence[JournalEntry]], None] = lambda _moves: None
        self.store = WitnessStore(self.engine, self._unit)
        with self.engine.connect() as connection:
            connection.execute(insert(PATRONS), list(PATRONS_ROWS))
            connection.execute(insert(HOLDINGS), [_row(copy) for copy in COPIES])
        self.store.now(lambda unit: unit.partners.write(partners))
        ils = Snapshot(ConnectorTools(store=self.store, agency="HKU", verify=_never))
        self.circulation = WitnessedCirculation(
            self.store,
            ConnectedSystem(self.store, ils, lambda: self.library, lambda: self.now),
            lambda: self.library,
            lambda: self.now,
        )
        self.rounds = self.gateway("here")

    def _unit(self, connection: Connection) -> UnitOfWork:
        return UnitOfWork(connection, lambda: f"R{next(self._numbers)}", self.library.silent, lambda moves: self.listen(moves))

    def close(self) -> None:
        self.store.close()
        self.engine.dispose()

    # ---- doing

    def ask(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """Run a command or query and return its result."""
        return finished(asked)

    def go_to(self, text: str) -> None:
        self.now = hkt(text)

    def clock(self, text: str) -> datetime:
        """Convert Hong Kong time."""
        return hkt(text)

    def gateway(self, name: str, batch: int = 200) -> Rounds:
        """The rounds of a gateway with this name on the same database."""
        return Rounds(self.store, lambda: self.library, lambda: self.now, NoTimer(), name, batch)

    def accept(self, number: str) -> None:
        """Let the current lender accept the request."""
        self.store.now(lambda unit: unit.candidates.update(unit.candidates.of_request(number)[0], outcome="accepted"))

    def round(self, name: str) -> int:
        return finished(self.rounds.do(name))

    def given(self, position: Position, **facts: Any) -> Request:
        """Insert a request of UG1 for Dune, item CUHK:C1, at a position."""
        copy: dict[str, Any]
        lent = facts.get("side") is Side.LENDING
        made = Request(
            id="", side=Side.BORROWING, position=position, title="Dune", bib_id="dune", partner="CUHK", pickup_location=PLACE
        )
        if lent:
            copy = {"item_agency": "HKU", "item_barcode": "K9", "wire_agency": "CUHK", "wire_id": "c-1"}
        else:
            copy = {"patron": "UG1", "wire_agency": "HKU", "wire_id": "R1-1", "attempt": 1}
            before = position in {Position.NEW, Position.REQUESTED, Position.CANCELLING}
            copy |= {} if before else {"item_agency": "CUHK", "item_barcode": "C1"}
        request = replace(made, **{**copy, **facts})
        return self.store.now(_open, request, self.now)

    def lent_out(self, on: str = "2017-03-01", days: int = 15, **facts: Any) -> Request:
        """Insert a loan of UG1 that began on this day."""
        first = date.fromisoformat(on)
        dates = {"first_checkout": first, "loan_days": days, "due": first + timedelta(days=days), "used": True}
        return self.given(Position.ON_LOAN, **{**dates, **facts})

    def wish(self, patron: str = "UG1", bib: str = "dune", number: str = "d-1", **more: Any) -> Any:
        return self.ask(
            self.circulation.execute(RequestTitle(by=CLERK, patron=patron, bib_id=bib, placed_by="D", placed_id=number, **more))
        )

    def heard(self, **facts: Any) -> PartnerNotice:
        """Receive a notification from CUHK, by default about its item C1."""
        agency = facts.get("partner", "CUHK")
        said = {"by": Actor(who=agency, channel="ncip", message="Item"), "partner": "CUHK", "item": ItemKey("CUHK", "C1")}
        return PartnerNotice(**{**said, **facts})

    def check_in(self, barcode: str = "C1", **more: Any) -> Any:
        return self.ask(self.circulation.execute(CheckIn(by=TERMINAL, place=COUNTER, barcode=barcode, **more)))

    def check_out(self, card: str = "UG1", barcode: str = "C1", **more: Any) -> Any:
        return self.ask(self.circulation.execute(CheckOut(by=TERMINAL, place=COUNTER, card=card, barcode=barcode, **more)))

    def renew(self, card: str = "UG1", barcode: str = "C1", inbox: InboxKey | None = None, **more: Any) -> Any:
        return self.ask(self.circulation.execute(Renew(by=TERMINAL, card=card, barcode=barcode, **more), inbox=inbox))

    def act(self, name: str, request: str = "R1", **more: Any) -> Any:
        return self.ask(self.circulation.execute(Act(by=CLERK, request=request, **more, action=name)))

    def close_on(self, agency: str, *days: str) -> None:
        rows = [{"agency": agency, "day": date.fromisoformat(day), "reason": ""} for day in days]
        self.store.now(lambda unit: unit.execute(insert(CLOSURES), rows))

    def pay(self, cents: int, card: str = "UG1") -> Any:
        return self.ask(self.circulation.execute(Pay(by=TERMINAL, card=card, cents=cents)))

    def say(self, name: str, request: Request, **more: Any) -> Any:
        """Receive a notification about a request from its partner, by the name of a service method."""
        wire: dict[str, Any] = {"wire_agency": request.wire_agency, "wire_id": request.wire_id}
        due = self.today() + timedelta(days=30)
        ask = PartnerNotice(
            by=Actor(who=request.partner, channel="ncip", message=name),
            partner=request.partner,
            item=request.item,
            due=due,
            **wire,
            **more,
        )
        return self.ask(self.circulation.execute(sent_as(NEWS_KINDS[name], ask)))

    def borrow_from_us(self, bib: str, number: str) -> Any:
        """Let CUHK request a title of ours."""
        by = Actor(who="CUHK", channel="ncip", message="RequestItem")
        return self.ask(
            self.circulation.execute(BorrowFromUs(by=by, partner="CUHK", wire_agency="CUHK", wire_id=number, bib_id=bib))
        )

    def delivered(self, send: Notification, answer: DeliveryResult) -> Any:
        """Record the delivery of the newest message of this kind."""
        row = next(row for row in reversed(self.store.now(lambda unit: unit.outbox.rows())) if row.send is send)
        return self.ask(
            self.circulation.execute(Delivered(row=row, answer=answer, retry_at=None, circuit_settings=CircuitSettings()))
        )

    def add_copies(self, copies: Sequence[Holding]) -> None:
        self.store.now(lambda unit: unit.execute(insert(HOLDINGS), [_row(copy) for copy in copies]))

    def set_patron(self, card: str, **values: Any) -> None:
        self.store.now(lambda unit: unit.execute(update(PATRONS).where(PATRONS.c.barcode == card).values(**values)))

    # ---- looking

    def today(self) -> date:
        return civil(self.now)

    def count(self) -> int:
        """The number of requests."""
        return len(self.rows(REQUESTS))

    def requests(self) -> list[Request]:
        """All requests, in the order of creation."""
        born = [line["request"] for line in self.journal() if line["event"] == "OPEN"]
        return [self.request(number) for number in born]

    def rounds_by_name(self) -> tuple[str, ...]:
        return tuple(ROUNDS)

    def status(self, item: ItemKey) -> str:
        """The circulation status of an item in the catalogue."""
        found: Holding | None = self.store.now(lambda unit: unit.holdings.find(item))
        assert found is not None
        return found.status

    def request(self, number: str = "R1") -> Request:
        found: Request | None = self.store.now(lambda unit: unit.requests.find(number))
        assert found is not None
        return found

    def told(self) -> list[str]:
        """Everything enqueued in the outbox, as `CUHK ask_lender` or `UG1 letter_pickup`."""
        return [f"{row['recipient']} {row['send']}" for row in self.rows(OUTBOX)]

    def letters(self, send: Notification) -> int:
        """The number of letters of a kind."""
        return sum(row["kind"] == send.value for row in self.rows(NOTICES))

    def letter(self, send: Notification) -> PatronNotice:
        """The newest letter of a kind."""
        rows = [row for row in self.rows(OUTBOX) if row["send"] == send.value]
        found = from_json(rows[-1]["payload"])
        assert isinstance(found, PatronNotice)
        return found

    def message(self) -> PartnerMessage:
        """The last message enqueued for a partner."""
        found = from_json(self.rows(OUTBOX)[-1]["payload"])
        assert isinstance(found, PartnerMessage)
        return found

    def owed(self, card: str = "UG1") -> int:
        owed: int = self.store.now(lambda unit: unit.patrons.owed_cents(card))
        return owed

    def fines(self) -> list[tuple[str, int]]:
        return [(row["kind"], row["cents"]) for row in self.rows(FINES)]

    def job(self, name: str) -> RoundState:
        """The stored state of a round."""
        return next(job for job in self.store.now(rounds.jobs) if job.name == name)

    def journal(self) -> list[Mapping[str, Any]]:
        return self.rows(JOURNAL)

    def rows(self, table: Any) -> list[Mapping[str, Any]]:
        key = table.c.id if "id" in table.c else next(iter(table.c))
        return self.store.now(lambda unit: [dict(row) for row in unit.execute(select(table).order_by(key)).mappings()])


class NoTimer:
    """A clock whose scheduled calls the test runs itself."""

    def __init__(self) -> None:
        self.waiting: list[Callable[..., Any]] = []

    def ring(self) -> None:
        """Run the call that is due after a minute."""
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()

    def callLater(self, _delay: float, call: Callable[..., Any], /) -> Any:  # noqa: N802  # Twisted's own name
        self.waiting.append(call)
        return self

    def seconds(self) -> float:
        return 0.0

    def active(self) -> bool:
        return bool(self.waiting)

    def cancel(self) -> None:
        self.waiting.clear()


async def _never(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    return False


def _row(copy: Holding) -> dict[str, Any]:
    return {field.name: getattr(copy, field.name) for field in fields(copy)}


def _open(unit: UnitOfWork, request: Request, now: datetime) -> Request:
    born = unit.open(request, now, WORLD)
    if born.side is Side.BORROWING and born.wire_id:
        asked = Candidate(
            request=born.id, rank=1, agency=born.partner, barcode="C1" if born.partner == "CUHK" else "", wire_id=born.wire_id
        )
        unit.candidates.add([asked, Candidate(request=born.id, rank=2, agency="HKUST", barcode="S1")])
    return born


@pytest.fixture
def library() -> Iterator[DeskWorld]:
    made = DeskWorld()
    yield made
    made.close()


@pytest.fixture
def library_on_each(engine: Engine) -> Iterator[DeskWorld]:
    """A library on SQLite, then on PostgreSQL."""
    made = DeskWorld(engine=engine)
    yield made
    made.close()


@pytest.fixture
def timer() -> NoTimer:
    return NoTimer()


@pytest.fixture
def make_library() -> Iterator[Callable[..., DeskWorld]]:
    """A factory of libraries with a given policy or given partners."""
    made: list[DeskWorld] = []

    def make(policy: Policy = PUBLISHED, partners: tuple[Partner, ...] = PARTNERS) -> DeskWorld:
        made.append(DeskWorld(policy, partners))
        return made[-1]

    yield make
    for one in made:
        one.close()
