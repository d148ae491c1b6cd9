"""An object locked by one gateway is not changed by another, under any of its identifiers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from hkall_gateway.db.engine.compiled import flush
from hkall_gateway.db.engine.connect import Limits, open_engine
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Candidate, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests.db.conftest import COPIES

CANDIDATE = Candidate(request="R1", rank=1, agency="LU", barcode="L1", local_bib_id="", skip="", wire_id="R1-1", outcome="")


@pytest.fixture
def request_r1(postgres_engine: Engine, now: datetime) -> None:
    """One loan of P1: R1, item C1, requested first from LU under R1-1 and then from CUHK under R1-2, placed by D as d-1."""
    store = SoleStore(postgres_engine, lambda connection: UnitOfWork(connection, str))
    loan = Request(
        id="R1",
        side=Side.BORROWING,
        position=Position.ON_LOAN,
        title="Dune",
        bib_id="b1",
        patron="P1",
        item_agency=COPIES,
        item_barcode="C1",
    )
    named = replace(loan, wire_agency="HKU", wire_id="R1-2", placed_by="D", placed_id="d-1")
    store.now(UnitOfWork.open, named, now, Actor(who="test", channel="world"))
    store.now(lambda unit: unit.candidates.add([CANDIDATE]))
    store.close()


@pytest.fixture
def two(postgres_engine: Engine) -> Iterator[tuple[Connection, Connection]]:
    """Two gateways; the second waits only briefly for locks."""
    engine = open_engine(postgres_engine.url.render_as_string(hide_password=False), Limits(lock_s=0.05))
    with engine.connect() as one, engine.connect() as other:
        one.exec_driver_sql("BEGIN")
        other.exec_driver_sql("BEGIN")
        yield one, other
    engine.dispose()


def waits(two: tuple[Connection, Connection], first: LockSet, second: LockSet) -> bool:
    """Whether a lock of the first gateway blocks the second."""
    _lock(two[0], first)
    try:
        _lock(two[1], second)
    except OperationalError as error:
        if "lock timeout" not in str(error):
            raise
        return True
    return False


def _lock(connection: Connection, wanted: LockSet) -> None:
    UnitOfWork(connection, str).lock([wanted])
    flush(connection)


WAYS = {
    "its number": LockSet(request="R1"),
    "its copy": LockSet(item=("", "C1")),
    "its RequestId at the lender": LockSet(partner_ids=(("HKU", "R1-2"),)),
    "its RequestId at a former lender": LockSet(partner_ids=(("HKU", "R1-1"),)),
    "the discovery system's RequestId": LockSet(placed=("D", "d-1")),
    "all of its patron's": LockSet("P1", whole=True),
    "all of its patron's, who has another card now": LockSet("P9", former="P1", whole=True),
}


@pytest.mark.usefixtures("request_r1")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", WAYS)
def test_request_is_locked_across_gateways_under_any_identifier(
    two: tuple[Connection, Connection], way: str, other: str
) -> None:
    assert waits(two, WAYS[way], WAYS[other])


ROWLESS = {
    "a card of another system": LockSet("P9"),
    "a copy that nobody has": LockSet(item=("", "C9")),
    "a RequestId that is new": LockSet(partner_ids=(("CUHK", "x-1"),)),
    "a document": LockSet(document=("CUHK", "abc")),
}


@pytest.mark.parametrize("what", ROWLESS)
def test_objects_without_a_row_are_locked_across_gateways(two: tuple[Connection, Connection], what: str) -> None:
    assert waits(two, ROWLESS[what], ROWLESS[what])


@pytest.mark.parametrize("card", ["P8", "P9"])
def test_both_cards_of_a_person_are_locked(two: tuple[Connection, Connection], card: str) -> None:
    assert waits(two, LockSet(card), LockSet("P9", former="P8"))


@pytest.mark.usefixtures("request_r1")
def test_locks_on_different_objects_do_not_block_each_other(two: tuple[Connection, Connection]) -> None:
    mine = LockSet("P1", "R1", ("", "C1"), (("CUHK", "x-1"),), ("D", "d-1"), ("CUHK", "abc"))
    assert not waits(two, mine, LockSet("P2", "R2", ("", "C2"), (("CUHK", "x-2"),), ("D", "d-2"), ("CUHK", "abd")))


def test_empty_lock_set_takes_no_lock(two: tuple[Connection, Connection]) -> None:
    assert not waits(two, LockSet(), LockSet())
    assert list(LockSet().names()) == []


@given(st.text(min_size=1), st.text(min_size=1))
def test_card_item_and_document_locks_never_collide(card: str, agency: str) -> None:
    named = [LockSet(card), LockSet(item=("", card)), LockSet(document=(agency, card)), LockSet(partner_ids=((agency, card),))]
    assert len({name for one in named for name in one.names()}) == 4
