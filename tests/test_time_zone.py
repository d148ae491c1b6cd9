"""Dates are Hong Kong dates, whatever the time zone of the machine: the same times give the same results."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.circulation.conftest import make_library  # noqa: F401  # a fixture
from tests.circulation.test_boundaries import ROWS, Row, said

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).parent / "hkall-gateway"
ELSEWHERE = ("America/New_York", "Pacific/Kiritimati")
"""Time zones twelve or thirteen hours behind Hong Kong, with daylight saving time, and six hours ahead of it."""

MIDNIGHT = (
    "R1 the last second before it",
    "R1 its first second",
    "R1 its last second",
    "R1 the first second after it",
    "R2 card until today",
    "R14 the last second of the fifth day",
    "R14 the sixth day, where nobody is late",
    "R14 on the fifth day nothing expires",
    "R14 at midnight of the sixth it does",
    "R14 received on a Monday",
    "R14 received two minutes later",
    "R19 lent at 23:59:59",
    "R19 lent at 00:00:00",
    "R29 eight days before",
    "R29 seven days before",
    "R29 the last second of the due date",
    "R29 the first second after it",
    "R39 on the due date",
    "R39 at midnight after it",
    "R40 the last second of the due date",
    "R40 one second past midnight",
)
"""The boundary rows one second before or after midnight in Hong Kong."""

SCENARIOS = (
    "r1-suspended-for-a-new-system",
    "r14-collected-in-the-last-second",
    "r14-nobody-collects-it",
    "r19-the-last-second-of-a-day",
    "r29-seven-days-before",
    "r39-one-letter-when-it-is-overdue",
    "r40-one-second-past-midnight",
)


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run this process in another time zone."""
    zone: str = request.param
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    yield zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in MIDNIGHT], ids=lambda row: row.name)
def test_midnight_is_in_hong_kong_time(row: Row, elsewhere: str, make_library: Callable[..., DeskWorld]) -> None:  # noqa: F811
    assert time.localtime(0).tm_gmtoff != 8 * 3600, elsewhere
    assert said(row.do(make_library(row.policy))) == row.wanted


def test_every_midnight_case_is_in_the_boundary_table() -> None:
    assert set(MIDNIGHT) <= {row.name for row in ROWS}


@pytest.mark.long
@pytest.mark.parametrize("zone", ELSEWHERE)
def test_dates_sent_to_terminals_and_partners_do_not_depend_on_the_machines_time_zone(zone: str) -> None:
    files = [ROOT / "fixtures" / "scenarios" / f"{name}.txt" for name in SCENARIOS]
    done = subprocess.run(
        [COMMAND, "replay", *files], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{len(files)} of {len(files)} scenarios hold")
