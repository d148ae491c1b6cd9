"""An answer by a certain time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from hkall_gateway.edge.deadline import Deadline, TooLate


class Work:
    """Work that ends when the test says so, and tells whether it was broken off."""

    def __init__(self) -> None:
        self.turn: Deferred[str] = Deferred()
        self.done: list[str] = []

    async def do(self) -> str:
        self.done.append(await self.turn)
        return self.done[0]


def _held(clock: Clock, work: Work) -> list[object]:
    """What the one who waits is told: an answer, or the kind of failure."""
    said: list[object] = []
    Deadline(clock, 20).hold(work.do()).addCallbacks(said.append, lambda failed: said.append(failed.type))
    return said


def test_work_that_ends_in_time_is_answered_with_what_it_says() -> None:
    clock, work = Clock(), Work()
    said = _held(clock, work)
    clock.advance(19)
    work.turn.callback("yes")
    assert (said, clock.getDelayedCalls()) == (["yes"], [])


def test_work_that_fails_in_time_is_answered_with_its_failure() -> None:
    clock, work = Clock(), Work()
    said = _held(clock, work)
    work.turn.errback(KeyError("x"))
    assert (said, clock.getDelayedCalls()) == ([KeyError], [])


def test_late_work_is_told_to_be_late_once_and_goes_on_all_the_same() -> None:
    clock, work = Clock(), Work()
    said = _held(clock, work)
    clock.advance(20)
    work.turn.callback("yes")
    assert (said, work.done) == ([TooLate], ["yes"])


def test_work_that_needs_no_time_starts_no_timer() -> None:
    clock, work = Clock(), Work()
    work.turn.callback("at once")
    assert (_held(clock, work), clock.getDelayedCalls()) == (["at once"], [])
