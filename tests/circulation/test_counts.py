"""Expiry of the pickup period, and when the calendar is queried for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, cast

import pytest

from hkall_gateway.circulation.borrowers import waited_too_long
from hkall_gateway.circulation.command import Context, Library
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Position, Request, Side

HOUSE = Library(agency="HKU", name="HKU Libraries", policy=Policy(), pickup_locations=("HKU-MAIN",))
ARRIVED, LAST = date(2017, 3, 1), date(2017, 3, 6)


class Calendar:
    """A unit of work that counts queries for closed days."""

    def __init__(self, *closed: date) -> None:
        self.asked, self._closed = 0, frozenset(closed)

    @property
    def partners(self) -> Calendar:
        return self

    def closed_days(self, _agency: str) -> frozenset[date]:
        self.asked += 1
        return self._closed


@pytest.mark.parametrize(
    ("day", "closed", "facts", "late", "asked"),
    [
        (6, (), {}, False, 0),
        (7, (), {}, True, 1),
        (7, (LAST,), {}, False, 1),  # a closed last day gives another one
        (7, (LAST,), {"pickup_last": LAST}, True, 0),  # a letter has named the day
        (2, (), {"expired_pickup": True}, True, 0),
        (9, (), {"position": Position.ON_LOAN}, False, 0),
    ],
)
def test_calendar_is_queried_only_when_needed(
    day: int, closed: tuple[date, ...], facts: dict[str, Any], late: bool, asked: int
) -> None:
    book = Request(id="R1", side=Side.BORROWING, position=Position.RECEIVED, title="Dune", bib_id="b1", received_on=ARRIVED)
    unit = Calendar(*closed)
    now = datetime(2017, 3, day, 4, tzinfo=UTC)
    assert waited_too_long(Context(cast(UnitOfWork, unit), HOUSE, now), replace(book, **facts)) is late
    assert unit.asked == asked
