"""The order of measurements: subjects take turns on fresh copies, and a failing subject does not affect the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.figures import Run
from bench.interleaved import Cell, InterleavedRuns, alternate, share
from bench.plan import Plan, Size
from bench.processes import Broken
from bench.tasks import Subject, Task

PLAN = Plan(rounds=3, seconds=1.0, size=Size(patrons=10, holdings=100, open=70, closed=0), soak_s=0)
ONE = Cell("sip2_11", 1, "gateway")
MANY = Cell("sip2_11", 64, "gateway")
PEER = Cell("sip2_11", 64, "echo")


class Told(Subject):
    """A subject that records its calls; `trouble` is raised when it is closed."""

    def __init__(self, name: str, heard: list[str], trouble: Exception | None = None) -> None:
        self._name, self._heard, self._trouble = name, heard, trouble

    def run(self, task: Task) -> Run:
        self._heard.append(f"{self._name} {task.connections} for {task.seconds:g} s, {task.most} at most")
        return Run(1, float(len(self._heard)), 1.0, 1.0)

    def close(self) -> None:
        self._heard.append(f"{self._name} closed")
        if self._trouble:
            raise self._trouble

    def abandon(self) -> None:
        self._heard.append(f"{self._name} abandoned")


def turns(start: Callable[[str], Subject]) -> InterleavedRuns:
    return alternate([ONE, MANY, PEER], PLAN, start, lambda _text: None)


def test_subjects_take_turns_and_every_other_round_is_reversed() -> None:
    heard: list[str] = []
    turns(lambda name: Told(name, heard))
    measured = [line.partition(" for 0.9")[0].partition(" for 1 s")[0] for line in heard if "for 1 s" in line]
    there, back = ["gateway 1", "echo 64", "gateway 64"], ["gateway 64", "echo 64", "gateway 1"]
    assert measured == there + back + there
    assert heard.count("gateway closed") == heard.count("echo closed") == PLAN.rounds


def test_warm_up_takes_a_tenth_of_each_run_and_stays_within_the_requests_available() -> None:
    heard: list[str] = []
    turns(lambda name: Told(name, heard))
    assert heard[:2] == ["gateway 1 for 0.1 s, 3 at most", "gateway 1 for 1 s, 32 at most"]
    assert share(ONE, [ONE, MANY, PEER], PLAN.size) + share(MANY, [ONE, MANY, PEER], PLAN.size) <= PLAN.size.open


@pytest.mark.parametrize("trouble", [Broken("it fell over"), AssertionError("an answer is not in the database")])
def test_failed_subject_is_dropped_while_the_other_subjects_complete(trouble: Exception) -> None:
    heard: list[str] = []
    done = turns(lambda name: Told(name, heard, trouble if name == "gateway" else None))
    assert done.failed == {"gateway": str(trouble)}
    assert {cell: len(runs) for cell, runs in done.runs.items()} == {PEER: PLAN.rounds}
    assert heard.count("gateway abandoned") == heard.count("gateway closed") == 1


def test_bug_ends_the_benchmark_and_leaves_no_process_running() -> None:
    heard: list[str] = []
    with pytest.raises(ZeroDivisionError):
        turns(lambda name: Told(name, heard, ZeroDivisionError() if name == "echo" else None))
    assert {line for line in heard if "abandoned" in line} == {"echo abandoned", "gateway abandoned"}
