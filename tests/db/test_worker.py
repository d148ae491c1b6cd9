"""A worker lane: waiting jobs form a group in order, none is lost at the stop, and every result is delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from hkall_gateway.db.engine import worker
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.engine.worker import GroupResult, Job, Worker, give

PATIENCE_S = 20.0
NO_UNIT: Any = None
LOST = OperationalError("", None, ConnectionError("lost"))


class Desk:
    """Processes groups of names; the first group blocks until it is told to continue."""

    def __init__(self) -> None:
        self.inside, self.go_on = Event(), Event()
        self.groups: list[list[str]] = []
        self.answered: list[str] = []
        self.turns: Queue[Callable[[], None]] = Queue()

    def job(self, name: str) -> Job:
        """A job whose result is its name."""
        return Job(lambda _unit: name, LockSet(), lambda result, _error: self.answered.append(str(result)))

    def do(self, _connection: Connection, jobs: Sequence[Job]) -> GroupResult:
        self.inside.set()
        assert self.go_on.wait(PATIENCE_S)
        names = [str(job.work(NO_UNIT)) for job in jobs]
        self.groups.append(names)
        return GroupResult(answers=[partial(job.reply, name, None) for job, name in zip(jobs, names, strict=True)])

    def drain(self, count: int) -> None:
        while len(self.answered) < count:
            self.turns.get(timeout=PATIENCE_S)()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine(f"sqlite:///{tmp_path / 'lane.db'}")


def _lane(engine: Engine, desk: Desk, batch: int) -> Worker:
    """A lane whose thread is busy with the first name, so that further jobs wait."""
    lane = Worker(engine, desk.do, desk.turns.put, "writer", batch)
    lane.put(desk.job("first"))
    assert desk.inside.wait(PATIENCE_S)
    return lane


def test_units_queued_during_a_group_form_the_next_group(engine: Engine) -> None:
    desk = Desk()
    lane = _lane(engine, desk, batch=256)
    for name in "abc":
        lane.put(desk.job(name))
    desk.go_on.set()
    lane.stop()
    assert desk.groups == [["first"], ["a", "b", "c"]]
    assert (lane.groups, lane.units) == (2, 4)


def test_units_queued_before_the_replies_of_a_group_join_the_next_group(engine: Engine) -> None:
    desk = Desk()
    lane = _lane(engine, desk, batch=256)
    lane.put(desk.job("during the group"))
    desk.go_on.set()
    give_replies = desk.turns.get(timeout=PATIENCE_S)
    lane.put(desk.job("after the group"))
    give_replies()
    desk.drain(3)
    lane.stop()
    assert desk.groups == [["first"], ["during the group", "after the group"]]


def test_a_bug_in_a_reply_does_not_hold_up_the_next_group(engine: Engine) -> None:
    desk = Desk()
    lane = Worker(engine, desk.do, desk.turns.put, "writer", 256)
    lane.put(Job(lambda _unit: "", LockSet(), lambda _result, _error: 1 / 0))
    assert desk.inside.wait(PATIENCE_S)
    lane.put(desk.job("next"))
    desk.go_on.set()
    with pytest.raises(ZeroDivisionError):
        desk.turns.get(timeout=PATIENCE_S)()
    desk.drain(1)
    lane.stop()
    assert desk.answered == ["next"]


class RetryingDesk(Desk):
    """Retries the units of the first group alone."""

    def do(self, connection: Connection, jobs: Sequence[Job]) -> GroupResult:
        if len(jobs) > 1 and not self.groups:
            return GroupResult(answers=(), again=jobs)
        return super().do(connection, jobs)


def test_retried_units_do_not_delay_new_units(engine: Engine) -> None:
    desk, iteration = RetryingDesk(), list[Callable[[], object]]()
    lane = Worker(engine, desk.do, desk.turns.put, "writer", 256, iteration.append)
    for number in range(9):
        lane.put(desk.job(f"retried {number}"))
    iteration.pop()()
    assert desk.inside.wait(PATIENCE_S)  # the first unit is retried
    lane.put(desk.job("new"))
    iteration.pop()()
    desk.go_on.set()
    desk.drain(10)
    lane.stop()
    assert desk.answered.index("new") == 1


class LosingEngine:
    """An engine whose database is lost after the first connection."""

    def __init__(self, engine: Engine) -> None:
        self.connect = self._connect_once(engine)

    def _connect_once(self, engine: Engine) -> Callable[[], Connection]:
        connections = iter([engine.connect()])

        def connect() -> Connection:
            for connection in connections:
                return connection
            raise OperationalError("", None, ConnectionError("away"))

        return connect


def test_stop_does_not_wait_for_the_next_attempt_to_reconnect(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "AWAY_S", 2 * PATIENCE_S)
    desk, losing = Desk(), LosingEngine(engine)
    lost: Any = lambda _connection, jobs: GroupResult(answers=[job.refusal(LOST) for job in jobs], lost=LOST)  # noqa: E731
    lane = Worker(cast(Any, losing), lost, desk.turns.put, "writer", 256)
    lane.put(desk.job("refused"))
    desk.drain(1)
    desk.turns.get(timeout=PATIENCE_S)()  # the first attempt to reconnect has failed
    lane.put(desk.job("refused at once"))
    began = time.monotonic()
    with capture_logs() as log:
        lane.stop()
    assert time.monotonic() - began < PATIENCE_S
    assert log == []
    assert desk.answered == ["None", "None"]


def test_group_is_limited_to_the_batch_size_and_keeps_the_order(engine: Engine) -> None:
    desk = Desk()
    lane = _lane(engine, desk, batch=2)
    for name in "abcde":
        lane.put(desk.job(name))
    desk.go_on.set()
    lane.stop()
    assert desk.groups == [["first"], ["a", "b"], ["c", "d"], ["e"]]


def test_stop_finishes_the_queued_units(engine: Engine) -> None:
    desk = Desk()
    lane = _lane(engine, desk, batch=2)
    for name in "abc":
        lane.put(desk.job(name))
    desk.go_on.set()
    lane.stop()
    desk.drain(4)
    assert desk.answered == ["first", "a", "b", "c"]


def test_results_are_delivered_in_a_reactor_iteration_not_in_the_thread(engine: Engine) -> None:
    desk = Desk()
    lane = _lane(engine, desk, batch=2)
    desk.go_on.set()
    lane.stop()
    assert desk.answered == []
    desk.drain(1)
    assert desk.answered == ["first"]


def test_stopped_worker_accepts_no_jobs(engine: Engine) -> None:
    desk = Desk()
    desk.go_on.set()
    lane = Worker(engine, desk.do, desk.turns.put, "writer", 2)
    lane.stop()
    with pytest.raises(RuntimeError, match="closed"):
        lane.put(desk.job("late"))
    assert desk.groups == []


def test_unavailable_database_is_reported_on_start(tmp_path: Path) -> None:
    nowhere = open_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    with pytest.raises(OperationalError, match="unable to open"):
        Worker(nowhere, Desk().do, Desk().turns.put, "writer", 2)


def test_every_result_is_delivered_even_if_a_callback_raises() -> None:
    given: list[str] = []

    def broken() -> None:
        raise ZeroDivisionError("a listener's bug")

    with pytest.raises(ZeroDivisionError):
        give([lambda: given.append("a"), broken, lambda: given.append("c")])
    assert given == ["a", "c"]


def test_jobs_of_one_reactor_iteration_are_one_group(engine: Engine) -> None:
    desk, iteration = Desk(), list[Callable[[], object]]()
    desk.go_on.set()
    lane = Worker(engine, desk.do, desk.turns.put, "writer", 9, iteration.append)
    for name in "abc":
        lane.put(desk.job(name))
    (hand_over,) = iteration
    hand_over()
    desk.drain(3)
    lane.put(desk.job("last"))  # the reactor stops before its next iteration
    lane.stop()
    desk.drain(4)
    assert desk.groups == [["a", "b", "c"], ["last"]]
