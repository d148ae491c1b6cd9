"""The cost of work list queries depends on open requests only: none scans the requests, the journal, the outbox or the
fines, on either database.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event

from hkall_gateway.app.gauges import Gauges
from hkall_gateway.circulation import listings
from hkall_gateway.circulation.command import Context, Library
from hkall_gateway.db import partners
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.queries.work_lists import Moment
from hkall_gateway.db.tables import METADATA, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import NoticeState, OutboxState
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk

LENDERS = ("CUHK", "HKUST")
Ask = Callable[[UnitOfWork, datetime], object]


def _listed(name: str, unit: UnitOfWork, now: datetime) -> object:
    return cli_lists.open_list(unit, name, Moment(now, Policy().waits))


def context_of(unit: UnitOfWork, now: datetime) -> Context:
    library = Library(agency="HKU", name="HKU Libraries", policy=Policy(), pickup_locations=("HKU-MAIN-LENDING",))
    return Context(unit, library, now)


# fmt: off
ASKED: dict[str, Ask] = {
    **{name: partial(_listed, name) for name in cli_lists.LISTS},
    "status":                    lambda unit, now: listings.site_status.within(context_of(unit, now), LENDERS),
    "partners":                  lambda unit, now: listings.partner_rows.within(context_of(unit, now), (), LENDERS),
    "outbox list":               lambda unit, now: unit.outbox.rows(),
    "outbox list --dead":        lambda unit, now: unit.outbox.rows(states=(OutboxState.DEAD,)),
    "outbox list --partner":     lambda unit, now: unit.outbox.rows(partner="CUHK"),
    "outbox list --error":       lambda unit, now: unit.outbox.rows(error="timeout"),
    "fines list":                lambda unit, now: cli_lists.charges(unit),
    "fines list --patron":       lambda unit, now: cli_lists.charges(unit, "P1"),
    "requests list":             lambda unit, now: unit.requests.open_list(),
    "requests list --position":  lambda unit, now: unit.requests.open_list("RECEIVED"),
    "requests list --partner":   lambda unit, now: unit.requests.open_list("", "CUHK"),
    "requests show":             lambda unit, now: unit.requests.find("R1"),
    "requests trace":            lambda unit, now: unit.journal.history("C00001"),
    "notices":                   lambda unit, now: cli_lists.notices(unit, (NoticeState.QUEUED, NoticeState.SENT)),
    "choice of a lender":        lambda unit, now: partners.records(unit, now, LENDERS),
    "metrics":                   lambda unit, now: Gauges("HKU", lambda: now).read(unit),
    "what is due":               lambda unit, now: unit.outbox.next_due(),
}
# fmt: on


def plans(engine: Engine, store: SoleStore, ask: Ask, now: datetime) -> list[str]:
    """Return the database's query plans for the statements of a query."""
    asked: list[tuple[str, Any]] = []

    def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        asked.extend([(statement, parameters)] if statement.startswith(("SELECT", "WITH")) else [])

    event.listen(engine, "before_cursor_execute", listen)
    store.now(ask, now)
    event.remove(engine, "before_cursor_execute", listen)
    return [line for statement, parameters in asked for line in store.now(_explained, statement, parameters)]


def _explained(unit: UnitOfWork, statement: str, parameters: Any) -> list[str]:
    if unit.dialect == "postgresql":
        unit.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # PostgreSQL would scan tables as small as these
    word = "EXPLAIN" if unit.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
    return [str(row[-1]) for row in unit.connection.exec_driver_sql(f"{word} {statement}", parameters)]


LARGE = ("requests", "journal", "outbox", "fines", "candidates", "attempts")
"""Tables that keep completed work."""
OF_HISTORY = {"ix_requests_closed", "ix_requests_personal", "ix_candidates_asked_barcode"}
OPEN_ONLY = {
    str(index.name) for table in METADATA.tables.values() for index in table.indexes if index.kwargs["sqlite_where"] is not None
} - OF_HISTORY
"""Partial indexes of open requests; those OF_HISTORY grow over the years."""
SCAN = re.compile(r"(?:SCAN|Seq Scan on) (?P<table>\w+)(?:.* INDEX (?P<index>\w+))?")
FROM_A_KEY_ON = re.compile(r"SEARCH (?P<table>\w+) USING .*INDEX sqlite_autoindex_\w+ \(\w+[<>]\?\)")
"""A plan step that looks like a search, but reads to the end of the table."""


def reads_all(step: str) -> bool:
    """Return whether a step of an SQLite or PostgreSQL query plan scans a large table; open requests alone do not count."""
    found = SCAN.search(step) or FROM_A_KEY_ON.search(step)
    return found is not None and found["table"] in LARGE and found.groupdict().get("index") not in OPEN_ONLY


# fmt: off
STEPS = {
    "SCAN requests":                                                                   True,
    "SCAN journal USING INDEX ix_journal_request":                                     True,
    "SCAN candidates USING INDEX ix_candidates_asked_barcode":                         True,
    "SEARCH requests USING INDEX sqlite_autoindex_requests_1 (id>?)":                  True,
    "  ->  Seq Scan on outbox":                                                        True,
    "SCAN requests USING INDEX ix_requests_open_due":                                  False,
    "SCAN patrons":                                                                    False,
    "SEARCH requests USING INDEX sqlite_autoindex_requests_1 (id=?)":                  False,
    "SEARCH requests USING INDEX ix_requests_placed_at (placed_at>?)":                 False,
    "  ->  Index Scan using requests_pkey on requests":                                False,
}
# fmt: on


@pytest.mark.parametrize("step", STEPS)
def test_query_plan_step_is_a_scan_unless_indexed_or_limited_to_open_requests(step: str) -> None:
    assert reads_all(step) is STEPS[step]


@pytest.mark.parametrize("name", ASKED)
def test_query_does_not_scan_a_large_table(engine: Engine, store: SoleStore, now: datetime, name: str) -> None:
    bulk.fill(engine, bulk.Amounts(requests=40, days=400), now)
    found = plans(engine, store, ASKED[name], now)
    assert found
    assert [line for line in found if reads_all(line)] == []


def test_check_detects_a_scan(engine: Engine, store: SoleStore, now: datetime) -> None:
    found = plans(
        engine, store, lambda unit, _now: unit.execute(REQUESTS.select().where(REQUESTS.c.title == "Dune")).all(), now
    )
    assert [line for line in found if reads_all(line)] != []
