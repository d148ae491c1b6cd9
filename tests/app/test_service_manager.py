"""State notifications to systemd, and the watchdog notification while the main loop runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from hkall_gateway.app.service_manager import ALIVE, READY, ServiceManager
from hkall_gateway.clock import monotonic_us

PID = 4711


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.settimeout(0)
        yield ours


@pytest.fixture
def heard(listening: socket.socket, tmp_path: Path) -> socket.socket:
    listening.bind(str(tmp_path / "notify"))
    return listening


def environ(heard: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": heard.getsockname(), **more}


def test_state_is_sent_as_one_datagram(heard: socket.socket) -> None:
    ServiceManager(environ(heard), PID).notify(READY, "STATUS=serving")
    assert heard.recv(1000) == b"READY=1\nSTATUS=serving"


def test_abstract_socket_address_starts_with_an_at_sign(listening: socket.socket) -> None:
    listening.bind(f"\0hkall-test-{id(listening)}")
    ServiceManager({"NOTIFY_SOCKET": f"@hkall-test-{id(listening)}"}, PID).notify(READY)
    assert listening.recv(1000) == b"READY=1"


def test_reload_notification_has_the_monotonic_timestamp(heard: socket.socket) -> None:
    before = monotonic_us()
    ServiceManager(environ(heard), PID).reloading()
    state, time = heard.recv(1000).decode().splitlines()
    assert state == "RELOADING=1"
    assert before <= int(time.removeprefix("MONOTONIC_USEC=")) <= monotonic_us()


def test_without_systemd_no_state_is_sent_and_no_timer_runs() -> None:
    clock, service = Clock(), ServiceManager({}, PID)
    service.notify(READY)
    service.watch(clock)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("kind", ["gone", "full"])
def test_full_or_closed_socket_causes_no_error(kind: str, heard: socket.socket) -> None:
    service = ServiceManager(environ(heard), PID)
    if kind == "gone":
        heard.close()
    for _ in range(1000):  # more than the socket's queue holds
        service.notify(READY)
    if kind == "full":
        assert heard.recv(1000) == b"READY=1"


def test_watchdog_is_notified_twice_per_period(heard: socket.socket) -> None:
    clock = Clock()
    ServiceManager(environ(heard, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(PID)), PID).watch(clock)
    clock.pump([29.9, 0.2, 29.9])
    assert [heard.recv(1000).decode() for _ in range(2)] == [ALIVE, ALIVE]
    with pytest.raises(BlockingIOError):
        heard.recv(1000)


def test_watchdog_of_another_process_is_ignored(heard: socket.socket) -> None:
    clock = Clock()
    ServiceManager(environ(heard, WATCHDOG_USEC="60000000", WATCHDOG_PID="1"), PID).watch(clock)
    assert clock.getDelayedCalls() == []
