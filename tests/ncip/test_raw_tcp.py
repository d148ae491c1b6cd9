"""NCIP 1 on raw TCP: documents end with their closing tag, are answered in order, and idle connections are closed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hkall_gateway.circulation.queries import SeePatron
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.transport.raw_tcp import FLOOD, MOST_WAITING, NcipConnectionFactory
from hkall_gateway.net.bounded_http import IDLE_S, Bounds
from tests.bounds import bounds
from tests.examples import example_count

if TYPE_CHECKING:
    from tests.ncip.conftest import World

LIMIT = 4096
FILE = Path(__file__).parents[2] / "fixtures/ncip/v1/lookup-user.xml"
LOOKUP = FILE.read_bytes().rstrip().replace(b"CENTR", b"HKALL1").replace(b"central-key", b"i-key").replace(b"PG2040", b"UG1")
CLOSED = b"</NCIPMessage>"


class Raw:
    """The raw TCP listener of a world, on a fake clock."""

    def __init__(self, world: World, within: Bounds | None = None) -> None:
        self.clock = Clock()
        self.factory = NcipConnectionFactory(world.services, within or bounds(LIMIT), self.clock)

    def connect(self) -> Any:
        address = IPv4Address("TCP", "10.0.0.7", 40000)
        connection: Any = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]  # twisted.testing has no types here
        connection.protocol = self.factory.buildProtocol(address)
        connection.protocol.makeConnection(connection)
        return connection

    def say(self, *chunks: bytes) -> Any:
        connection = self.connect()
        for chunk in chunks:
            connection.protocol.dataReceived(chunk)
        return connection


@pytest.fixture
def raw(world: World) -> Raw:
    return Raw(world)


def documents(connection: Any) -> list[bytes]:
    return [part + CLOSED for part in connection.value().split(CLOSED)[:-1]]


def services(connection: Any) -> list[str]:
    return [decode(document).service for document in documents(connection)]


def test_document_is_answered_in_ncip_1_and_the_connection_stays_open(raw: Raw) -> None:
    connection = raw.say(LOOKUP)
    assert services(connection) == ["LookupUserResponse"]
    assert b"<!DOCTYPE NCIPMessage" in connection.value()
    assert not connection.disconnecting


def test_documents_separated_by_white_space_are_answered_in_order(raw: Raw) -> None:
    other = LOOKUP.replace(b"LookupUser", b"CreateUser")
    assert services(raw.say(LOOKUP + b"\r\n\x04\0" + other + b"\n" + LOOKUP)) == [
        "LookupUserResponse",
        "CreateUserResponse",
        "LookupUserResponse",
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=example_count(25))
@given(cuts=st.lists(st.integers(1, 2 * len(LOOKUP)), max_size=8))
def test_replies_do_not_depend_on_tcp_segmentation(raw: Raw, cuts: list[int]) -> None:
    data, edges = LOOKUP * 2, sorted({0, *cuts, 2 * len(LOOKUP)})
    chunks = [data[a:b] for a, b in pairwise(edges)]
    assert raw.say(*chunks).value() == raw.say(data).value()


def test_document_sent_byte_by_byte_gets_the_same_reply(raw: Raw) -> None:
    assert services(raw.say(*(bytes([byte]) for byte in LOOKUP))) == ["LookupUserResponse"]


@pytest.mark.parametrize("end", [b"</ns1:NCIPMessage>", b"</NCIPMessage >", b"</NCIPVersionMessage>"])
def test_document_ends_with_its_root_element(raw: Raw, end: bytes) -> None:
    assert raw.say(b"<a>rubbish" + end).value() != b""


def test_unfinished_document_gets_a_problem_and_the_connection_closes(raw: Raw) -> None:
    connection = raw.say(LOOKUP[:-20])
    raw.clock.advance(IDLE_S + 1)
    assert b"Invalid Message Syntax Error" in connection.value()
    assert connection.disconnecting


def test_document_over_the_limit_is_cut_off(raw: Raw) -> None:
    connection = raw.say(*[b"<x>" + b"y" * 1000] * 6, LOOKUP)
    assert b"Invalid Message Syntax Error" in connection.value()
    assert services(connection).count("LookupUserResponse") == 0
    assert connection.disconnecting


def test_slow_document_gets_a_problem_at_its_time_limit(raw: Raw) -> None:
    connection = raw.say(LOOKUP + b"\n" * 500)
    raw.clock.advance(IDLE_S - 1)
    connection.protocol.dataReceived(LOOKUP[:-9])
    raw.clock.pump([IDLE_S / 2, IDLE_S / 2 - 1])
    connection.protocol.dataReceived(LOOKUP[-9:-8])
    assert (services(connection), connection.disconnecting) == (["LookupUserResponse"], False)
    raw.clock.advance(2)
    assert (services(connection)[1:], connection.disconnecting) == (["ItemRequestedResponse"], True)


def test_silent_connection_closes(raw: Raw) -> None:
    connection = raw.say(LOOKUP)
    raw.clock.advance(IDLE_S - 1)
    assert not connection.disconnecting
    raw.clock.advance(2)
    assert connection.disconnecting


def test_listener_at_its_limit_refuses_connections(world: World) -> None:
    raw = Raw(world, bounds(LIMIT, per_address=1))
    first, second = raw.connect(), raw.connect()
    assert (first.disconnecting, second.disconnecting) == (False, True)
    first.protocol.connectionLost()
    assert not raw.connect().disconnecting


# ---- while an answer is waited for


class Slow:
    """A responder that replies when told to."""

    def __init__(self, world: World) -> None:
        self._execute, self.turns = world.circulation.execute, list[Deferred[None]]()
        slow: Any = self.execute
        world.circulation.execute = slow  # type: ignore[method-assign]  # the world's own service, slowed down

    async def execute(self, command: Any, **options: Any) -> Any:
        if not isinstance(command, SeePatron):
            return await self._execute(command, **options)
        turn: Deferred[None] = Deferred()
        self.turns.append(turn)
        await turn
        return await self._execute(command, **options)


def test_next_document_waits_for_the_previous_reply(world: World) -> None:
    slow, connection = Slow(world), Raw(world).say(LOOKUP * 2)
    assert (len(slow.turns), connection.value()) == (1, b"")
    slow.turns[0].callback(None)
    assert (len(slow.turns), services(connection)) == (2, ["LookupUserResponse"])


def test_connection_is_not_read_while_its_sender_does_not_read(world: World) -> None:
    slow, raw = Slow(world), Raw(world)
    connection = raw.say(LOOKUP * (MOST_WAITING + 3))
    assert connection.producerState == "paused"
    while slow.turns:
        slow.turns.pop().callback(None)
        raw.clock.advance(0)  # others have their turns in between
    assert (connection.producerState, len(services(connection))) == ("producing", MOST_WAITING + 3)


def test_pending_requests_are_answered_before_the_listener_closes(world: World) -> None:
    slow, raw = Slow(world), Raw(world)
    idle, busy, done = raw.connect(), raw.say(LOOKUP), list[None]()
    raw.factory.drain().addCallback(done.append)
    assert (idle.disconnecting, busy.disconnecting, done) == (True, False, [])
    slow.turns[0].callback(None)
    assert (services(busy), busy.disconnecting, done) == (["LookupUserResponse"], True, [None])


def test_early_disconnect_causes_no_error(world: World) -> None:
    slow, raw = Slow(world), Raw(world)
    connection = raw.say(LOOKUP)
    connection.protocol.connectionLost()
    slow.turns[0].callback(None)
    assert connection.value() == b""


# ---- bounds


def test_white_space_does_not_reset_the_idle_timeout(raw: Raw) -> None:
    connection = raw.connect()
    for _ in range(3):
        raw.clock.advance(IDLE_S / 2 - 1)
        connection.protocol.dataReceived(b" \r\n")
    raw.clock.advance(4)
    assert connection.disconnecting


def test_connection_from_an_unlisted_address_closes_at_once(world: World) -> None:
    raw = Raw(world)
    away = IPv4Address("TCP", "192.0.2.9", 40000)
    connection: Any = StringTransport(peerAddress=away)  # type: ignore[no-untyped-call]  # twisted.testing has no types here
    connection.protocol = raw.factory.buildProtocol(away)
    connection.protocol.makeConnection(connection)
    connection.protocol.dataReceived(LOOKUP)
    assert (connection.disconnecting, connection.value()) == (True, b"")


def test_authenticated_library_is_no_longer_limited_as_unknown(world: World) -> None:
    raw = Raw(world, bounds(LIMIT, unproven=1))
    known = raw.say(LOOKUP)
    assert raw.connect().disconnecting is False
    assert raw.connect().disconnecting is True
    assert services(known) == ["LookupUserResponse"]


def test_too_many_documents_in_one_segment_count_as_a_flood(raw: Raw) -> None:
    connection = raw.say(CLOSED * 500)
    raw.clock.pump([0] * FLOOD)
    assert connection.disconnecting
    assert len(documents(connection)) <= FLOOD + 1


def test_connection_is_not_read_while_its_replies_are_unread(raw: Raw) -> None:
    connection = raw.connect()
    connection.producer.pauseProducing()  # what a transport does whose buffer is full
    assert connection.producerState == "paused"
    connection.producer.resumeProducing()
    assert connection.producerState == "producing"


def test_unfinished_document_is_dropped_when_the_budget_is_used_up(world: World) -> None:
    raw = Raw(world, bounds(200_000, unfinished=50_000))
    first, second = raw.say(b"<a>" + b"x" * 100_000), raw.say(b"<a>" + b"x" * 100_000)
    assert (first.disconnecting, second.disconnecting) == (True, False)
