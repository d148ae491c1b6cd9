"""What can wait is done once the answers are out, in order, all of it."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.task import Clock

from hkall_gateway.net.after_reply import AfterReply, run_now


def test_what_one_turn_brings_is_done_in_the_next_in_order() -> None:
    clock, done = Clock(), list[int]()
    soon = AfterReply(clock)
    for number in range(3):
        soon(partial(done.append, number))
    assert done == []
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0)
    assert done == [0, 1, 2]
    soon(partial(done.append, 3))
    clock.advance(0)
    assert done == [0, 1, 2, 3]


def test_answers_are_sent_before_the_log_is_written() -> None:
    clock, done = Clock(), list[str]()
    soon = AfterReply(clock)
    for number in range(2):
        soon(partial(done.append, f"note {number}"))
        soon.first(partial(done.append, f"answer {number}"))
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0)
    assert done == ["answer 0", "answer 1", "note 0", "note 1"]


def test_work_that_raises_keeps_nothing_else_from_being_done() -> None:
    clock, done = Clock(), list[int]()
    soon = AfterReply(clock)
    soon(partial(done.append, 1))
    soon(partial(int, "a bug"))
    soon(partial(done.append, 2))
    with pytest.raises(ValueError, match="a bug"):
        clock.advance(0)
    clock.advance(0)
    assert done == [1, 2]


def test_at_once_is_now() -> None:
    done: list[int] = []
    run_now(partial(done.append, 1))
    assert done == [1]
