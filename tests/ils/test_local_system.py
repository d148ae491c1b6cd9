"""The local system as the circulation service sees it: fallbacks during an outage, and what is never assumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.loans import CheckOut
from hkall_gateway.circulation.ports import BorrowerFacts, Gathered, Unreachable, Verb
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db import cards
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.compiled import flush
from hkall_gateway.db.engine.connect import Limits, open_engine
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.loads import former_cards
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.local_system import MOST_KEPT, WRONG_PIN, ConnectedSystem, OfflineRules
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Borrower, Holding, Position, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases

BEGIN = datetime(2017, 3, 1, 2, tzinfo=UTC)
ALL = frozenset({Verb.BORROWER, Verb.VERIFY_PIN, Verb.COPIES})


async def plain(card: str, stored: Sensitive, pin: Sensitive) -> bool:
    return stored == pin


@dataclass
class System:
    """A fake local system; every PIN is 1234, and every patron has three loans."""

    supports: frozenset[Verb] = ALL
    away: bool = False
    says_pins: bool = True
    now: datetime = BEGIN
    asked: list[str] = field(default_factory=list)

    async def borrower(self, card: str) -> BorrowerFacts:
        self._answer(card)
        return BorrowerFacts(
            borrower=Borrower(barcode=card, name=NOTHING, category="living", local_loans=3), source="sip2", as_of=self.now
        )

    async def verify_pin(self, card: str, pin: Sensitive) -> bool | None:
        self._answer(card)
        return pin == Sensitive("1234") if self.says_pins else None

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        self._answer(bib_id)
        return (Holding(agency="HKU", barcode="B1", bib_id=bib_id, title="Dune"),)

    def _answer(self, what: str) -> None:
        if self.away:
            raise Unreachable
        self.asked.append(what)


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def store() -> Iterator[SoleStore]:
    engine = databases.MEMORY.fresh()
    with engine.connect() as connection:
        connection.execute(insert(PATRONS), {"barcode": "P1", "name": "Chan", "category": "loaded", "pin_hash": "5678"})
    opened = SoleStore(engine, lambda c: UnitOfWork(c, lambda: "R1"))
    yield opened
    opened.close()


HKU = Library(agency="HKU", name="HKU Libraries", policy=Policy(), pickup_locations=("HKU-MAIN-LENDING",))


def local(store: SoleStore, system: System, **terms: object) -> ConnectedSystem:
    return ConnectedSystem(store, system, lambda: HKU, lambda: system.now, lambda: OfflineRules(**terms, verify=plain))  # type: ignore[arg-type]


def test_answer_of_the_local_system_is_returned_without_a_flag(store: SoleStore, system: System) -> None:
    facts = finished(local(store, system).borrower("P1"))
    assert facts.borrower is not None
    assert (facts.borrower.category, facts.flag, facts.reachable) == ("living", "", True)


def test_card_blocked_at_a_terminal_is_blocked_regardless_of_the_local_system(store: SoleStore, system: System) -> None:
    store.now(_block)
    facts = finished(local(store, system).borrower("P1"))
    assert facts.borrower is not None
    assert facts.borrower.blocked


@pytest.mark.parametrize(
    ("minutes", "category"),
    [(14, "living"), (15, "loaded")],
)
def test_answer_is_cached_for_fifteen_minutes_during_an_outage(
    store: SoleStore, system: System, minutes: int, category: str
) -> None:
    asked = local(store, system)
    finished(asked.borrower("P1"))
    system.away, system.now = True, BEGIN + timedelta(minutes=minutes)
    facts = finished(asked.borrower("P1"))
    assert facts.borrower is not None
    assert (facts.borrower.category, facts.flag, facts.reachable) == (category, StaffFlag.ILS_AWAY, True)


def test_recently_unknown_card_is_not_taken_from_the_loaded_file(store: SoleStore, system: System) -> None:
    class Strict(System):
        async def borrower(self, card: str) -> BorrowerFacts:
            self._answer(card)
            return BorrowerFacts(borrower=None, source="sip2", as_of=self.now)

    strict = Strict()
    asked = local(store, strict)
    finished(asked.borrower("P1"))
    strict.away = True
    assert finished(asked.borrower("P1")).borrower is None


def test_card_without_a_loaded_record_is_undecided_during_an_outage(store: SoleStore, system: System) -> None:
    system.away = True
    facts = finished(local(store, system).borrower("P9"))
    assert (facts.borrower, facts.reachable) == (None, False)


def test_stale_data_is_not_used_during_an_outage_if_the_policy_forbids_it(store: SoleStore, system: System) -> None:
    asked = local(store, system, fallback="refuse")
    finished(asked.borrower("P1"))
    system.away = True
    assert not finished(asked.borrower("P1")).reachable


def test_cache_drops_the_oldest_answer_first(store: SoleStore, system: System) -> None:
    asked = local(store, system)
    for number in range(MOST_KEPT + 1):
        finished(asked.borrower(f"X{number}"))
    system.away = True
    assert not finished(asked.borrower("X0")).reachable
    assert finished(asked.borrower("X1")).reachable


# ---- PINs


@pytest.mark.parametrize(("pin", "right"), [("1234", True), ("9999", False)])
def test_pin_is_verified_by_the_connected_local_system(store: SoleStore, system: System, pin: str, right: bool) -> None:
    assert finished(local(store, system).pin_ok("P1", Sensitive(pin))) is right


@pytest.mark.parametrize(
    ("terms", "pin", "right"),
    [
        ({"pin": "refuse"}, "1234", None),
        ({"pin": "trust"}, "1234", None),  # the connector can check PINs, but not during the outage
        ({"pin": "refuse", "recent_pin": lambda *_: True}, "1234", True),
        ({"pin": "loaded", "recent_pin": lambda *_: True}, "1234", True),  # it was changed since the file was loaded
        ({"fallback": "refuse", "recent_pin": lambda *_: True}, "1234", None),
        ({"pin": "loaded"}, "5678", True),
        ({"pin": "loaded"}, "1234", None),  # it may have been changed since the file was loaded
        ({"pin": "loaded", "fallback": "refuse"}, "5678", None),
    ],
)
def test_pin_is_valid_invalid_or_undecided_during_an_outage(
    store: SoleStore, system: System, terms: dict[str, str], pin: str, right: bool | None
) -> None:
    system.away = True
    assert finished(local(store, system, **terms).pin_ok("P1", Sensitive(pin))) is right


UNSAID = [System(supports=frozenset({Verb.BORROWER})), System(says_pins=False)]


@pytest.mark.parametrize(
    ("terms", "card", "pin", "right"),
    [
        ({"pin": "refuse"}, "P1", "5678", None),
        ({"pin": "trust"}, "P1", "0000", True),
        ({"pin": "loaded"}, "P1", "5678", True),
        ({"pin": "loaded"}, "P1", "1", False),
        ({"pin": "loaded"}, "P9", "1", None),  # no hash was loaded for this card
        ({}, "P1", "5678", True),
        ({}, "P9", "1", None),
    ],
)
@pytest.mark.parametrize("system", UNSAID, ids=["cannot be asked", "does not say"])
def test_configuration_decides_about_a_pin_of_which_the_local_system_says_nothing(
    store: SoleStore, system: System, terms: dict[str, str], card: str, pin: str, right: bool | None
) -> None:
    assert finished(local(store, system, **terms).pin_ok(card, Sensitive(pin))) is right


def test_unknown_pin_asks_the_patron_to_try_again(store: SoleStore) -> None:
    refusal = finished(local(store, System(says_pins=False), pin="refuse").pin_refused("P1", Sensitive("1234")))
    assert refusal is not None
    assert refusal.why is Reason.TRY_AGAIN


@pytest.mark.parametrize("recent", [True, False])
def test_pin_accepted_a_moment_ago_opens_a_session_during_an_outage(store: SoleStore, system: System, recent: bool) -> None:
    asked = local(store, system, pin="refuse", recent_pin=lambda *_: recent)
    finished(asked.facts("P1"))
    system.away = True
    known = finished(asked.identify("P1", Sensitive("1234"), pin_given=True)).read(None)  # type: ignore[arg-type]  # it reads nothing
    assert (known.pin_ok, known.unsure) == ((True, False) if recent else (None, True))


# ---- availability of own items


def test_availability_is_unknown_when_the_shelf_cannot_be_queried(store: SoleStore, system: System) -> None:
    asked = local(store, system)
    assert [copy.barcode for copy in finished(asked.at_home("b1")) or ()] == ["B1"]
    system.away = True
    assert finished(asked.at_home("b1")) is None


def _block(unit: UnitOfWork) -> None:
    cards.block(unit, "P1", "found in the street", BEGIN, Actor(who="counter-1", channel="sip2"), retained=True)


# ---- replies with another card


@dataclass
class Renumbering(System):
    """A system in which some patrons have new cards, and which reports former ones."""

    present: dict[str, str] = field(default_factory=dict)
    former: dict[str, tuple[str, ...]] = field(default_factory=dict)
    strangers: frozenset[str] = frozenset()

    async def borrower(self, card: str) -> BorrowerFacts:
        self._answer(card)
        now = self.present.get(card, card)
        known = None if card in self.strangers else Borrower(barcode=now, name=NOTHING, category="living", local_loans=3)
        return BorrowerFacts(borrower=known, source="sip2", as_of=self.now, former=self.former.get(now, ()))


def asked(store: SoleStore, system: System, card: str) -> BorrowerFacts:
    """Return the circulation service's data about a card, after all replacements were applied."""
    return finished(local(store, system).facts(card))


def wish_of(store: SoleStore, card: str) -> str:
    """Place a request for this card; return its number."""
    wish = Request(id="", side=Side.BORROWING, position=Position.RECEIVED, title="Dune", bib_id="b1", patron=card)
    return store.now(UnitOfWork.open, wish, BEGIN, Actor(who="test", channel="world")).id


def patron_of(store: SoleStore, number: str) -> str:
    request: Request | None = store.now(lambda unit: unit.requests.find(number))
    assert request is not None
    return request.patron


def test_stored_data_moves_to_the_card_returned_by_the_local_system(store: SoleStore) -> None:
    number = wish_of(store, "P1")
    facts = asked(store, Renumbering(present={"P1": "P2"}), "P1")
    assert facts.borrower is not None
    assert (facts.borrower.barcode, patron_of(store, number)) == ("P2", "P2")
    assert store.now(former_cards.card_now, "P1") == "P2"


def test_former_card_without_stored_data_is_ignored(store: SoleStore) -> None:
    asked(store, Renumbering(present={"student-77": "P1"}), "student-77")
    assert store.now(former_cards.cards_of, "P1") == ("P1",)


@pytest.mark.parametrize(
    ("system", "follows"),
    [
        (Renumbering(former={"P2": ("P1",)}, strangers=frozenset({"P1"})), True),
        (Renumbering(former={"P2": ("P1",)}, present={"P1": "P2"}), True),
        (Renumbering(former={"P2": ("P1",)}), False),
    ],
    ids=["nobody has it any more", "it is answered by the new one", "it was issued to somebody else"],
)
def test_former_card_named_by_the_local_system_is_followed_unless_reissued(
    store: SoleStore, system: System, follows: bool
) -> None:
    number = wish_of(store, "P1")
    asked(store, system, "P2")
    assert patron_of(store, number) == ("P2" if follows else "P1")


def test_replaced_card_unknown_to_the_local_system_is_reported_as_replaced(store: SoleStore) -> None:
    store.now(former_cards.replace_cards, {"P1": "P2"}, BEGIN, Actor(who="mei", channel="cli"))
    facts = asked(store, Renumbering(strangers=frozenset({"P1", "P9"})), "P1")
    assert (facts.replaced, facts.stranger) == (True, Reason.CARD_REPLACED)
    assert asked(store, Renumbering(strangers=frozenset({"P9"})), "P9").stranger is Reason.UNKNOWN_BORROWER


def test_card_replaced_by_a_loaded_file_is_unknown_even_if_the_local_system_knows_it(store: SoleStore) -> None:
    store.now(former_cards.replace_cards, {"P1": "P2"}, BEGIN, Actor(who="mei", channel="cli", message="load"))
    assert asked(store, Renumbering(), "P1").stranger is Reason.CARD_REPLACED
    assert asked(store, Renumbering(present={"P1": "P2"}), "P1").borrower is not None


def test_reissued_card_belongs_to_its_new_patron(store: SoleStore) -> None:
    wish_of(store, "P7")
    asked(store, Renumbering(present={"P7": "P8"}), "P7")
    assert store.now(former_cards.card_now, "P7") == "P8"
    assert asked(store, Renumbering(), "P7").borrower is not None
    assert store.now(former_cards.card_now, "P7") == "P7"


@pytest.mark.parametrize("held", ["P1", "P2", "P3"])
def test_card_replacement_is_skipped_while_another_gateway_locks_either_card(postgres_engine: Engine, held: str) -> None:
    """The other gateway holds its lock until its commit; in this test it never commits."""
    engine = open_engine(postgres_engine.url.render_as_string(hide_password=False), Limits(lock_s=0.05))
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    number = wish_of(store, "P1")
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        UnitOfWork(other, str).lock([LockSet(held)])
        flush(other)
        if held == "P3":
            asked(store, Renumbering(present={"P1": "P2"}), "P1")
        else:
            with pytest.raises(Unavailable):
                asked(store, Renumbering(present={"P1": "P2"}), "P1")
        other.exec_driver_sql("ROLLBACK")

    assert patron_of(store, number) == ("P2" if held == "P3" else "P1")
    store.close()
    engine.dispose()


class Counting:
    """A store that counts its read transactions and records their order."""

    def __init__(self, store: SoleStore, told: list[str]) -> None:
        self._store, self._told = store, told

    def read(self, *args: Any, **named: Any) -> Any:
        self._told.append("read")
        return self._store.read(*args, **named)

    def write(self, *args: Any, **named: Any) -> Any:
        self._told.append("write")
        return self._store.write(*args, **named)


@dataclass
class Listed(System):
    """A system that records its queries among the transactions."""

    told: list[str] = field(default_factory=list)

    async def borrower(self, card: str) -> BorrowerFacts:
        self.told.append("question")
        return await super().borrower(card)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool | None:
        self.told.append("PIN")
        return await super().verify_pin(card, pin)


def test_checkout_with_a_pin_reads_the_database_once_before_and_after_a_live_query(store: SoleStore) -> None:
    system = Listed()
    counting: Any = Counting(store, system.told)
    assert isinstance(finished(local(counting, system).for_checkout("P1", Sensitive("1234"))), Gathered)
    assert system.told == ["read", "question", "read", "PIN"]


def test_checkout_with_a_pin_reads_the_database_once_with_loaded_patrons(store: SoleStore) -> None:
    @dataclass
    class Loaded(Listed):
        supports: frozenset[Verb] = ALL | {Verb.LOADED}

    system = Loaded()
    counting: Any = Counting(store, system.told)
    assert finished(local(counting, system).for_checkout("P1", Sensitive("0000"))) == WRONG_PIN
    assert system.told == ["read"]


@pytest.mark.parametrize(
    ("supports", "pin", "order"),
    [
        (ALL, "1234", ["read", "question", "read", "PIN", "write"]),
        (ALL | {Verb.LOADED}, "5678", ["read", "write"]),
    ],
    ids=["live", "loaded"],
)
def test_checkout_with_a_pin_uses_the_expected_transactions(
    store: SoleStore, supports: frozenset[Verb], pin: str, order: list[str]
) -> None:
    system = Listed(supports)
    counting: Any = Counting(store, system.told)
    circulation = Circulation(counting, local(counting, system), lambda: HKU, lambda: system.now)
    place = Place(role="counter", location="HKU-MAIN-LENDING")
    command = CheckOut(
        by=Actor(who="counter-1", channel="sip2"), place=place, card="P1", barcode="C1", pin=Sensitive(pin), pin_given=True
    )

    outcome = finished(circulation.execute(command))

    assert isinstance(outcome, Refused)
    assert outcome.why is Reason.UNKNOWN_ITEM  # the unit of work decides this after the PIN check
    assert system.told == order
