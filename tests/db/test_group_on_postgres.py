"""A group of units on PostgreSQL: few round trips, and each unit isolated from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db import bind
from hkall_gateway.db.engine.compiled import insert_row
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.group import read_group, run_group
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.engine.worker import Job
from hkall_gateway.db.tables import JOURNAL, OUTBOX, PATRONS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork, in_savepoint
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.positions import TAKES_QUOTA
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side

CARDS = [f"Px{n:02}x" for n in range(12)]
SAID: ContextVar[str] = ContextVar("said", default="nothing")
ADD = insert_row(PATRONS, "barcode", "name")


@dataclass
class Desk:
    """One gateway: a group runs at once, and `statements` are those of the last group."""

    connection: Connection
    statements: list[str]

    def group(self, *jobs: tuple[Any, ...], do: Callable[..., Any] = run_group) -> list[Any]:
        """The results of (work, locks, *args), in order, after all retries."""
        heard: dict[int, Any] = {}
        waiting = [
            Job(bind(work, *args), locks, lambda said, error, n=n: heard.setdefault(n, error or said))  # type: ignore[misc, arg-type]
            for n, (work, locks, *args) in enumerate(jobs)
        ]
        self.statements.clear()
        while waiting:
            turn = do(self.connection, lambda connection: UnitOfWork(connection, str), waiting)
            waiting = list(turn.again)
            for answer in turn.answers:
                answer()
        return [heard[n] for n in range(len(jobs))]


@pytest.fixture
def desk(postgres_engine: Engine) -> Iterator[Desk]:
    """Twelve patrons, each with one item on the hold shelf: request Rx00x has item Cx00x, and so on."""
    statements: list[str] = []
    with postgres_engine.connect() as connection:
        connection.execute(insert(PATRONS), [{"barcode": card, "name": card} for card in CARDS])
        event.listen(postgres_engine, "before_cursor_execute", lambda _c, _cursor, text, *_rest: statements.append(text))
        yield Desk(connection, statements)


@pytest.fixture
def shelf(desk: Desk, now: datetime, by: Actor) -> Desk:
    known = {"partner": "CUHK", "wire_agency": "HKU", "item_agency": "CUHK", "received_on": now.date()}
    for card in CARDS:
        n = card[1:]
        ready = Request(
            id=f"R{n}",
            side=Side.BORROWING,
            position=Position.RECEIVED,
            title="Dune",
            bib_id="b1",
            patron=card,
            item_barcode=f"C{n}",
            **known,  # type: ignore[arg-type]
        )
        desk.group((UnitOfWork.open, LockSet(), ready, now, replace(by, channel="world")))
    return desk


def _lend(unit: UnitOfWork, card: str, barcode: str, now: datetime, by: Actor) -> tuple[str, int]:
    """The queries and the step of a checkout: patron, item, loans, then the step."""
    patron, (held,) = unit.patrons.find(card), unit.requests.open_with_item(barcode)
    assert patron is not None
    unit.advance(held, Event.CHECK_OUT, now, by, due=now.date(), used=True)
    return patron.barcode, unit.requests.quota_used(card, TAKES_QUOTA)


def _checkout(card: str, now: datetime, by: Actor) -> tuple[Any, ...]:
    barcode = card.replace("P", "C")
    return _lend, LockSet(card, item=("", barcode)), card, barcode, now, by


def _all_of(desk: Desk, table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in desk.connection.execute(select(table).order_by(*table.primary_key)).mappings()]


def test_group_of_ten_needs_no_more_statements_than_a_group_of_two(shelf: Desk, now: datetime, by: Actor) -> None:
    shelf.group(*(_checkout(card, now, by) for card in CARDS[:2]))
    of_two = len(shelf.statements)
    answers = shelf.group(*(_checkout(card, now, by) for card in CARDS[2:]))
    assert answers == [(card, 1) for card in CARDS[2:]]
    assert len(shelf.statements) == of_two


def test_group_writes_what_single_units_would_write(shelf: Desk, now: datetime, by: Actor) -> None:
    for card in CARDS[:4]:
        shelf.group(_checkout(card, now, by))
    shelf.group(*(_checkout(card, now, by) for card in CARDS[4:]))
    for table in (REQUESTS, JOURNAL, OUTBOX):
        rows = [str({k: v for k, v in row.items() if k != "id"}) for row in _all_of(shelf, table)]
        written = [row.replace(card[1:], "nn") for card in CARDS for row in rows if card[1:] in row]
        assert len(set(written)) == len(written) / 12


def test_grouped_queries_prefetch_all_patrons_at_once(desk: Desk) -> None:
    asked = [*CARDS, "P99", CARDS[0]]
    answers = desk.group(*((lambda unit, card: unit.patrons.find(card), LockSet(card), card) for card in asked), do=read_group)
    assert [patron and patron.barcode for patron in answers] == [*CARDS, None, CARDS[0]]
    assert [text.split()[0] for text in desk.statements] == ["BEGIN", *["SELECT"] * 3, "COMMIT"]


def test_several_results_are_assigned_to_their_units(shelf: Desk, now: datetime, by: Actor) -> None:
    more = [
        Request(
            id=f"S{n}", side=Side.BORROWING, position=Position.NEW, title="Emma", bib_id="b2", patron="Px01x", placed_at=now
        )
        for n in range(3)
    ]
    shelf.group(*((UnitOfWork.open, LockSet(), request, now, by) for request in more))
    found = shelf.group(
        *((lambda unit, card: unit.requests.open_of_patron(card), LockSet(), card) for card in ("Px00x", "Px01x", "P77")),
        do=read_group,
    )
    assert [[request.id for request in one] for one in found] == [["Rx00x"], ["Rx01x", "S0", "S1", "S2"], []]


def test_only_the_failing_unit_is_rolled_back(shelf: Desk, now: datetime, by: Actor) -> None:
    def fall(unit: UnitOfWork, card: str) -> None:
        ADD.change(unit.connection, barcode="P77", name="never")
        raise LookupError(card)

    first, failed, last = shelf.group(
        _checkout("Px00x", now, by), (fall, LockSet("Px01x"), "Px01x"), _checkout("Px02x", now, by)
    )
    assert (first, last) == (("Px00x", 1), ("Px02x", 1))
    assert isinstance(failed, LookupError)
    assert "P77" not in [row["barcode"] for row in _all_of(shelf, PATRONS)]
    assert len(_all_of(shelf, OUTBOX)) == 2


def test_failed_statement_fails_only_the_unit_at_fault(desk: Desk) -> None:
    def add(unit: UnitOfWork, card: str) -> int:
        return ADD.change(unit.connection, barcode=card, name=card)

    new, there, other = desk.group(*((add, LockSet(card), card) for card in ("P70", "Px00x", "P71")))
    assert (new, other) == (1, 1)
    assert "duplicate key" in str(there)


def test_unwritable_value_fails_only_its_unit(desk: Desk) -> None:
    def add(unit: UnitOfWork, card: str, name: str) -> int:
        return ADD.change(unit.connection, barcode=card, name=name)

    good, bad = desk.group((add, LockSet("P70"), "P70", "'\\\"%沙丘"), (add, LockSet("P71"), "P71", "\x00"))
    assert good == 1
    assert isinstance(bad, Exception)
    assert {row["barcode"]: row["name"] for row in _all_of(desk, PATRONS)}["P70"] == "'\\\"%沙丘"
    assert "P71" not in [row["barcode"] for row in _all_of(desk, PATRONS)]


def test_units_about_one_patron_run_sequentially(desk: Desk, now: datetime, by: Actor) -> None:
    def request_if_first(unit: UnitOfWork, card: str, number: str) -> str:
        if unit.requests.quota_used(card, TAKES_QUOTA):
            return "quota"
        return unit.open(
            Request(id=number, side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron=card), now, by
        ).id

    asked = [(request_if_first, LockSet(card), card, f"{card}-{n}") for n in range(2) for card in CARDS]
    assert desk.group(*asked) == [*(f"{card}-0" for card in CARDS), *["quota"] * len(CARDS)]


def test_units_about_one_request_run_sequentially_under_any_identifier(shelf: Desk, now: datetime, by: Actor) -> None:
    def flag(unit: UnitOfWork, more: str) -> str:
        (held,) = unit.requests.open_with_item("Cx03x")
        return unit.amend(held, now, by, flags=f"{held.flags} {more}".strip()).flags

    ways = {"a": LockSet(request="Rx03x"), "b": LockSet(item=("", "Cx03x")), "c": LockSet("Px03x", whole=True)}
    assert shelf.group(*((flag, locks, more) for more, locks in ways.items())) == ["a", "a b", "a b c"]


def test_undeclared_change_of_another_units_request_is_detected(shelf: Desk, now: datetime, by: Actor) -> None:
    first, second = shelf.group(
        (_lend, LockSet("P98"), "Px03x", "Cx03x", now, by), (_lend, LockSet("P99"), "Px03x", "Cx03x", now, by)
    )
    assert {str(first), str(second)} & {str(("Px03x", 1))}
    assert isinstance(second if first == ("Px03x", 1) else first, Exception)
    assert len(_all_of(shelf, OUTBOX)) == 1


def test_unit_without_declared_locks_sees_everything_before_it(desk: Desk, now: datetime, by: Actor) -> None:
    def place(unit: UnitOfWork, card: str) -> None:
        unit.open(
            Request(id=f"R-{card}", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron=card), now, by
        )

    def count(unit: UnitOfWork) -> int:
        return sum(count for _, _, count, _ in unit.requests.open_by_position())

    asked = [
        (place, LockSet("Px00x"), "Px00x"),
        (place, LockSet("Px01x"), "Px01x"),
        (count, LockSet()),
        (place, LockSet("Px02x"), "Px02x"),
    ]
    assert desk.group(*asked, (count, LockSet())) == [None, None, 2, None, 3]


def test_rollback_of_one_unit_keeps_the_work_of_others(shelf: Desk, now: datetime, by: Actor) -> None:
    def poison(unit: UnitOfWork, card: str) -> str:
        _lend(unit, card, card.replace("P", "C"), now, by)
        raise LookupError("poison")

    def carefully(unit: UnitOfWork, card: str) -> str:
        return repr(in_savepoint(unit, lambda about: poison(unit, about), card))

    careful, *usual = shelf.group(
        (carefully, LockSet("Px00x", item=("", "Cx00x")), "Px00x"), *(_checkout(card, now, by) for card in CARDS[1:])
    )
    assert careful == "LookupError('poison')"
    assert usual == [(card, 1) for card in CARDS[1:]]
    assert len(_all_of(shelf, OUTBOX)) == len(CARDS) - 1


def test_each_unit_runs_in_the_context_of_its_caller(desk: Desk) -> None:
    def say(unit: UnitOfWork, card: str) -> tuple[str, str]:
        before = SAID.get()
        unit.patrons.find(card)
        return before, SAID.get()

    def asked_by(who: str, card: str) -> Any:
        context = copy_context()
        context.run(SAID.set, who)
        return lambda unit, _: context.run(say, unit, card)

    answers = desk.group(*((asked_by(f"terminal {card}", card), LockSet(card), card) for card in CARDS))
    assert answers == [(f"terminal {card}",) * 2 for card in CARDS]


# ---- what breaks off


def _name(unit: UnitOfWork, card: str) -> str | None:
    found = unit.patrons.find(card)
    return found.barcode if found else None


def _swallow(unit: UnitOfWork, card: str) -> str:
    with suppress(DBAPIError):
        unit.execute(text("SELECT 1 / 0"))
    return card


def test_conflicting_query_is_repeated_and_answered(desk: Desk, postgres_engine: Engine) -> None:
    desk.connection.execute(text("SET lock_timeout = 100"))
    with postgres_engine.connect() as other:
        other.execute(text("BEGIN"))
        other.execute(text("LOCK TABLE patrons IN ACCESS EXCLUSIVE MODE"))
        heard = desk.group(*[(_name, LockSet(), card) for card in CARDS[:2]], do=read_group)
        other.execute(text("ROLLBACK"))
    assert [type(answer) for answer in heard] == [Unavailable, Unavailable]


@pytest.mark.parametrize("do", [run_group, read_group])
def test_unit_waiting_on_a_lost_connection_is_repeated(desk: Desk, do: Callable[..., Any]) -> None:
    lost: list[str] = []

    def lose(unit: UnitOfWork, card: str) -> str:
        if not lost:
            lost.append(card)
            unit.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return card

    locks = [LockSet(patron=card) if do is run_group else LockSet() for card in CARDS[:3]]
    works = (_name, lose, _name)
    assert desk.group(*zip(works, locks, CARDS, strict=False), do=do) == CARDS[:3]


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_swallowed_error_of_one_unit_does_not_affect_others(desk: Desk, places: tuple[int, int]) -> None:
    jobs = [(lambda _, card: card, LockSet(patron=CARDS[0]), CARDS[0]), (_swallow, LockSet(patron=CARDS[1]), CARDS[1])]
    heard = desk.group(*[jobs[place] for place in places])
    assert heard[places.index(0)] == CARDS[0]
    assert isinstance(heard[places.index(1)], Exception)
