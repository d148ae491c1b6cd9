"""The queue in which callers take turns for threads."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.net.limits.allow_list import CountedCaller, networks_of
from hkall_gateway.net.limits.fair_queue import WAITING_PER_THREAD, FairQueue, QueuedWork, QueueRefusal


def work(name: str, *, one_at_a_time: bool = False) -> QueuedWork[str]:
    return QueuedWork(item=name, caller=(CountedCaller(name),), one_at_a_time=one_at_a_time)


def filled(threads: int, *callers: str) -> FairQueue[str]:
    """A queue in which one request of each of these callers waits."""
    queue = FairQueue[str](threads)
    for name in callers:
        queue.add(work(name))
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    """The callers in the order in which their work starts, each on a thread that the former has left."""
    order = list[str]()
    while started := queue.start_next():
        order.append(started.item)
        queue.finish(started)
    return order


def test_callers_take_turns() -> None:
    assert drained(filled(1, "a", "a", "a", "b", "c", "b")) == ["a", "b", "c", "a", "b", "a"]


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_one_caller_runs_on_half_of_the_threads_at_least_one(threads: int, most: int) -> None:
    queue = filled(threads, *["a"] * 20, "b")
    started = [one.item for one in iter(queue.start_next, None)]
    assert started.count("a") == most
    assert ("b" in started) == (threads > 1)


def test_work_that_runs_one_at_a_time_does_not_delay_other_work_of_its_caller() -> None:
    queue = FairQueue[str](16)
    for _ in range(3):
        queue.add(work("a", one_at_a_time=True))
    queue.add(work("a"))
    started = list(iter(queue.start_next, None))
    assert [one.one_at_a_time for one in started] == [True, False]
    queue.finish(started[0])
    assert [one.one_at_a_time for one in iter(queue.start_next, None)] == [True]


def test_networks_of_one_site_fill_half_of_the_waiting_places() -> None:
    queue, refused = FairQueue[str](4), Counter[QueueRefusal]()
    places = 4 * WAITING_PER_THREAD
    for number in range(2 * places):
        caller = networks_of(f"2001:db8:1:{number % 12:x}00::1")
        refusal = queue.refusal(caller)
        if refusal is None:
            queue.add(QueuedWork(item="site", caller=caller))
        else:
            refused[refusal] += 1
    assert refused == {QueueRefusal.CALLER: 2 * places - places // 2}
    assert queue.refusal(networks_of("2001:db8:2::1")) is None
    assert queue.refusal(networks_of("192.0.2.1")) is None


def test_removed_work_frees_its_place_and_is_not_started() -> None:
    queue = FairQueue[str](1)
    quarter = WAITING_PER_THREAD // 4
    waiting = [work("a") for _ in range(quarter)]
    for one in waiting:
        queue.add(one)
    assert queue.refusal(waiting[0].caller) is QueueRefusal.CALLER
    assert queue.remove(waiting[0])
    assert not queue.remove(waiting[0])
    assert queue.refusal(waiting[0].caller) is None
    assert len(drained(queue)) == quarter - 1


@given(st.integers(1, 8), st.lists(st.sampled_from("abcdef"), max_size=200), st.randoms(use_true_random=False))
def test_every_admitted_request_runs_once_and_no_caller_exceeds_its_part(threads: int, asked: list[str], draw: object) -> None:
    """Requests arrive and end in any order. What was admitted runs once, whatever other callers do."""
    queue, running, ran, admitted = FairQueue[str](threads), list[QueuedWork[str]](), Counter[str](), Counter[str]()

    def start() -> None:
        while started := queue.start_next():
            running.append(started)
            ran[started.item] += 1
            in_hand = Counter(one.item for one in running)
            assert in_hand.total() <= threads
            assert max(in_hand.values()) <= max(1, threads // 2)

    for name in asked:
        if queue.refusal(work(name).caller) is None:
            queue.add(work(name))
            admitted[name] += 1
            assert admitted[name] - ran[name] <= threads * WAITING_PER_THREAD // 4
        start()
        if running and draw.random() < 0.4:  # type: ignore[attr-defined]
            queue.finish(running.pop(0))
            start()
    while running:
        queue.finish(running.pop())
        start()
    assert ran == admitted
