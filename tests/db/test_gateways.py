"""Two gateways on one PostgreSQL database: neither blocks the other, and each decision is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from queue import Queue
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import OperationalError
from twisted.internet.defer import Deferred

from hkall_gateway.circulation.command import Context, Library
from hkall_gateway.circulation.jobs.retention import purge
from hkall_gateway.db import bind, inbox
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.compiled import discard, flush
from hkall_gateway.db.engine.connect import Limits, open_engine
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.privacy import forgetting
from hkall_gateway.db.privacy.persons import Person
from hkall_gateway.db.tables import LINKS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import TAKES_QUOTA
from hkall_gateway.rules.settings import Policy, Retention
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side

PATIENCE_S = 20.0
CARDS = [f"P{n:02}" for n in range(40)]
Pair = tuple[Database, Database]
Turns = Queue[Callable[[], None]]


@pytest.fixture
def turns() -> Turns:
    """The reactor queue of both gateways: calls from their threads wait until the test drains it."""
    return Queue()


@pytest.fixture
def pair(postgres_engine: Engine, turns: Turns) -> Iterator[Pair]:
    """Two gateways, each with its own connections."""
    url = postgres_engine.url.render_as_string(hide_password=False)
    engines = open_engine(url), open_engine(url)
    one, other = (_gateway(engine, name, turns) for engine, name in zip(engines, "AB", strict=True))
    yield one, other
    for database, engine in zip((one, other), engines, strict=True):
        database.close()
        engine.dispose()


def _gateway(engine: Engine, name: str, turns: Turns) -> Database:
    numbers = iter(range(1000))
    return Database(engine, lambda connection: UnitOfWork(connection, lambda: f"{name}{next(numbers)}"), turns.put)


def _outcomes(turns: Turns, waiters: list[Deferred[Any]]) -> list[Any]:
    """Results and errors, in the order of the waiters."""
    while not all(waiter.called for waiter in waiters):
        turns.get(timeout=PATIENCE_S)()
    told: list[Any] = []
    for waiter in waiters:
        waiter.addBoth(told.append)
    return told


@contextmanager
def _at_the_same_time(pair: Pair) -> Iterator[None]:
    """Block both writers, so that work submitted meanwhile forms one group each, and start both groups together."""
    inside, go = Barrier(3, timeout=PATIENCE_S), Barrier(3, timeout=PATIENCE_S)
    for database in pair:
        database.write(lambda _unit: (inside.wait(), go.wait()), LockSet())
    inside.wait()
    yield
    go.wait()


def _lend_one_more(unit: UnitOfWork, card: str) -> str:
    unit.execute(update(PATRONS).where(PATRONS.c.barcode == card).values(local_loans=PATRONS.c.local_loans + 1))
    return card


def test_groups_locking_the_same_patrons_in_different_order_do_not_deadlock(
    pair: Pair, turns: Turns, postgres_engine: Engine
) -> None:
    with postgres_engine.connect() as connection:
        connection.execute(insert(PATRONS), [{"barcode": card, "local_loans": 0} for card in CARDS])
    backwards = CARDS[::-1]
    with _at_the_same_time(pair):
        waiters = [pair[0].write(bind(_lend_one_more, card), LockSet(patron=card)) for card in CARDS]
        waiters += [pair[1].write(bind(_lend_one_more, card), LockSet(patron=card)) for card in backwards]
    assert _outcomes(turns, waiters) == [*CARDS, *backwards]
    with postgres_engine.connect() as connection:
        assert set(connection.execute(select(PATRONS.c.local_loans)).scalars()) == {2}


def _request_if_first(unit: UnitOfWork, card: str, now: datetime, by: Actor) -> str:
    """Count and then write, with a quota of one."""
    if unit.requests.quota_used(card, TAKES_QUOTA):
        return "quota"
    return unit.open(
        Request(id="", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron=card), now, by
    ).id


def test_quota_holds_when_two_gateways_decide_concurrently(
    pair: Pair, turns: Turns, postgres_engine: Engine, now: datetime, by: Actor
) -> None:
    with postgres_engine.connect() as connection:
        connection.execute(insert(PATRONS), [{"barcode": card} for card in CARDS])
    with _at_the_same_time(pair):
        asked = [
            [database.write(bind(_request_if_first, card, now, by), LockSet(patron=card)) for database in pair]
            for card in CARDS
        ]
    answers = [_outcomes(turns, both) for both in asked]
    assert [answer.count("quota") for answer in answers] == [1] * len(CARDS)


def test_same_document_at_two_gateways_has_one_outcome(pair: Pair, turns: Turns, now: datetime) -> None:
    document = ("CUHK", "same")

    def answer(unit: UnitOfWork, gateway: str) -> str:
        kept = inbox.find(unit, *document, now)
        if kept is None:
            inbox.keep(unit, *document, gateway, now + timedelta(days=30), now)
        return kept or gateway

    with _at_the_same_time(pair):
        waiters = [
            database.write(bind(answer, name), LockSet(document=document)) for database, name in zip(pair, "AB", strict=True)
        ]
    first, second = _outcomes(turns, waiters)
    assert first == second


def test_starting_gateway_overwrites_the_partner_directory(pair: Pair, turns: Turns) -> None:
    names = ("The library", "The library, renamed")
    for database, name in zip(pair, names, strict=True):
        _outcomes(turns, [database.write(bind(_rename, name), LockSet())])
    (directory,) = _outcomes(turns, [pair[0].read(lambda unit: unit.partners.find("CUHK"), is_long=True)])
    assert directory.name == "The library, renamed"


def test_starting_gateway_with_an_unchanged_directory_takes_no_lock(pair: Pair, turns: Turns, postgres_engine: Engine) -> None:
    """Other gateways may hold locks on partner rows in a different order, so locking could deadlock."""
    directory = [Partner(agency="CUHK", name="The library"), Partner(agency="LU", name="Another")]
    _outcomes(turns, [pair[0].write(lambda unit: unit.partners.write(directory), LockSet())])
    with postgres_engine.connect() as busy:
        busy.exec_driver_sql("BEGIN")
        busy.execute(select(LINKS.c.agency).with_for_update())
        assert _outcomes(turns, [pair[1].write(lambda unit: unit.partners.write(directory), LockSet())]) == [None]
        busy.exec_driver_sql("ROLLBACK")


def _request_if_known(unit: UnitOfWork, card: str, now: datetime, by: Actor) -> str:
    if unit.patrons.find(card) is None:
        return "unknown"
    return unit.open(
        Request(id="", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron=card), now, by
    ).id


def test_request_placed_during_an_erasure_keeps_its_patron_or_finds_no_patron(
    pair: Pair, turns: Turns, postgres_engine: Engine, now: datetime, by: Actor
) -> None:
    with postgres_engine.connect() as connection:
        connection.execute(insert(PATRONS), [{"barcode": card, "name": f"Cheung {card}"} for card in CARDS])
    people = [Person(cards=(card,), words=(f"Cheung {card}",)) for card in CARDS]
    found = _outcomes(turns, [pair[0].read(bind(forgetting.find, who), is_long=True) for who in people])
    with _at_the_same_time(pair):
        erased = [
            pair[0].write(bind(forgetting.forget, who, rows, (), "asked", now, by), LockSet())
            for who, rows in zip(people, found, strict=True)
        ]
        placed = [pair[1].write(bind(_request_if_known, card, now, by), LockSet(card)) for card in CARDS]
    done, numbers = _outcomes(turns, erased), _outcomes(turns, placed)

    left = _outcomes(turns, [pair[0].read(bind(_patron, card), is_long=True) for card in CARDS])
    for one, number, patron in zip(done, numbers, left, strict=True):
        assert (number == "unknown") == (patron is None), (number, one)
        assert [stay.which for stay in one.stays] == ([] if number == "unknown" else [number, ""])


def test_erasure_locks_the_card_and_the_archives(postgres_engine: Engine, now: datetime, by: Actor) -> None:
    """Another gateway's changes to the card, and its moves to an archive, wait."""
    engine = open_engine(postgres_engine.url.render_as_string(hide_password=False), Limits(lock_s=0.05))
    with engine.connect() as erasing, engine.connect() as other:
        erasing.exec_driver_sql("BEGIN")
        forgetting.forget(UnitOfWork(erasing, str), Person(cards=("P1", "P2")), [], (), "asked", now, by)
        for work in (
            lambda unit: unit.lock([LockSet("P1")]),
            lambda unit: unit.lock([LockSet("P2", whole=True)]),
            lambda unit: _purge(unit, "archive", now),
            lambda unit: _purge(unit, "archive_lines", now),
        ):
            assert _waits(other, work)
        assert not _waits(other, lambda unit: unit.lock([LockSet("P3")]))
    engine.dispose()


def _purge(unit: UnitOfWork, stage: str, now: datetime) -> None:
    terms = Policy(retention=Retention(archive_days=1, archive_file="/nowhere"))
    purge(
        Context(unit, Library(agency="HKU", name="HKU Libraries", policy=terms, pickup_locations=("HKU-MAIN-LENDING",)), now),
        stage,
        1,
    )


def _waits(connection: Connection, work: Callable[[UnitOfWork], object]) -> bool:
    connection.exec_driver_sql("BEGIN")
    try:
        work(UnitOfWork(connection, str))
        flush(connection)
    except OperationalError as error:
        if "lock timeout" not in str(error):
            raise
        return True
    finally:
        discard(connection)
        connection.exec_driver_sql("ROLLBACK")
    return False


def _patron(unit: UnitOfWork, card: str) -> Any:
    return unit.patrons.find(card)


def _rename(unit: UnitOfWork, name: str) -> None:
    unit.partners.write([Partner(agency="CUHK", name=name)])
