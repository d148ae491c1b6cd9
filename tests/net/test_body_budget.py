"""The memory budget of unfinished bodies."""

from __future__ import annotations

from hkall_gateway.net.limits.fair_reads import FREE, BodyBudget

KIB = 1024


def test_small_body_is_not_counted() -> None:
    budget = BodyBudget(0)
    budget.reserve("small", FREE, lambda: None)
    assert budget.used == 0


def test_growing_body_counts_with_its_current_size() -> None:
    budget = BodyBudget(1000 * KIB)
    for size in (100, 200, 300):
        budget.reserve("growing", FREE + size, lambda: None)
    assert budget.used == 300
    budget.release("growing")
    assert budget.used == 0


def test_oldest_body_is_dropped_when_the_budget_is_used_up() -> None:
    budget, ended = BodyBudget(300), list[str]()
    for name in ("first", "second", "third"):
        budget.reserve(name, FREE + 150, lambda name=name: ended.append(name))  # type: ignore[misc]
    assert (ended, budget.used) == (["first"], 300)


def test_body_larger_than_the_budget_is_dropped() -> None:
    budget, ended = BodyBudget(100), list[str]()
    budget.reserve("large", FREE + 101, lambda: ended.append("large"))
    assert (ended, budget.used) == (["large"], 0)
