"""Opening listeners: alone on a port or shared, with port numbers per gateway of a machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.net.endpoints import numbered, server_endpoint
from hkall_gateway.net.limits.fair_reads import FairReads, send_at_once, use_fair_reads


class Counting(Factory):
    """Counts connections, and closes them."""

    def __init__(self) -> None:
        self.callers = 0

    def buildProtocol(self, _address: Any) -> Any:  # noqa: N802  # Twisted's own name
        self.callers += 1
        return HangingUp()


class HangingUp(Protocol):
    def connectionMade(self) -> None:  # noqa: N802
        transport: Any = self.transport
        transport.loseConnection()


class Talking(Protocol):
    """Writes more numbered lines than any socket takes at once, and disconnects. Every third line waits for the reactor."""

    LINES = 40_000

    def connectionMade(self) -> None:  # noqa: N802
        transport: Any = self.transport
        for number in range(self.LINES):
            line = b"%090d\n" % number
            if number % 3:
                send_at_once(transport, line)
            else:
                transport.write(line)
        transport.loseConnection()


class Doors:
    """Listeners that are closed at the end."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.open: list[Any] = []

    def listen(self, text: str, factory: Any, *, shared: bool) -> int:
        async def opened() -> Any:
            port = await server_endpoint(self._reactor, text, shared=shared).listen(factory)
            return use_fair_reads(port, FairReads(self._reactor, time.thread_time))

        port: Any = blockingCallFromThread(self._reactor, lambda: ensureDeferred(opened()))
        self.open.append(port)
        return int(port.getHost().port)

    def close(self) -> None:
        for port in self.open:
            blockingCallFromThread(self._reactor, port.stopListening)


@pytest.fixture
def doors(reactor: Any) -> Iterator[Doors]:
    made = Doors(reactor)
    yield made
    made.close()


def call(port: int) -> None:
    """Connect, and read until the peer disconnects."""
    with socket.create_connection(("127.0.0.1", port), 20) as caller:
        assert caller.recv(1) == b""


def test_two_gateways_share_a_port_and_every_caller_is_answered(doors: Doors) -> None:
    one, other = Counting(), Counting()
    port = doors.listen("tcp:0:interface=127.0.0.1", one, shared=True)
    assert doors.listen(f"tcp:{port}:interface=127.0.0.1", other, shared=True) == port
    for _ in range(64):
        call(port)
    assert one.callers + other.callers == 64
    assert min(one.callers, other.callers) > 0  # the kernel hashes client ports, so one side gets all with probability 2**-63


def test_second_gateway_cannot_open_an_unshared_port(doors: Doors) -> None:
    port = doors.listen("tcp:0:interface=127.0.0.1", Counting(), shared=False)
    with pytest.raises(CannotListenError):
        doors.listen(f"tcp:{port}:interface=127.0.0.1", Counting(), shared=True)


@pytest.mark.parametrize(
    ("text", "number", "wanted"),
    [
        ("tcp:808{instance}", "2", "tcp:8082"),
        ("tcp:8080", "2", "tcp:8080"),
        ("unix:/run/hkall-{instance}", "a", "unix:/run/hkall-a"),
    ],
)
def test_gateway_number_is_added_to_its_ports(text: str, number: str, wanted: str) -> None:
    assert numbered(text, number) == wanted


def test_slow_reader_gets_the_whole_reply_in_order(doors: Doors) -> None:
    factory: Any = Factory.forProtocol(Talking)
    port = doors.listen("tcp:0:interface=127.0.0.1", factory, shared=False)
    with socket.create_connection(("127.0.0.1", port), 20) as caller, caller.makefile("rb") as said:
        assert [int(line) for line in said] == list(range(Talking.LINES))


class Answering(Protocol):
    """Replies at once, and records the unsent rest."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.gone = Event()

    def connectionLost(self, *_reason: object) -> None:  # noqa: N802
        self.gone.set()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        transport: Any = self.transport
        send_at_once(transport, data)
        self.left.append(len(transport.dataBuffer) + transport._tempDataLen)


def test_short_answer_is_sent_without_another_poll(doors: Doors, reactor: Any) -> None:
    protocol = Answering()
    factory: Any = Factory.forProtocol(lambda: protocol)
    port = doors.listen("tcp:0:interface=127.0.0.1", factory, shared=False)
    with socket.create_connection(("127.0.0.1", port), 20) as caller:
        for _ in range(3):
            caller.sendall(b"63")
            assert caller.recv(10) == b"63"
        assert blockingCallFromThread(reactor, lambda: list(protocol.left)) == [0, 0, 0]


class AnsweringTogether(Protocol):
    """Answers all connections with the bytes of the last one within `FairReads.together`, and then does `last`."""

    def __init__(self, everybody: list[Any], last: Callable[[Any], object]) -> None:
        self.everybody, self.last = everybody, last

    def connectionMade(self) -> None:  # noqa: N802
        self.everybody.append(self.transport)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        transport: Any = self.transport
        with transport.fair.together():
            for one in self.everybody:
                send_at_once(one, data)
                send_at_once(one, b", again;")
                self.last(one)


def _write_more(transport: Any) -> None:
    transport.write(b" written;")
    send_at_once(transport, b" sent;")


def _write_pieces(transport: Any) -> None:
    transport.writeSequence([b" in", b" pieces;"])


def _nest(transport: Any) -> None:
    with transport.fair.together():
        send_at_once(transport, b" inside;")
    send_at_once(transport, b" outside;")


@pytest.mark.parametrize(
    ("last", "more"),
    [
        (lambda _transport: None, b""),
        (_write_more, b" written; sent;"),
        (_write_pieces, b" in pieces;"),
        (_nest, b" inside; outside;"),
        (lambda transport: transport.loseConnection(), b""),
    ],
    ids=["sent", "written after it", "written in pieces after it", "sent in a nested group", "closed after it"],
)
def test_answers_sent_together_arrive_whole_and_in_order(doors: Doors, last: Callable[[Any], object], more: bytes) -> None:
    everybody = list[Any]()
    factory: Any = Factory.forProtocol(lambda: AnsweringTogether(everybody, last))
    port = doors.listen("tcp:0:interface=127.0.0.1", factory, shared=False)
    with socket.create_connection(("127.0.0.1", port), 20) as one, socket.create_connection(("127.0.0.1", port), 20) as other:
        deadline = time.monotonic() + 20
        while len(everybody) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        other.sendall(b"64")
        wanted = b"64, again;" + more
        for caller in (one, other):
            with caller.makefile("rb") as said:
                assert said.read(len(wanted)) == wanted


def test_large_answers_sent_together_arrive_whole(doors: Doors) -> None:
    everybody, size = list[Any](), 3_000_000
    factory: Any = Factory.forProtocol(lambda: AnsweringTogether(everybody, lambda one: send_at_once(one, b"x" * size)))
    port = doors.listen("tcp:0:interface=127.0.0.1", factory, shared=False)
    with socket.create_connection(("127.0.0.1", port), 20) as caller, caller.makefile("rb") as said:
        caller.sendall(b"64")
        assert said.read(size + 10) == b"64, again;" + b"x" * size


def test_answer_to_a_closed_connection_is_dropped(doors: Doors) -> None:
    protocol = Answering()
    factory: Any = Factory.forProtocol(lambda: protocol)
    port = doors.listen("tcp:0:interface=127.0.0.1", factory, shared=False)
    with socket.create_connection(("127.0.0.1", port), 20) as caller:
        caller.sendall(b"63")
        assert caller.recv(10) == b"63"
    assert protocol.gone.wait(20)
    protocol.dataReceived(b"63")
    assert protocol.left == [0, 0]
