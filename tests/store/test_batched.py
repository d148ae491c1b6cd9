"""One statement for many: PostgreSQL understands it, and each hears what it would have heard alone."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, text

from hkall_gateway import store
from hkall_gateway.rules.lifecycle import Stage
from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.store.engine.compiled import CompiledStatement, insert_row, update_by_key
from hkall_gateway.store.tables import PATRONS, REQUESTS

COLUMNS = ("id", "side", "position", "stage", "placed_at", "moved_at", "due", "unwanted", "renewals", "title")
ADD = insert_row(REQUESTS, *COLUMNS)
MOVE = update_by_key(REQUESTS, ("id", "position"), ("position", "due"))
OF_TITLE = CompiledStatement(select(REQUESTS).where(REQUESTS.c.title == bindparam("named")).order_by(REQUESTS.c.id.desc()))
TITLES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5)


@pytest.fixture
def connection(postgres_engine: Engine) -> Iterator[Connection]:
    with postgres_engine.connect() as opened:
        yield opened


def _request(number: str, now: datetime, **values: Any) -> dict[str, Any]:
    known = {"id": number, "side": Side.BORROWING, "position": Position.ON_LOAN, "stage": Stage.IN_HAND}
    return {**known, "placed_at": now, "moved_at": now, "due": None, "unwanted": True, "renewals": 2, "title": "Dune", **values}


def _titles(connection: Connection) -> dict[str, str]:
    return {row.id: row.title for row in connection.execute(select(REQUESTS.c.id, REQUESTS.c.title))}


def _statements() -> list[CompiledStatement]:
    """Every statement that a module of the store keeps ready."""
    names = [found.name for found in pkgutil.iter_modules(store.__path__, f"{store.__name__}.") if not found.ispkg]
    kept = [value for name in names for value in vars(importlib.import_module(name)).values()]
    return [value for value in kept if isinstance(value, CompiledStatement)]


def test_every_statement_for_many_is_understood_by_the_database(connection: Connection) -> None:
    understood = 0
    for statement in _statements():
        for_all = statement._for(connection.dialect).for_all
        if for_all is not None:
            connection.connection.dbapi_connection.execute(for_all.text, {**for_all.given, "asked": "[]"})  # type: ignore[union-attr]
            understood += 1
    assert understood > 20


@given(st.lists(TITLES, min_size=2, max_size=6))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_gets_what_it_would_have_got_alone(connection: Connection, now: datetime, titles: list[str]) -> None:
    connection.execute(delete(REQUESTS))
    made = [
        _request(f"R{n}", now, title=title, due=date(2017, 3, 16) if n % 2 else None, unwanted=n % 3 == 0)
        for n, title in enumerate(titles)
    ]
    assert [done.rowcount for done in ADD.send(connection, made)()] == [1] * len(titles)
    assert _titles(connection) == {row["id"]: row["title"] for row in made}
    asked = [{"named": title} for title in [*titles, "nothing of the kind"]]
    each = OF_TITLE._for(connection.dialect)
    together = [[each.cells(row) for row in found.fetchall()] for found in OF_TITLE.send(connection, asked)()]
    assert together == [OF_TITLE.cells(connection, **one) for one in asked]


def test_each_hears_whether_its_own_row_changed(connection: Connection, now: datetime) -> None:
    ADD.send(connection, [_request(f"R{n}", now) for n in range(4)])
    there = {"was_position": Position.ON_LOAN, "new_position": Position.TO_RETURN, "new_due": date(2017, 3, 16)}
    asked = [{"was_id": "R0", **there}, {"was_id": "R9", **there}, {"was_id": "R2", **there, "was_position": Position.NEW}]
    assert [done.rowcount for done in MOVE.send(connection, [*asked, {"was_id": "R3", **there}])()] == [1, 0, 0, 1]
    moved = connection.execute(select(REQUESTS.c.id, REQUESTS.c.due).where(REQUESTS.c.position == Position.TO_RETURN))
    assert sorted(map(tuple, moved)) == [("R0", date(2017, 3, 16)), ("R3", date(2017, 3, 16))]


def test_of_two_changes_of_one_row_the_second_finds_what_the_first_left(connection: Connection, now: datetime) -> None:
    ADD.send(connection, [_request(f"R{n}", now) for n in range(2)])
    change = {"was_position": Position.ON_LOAN, "new_due": None}
    asked = [{"was_id": "R0", "new_position": position, **change} for position in (Position.TO_RETURN, Position.CLOSED)]
    assert [done.rowcount for done in MOVE.send(connection, asked)()] == [1, 0]


def test_a_row_that_is_changed_for_many_is_found_by_its_index(connection: Connection) -> None:
    connection.execute(text("SET enable_seqscan = off"))
    for statement in (MOVE, CompiledStatement(select(PATRONS).where(PATRONS.c.barcode == bindparam("card")))):
        for_all = statement._for(connection.dialect).for_all
        assert for_all is not None
        driver: Any = connection.connection.dbapi_connection
        plan = "\n".join(line for (line,) in driver.execute("EXPLAIN " + for_all.text, {"asked": "[]"}))
        assert "Index Scan" in plan
        assert "Seq Scan" not in plan


OWN = {
    "a row that is locked": select(PATRONS.c.name).where(PATRONS.c.barcode == bindparam("card")).with_for_update(),
    "as many rows as it says": select(PATRONS.c.name).order_by(PATRONS.c.barcode).limit(bindparam("most")),
    "rows that are gone": delete(PATRONS).where(PATRONS.c.barcode == bindparam("card")),
    "a row that shows what it became": insert(PATRONS).values(barcode=bindparam("card")).returning(PATRONS.c.name),
    "nothing": select(PATRONS.c.name),
}


@pytest.mark.parametrize("what", OWN)
def test_each_asks_by_itself_for(connection: Connection, what: str) -> None:
    assert CompiledStatement(OWN[what])._for(connection.dialect).for_all is None
