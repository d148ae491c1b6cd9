"""A gateway registers itself, refuses a name that is in use, and releases the work of silent gateways."""

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
from hkall_gateway.db.instances import GONE_S, Instance
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.metrics import value

NOON = datetime(2017, 3, 1, 4, tzinfo=UTC)


class Machine:
    """A database, a clock, and the processes that run on this machine."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.engine, self.clock, self.running = databases.empty(), Clock(), {1, 2}
        self.store = SoleStore(self.engine, lambda connection: UnitOfWork(connection, str))
        self.set_by = timedelta()

    def now(self) -> datetime:
        return NOON + self.set_by + timedelta(seconds=self.clock.seconds())

    def gateway(self, name: str, pid: int, host: str = "here") -> Heartbeat:
        me = Instance(name=name, host=host, pid=pid, version="1.0", since=self.now(), seen_at=self.now())
        return Heartbeat(self.store, me, self.clock, self.now, self.running.__contains__, self.metrics)

    def states(self) -> dict[str, str]:
        return {one.name: one.state(self.now()) for one in self.store.now(instances.list_instances)}

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
    """Start a gateway; return the error, or None."""
    told: list[Any] = []
    ensureDeferred(gateway.start()).addBoth(told.append)
    return told[0].value if told[0] else None


def test_gateway_is_up_while_it_runs_and_left_after_a_stop(machine: Machine) -> None:
    gateway = machine.gateway("a", 1)
    assert start(gateway) is None
    machine.pass_time(10 * GONE_S)
    assert machine.states() == {"a": "up"}
    ensureDeferred(gateway.stop())
    assert machine.states() == {"a": "left"}
    assert machine.clock.getDelayedCalls() == []


def test_name_of_a_running_gateway_is_refused(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    refused = start(machine.gateway("a", 2))
    assert isinstance(refused, NameTaken)
    assert "process 1 on here" in str(refused)
    assert "HKALL_INSTANCE" in str(refused)


def test_name_of_a_silent_gateway_on_another_machine_becomes_free(machine: Machine) -> None:
    machine.store.now(
        instances.record_instance, Instance(name="a", host="there", pid=1, version="1.0", since=NOON, seen_at=NOON)
    )
    assert isinstance(start(machine.gateway("a", 2)), NameTaken)
    machine.pass_time(GONE_S + 1)
    assert start(machine.gateway("a", 2)) is None


def test_crashed_gateway_can_reuse_its_name_at_once(machine: Machine) -> None:
    machine.store.now(
        instances.record_instance, Instance(name="a", host="here", pid=1, version="1.0", since=NOON, seen_at=NOON)
    )
    machine.running.discard(1)
    assert start(machine.gateway("a", 2)) is None


def test_restarted_container_may_have_the_same_process_number(machine: Machine) -> None:
    machine.store.now(
        instances.record_instance, Instance(name="a", host="here", pid=1, version="1.0", since=NOON, seen_at=NOON)
    )
    assert start(machine.gateway("a", 1)) is None


def test_messages_of_a_silent_gateway_are_released_by_another_within_a_minute(machine: Machine) -> None:
    machine.store.now(
        instances.record_instance, Instance(name="dead", host="there", pid=9, version="1.0", since=NOON, seen_at=NOON)
    )
    message = PartnerMessage(
        send=Notification.ASK_LENDER.value, request="R1", partner="CUHK", wire_agency="HKU", wire_id="w-1", at=NOON
    )
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
def test_gateway_with_a_clock_days_behind_refuses_to_start(machine: Machine, left: bool) -> None:
    ahead = NOON + timedelta(days=3)
    other = Instance(name="b", host="there", pid=9, version="1.0", since=ahead, seen_at=ahead, left_at=ahead if left else None)
    machine.store.now(instances.record_instance, other)
    refused = start(machine.gateway("a", 1))
    assert isinstance(refused, ClockBehind)
    assert "gateway b on there was seen at 2017-03-04 04:00" in str(refused)
    assert "HKALL_TRUST_CLOCK=1" in str(refused)
    assert "a" not in machine.states()


def test_gateway_with_a_clock_minutes_apart_starts(machine: Machine) -> None:
    machine.store.now(
        instances.record_instance, Instance(name="b", host="there", pid=9, version="1.0", since=NOON, seen_at=NOON + BEHIND)
    )
    assert start(machine.gateway("a", 1)) is None


def test_gateway_starts_with_a_trusted_clock(machine: Machine) -> None:
    machine.store.now(
        instances.record_instance,
        Instance(name="b", host="there", pid=9, version="1.0", since=NOON, seen_at=NOON + timedelta(days=3)),
    )
    me = Instance(name="a", host="here", pid=1, version="1.0", since=NOON, seen_at=NOON)
    assert start(Heartbeat(machine.store, me, machine.clock, machine.now, bool, machine.metrics, trust_clock=True)) is None


def test_read_only_database_is_detected_at_the_next_beat(machine: Machine) -> None:
    gateway = machine.gateway("a", 1)
    assert start(gateway) is None
    assert gateway.written
    machine.store.now(lambda unit: unit.connection.exec_driver_sql("ALTER TABLE instances RENAME TO away"))
    machine.pass_time(BEAT_S)
    assert not gateway.written
    machine.store.now(lambda unit: unit.connection.exec_driver_sql("ALTER TABLE away RENAME TO instances"))
    machine.pass_time(BEAT_S)
    assert gateway.written


def test_report_is_renewed_with_every_heartbeat(machine: Machine) -> None:
    asked: list[datetime] = []
    wrote: list[datetime] = []

    def report(now: datetime) -> Callable[[UnitOfWork], None]:
        asked.append(now)
        return lambda unit: wrote.append(now)

    me = Instance(name="a", host="here", pid=1, version="1.0", since=machine.now(), seen_at=machine.now())
    start(Heartbeat(machine.store, me, machine.clock, machine.now, bool, machine.metrics, report=report))
    machine.pass_time(BEAT_S)
    assert asked == wrote == [NOON, NOON + timedelta(seconds=BEAT_S)]


# ---- the time of day is set


def _steps(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    return [line["step_s"] for line in lines if line["event"] == "clock.stepped"]


@pytest.mark.parametrize("seconds", [-3600, -2, 2, 10_800])
def test_clock_step_is_logged_once(machine: Machine, seconds: int) -> None:
    start(machine.gateway("a", 1))
    with capture_logs() as lines:
        machine.pass_time(BEAT_S)
        machine.set_by = timedelta(seconds=seconds)
        machine.pass_time(3 * BEAT_S)
    assert _steps(lines) == [seconds]


def test_slewed_clock_is_not_a_step(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    with capture_logs() as lines:
        for _ in range(10 * BEAT_S):
            machine.set_by += timedelta(milliseconds=50)
            machine.pass_time(1)
    assert _steps(lines) == []


def _tell(machine: Machine, at: datetime) -> None:
    message = PartnerMessage(
        send=Notification.ASK_LENDER.value, request="R1", partner="CUHK", wire_agency="HKU", wire_id="w-1", at=NOON
    )
    machine.store.now(lambda unit: unit.outbox.put(Notification.ASK_LENDER, message, "", at))


def test_message_scheduled_by_a_fast_clock_is_due_when_the_clock_is_corrected(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    _tell(machine, machine.now())
    machine.set_by = timedelta(hours=-1)
    assert not machine.store.now(lambda unit: unit.outbox.claim(machine.now(), "a", 600, 1))
    machine.pass_time(BEAT_S)
    assert machine.store.now(lambda unit: unit.outbox.claim(machine.now(), "a", 600, 1))


def test_retry_keeps_waiting_when_the_clock_jumps_forward(machine: Machine) -> None:
    start(machine.gateway("a", 1))
    _tell(machine, machine.now() + timedelta(hours=5))
    machine.set_by = timedelta(hours=1)
    machine.pass_time(BEAT_S)
    assert not machine.store.now(lambda unit: unit.outbox.claim(machine.now(), "a", 600, 1))


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_step_does_not_release_messages_of_a_running_gateway(machine: Machine, hours: int) -> None:
    """The other gateway's heartbeats keep the old time, so that they seem an hour old or an hour early."""
    start(machine.gateway("a", 1))
    _tell(machine, NOON)
    assert machine.store.now(lambda unit: unit.outbox.claim(NOON, "b", 7200, 1))
    machine.set_by = timedelta(hours=hours)
    for _ in range(2 * GONE_S):
        right = NOON + timedelta(seconds=machine.clock.seconds())
        machine.store.now(
            instances.record_instance, Instance(name="b", host="there", pid=9, version="1.0", since=NOON, seen_at=right)
        )
        machine.pass_time(1)
    assert machine.store.now(lambda unit: unit.outbox.held_by("b")) == 1
    machine.pass_time(GONE_S + 2 * BEAT_S)
    assert machine.store.now(lambda unit: unit.outbox.held_by("b")) == 0
