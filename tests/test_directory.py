"""The partner directory may list every library on earth without slowing down the few in use.

Work is counted in SQLite virtual machine steps, which are the same on every computer: reading a thousand rows takes thousands
of additional steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from hkall_gateway.circulation import listings
from hkall_gateway.circulation.partners import reconciling
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import LINKS
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.simulator.scenario.world_file import read_world
from tests import bulk

WORLD = Path(__file__).parents[1] / "fixtures" / "worlds" / "consortium.toml"
CONFIGURED = ("CUHK", "HKUST", "LU", "POLYU")
MANY = 3_000
SPARE_STEPS = 100

Deed = Callable[[World], object]


def start(world: World) -> None:
    world.restart()
    world.store.now(lambda unit: unit.partners.write(world.start.partners))


def wish(world: World) -> None:
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    assert world.request("R1").position is Position.REQUESTED


def ask_the_lender(world: World) -> None:
    wish(world)
    world.pump()
    assert world.peers.unasked() == ["CUHK RequestItem"]


def tell_a_line_that_is_down(world: World) -> None:
    world.peers.script("CUHK", MANNERS["503"], 6)
    wish(world)
    world.wait(timedelta(hours=1))


def checkout(world: World) -> None:
    assert world.sip2("counter-1", "11YN20170301    09000020170301    090000AOHKU|AAUG1|ABNONE|AC|").startswith("120")


def patron_information(world: World) -> None:
    assert world.sip2("counter-1", "6300020170301    090000          AOHKU|AAUG1|AC|").startswith("64")


def silence(world: World) -> None:
    wish(world)
    world.wait(timedelta(days=9))
    assert world.round("silence") == 1


# fmt: off
DEEDS: dict[str, Deed] = {
    "start":               start,
    "readiness":           lambda world: world.store.now(lambda unit: unit.requests.find("")),
    "patron information":  patron_information,
    "checkout":            checkout,
    "wish":                wish,
    "courier":             ask_the_lender,
    "line that is down":   tell_a_line_that_is_down,
    "silence":             silence,
    "other rounds":        lambda world: [world.round(name) for name in ("overdue", "pickup_expiry", "not_needed_after")],
    "status":              lambda world: finished(world.circulation.execute(listings.site_status(CONFIGURED))),
    "partners":            lambda world: finished(world.circulation.execute(listings.partner_rows((), CONFIGURED))),
    "reconcile":           lambda world: world.store.now(reconciling.compare, "CUHK", {}),
}
# fmt: on


def steps(further: int, deed: Deed) -> int:
    """Return the database steps of an operation with this many further libraries, each in its own world."""
    engine = open_engine("sqlite://")
    world, taken = World(read_world(WORLD), engine), []
    bulk.fill_directory(engine, further)
    assert world.store.now(lambda unit: unit.execute(select(func.count()).select_from(LINKS)).scalar_one()) == 4 + further
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.set_progress_handler(lambda: taken.append(1), 1)
        deed(world)
        driver.set_progress_handler(None, 0)
    world.close()
    engine.dispose()
    return len(taken)


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_directory_size_does_not_slow_down_messages(deed: Deed) -> None:
    alone = steps(0, deed)
    assert alone > 0
    assert steps(MANY, deed) <= alone + SPARE_STEPS


def test_check_detects_a_query_that_reads_the_directory() -> None:
    def read_it_all(world: World) -> None:
        world.store.now(lambda unit: unit.execute(select(LINKS.c.agency)).all())

    assert steps(MANY, read_it_all) > steps(0, read_it_all) + MANY


def test_status_shows_partners_that_are_configured_or_were_contacted() -> None:
    engine = open_engine("sqlite://")
    world = World(read_world(WORLD), engine)
    bulk.fill_directory(engine, 30)
    world.store.now(lambda unit: unit.circuits.keep(replace(unit.circuits.find("L0000007"), failures=1)))
    shown = finished(world.circulation.execute(listings.partner_rows((), CONFIGURED)))
    assert [line.partner for line in shown] == ["CUHK", "HKUST", "L0000007", "LU", "POLYU"]
    world.close()
    engine.dispose()
