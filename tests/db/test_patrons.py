"""Reading many patrons at once gives the same as reading each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import pytest
from sqlalchemy import Connection, Engine, event
from twisted.internet.defer import Deferred

from hkall_gateway.db import bind, fines
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.loads import loading
from hkall_gateway.db.patrons import CardRecord
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Borrower, Position, Request, Sensitive
from hkall_gateway.simulator.databases import SoleStore
from tests.db.test_database import Reactor

pytestmark = pytest.mark.sql_differs

Standing = Callable[..., Request]
CARDS = ("P1", "P2", "P3", "of nobody", 'P"1, P2\\')


@pytest.fixture
def library(store: SoleStore, standing: Standing, now: datetime, by: Actor) -> SoleStore:
    """P1 has loans and a charge, P2 nothing, P3 a returned item; the other cards belong to no patron."""
    people = [Borrower(barcode=card, name=Sensitive(f"Reader {card}"), category="staff") for card in CARDS[:3]]
    store.now(loading.write, "patrons", people, 1)
    late = standing(Position.ON_LOAN, "C1", wire_id="w-1")
    standing(Position.RECEIVED, "C2", wire_id="w-2")
    standing(Position.CLOSED, "C3", patron="P3", wire_id="w-3")
    store.now(fines.charge, late, "overdue", 400, "R40", now, by)
    return store


@pytest.fixture
def asked(engine: Engine) -> Iterator[list[str]]:
    """Every query of the table of patrons from here on."""
    said: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if f"FROM {PATRONS.name}" in statement:
            said.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    yield said
    event.remove(engine, "before_cursor_execute", listen)


def _each(unit: UnitOfWork) -> dict[str, CardRecord]:
    return {
        card: CardRecord(unit.patrons.find(card), list(unit.patrons.open_lines(card)), list(unit.patrons.charges(card)))
        for card in CARDS
    }


def _ahead(unit: UnitOfWork) -> dict[str, CardRecord]:
    unit.patrons.look_ahead(CARDS)
    return _each(unit)


def test_batch_read_returns_the_same_as_single_reads(library: SoleStore, asked: list[str]) -> None:
    one_by_one = library.now(_each)
    assert [len(known.lines) for known in one_by_one.values()] == [2, 0, 0, 0, 0]
    assert [known.borrower is not None for known in one_by_one.values()] == [True, True, True, False, False]
    asked.clear()
    assert library.now(_ahead) == one_by_one
    assert len(asked) == 1


def test_reads_of_one_reactor_iteration_are_grouped_and_see_earlier_commits(
    shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], now: datetime
) -> None:
    reactor, groups = Reactor(), list[int]()

    def watch(_lane: str, units: int) -> AbstractContextManager[None]:
        groups.append(units)
        return nullcontext()

    database = Database(shared_engine, make_unit, reactor.call, watch=watch)
    for name in ("Lee", "Ho"):
        written = database.write(
            bind(loading.write, "patrons", [Borrower(barcode="P1", name=Sensitive(name), category="staff")], 1), LockSet()
        )
        reactor.until([written])
        groups.clear()
        seen: list[Deferred[Borrower | None]] = [database.read(bind(_patron, card), patron=card) for card in ("P1", "P2", "P1")]
        first, second, third = reactor.until(seen)
        assert first.name.reveal() == name
        assert (second, third) == (None, first)
        assert sum(groups) == len(seen)
        assert len(groups) == 1 or shared_engine.dialect.name != "sqlite"  # a thread may have begun with the first
    database.close()


def test_failing_read_does_not_affect_other_reads(shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> None:
    reactor = Reactor()
    database = Database(shared_engine, make_unit, reactor.call)

    def breaks(_unit: UnitOfWork) -> None:
        raise KeyError("a bug")

    outcomes = reactor.until(
        [
            database.read(lambda unit: unit.patrons.find("P1")),
            database.read(breaks),
            database.read(lambda unit: unit.patrons.find("P1")),
        ]
    )
    database.close()
    assert [type(outcome) for outcome in outcomes] == [type(None), KeyError, type(None)]


def _patron(unit: UnitOfWork, card: str) -> Borrower | None:
    return unit.patrons.find(card)
