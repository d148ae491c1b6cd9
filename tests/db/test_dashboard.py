"""The dashboard's figures are read through an index, however many requests have ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hkall_gateway.db.queries import work_lists
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.world import World

WORLDS = sorted((Path(__file__).parents[2] / "fixtures" / "worlds").glob("*.toml"))
Explain = Callable[..., str]
BOTH = frozenset({"pull", "expected", "expired", "overdue", "recalls", "flagged"})


def test_moved_requests_are_counted_in_their_current_position() -> None:
    world = World.open(WORLDS[0].with_name("consortium.toml"))
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    world.pump()
    assert world.store.now(work_lists.moved, world.now) == {Position.REQUESTED: 1}
    assert world.store.now(work_lists.moved, world.now + timedelta(seconds=1)) == {}
    world.close()


def test_dashboard_queries_do_not_read_ended_requests(plan: Explain) -> None:
    since = datetime(2017, 3, 1, tzinfo=UTC)
    told = plan(lambda unit: unit.execute(work_lists._MOVED._statement, {"since": since}).all())
    assert "ix_requests_" in told
    for step in told.splitlines():
        assert "Seq Scan" not in step, told
        assert "SCAN requests" not in step or "INDEX ix_requests_open" in step, told
