"""A gateway says that it is there, takes no name that another has, and hands on what the silent ones had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from hkall_gateway.app.heartbeat import BEAT_S, BEHIND, ClockBehind, Heartbeat, NameTaken
from hkall_gateway.db import instances
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.instances import GONE_S, Instance
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from tests import databases
from tests.metrics import value

NOON = datetime(2017, 3, 1, 4, tzinfo=UTC)


class Machine:
    """A database, a clock, and the processes that run on this machine."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.engine, self.clock, self.running = databases.empty(), Clock(), {1, 2}
        self.store = Immediate(self.engine, lambda connection: UnitOfWork(connection, str))
        self.set_by = timedelta()

    def now(self) -> datetime:
        return NOON + self.set_by + timedelta(seconds=self.clock.seconds())

    def gateway(self, name: str, pid: int, host: str = "here") -> Heartbeat:
        me = Instance(name, host, pid, "1.0", self.now(), self.now())
        return Heartbeat(self.store, me, self.clock, self.now, self.running.__contains__, self.metrics)

    def states(self) -> dict[str, str]:
        return {one.name: one.state(self.now()) for one in self.store.now(instances.everyone)}

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.store.close()
    made.engine.dispose()


def start(gateway: Heartbeat) -> BaseException | None:
    """How it went: None is well."""
    told: list[Any] = []
    ensureDeferred(gateway.start()).addBoth(told.append)
    return told[0].value if told[0] else None


def test_a_gateway_is_seen_as_long_as_it_runs_and_has_left_when_it_stops(machine: Machine) -> None:
    gateway = machine.gateway("a", 1)
    assert start(gateway) is None
    machine.pass_time(10 * GONE_S)
    assert machine.states() == {"a": "up"}
    ensureDeferred(gateway.stop())
    assert machine.states() == {"a": "left"}
    assert machine.clock.getDelayedCalls() == []


def test_a_name_that_a_living_gateway_has_is_not_taken(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    refused = start(machine.gateway("a", 2))
    assert isinstance(refused, NameTaken)
    assert "process 1 on here" in str(refused)
    assert "HKALL_INSTANCE" in str(refused)


def test_a_name_on_another_machine_is_free_when_that_one_has_fallen_silent(machine: Machine) -> None:
    machine.store.now(instances.here, Instance("a", "there", 1, "1.0", NOON, NOON))
    assert isinstance(start(machine.gateway("a", 2)), NameTaken)
    machine.pass_time(GONE_S + 1)
    assert start(machine.gateway("a", 2)) is None


def test_who_crashed_may_come_back_under_its_name_at_once(machine: Machine) -> None:
    machine.store.now(instances.here, Instance("a", "here", 1, "1.0", NOON, NOON))
    machine.running.discard(1)
    assert start(machine.gateway("a", 2)) is None


def test_a_container_that_is_started_again_has_the_number_that_it_had(machine: Machine) -> None:
    machine.store.now(instances.here, Instance("a", "here", 1, "1.0", NOON, NOON))
    assert start(machine.gateway("a", 1)) is None


def test_what_a_silent_gateway_had_in_hand_is_handed_on_by_another_within_its_minute(machine: Machine) -> None:
    machine.store.now(instances.here, Instance("dead", "there", 9, "1.0", NOON, NOON))
    message = PartnerMessage(Notification.ASK_LENDER.value, "R1", "CUHK", "HKU", "w-1", NOON)
    machine.store.now(lambda unit: unit.outbox.put(Notification.ASK_LENDER, message, "", NOON))
    assert machine.store.now(lambda unit: unit.outbox.claim(NOON, "dead", 600, 1))
    start(machine.gateway("a", 1))
    machine.pass_time(GONE_S)
    assert machine.store.now(lambda unit: unit.outbox.held_by("dead")) == 1
    machine.pass_time(BEAT_S)
    assert machine.store.now(lambda unit: unit.outbox.held_by("dead")) == 0
    assert machine.states() == {"a": "up", "dead": "gone"}
    assert [value(machine.metrics, "gateways", state) for state in ("up", "left", "gone")] == [1, 0, 1]


@pytest.mark.parametrize("left", [False, True])
def test_a_gateway_whose_clock_is_days_behind_does_not_begin(machine: Machine, left: bool) -> None:
    ahead = NOON + timedelta(days=3)
    other = Instance("b", "there", 9, "1.0", ahead, ahead, ahead if left else None)
    machine.store.now(instances.here, other)
    refused = start(machine.gateway("a", 1))
    assert isinstance(refused, ClockBehind)
    assert "gateway b on there was seen at 2017-03-04 04:00" in str(refused)
    assert "HKALL_TRUST_CLOCK=1" in str(refused)
    assert "a" not in machine.states()


def test_clocks_that_are_minutes_apart_begin(machine: Machine) -> None:
    machine.store.now(instances.here, Instance("b", "there", 9, "1.0", NOON, NOON + BEHIND))
    assert start(machine.gateway("a", 1)) is None


def test_a_clock_that_is_trusted_begins(machine: Machine) -> None:
    machine.store.now(instances.here, Instance("b", "there", 9, "1.0", NOON, NOON + timedelta(days=3)))
    me = Instance("a", "here", 1, "1.0", NOON, NOON)
    assert start(Heartbeat(machine.store, me, machine.clock, machine.now, bool, machine.metrics, trust_clock=True)) is None


def test_a_database_that_takes_no_writes_is_known_at_the_next_beat(machine: Machine) -> None:
    gateway = machine.gateway("a", 1)
    assert start(gateway) is None
    assert gateway.written
    machine.store.now(lambda unit: unit.connection.exec_driver_sql("ALTER TABLE instances RENAME TO away"))
    machine.pass_time(BEAT_S)
    assert not gateway.written
    machine.store.now(lambda unit: unit.connection.exec_driver_sql("ALTER TABLE away RENAME TO instances"))
    machine.pass_time(BEAT_S)
    assert gateway.written


def test_a_report_is_made_anew_and_written_with_every_heartbeat(machine: Machine) -> None:
    asked: list[datetime] = []
    wrote: list[datetime] = []

    def report(now: datetime) -> Callable[[UnitOfWork], None]:
        asked.append(now)
        return lambda unit: wrote.append(now)

    me = Instance("a", "here", 1, "1.0", machine.now(), machine.now())
    start(Heartbeat(machine.store, me, machine.clock, machine.now, bool, machine.metrics, report=report))
    machine.pass_time(BEAT_S)
    assert asked == wrote == [NOON, NOON + timedelta(seconds=BEAT_S)]


# ---- the time of day is set


def _steps(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    return [line["step_s"] for line in lines if line["event"] == "clock.stepped"]


@pytest.mark.parametrize("seconds", [-3600, -2, 2, 10_800])
def test_a_step_of_the_clock_is_logged_once(machine: Machine, seconds: int) -> None:
    start(machine.gateway("a", 1))
    with capture_logs() as lines:
        machine.pass_time(BEAT_S)
        machine.set_by = timedelta(seconds=seconds)
        machine.pass_time(3 * BEAT_S)
    assert _steps(lines) == [seconds]


def test_a_clock_that_is_slewed_has_not_stepped(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    with capture_logs() as lines:
        for _ in range(10 * BEAT_S):
            machine.set_by += timedelta(milliseconds=50)
            machine.pass_time(1)
    assert _steps(lines) == []


def _tell(machine: Machine, at: datetime) -> None:
    message = PartnerMessage(Notification.ASK_LENDER.value, "R1", "CUHK", "HKU", "w-1", NOON)
    machine.store.now(lambda unit: unit.outbox.put(Notification.ASK_LENDER, message, "", at))


def test_what_waits_for_a_time_that_the_clock_showed_before_is_due_when_it_is_set_back(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    _tell(machine, machine.now())
    machine.set_by = timedelta(hours=-1)
    assert not machine.store.now(lambda unit: unit.outbox.claim(machine.now(), "a", 600, 1))
    machine.pass_time(BEAT_S)
    assert machine.store.now(lambda unit: unit.outbox.claim(machine.now(), "a", 600, 1))


def test_what_waits_for_its_next_try_goes_on_waiting_when_the_clock_is_set_forward(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    _tell(machine, machine.now() + timedelta(hours=5))
    machine.set_by = timedelta(hours=1)
    machine.pass_time(BEAT_S)
    assert not machine.store.now(lambda unit: unit.outbox.claim(machine.now(), "a", 600, 1))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_gateway_whose_clock_is_set_takes_nothing_over_from_one_that_lives(machine: Machine, hours: int) -> None:
    """The other's heartbeats keep the old time: they look an hour old, or an hour early."""
    start(machine.gateway("a", 1))
    _tell(machine, NOON)
    assert machine.store.now(lambda unit: unit.outbox.claim(NOON, "b", 7200, 1))
    machine.set_by = timedelta(hours=hours)
    for _ in range(2 * GONE_S):
        right = NOON + timedelta(seconds=machine.clock.seconds())
        machine.store.now(instances.here, Instance("b", "there", 9, "1.0", NOON, right))
        machine.pass_time(1)
    assert machine.store.now(lambda unit: unit.outbox.held_by("b")) == 1
    machine.pass_time(GONE_S + 2 * BEAT_S)
    assert machine.store.now(lambda unit: unit.outbox.held_by("b")) == 0
