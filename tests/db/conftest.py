"""Shared by the database tests: patrons, requests at any position, and plain queries of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, Table, event, select

from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

COPIES = "CUHK"


@pytest.fixture
def by() -> Actor:
    return Actor(who="counter-1", channel="sip2", message="11", corr="c-1")


@pytest.fixture
def standing(store: SoleStore, now: datetime) -> Callable[..., Request]:
    """A factory of requests at a position, with the fields that such requests have; `copy` is the item barcode."""

    def put(position: Position, copy: str = "", side: Side = Side.BORROWING, **facts: Any) -> Request:
        known: dict[str, Any] = {
            "patron": "P1" if side is Side.BORROWING else "",
            "partner": COPIES,
            "wire_agency": "HKU",
            "wire_id": "w-1",
            "item_agency": COPIES if copy else "",
            "item_barcode": copy,
            "received_on": date(2017, 3, 1),
            "due": date(2017, 3, 16),
            "recalled_on": date(2017, 3, 2),
            **facts,
        }
        wanted = replace(Request(id="", side=side, position=position, title="Dune", bib_id="b1"), **known)
        return store.now(UnitOfWork.open, wanted, now, Actor(who="test", channel="world"))

    return put


@pytest.fixture
def rows(store: SoleStore) -> Callable[[Table], list[dict[str, Any]]]:
    """All rows of a table, in primary key order."""

    def ask(unit: UnitOfWork, table: Table) -> list[dict[str, Any]]:
        return [dict(row) for row in unit.execute(select(table).order_by(*table.primary_key)).mappings()]

    return lambda table: store.now(ask, table)


@pytest.fixture
def plan(engine: Engine, store: SoleStore) -> Callable[..., str]:
    """The database's plan for a query of `work(unit, *args)`, by default the first one.

    Tables in tests are too small for PostgreSQL to choose an index, so sequential scans are disabled where possible.
    """

    def explain(work: Callable[..., Any], *args: Any, question: int = 0) -> str:
        asked: list[tuple[str, Any]] = []

        def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
            is_work = statement.startswith(("SELECT", "WITH")) and "pg_current_xact_id" not in statement
            asked.extend([(statement, parameters)] if is_work else [])

        event.listen(engine, "before_cursor_execute", listen)
        store.now(work, *args)
        event.remove(engine, "before_cursor_execute", listen)
        return store.now(_explained, *asked[question])

    return explain


def _explained(unit: UnitOfWork, statement: str, parameters: Any) -> str:
    connection = unit.execute(select(1)).connection
    if unit.dialect == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    word = "EXPLAIN" if unit.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{word} {statement}", parameters))
