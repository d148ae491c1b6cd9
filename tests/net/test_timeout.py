"""Time limits for replies."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from hkall_gateway.net.limits.timeout import Timeout, TooLate


class Work:
    """Work that ends when the test says so, and records its cancellation."""

    def __init__(self) -> None:
        self.turn: Deferred[str] = Deferred()
        self.done: list[str] = []

    async def do(self) -> str:
        self.done.append(await self.turn)
        return self.done[0]


def _held(clock: Clock, work: Work) -> list[object]:
    """Return the result delivered to the caller: a value, or the type of the failure."""
    said: list[object] = []
    Timeout(clock, 20).run(work.do()).addCallbacks(said.append, lambda failed: said.append(failed.type))
    return said


def test_work_in_time_returns_its_result() -> None:
    clock, work = Clock(), Work()
    said = _held(clock, work)
    clock.advance(19)
    work.turn.callback("yes")
    clock.advance(20)
    assert (said, clock.getDelayedCalls()) == (["yes"], [])


def test_work_that_fails_in_time_raises_its_error() -> None:
    clock, work = Clock(), Work()
    said = _held(clock, work)
    work.turn.errback(KeyError("x"))
    clock.advance(20)
    assert (said, clock.getDelayedCalls()) == ([KeyError], [])


def test_late_work_times_out_once_and_continues() -> None:
    clock, work = Clock(), Work()
    said = _held(clock, work)
    clock.advance(20)
    work.turn.callback("yes")
    assert (said, work.done) == ([TooLate], ["yes"])


def test_synchronous_work_starts_no_timer() -> None:
    clock, work = Clock(), Work()
    work.turn.callback("at once")
    assert (_held(clock, work), clock.getDelayedCalls()) == (["at once"], [])


def test_concurrent_tasks_time_out_independently() -> None:
    clock, said, works = Clock(), list[tuple[int, object]](), [Work() for _ in range(4)]
    deadline = Timeout(clock, 20)
    for number, work in enumerate(works):
        tell = partial(_tell, said, number)
        deadline.run(work.do()).addCallbacks(tell, tell)
        clock.advance(5)
    works[1].turn.callback("yes")  # the time is 20, when the first task is late
    assert said == [(0, TooLate), (1, "yes")]
    clock.advance(9)
    assert len(said) == 2
    clock.advance(1)
    assert said[2:] == [(2, TooLate)]
    works[3].turn.callback("yes")
    clock.advance(20)
    assert (said[3:], clock.getDelayedCalls()) == ([(3, "yes")], [])


def test_task_started_by_a_timeout_does_not_delay_other_tasks() -> None:
    clock, said, works = Clock(), list[tuple[int, object]](), [Work() for _ in range(3)]
    deadline = Timeout(clock, 20)
    for number in (0, 1):
        tell = partial(_tell, said, number)
        deadline.run(works[number].do()).addCallbacks(tell, tell).addCallback(lambda _: deadline.run(works[2].do()))
        clock.advance(5)
    clock.advance(10)
    assert said == [(0, TooLate)]
    clock.advance(5)
    assert said == [(0, TooLate), (1, TooLate)]


def _tell(said: list[tuple[int, object]], number: int, result: object) -> None:
    said.append((number, result.type if isinstance(result, Failure) else result))
