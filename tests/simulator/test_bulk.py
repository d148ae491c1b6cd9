"""Bulk data: the rows are those that the gateway itself would have written, in the requested number."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, Table, func, select

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.tables import JOURNAL, LINKS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event, step
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk
from tests.bulk import KINDS, Amounts

MANY = Amounts(requests=60, lines=10, patrons=7, days=600)


def count(store: SoleStore, table: Table) -> int:
    return store.now(lambda unit: int(unit.execute(select(func.count()).select_from(table)).scalar_one()))


@pytest.fixture
def filled(engine: Engine, store: SoleStore, now: datetime) -> SoleStore:
    bulk.fill(engine, MANY, now)
    return store


def test_requested_number_of_requests_and_journal_lines_is_written(filled: SoleStore) -> None:
    assert (count(filled, REQUESTS), count(filled, JOURNAL)) == (60, 600)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.table.name)
def test_every_table_of_a_request_has_rows(filled: SoleStore, kind: bulk.RowTemplate) -> None:
    assert count(filled, kind.table) > 0


def test_every_generated_request_is_ended(filled: SoleStore, now: datetime) -> None:
    found = [filled.now(lambda unit: unit.requests.find(bulk.at(MANY, number, now).id)) for number in range(60)]  # noqa: B023  # it runs at once
    assert {r.position in FINAL for r in found if r} == {True}
    assert {r.side for r in found if r} == set(Side)


def test_bulk_requests_are_completed_and_delivered(filled: SoleStore) -> None:
    assert filled.now(lambda unit: unit.requests.open_list()) == ()
    assert filled.now(lambda unit: unit.outbox.depths()) == ()
    assert filled.now(cli_lists.charges) == ()


def test_every_journal_line_is_a_lifecycle_step(filled: SoleStore, now: datetime) -> None:
    for number in (0, 1):
        request = bulk.at(MANY, number, now)
        first, *lines = filled.now(lambda unit: unit.journal.history(request.id))  # noqa: B023  # it runs at once
        assert (first["event"], len(lines)) == ("OPEN", 9)
        for line in lines:
            target = step(request.side, Position(line["source"]), Event[line["event"]]).target
            assert line["target"] == target


def test_bulk_requests_are_spread_over_the_days_until_now(filled: SoleStore, now: datetime) -> None:
    first, last = bulk.at(MANY, 0, now), bulk.at(MANY, 59, now)
    assert first.placed == now - timedelta(days=600)
    assert last.placed == now - timedelta(days=10)


def test_directory_has_the_requested_length(engine: Engine, store: SoleStore) -> None:
    bulk.fill_directory(engine, 30)
    assert count(store, LINKS) == 30
    assert store.now(lambda unit: unit.partners.find("L0000029")) == bulk.partner(29)


def test_command_fills_a_database_the_gateway_can_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'big.db'}"
    done = CliRunner().invoke(bulk.main, [url, "--requests", "20", "--lines", "3", "--partners", "5"])
    assert done.exit_code == 0, done.output
    assert "20 of 20 requests" in done.output
    engine = open_engine(url)
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    assert (count(store, JOURNAL), count(store, LINKS)) == (60, 5)
    store.close()
    engine.dispose()
