"""Tables that must agree: every planted disagreement is found and named, and a database without one has none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from hkall_gateway.circulation.command import Context, Library
from hkall_gateway.circulation.fines import Pay, Waive, pay, waive
from hkall_gateway.db import fines
from hkall_gateway.db.privacy import retention
from hkall_gateway.db.queries.consistency import Disagreement, Mismatch, find_disagreements
from hkall_gateway.db.tables import ARCHIVES, FINES, JOURNAL, OUTBOX, PAYMENTS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Actor, Candidate, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

pytestmark = pytest.mark.sql_differs

LIBRARY = Library(agency="HKU", name="HKU", policy=Policy(), pickup_locations=("MAIN",))


@pytest.fixture
def loan(standing: Callable[..., Request]) -> Request:
    return standing(Position.ON_LOAN, "c1")


@pytest.fixture
def asked(store: SoleStore, now: datetime, by: Actor) -> Request:
    """A request that was placed and sent to its first lender."""

    def place(unit: UnitOfWork) -> Request:
        new = Request(id="", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron="P1")
        born = unit.open(new, now, by)
        chosen = Candidate(request=born.id, rank=1, agency="CUHK", barcode="c1", wire_id="w-1")
        unit.candidates.add([chosen])
        return unit.advance(born, Event.ASK, now, by, chosen=chosen, partner="CUHK", wire_agency="HKU", wire_id="w-1")

    return store.now(place)


@pytest.fixture
def charge(store: SoleStore, loan: Request, now: datetime, by: Actor) -> int:
    """A charge of 100 cents, of which 40 were paid and 10 waived."""

    def work(unit: UnitOfWork) -> int:
        number = fines.charge(unit, loan, "damage", 100, "R45", now, by)
        context = Context(unit, LIBRARY, now)
        pay(context, Pay(by=by, card="P1", cents=40))
        waive(context, Waive(by=by, fine=number, reason="typhoon", cents=10))
        return number

    return store.now(work)


def disagreements(store: SoleStore, now: datetime) -> list[Disagreement]:
    return store.read_now(lambda unit: list(find_disagreements(unit, now)))


def change(store: SoleStore, statement: Any) -> None:
    store.now(lambda unit: unit.connection.execute(statement))


def test_tables_agree_after_steps_payments_and_waivers(
    store: SoleStore, asked: Request, charge: int, now: datetime, by: Actor
) -> None:
    shipped = store.now(UnitOfWork.advance, asked, Event.SHIP, now, by)
    store.now(UnitOfWork.advance, shipped, Event.ARRIVE, now, by)
    assert charge
    assert disagreements(store, now) == []


# ---- charges and payments


def test_payment_missing_on_its_charge_is_found(store: SoleStore, loan: Request, charge: int, now: datetime) -> None:
    change(store, update(FINES).values(paid_cents=15))
    lost = Disagreement(kind=Mismatch.CREDIT_MISSING, request=loan.id, row=charge, stands="15", expected="40")
    assert disagreements(store, now) == [lost]


@pytest.mark.parametrize(
    ("planted", "kind", "stands", "expected"),
    [
        ({"paid_cents": 50}, Mismatch.CREDIT_UNPROVEN, "60", "50"),
        ({"waived_cents": 0}, Mismatch.CREDIT_UNPROVEN, "40", "50"),
        ({"waived_cents": 20}, Mismatch.CREDIT_UNPROVEN, "60", "50"),
        ({"paid_cents": 95}, Mismatch.OVERPAID, "105", "100"),
        ({"cents": 30, "waived_cents": 0, "paid_cents": 20}, Mismatch.OVERPAID, "50", "30"),
    ],
)
def test_charge_that_contradicts_its_journal_is_found(
    store: SoleStore,
    loan: Request,
    charge: int,
    now: datetime,
    planted: dict[str, int],
    kind: Mismatch,
    stands: str,
    expected: str,
) -> None:
    change(store, update(FINES).values(**planted))
    wrong = Disagreement(kind=kind, request=loan.id, row=charge, stands=stands, expected=expected)
    assert disagreements(store, now) == [wrong]


def test_payment_that_no_charge_received_is_found(store: SoleStore, charge: int, now: datetime) -> None:
    row = {"patron": "P1", "who": "kiosk", "cents": 37, "currency": "HKD", "at": now + timedelta(seconds=1)}
    change(store, insert(PAYMENTS).values(**row))
    unused = Disagreement(kind=Mismatch.PAYMENT_UNUSED, row=2, stands="37", expected="0")
    assert charge
    assert disagreements(store, now) == [unused]
    archive = {"path": "a", "written_at": now + timedelta(seconds=2)}
    change(store, insert(ARCHIVES).values(**archive))
    assert disagreements(store, now) == []  # the archive may have taken its charge


def test_payment_of_a_bill_about_no_request_agrees(store: SoleStore, now: datetime, by: Actor) -> None:
    def work(unit: UnitOfWork) -> None:
        fines.charge(unit, fines.no_request("P1"), "fee", 37, "CUHK:b-1", now, by)
        pay(Context(unit, LIBRARY, now), Pay(by=by, card="P1", cents=37))

    store.now(work)
    assert disagreements(store, now) == []


def test_anonymised_charges_and_refunds_agree(store: SoleStore, loan: Request, charge: int, now: datetime, by: Actor) -> None:
    def settle(unit: UnitOfWork) -> None:
        pay(Context(unit, LIBRARY, now), Pay(by=by, card="P1", cents=50))
        fines.charge(unit, loan, "refund", -40, "R45", now, by)
        retention.anonymise(unit, [unit.advance(loan, Event.SETTLE, now, by)])

    assert charge
    store.now(settle)
    assert disagreements(store, now) == []


# ---- positions


@pytest.mark.parametrize("position", [Position.TO_RETURN, Position.RECEIVED])
def test_position_to_which_no_move_led_is_found(
    store: SoleStore, loan: Request, now: datetime, by: Actor, position: Position
) -> None:
    store.now(UnitOfWork.amend, loan, now, by, flags="look")  # a line that moves nothing
    change(store, update(REQUESTS).values(position=position.value))
    wrong = Disagreement(kind=Mismatch.POSITION_UNPROVEN, request=loan.id, stands=position.value, expected="ON_LOAN")
    assert disagreements(store, now) == [wrong]


def test_open_request_without_a_journal_is_found(store: SoleStore, loan: Request, now: datetime) -> None:
    change(store, delete(JOURNAL))
    (wrong,) = disagreements(store, now)
    assert (wrong.kind, wrong.request, wrong.expected) == (Mismatch.POSITION_UNPROVEN, loan.id, "no position")


# ---- messages


@pytest.mark.parametrize("state", ["waiting", "unsure", "dead"])
def test_unsent_message_about_a_missing_request_is_found(store: SoleStore, asked: Request, now: datetime, state: str) -> None:
    change(store, update(OUTBOX).values(request="R-gone", state=state))
    orphan, *missing = disagreements(store, now)
    assert (orphan.kind, orphan.request, orphan.row) == (Mismatch.MESSAGE_ORPHANED, "R-gone", 1)
    assert [one.request for one in missing] == [asked.id]


def test_unsent_message_about_an_ended_request_is_found(store: SoleStore, asked: Request, now: datetime, by: Actor) -> None:
    store.now(UnitOfWork.force, asked, Position.CANCELLED, now, by, "a mistake")
    useless = Disagreement(
        kind=Mismatch.MESSAGE_OVERTAKEN,
        request=asked.id,
        row=1,
        stands="CANCELLED",
        expected="ask_lender to CUHK",
    )
    assert disagreements(store, now) == [useless]


def test_unsent_message_that_a_later_one_withdraws_agrees(store: SoleStore, asked: Request, now: datetime, by: Actor) -> None:
    cancelling = store.now(UnitOfWork.advance, asked, Event.CANCEL, now, by)
    store.now(UnitOfWork.advance, cancelling, Event.CANCEL_SETTLED, now, by)
    assert disagreements(store, now) == []


def test_step_whose_message_was_never_queued_is_found(store: SoleStore, asked: Request, now: datetime) -> None:
    change(store, delete(OUTBOX))
    silent = Disagreement(kind=Mismatch.MESSAGE_MISSING, request=asked.id, stands="REQUESTED", expected="ask_lender")
    assert disagreements(store, now) == [silent]
    long_after = now + timedelta(days=31)  # by then the retention may have deleted it
    assert disagreements(store, long_after) == []


# ---- large databases


@pytest.mark.parametrize("number", range(8))
def test_comparison_reads_only_charges_without_an_index(plan: Callable[..., str], now: datetime, number: int) -> None:
    shown = plan(lambda unit: list(find_disagreements(unit, now)), question=number)
    lines = [line.strip() for line in shown.splitlines()]
    assert lines
    for table in ("journal", "line", "requests", "outbox", "payments"):
        assert not [line for line in lines if line == f"SCAN {table}" or f"Seq Scan on {table}" in line]
