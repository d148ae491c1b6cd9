"""Temporary databases: empty when created, separate from each other, and removed at the end."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, func, insert, inspect, select

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.simulator.consortium.simulate import Setting, simulate
from hkall_gateway.simulator.databases import DatabaseFactory, Memory, Schemas


def _patrons(engine: Engine, new: str = "") -> int:
    with engine.connect() as connection:
        if new:
            connection.execute(insert(PATRONS), {"barcode": new})
        return int(connection.execute(select(func.count()).select_from(PATRONS)).scalar_one())


def assert_apart(ground: DatabaseFactory) -> None:
    one, other = ground.fresh(), ground.fresh()
    assert (_patrons(one, "P1"), _patrons(other)) == (1, 0)
    one.dispose()
    assert _patrons(ground.fresh()) == 0
    ground.close()


def test_in_memory_databases_are_separate() -> None:
    assert_apart(Memory())


def test_schemas_are_separate_and_dropped_at_the_end(postgres_url: str) -> None:
    owner = open_engine(postgres_url)
    before = inspect(owner).get_schema_names()
    assert_apart(Schemas(postgres_url))
    assert inspect(owner).get_schema_names() == before
    owner.dispose()


def test_same_seed_gives_the_same_run_on_postgresql(postgres_url: str) -> None:
    setting = Setting(libraries=2, days=1, seed=7, requests_a_day=2)
    here, there = simulate(setting), simulate(replace(setting, database=postgres_url))
    assert there.broken == ()
    assert there.placed > 0
    assert (here.ends, here.events, here.faults, here.deaths) == (there.ends, there.events, there.faults, there.deaths)
