"""Numbers of the console's first page: the same as the work lists', and read by an index however much has ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.lab.scenario.world import World
from hkall_gateway.rules.dates.calendar import civil
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.queries import cli_lists, dashboard
from hkall_gateway.store.unit import Unit

WORLDS = sorted((Path(__file__).parents[2] / "fixtures" / "worlds").glob("*.toml"))
Explain = Callable[..., str]
BOTH = frozenset({"pull", "expected", "expired", "overdue", "recalls", "flagged"})


@pytest.mark.parametrize("file", WORLDS, ids=lambda file: file.stem)
def test_the_numbers_are_the_lengths_of_the_lists(file: Path) -> None:
    world = World.open(file)
    today = civil(world.now)

    def both(unit: Unit) -> tuple[dict[str, int], dict[str, int]]:
        lists = {
            "pull": cli_lists.pull_list(unit),
            "expected": cli_lists.expected(unit),
            "expired": cli_lists.expired_pickups(unit),
            "overdue": cli_lists.overdues(unit, today),
            "recalls": cli_lists.recalls(unit),
            "flagged": cli_lists.flagged(unit),
        }
        return dashboard.counts(unit, today), {name: len(rows) for name, rows in lists.items()}

    counted, listed = world.store.now(both)
    world.close()
    assert {name: number for name, number in counted.items() if name in BOTH} == listed


def test_each_position_is_counted_in_its_list() -> None:
    """Every world together has a book in each of these places."""
    seen: set[str] = set()
    for file in WORLDS:
        world = World.open(file)
        seen |= {name for name, number in world.store.now(dashboard.counts, civil(world.now)).items() if number}
        world.close()
    assert {"shelf", "on-loan"} <= seen


def test_what_moved_is_counted_where_it_stands_now() -> None:
    world = World.open(WORLDS[0].with_name("consortium.toml"))
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    world.pump()
    assert world.store.now(dashboard.moved, world.now) == {Position.REQUESTED: 1}
    assert world.store.now(dashboard.moved, world.now + timedelta(seconds=1)) == {}
    world.close()


@pytest.mark.parametrize(
    ("question", "values"),
    [(dashboard._COUNTS, {"today": date(2017, 3, 1)}), (dashboard._MOVED, {"since": datetime(2017, 3, 1, tzinfo=UTC)})],
    ids=["counts", "moved"],
)
def test_no_question_reads_what_has_ended(plan: Explain, question: CompiledStatement, values: dict[str, Any]) -> None:
    told = plan(lambda unit: unit.execute(question._statement, values).all())
    assert "ix_requests_" in told
    for step in told.splitlines():
        assert "Seq Scan" not in step, told
        assert "SCAN requests" not in step or "INDEX ix_requests_open" in step, told
