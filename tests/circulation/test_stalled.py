"""A stalled request is recorded once, and again when it stalls in another position."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hkall_gateway.circulation.jobs.rounds import NOTED
from hkall_gateway.rules.vocabulary import Position

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position


def _notes(library: DeskWorld) -> int:
    number = library.request().id
    lines = library.store.now(lambda unit: unit.journal.history(number))
    return sum(line["event"] == NOTED for line in lines)


def _later(library: DeskWorld, days: int) -> None:
    library.now += timedelta(days=days)


def test_stalled_request_is_flagged_once(library_on_each: DeskWorld) -> None:
    library = library_on_each
    library.given(P.RECEIVED)
    _later(library, 12)

    assert [library.round("stuck"), library.round("stuck")] == [1, 0]
    assert _notes(library) == 1


def test_request_that_stalls_again_is_flagged_again(library: DeskWorld) -> None:
    library.given(P.IN_TRANSIT)
    _later(library, 6)
    library.round("stuck")
    _later(library, 1)
    library.check_in()
    _later(library, 12)

    assert library.round("stuck") == 1
    assert _notes(library) == 2


@pytest.mark.parametrize("position", [P.RECEIVED, P.TO_RETURN])
def test_recent_request_is_not_flagged(library: DeskWorld, position: Position) -> None:
    library.given(position)
    _later(library, 2)

    assert library.round("stuck") == 0
