"""Card replacement: all data of the patron moves to the new card, without conflicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, update

from hkall_gateway.db import bind, cards, fines
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.loads import former_cards, loading
from hkall_gateway.db.tables import CARD_BLOCKS, FORMER_CARDS, NOTICES, OUTBOX, PATRONS, PAYMENTS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.letters import letter
from hkall_gateway.rules.messages.outbox_messages import partner_message
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.replaced_cards import PatronRow
from hkall_gateway.rules.vocabulary import Actor, Borrower, Position, Refusal, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from tests.db.test_database import Reactor

P = Position
Standing = Callable[..., Request]
Rows = Callable[[Table], list[dict[str, Any]]]
P1 = Borrower(barcode="P1", name=Sensitive("Chan"), category="undergraduates", pin_hash=Sensitive("h"))


@pytest.fixture
def replaced(store: SoleStore, now: datetime, by: Actor) -> Callable[[str, str], None]:
    """Replace one card by another."""
    return lambda former, present: store.now(former_cards.replace_card, former, present, now, by)


def load(store: SoleStore, now: datetime, by: Actor, *people: PatronRow, full: bool = False) -> int:
    """Load like the command does: check, write, finish; return the number of removed patrons."""
    judged = store.now(former_cards.judge, people)
    rows = [one.borrower for one in people if one.where not in judged.refused]
    number = store.now(loading.begin, "patrons")
    store.now(loading.write_patrons, rows, number, judged.present, now, by)
    store.now(loading.spare, [one.card for one in people if one.where in judged.refused], number)
    return store.now(loading.finish, "patrons", number, full, now)


def row(card: str, *former: str, line: int = 2) -> PatronRow:
    return PatronRow(f"p.csv:{line}", replace(P1, barcode=card), former)


def patrons_of(rows: list[dict[str, Any]]) -> list[str]:
    return [row["patron"] for row in rows]


# ---- what moves


@pytest.mark.parametrize("position", [P.REQUESTED, P.IN_TRANSIT, P.RECEIVED, P.ON_LOAN, P.CLOSED, P.CANCELLED])
def test_requests_move_to_the_new_card(store: SoleStore, standing: Standing, replaced: Any, position: Position) -> None:
    kept, others = standing(position, "C1"), standing(position, "C2", patron="P9")
    replaced("P1", "P2")
    after = store.now(lambda unit: unit.requests.find(kept.id))
    assert after is not None
    assert after == replace(kept, patron="P2")
    assert store.now(lambda unit: unit.requests.find(others.id)) == others


def test_charges_move_to_the_new_card(
    store: SoleStore, standing: Standing, replaced: Any, rows: Rows, now: datetime, by: Actor
) -> None:
    request = standing(P.ON_LOAN, "C1")
    store.now(fines.charge, request, "overdue", 400, "R40", now, by)
    store.now(fines.record_payment, "P1", "t-1", 200, "paid", now, by)
    replaced("P1", "P2")
    assert store.now(lambda unit: unit.patrons.owed_cents("P2")) == 400
    assert store.now(fines.find_payment, "P2", by.who, "t-1") == (200, "paid")
    assert store.now(fines.find_payment, "P1", by.who, "t-1") is None


def test_payment_with_the_same_transaction_id_under_the_new_card_is_kept(
    store: SoleStore, replaced: Any, rows: Rows, now: datetime, by: Actor
) -> None:
    for card, number, cents in (("P1", "t-1", 100), ("P2", "t-1", 200), ("P1", "t-2", 300), ("P1", "", 400), ("P2", "", 500)):
        store.now(fines.record_payment, card, number, cents, "paid", now, by)
    replaced("P1", "P2")
    kept = {(one["cents"], one["patron"]) for one in rows(PAYMENTS)}
    assert kept == {(100, "P1"), (200, "P2"), (300, "P2"), (400, "P2"), (500, "P2")}


@pytest.mark.parametrize("blocked", [("P1",), ("P1", "P2"), ("P2",), ()])
def test_card_block_moves_to_the_new_card_once(
    store: SoleStore, replaced: Any, rows: Rows, now: datetime, by: Actor, blocked: tuple[str, ...]
) -> None:
    for card in blocked:
        store.now(lambda unit: cards.block(unit, card, "lost", now, by, retained=False))  # noqa: B023  # it runs at once
    replaced("P1", "P2")
    assert [one["card"] for one in rows(CARD_BLOCKS)] == (["P2"] if blocked else [])


def test_unsent_letters_move_to_the_new_card_and_sent_letters_do_not(
    store: SoleStore, standing: Standing, replaced: Any, rows: Rows, now: datetime
) -> None:
    request = standing(P.RECEIVED, "C1")
    store.now(lambda unit: unit.enqueue(Notification.LETTER_PICKUP, request, now, Actor(who="t", channel="test")))
    store.now(
        lambda unit: unit.outbox.put(
            Notification.LETTER_OVERDUE, letter(Notification.LETTER_OVERDUE, request, request, now, 7), "", now
        )
    )
    for number, state in ((1, "unsure"), (2, "sent")):
        store.now(lambda unit: unit.execute(update(OUTBOX).where(OUTBOX.c.id == number).values(state=state)))  # noqa: B023  # it runs at once
    replaced("P1", "P2")
    found = [store.now(lambda unit: unit.outbox.row(number)) for number in (1, 2)]  # noqa: B023  # it runs at once
    assert [(one.recipient, one.payload.patron) for one in found if one] == [("P2", "P2"), ("P1", "P1")]
    assert patrons_of(rows(NOTICES)) == ["P2"]


@pytest.mark.parametrize(("state", "named"), [("waiting", "P2"), ("unsure", "P1"), ("dead", "P1"), ("sent", "P1")])
def test_message_that_a_partner_may_have_received_keeps_the_former_card(
    store: SoleStore, standing: Standing, replaced: Any, now: datetime, state: str, named: str
) -> None:
    request = standing(P.REQUESTED)
    store.now(
        lambda unit: unit.outbox.put(Notification.ASK_LENDER, partner_message(Notification.ASK_LENDER, request, now), "", now)
    )
    store.now(lambda unit: unit.execute(update(OUTBOX).values(state=state)))
    replaced("P1", "P2")
    found = store.now(lambda unit: unit.outbox.row(1))
    assert found is not None
    assert (found.recipient, found.payload.patron) == ("CUHK", named)


def test_row_written_by_a_newer_version_is_unchanged(
    store: SoleStore, standing: Standing, replaced: Any, rows: Rows, now: datetime
) -> None:
    request = standing(P.RECEIVED, "C1")
    store.now(
        lambda unit: unit.outbox.put(
            Notification.LETTER_PICKUP, letter(Notification.LETTER_PICKUP, request, request, now, 7), "", now
        )
    )
    store.now(lambda unit: unit.execute(update(OUTBOX).values(send="letter_of_tomorrow")))
    replaced("P1", "P2")
    assert [one["recipient"] for one in rows(OUTBOX)] == ["P1"]


@pytest.mark.parametrize("loaded", [("P1",), ("P1", "P2")])
def test_patron_renumbered_by_a_live_system_keeps_loaded_data(
    store: SoleStore, now: datetime, by: Actor, loaded: tuple[str, ...]
) -> None:
    store.now(loading.write, "patrons", [replace(P1, barcode=card, category=card) for card in loaded], 1)
    store.now(former_cards.follow_card, "P1", "P2", now, by)
    found = store.now(lambda unit: unit.patrons.find("P2"))
    assert found is not None
    assert (found.category, store.now(lambda unit: unit.patrons.find("P1")) is None) == (loaded[-1], loaded == ("P1",))


def test_patron_history_is_found_by_every_card(
    store: SoleStore, standing: Standing, replaced: Any, now: datetime, by: Actor
) -> None:
    standing(P.RECEIVED, "C1")
    store.now(lambda unit: unit.refuse(Refusal(Reason.UNKNOWN_TITLE), now, by, patron="P1"))
    replaced("P1", "P2")
    replaced("P2", "P3")
    told = [[line["event"] for line in store.now(former_cards.history, card)] for card in ("P1", "P2", "P3")]
    assert told[0] == told[1] == told[2] == ["OPEN", "REFUSED", "AMEND", "REPLACE_CARD", "AMEND", "REPLACE_CARD"]
    assert store.now(former_cards.cards_of, "P1") == ("P3", "P1", "P2")


def test_replacement_runs_as_one_unit_of_a_running_gateway(
    shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork], now: datetime, by: Actor
) -> None:
    reactor, world = Reactor(), Actor(who="test", channel="world")
    database = Database(shared_engine, make_unit, reactor.call)
    requests_a_day = [
        Request(id="", side=Side.BORROWING, position=P.RECEIVED, title="Dune", bib_id="b1", patron=f"P{n}") for n in range(6)
    ]
    opened = reactor.until([database.write(bind(UnitOfWork.open, wish, now, world), LockSet()) for wish in requests_a_day])
    work: list[Any] = []
    for number, request in enumerate(opened):
        former = request.patron
        locks = LockSet(former, whole=True)
        work += [database.write(bind(former_cards.replace_card, former, f"Q{number}", now, by), locks)]
        placed = bind(UnitOfWork.open, replace(requests_a_day[number], patron=f"Q{number}"), now, world)
        work += [database.write(placed, LockSet())]
    assert not [one for one in reactor.until(work) if isinstance(one, Exception)]
    kept = reactor.until([database.read(bind(_open_of, f"Q{number}"), is_long=True) for number in range(6)])
    database.close()
    assert [len(requests) for requests in kept] == [2] * 6


# ---- which card it is now


def test_chain_of_replacements_ends_at_the_last_card(store: SoleStore, replaced: Any, rows: Rows) -> None:
    for former, present in (("A", "B"), ("B", "C"), ("C", "D")):
        replaced(former, present)
    assert [store.now(former_cards.card_now, card) for card in "ABCDX"] == ["D", "D", "D", "D", "X"]


def test_reissued_card_is_reinstated(store: SoleStore, standing: Standing, replaced: Any, rows: Rows) -> None:
    standing(P.RECEIVED, "C1", patron="A")
    replaced("A", "B")
    replaced("B", "A")
    assert [(one["card"], one["present"]) for one in rows(FORMER_CARDS)] == [("B", "A")]
    assert patrons_of(rows(REQUESTS)) == ["A"]


# ---- a file


def test_repeated_file_reports_the_same_replacement(
    store: SoleStore, standing: Standing, rows: Rows, now: datetime, by: Actor
) -> None:
    store.now(loading.write, "patrons", [P1], 1)
    standing(P.RECEIVED, "C1")
    assert load(store, now, by, row("P2", "P1"), full=True) == 0
    assert [one["barcode"] for one in rows(PATRONS)] == ["P2"]
    assert store.now(former_cards.judge, [row("P2", "P1")]).present == {}
    journal = len(store.now(former_cards.history, "P2"))
    load(store, now, by, row("P2", "P1"), full=True)
    assert len(store.now(former_cards.history, "P2")) == journal
    assert patrons_of(rows(REQUESTS)) == ["P2"]


def test_rows_added_under_a_former_card_are_moved_by_the_next_load(
    store: SoleStore, standing: Standing, rows: Rows, now: datetime, by: Actor
) -> None:
    load(store, now, by, row("P2", "P1"))
    standing(P.RECEIVED, "C1")
    load(store, now, by, row("P2", "P1"))
    assert patrons_of(rows(REQUESTS)) == ["P2"]


def test_former_card_issued_to_another_patron_belongs_to_that_patron(
    store: SoleStore, rows: Rows, now: datetime, by: Actor
) -> None:
    load(store, now, by, row("P2", "P1"))
    load(store, now, by, row("P1"))
    assert rows(FORMER_CARDS) == []
    assert store.now(former_cards.card_now, "P1") == "P1"


def test_replaced_card_does_not_count_as_removed(store: SoleStore, now: datetime, by: Actor) -> None:
    people = [replace(P1, barcode=f"P{n}") for n in range(4)]
    store.now(loading.write, "patrons", people, 1)
    coming = [replace(P1, barcode=f"Q{n}") for n in range(4)]
    report = store.now(loading.compare, "patrons", coming, {f"P{n}": f"Q{n}" for n in range(4)})
    assert (report.new, report.changed, report.vanishing, report.replaced) == (0, 4, 0, 4)
    assert not report.too_many_vanish(full=True)


def test_refused_row_leaves_its_patron_unchanged(store: SoleStore, rows: Rows, now: datetime, by: Actor) -> None:
    store.now(loading.write, "patrons", [replace(P1, barcode=card) for card in ("A", "B", "C")], 1)
    assert load(store, now, by, row("B", "A"), row("A", line=3), full=True) == 1
    assert [one["barcode"] for one in rows(PATRONS)] == ["A", "B"]


def test_former_cards_are_deleted_with_their_patron(store: SoleStore, rows: Rows, now: datetime, by: Actor) -> None:
    load(store, now, by, row("P2", "P1"), row("Q", line=3), full=True)
    load(store, now, by, row("Q", line=3), full=True)
    assert rows(FORMER_CARDS) == []


def test_imported_open_requests_use_the_current_card(store: SoleStore, now: datetime, by: Actor) -> None:
    load(store, now, by, row("P2", "P1"))
    old = Request(
        id="OLD-1",
        side=Side.BORROWING,
        position=P.RECEIVED,
        title="Dune",
        bib_id="b1",
        patron="P1",
        placed_at=now - timedelta(days=3),
    )
    store.now(loading.write_opening, [old], "HKU", now, Actor(who="load", channel="import"))
    found = store.now(lambda unit: unit.requests.find("OLD-1"))
    assert found is not None
    assert found.patron == "P2"


def _open_of(unit: UnitOfWork, card: str) -> tuple[Request, ...]:
    return unit.requests.open_of_patron(card)
