"""How many connections one door lets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.edge.limits import Gate


def test_one_address_may_not_take_more_than_its_part() -> None:
    gate = Gate(per_address=2, in_all=10)
    assert [gate.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert gate.enter("10.0.0.2")


def test_all_together_may_not_take_more_than_there_is() -> None:
    gate = Gate(per_address=2, in_all=2)
    assert [gate.enter(f"10.0.0.{n}") for n in range(3)] == [True, True, False]


def test_who_leaves_makes_room() -> None:
    gate = Gate(per_address=1, in_all=1)
    gate.enter("10.0.0.1")
    gate.leave("10.0.0.1")
    assert gate.enter("10.0.0.2")


def test_who_was_not_let_in_takes_no_room() -> None:
    gate = Gate(per_address=1, in_all=5)
    gate.enter("10.0.0.1")
    gate.enter("10.0.0.1")
    assert gate.inside == 1


def test_nobody_can_leave_who_is_not_inside() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1"):
        Gate(per_address=1, in_all=1).leave("10.0.0.1")


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_the_limits_hold_whoever_comes(callers: list[str]) -> None:
    gate = Gate(per_address=3, in_all=5)
    inside = [caller for caller in callers if gate.enter(caller)]
    assert gate.inside == len(inside) <= 5
    assert all(inside.count(caller) <= 3 for caller in "abc")
    for caller in inside:
        gate.leave(caller)
    assert gate.inside == 0
