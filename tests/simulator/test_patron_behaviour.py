"""The table of patron behaviour: every row can happen and has an effect."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.lifecycle import TABLE
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, Side
from hkall_gateway.simulator.consortium.patron_behaviour import BEHAVIOURS, Act, bring_to_its_owner, claim, damage, lose
from hkall_gateway.simulator.consortium.simulate import PreparedSimulation
from hkall_gateway.simulator.consortium.staff import SimulatedCopy


def test_every_behaviour_has_one_row() -> None:
    assert len({whim.name for whim in BEHAVIOURS}) == len(BEHAVIOURS)
    assert len({whim.act for whim in BEHAVIOURS}) == len(BEHAVIOURS)


def test_behaviour_has_a_probability_between_zero_and_one() -> None:
    assert all(0 < whim.chance < 1 for whim in BEHAVIOURS)


def test_behaviour_applies_only_to_open_requests() -> None:
    there = {step.source for step in TABLE}
    assert all(whim.where and whim.where <= there - FINAL for whim in BEHAVIOURS)


@pytest.mark.parametrize("act", [bring_to_its_owner, claim, damage, lose])
def test_item_lent_to_another_library_cannot_be_lost_by_its_former_patron(
    act: Act, story: PreparedSimulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HKU has not been notified yet that the owner has the item back and has lent it to CUHK (seed 335)."""
    monkeypatch.setattr(story.people, "run_command", lambda *_: True)  # the gateway accepts every command
    copy = ItemKey("HKUST", "HKUST0001")
    book = story.people.books[copy] = SimulatedCopy(copy, "b1", "reader", "CUHK")
    stale = Request(
        id="R1",
        side=Side.BORROWING,
        position=Position.ON_LOAN,
        title="Dune",
        bib_id="b1",
        partner="HKUST",
        item_agency="HKUST",
        item_barcode=copy.barcode,
    )
    assert not act(story.people, "HKU", stale)
    assert (book.place, book.holder) == ("reader", "CUHK")
