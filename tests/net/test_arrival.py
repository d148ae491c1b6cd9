"""Waiting time of a message, and whether its caller is still connected, on real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hkall_gateway.net.limits.timeout import TCP_INFO, Timeout, message_deadline, read_delay_s

TRANSPORT: Any = StringTransport  # Twisted's test transport has no types
Pair = tuple[socket.socket, SimpleNamespace]
pytestmark = pytest.mark.skipif(TCP_INFO is None, reason="only Linux tells it")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client socket, and a transport of ours wrapped by a TLS protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as caller:
            ours, _ = listening.accept()
            with ours:
                yield caller, SimpleNamespace(transport=SimpleNamespace(socket=ours))


def _until_ready(transport: SimpleNamespace) -> None:
    transport.transport.socket.recv(1, socket.MSG_PEEK)


def test_waiting_time_starts_at_the_arrival_of_the_last_byte(pair: Pair) -> None:
    caller, ours = pair
    caller.sendall(b"09")
    _until_ready(ours)
    time.sleep(0.3)
    waited = read_delay_s(ours)
    assert waited is not None
    assert 0.2 < waited < 5


def test_closed_connection_stops_waiting(pair: Pair) -> None:
    caller, ours = pair
    caller.sendall(b"09")
    caller.shutdown(socket.SHUT_WR)
    _until_ready(ours)
    deadline = time.monotonic() + 5
    while read_delay_s(ours) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read_delay_s(ours) is None
    found = message_deadline(Timeout(Clock(), 8), ours)
    assert found is not None
    assert (found.why, found.begin(again=False, late=False)) == ("gone", False)


def test_deadline_is_relative_to_the_arrival(pair: Pair) -> None:
    caller, ours = pair
    caller.sendall(b"09")
    _until_ready(ours)
    time.sleep(0.3)
    found = message_deadline(Timeout(Clock(), 8), ours)
    assert found is not None
    assert 3 < found.left_s < 7.8


def test_connection_without_arrival_time_has_not_waited(tmp_path: Path) -> None:
    assert read_delay_s(TRANSPORT()) == 0.0
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        assert read_delay_s(SimpleNamespace(socket=local)) == 0.0


def test_deadline_is_none_without_a_limit() -> None:
    assert message_deadline(None, TRANSPORT()) is None
