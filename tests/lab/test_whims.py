"""What people do now and then is a table: every row can happen, and something comes of it."""

from __future__ import annotations

from hkall_gateway.lab.whims import WHIMS
from hkall_gateway.rules.lifecycle import FINAL, TABLE


def test_a_whim_has_one_row() -> None:
    assert len({whim.name for whim in WHIMS}) == len(WHIMS)
    assert len({whim.act for whim in WHIMS}) == len(WHIMS)


def test_a_whim_is_neither_certain_nor_impossible() -> None:
    assert all(0 < whim.chance < 1 for whim in WHIMS)


def test_a_whim_is_about_something_that_is_open() -> None:
    there = {step.source for step in TABLE}
    assert all(whim.where and whim.where <= there - FINAL for whim in WHIMS)
