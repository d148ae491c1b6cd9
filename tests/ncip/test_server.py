"""The HTTP server of the NCIP responder: request bytes in, response bytes out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import NcipServices
from hkall_gateway.ncip.transport.http import NcipSite
from hkall_gateway.net.bounded_http import MOST_PIPELINED, Bounds
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.log_context import logged_context
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.callers import Caller, NamedSecret
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import NOTHING
from hkall_gateway.xml.tree import Fields
from tests.bounds import bounds
from tests.metrics import value

LIMIT = 4096
PROBLEM = (Path(__file__).parents[2] / "fixtures" / "ncip" / "problem.xml").read_bytes()
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)


class SlowDesk:
    """A responder that replies when told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Deferred[None]]] = []
        self.told: list[tuple[str, dict[str, object]]] = []

    async def execute(self, ask: SeePatron) -> PatronSeen:
        turn: Deferred[None] = Deferred()
        self.waiting.append((ask.card, turn))
        await turn
        self.told.append((ask.card, dict(logged_context())))
        return PatronSeen(
            card=ask.card,
            name=NOTHING,
            name_zh=NOTHING,
            email=NOTHING,
            language="en",
            category="",
            valid=True,
            refusal=None,
            pin_ok=None,
            lines=(),
            loans_limit=0,
            owed_cents=0,
            expires=None,
        )

    def go_on(self) -> None:
        for _, turn in self.waiting:
            turn.callback(None)
        self.waiting.clear()


class House:
    """A site on a fake clock."""

    def __init__(self, within: Bounds | None = None) -> None:
        self.clock, self.circulation, self.now = Clock(), SlowDesk(), NOW
        caller = Caller(access=Client(agency="HKU-DISCOVERY"), secrets=(NamedSecret(variable="D_KEY", text="d-key"),))
        desk: Any = self.circulation
        self.services = NcipServices(
            circulation=desk,
            callers={caller.agency: caller},
            agency="HKU",
            timezone=HONG_KONG,
            metrics=Metrics(),
            now=lambda: self.now,
            timeout=Timeout(self.clock, 20),
        )
        self.site = NcipSite(self.services, within or bounds(LIMIT), self.clock)

    def connect(self, source: str = "127.0.0.1") -> Any:
        """A transport from an address, by default the client's own, with its protocol."""
        address = IPv4Address("TCP", source, 40000)
        line: Any = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]  # twisted.testing has no types here
        line.protocol = self.site.buildProtocol(address)  # type: ignore[no-untyped-call]  # nor has twisted.web
        line.protocol.makeConnection(line)
        return line

    def say(self, data: bytes) -> bytes:
        """The response on one connection to these bytes."""
        line = self.connect()
        line.protocol.dataReceived(data)
        return bytes(line.value())


def request(body: bytes, *headers: bytes, method: bytes = b"POST", version: bytes = b"1.1") -> bytes:
    head = [method + b" /ncip HTTP/" + version, b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def lookup(card: str = "UG1") -> bytes:
    header: Fields = {
        "FromAgencyId": {"AgencyId": "HKU-DISCOVERY"},
        "FromAgencyAuthentication": "d-key",
        "ToAgencyId": {"AgencyId": "HKU"},
    }
    return encode(
        NcipMessage(service="LookupUser", fields={"InitiationHeader": header, "UserId": {"UserIdentifierValue": card}}),
        DIALECTS["direct"],
    )


def parts(response: bytes) -> tuple[bytes, set[bytes], bytes]:
    """Status line, headers in lower case, and body."""
    head, _, body = response.partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    return first, {line.lower() for line in rest}, body


@pytest.fixture
def library() -> House:
    return House()


@pytest.mark.parametrize(
    "kind", [b"application/xml", b"text/xml; charset=utf-8", b"application/x-www-form-urlencoded", b"multipart/form-data"]
)
def test_document_is_answered_with_200_for_any_content_type(library: House, kind: bytes) -> None:
    status, headers, body = parts(library.say(request(PROBLEM, b"Content-Type: " + kind)))
    assert status == b"HTTP/1.1 200 OK"
    assert b'content-type: application/xml; charset="utf-8"' in headers
    assert decode(body).text("Problem/ProblemType") == "Protocol Error"


def test_malformed_document_is_answered_with_200_and_a_problem(library: House) -> None:
    status, _, body = parts(library.say(request(b"\xff\xfe rubbish")))
    assert (status, decode(body).service) == (b"HTTP/1.1 200 OK", "Problem")


def test_document_sent_byte_by_byte_gets_the_same_reply(library: House) -> None:
    line = library.connect()
    for byte in request(PROBLEM):
        line.protocol.dataReceived(bytes([byte]))
    assert decode(parts(line.value())[2]).service == "Problem"


HEADS = {
    "the least":                    b"Content-Length: %d",
    "in small letters":             b"content-length:%d\r\ncontent-type: text/xml; charset=utf-8",
    "with much about itself":       b"Host: x\r\nUser-Agent: y\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Length: %d",
    "with the end of the line":     b"Connection: close\r\nContent-Length: %d",
    "with the end in other words":  b"Connection: Keep-Alive, close\r\nContent-Length: %d",
    "in another charset":           b"Content-Type: text/xml; charset=utf-16\r\nContent-Length: %d",
    "in two charsets":              b"Content-Type: text/xml\r\nContent-Type: text/xml; charset=utf-16\r\nContent-Length: %d",
    "with a question first":        b"Expect: 100-continue\r\nContent-Length: %d",
    "with a length too many":       b"Content-Length: %d\r\nContent-Length: 7",
    "with the same length twice":   b"Content-Length: %d\r\nContent-Length: 0123",
    "with a length that is none":   b"Content-Length: +%d",
    "with two ways to end":         b"Content-Length: %d\r\nTransfer-Encoding: chunked",
    "with another way to end":      b"Transfer-Encoding: gzip\r\nContent-Length: %d",
    "with a blank in a name":       b"Content-Length: %d\r\nX-Y : z",
    "with a header over two lines": b"X-Y: z\r\n Content-Length: 5\r\nContent-Length: %d",
    "with a NUL":                   b"X-Y: \0\r\nContent-Length: %d",
    "with half an end of a line":   b"X-Y: z\nTransfer-Encoding: chunked\r\nContent-Length: %d",
    "with a length as a value":     b"X-Y: Content-Length: 5\r\nContent-Length: %d",
    "with no header at all":        b"",
}  # fmt: skip
"""Possible request heads."""


@pytest.mark.parametrize("name", HEADS)
def test_document_in_one_segment_gets_the_same_reply_as_in_pieces(library: House, name: str) -> None:
    headers = HEADS[name].replace(b"%d", b"%d" % len(PROBLEM))
    said = b"POST /ncip HTTP/1.1\r\n" + headers + b"\r\n\r\n" + PROBLEM
    at_once, in_pieces = library.connect(), library.connect()
    at_once.protocol.dataReceived(said)
    for place in range(0, len(said), 7):
        if not in_pieces.disconnecting:
            in_pieces.protocol.dataReceived(said[place : place + 7])
    assert undated(at_once.value()) == undated(in_pieces.value())
    assert at_once.value() or name == "with no header at all"
    assert at_once.disconnecting == in_pieces.disconnecting


def undated(response: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"", response)


def test_chunked_body_is_reassembled(library: House) -> None:
    head = b"POST /ncip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (PROBLEM[:50], PROBLEM[50:]))
    assert decode(parts(library.say(head + chunks + b"0\r\n\r\n"))[2]).text("Problem/ProblemType") == "Protocol Error"


def test_http_1_0_without_a_host_is_answered_and_closed(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(b"POST /ncip HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(PROBLEM) + PROBLEM)
    assert decode(parts(line.value())[2]).service == "Problem"
    assert line.disconnecting


@pytest.mark.parametrize("head", [b"POST /ncip HTTP/1.0\r\n", b"POST /ncip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"])
def test_content_length_counted_in_characters_does_not_truncate_the_last_document(library: House, head: bytes) -> None:
    body = lookup("酒徒")
    said = library.say(head + b"Content-Length: %d\r\n\r\n" % len(body.decode()) + body)
    assert said == b""  # it was understood, and is being answered
    assert [card for card, _ in library.circulation.waiting] == ["酒徒"]


def test_client_that_expects_100_continue_gets_it(library: House) -> None:
    assert library.say(request(PROBLEM, b"Expect: 100-continue")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_two_documents_on_one_connection_are_answered_in_order(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup("UG1")) + request(PROBLEM))
    assert line.value() == b""
    library.circulation.go_on()
    first, second = line.value().split(b"HTTP/1.1 200 OK")[1:]
    assert (b"LookupUserResponse" in first, b"Protocol Error" in second) == (True, True)


def test_connection_is_kept_open_unless_the_caller_sends_close(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(PROBLEM))
    line.protocol.dataReceived(request(PROBLEM))
    assert (line.value().count(b"HTTP/1.1 200 OK"), line.disconnecting) == (2, False)
    line.protocol.dataReceived(request(PROBLEM, b"Connection: close"))
    assert (line.value().count(b"HTTP/1.1 200 OK"), line.disconnecting) == (3, True)


def test_five_documents_in_one_packet_are_answered_in_order(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(b"".join(request(lookup(card)) for card in ("A", "B", "C", "D", "E")))
    while library.circulation.waiting:
        library.circulation.go_on()
    found = [decode(part.partition(b"\r\n\r\n")[2]) for part in line.value().split(b"HTTP/1.1 200 OK")[1:]]
    assert [reply.text("UserId/UserIdentifierValue") for reply in found] == ["A", "B", "C", "D", "E"]


@pytest.mark.parametrize(("method", "status"), [(b"GET", b"200 OK"), (b"PUT", b"405"), (b"DELETE", b"405"), (b"DANCE", b"405")])
def test_get_shows_a_description_and_other_methods_are_refused(library: House, method: bytes, status: bytes) -> None:
    first, headers, body = parts(library.say(request(b"", method=method)))
    assert first.startswith(b"HTTP/1.1 " + status)
    assert (b"NCIP responder of HKU" in body) == (method == b"GET")
    assert (b"allow: get, head, post" in headers) == (status == b"405")


def test_other_paths_are_not_found(library: House) -> None:
    assert library.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 404")


def test_log_lines_of_a_queued_document_have_its_own_context(library: House) -> None:
    first, second = library.connect(), library.connect()
    first.protocol.dataReceived(request(lookup("UG1")))
    library.now += timedelta(seconds=1)
    second.protocol.dataReceived(request(lookup("UG2")))
    library.circulation.go_on()
    (one, said_of_one), (two, said_of_two) = library.circulation.told
    assert (one, two, said_of_one["channel"], said_of_two["channel"]) == ("UG1", "UG2", "ncip", "ncip")
    assert said_of_one["corr_id"] != said_of_two["corr_id"]
    assert logged_context() == {}


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ((TRACE,), {"traceparent": TRACE}),
        ((), {}),
        ((TRACE.upper(),), {}),
        ((TRACE, TRACE), {}),
        (("caf\xe9",), {}),
    ],
)
def test_valid_trace_id_of_a_peer_is_logged(library: House, headers: tuple[str, ...], kept: dict[str, str]) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup(), *(f"Traceparent: {one}".encode("latin-1") for one in headers)))
    library.circulation.go_on()
    ((_, context),) = library.circulation.told
    assert {name: value for name, value in context.items() if name == "traceparent"} == kept


# ---- time


def test_peer_is_asked_to_retry_before_its_own_timeout(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    library.clock.advance(19.9)
    assert line.value() == b""
    library.clock.advance(0.1)
    (problem,) = decode(parts(line.value())[2]).each("Problem")
    assert problem.text("ProblemType") == "Temporary Processing Failure"


def test_late_document_is_answered_once_and_the_connection_continues(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    library.clock.advance(20)
    library.circulation.go_on()
    line.protocol.dataReceived(request(PROBLEM))
    assert line.value().count(b"HTTP/1.1 200 OK") == 2


def _deadline(line: Any) -> Deadline:
    found: Deadline = line.protocol.requests[0].deadline
    return found


def test_command_of_a_disconnected_peer_is_dropped(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    deadline = _deadline(line)
    line.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert deadline.why == "gone"
    assert not deadline.begin(again=False, late=False)
    library.circulation.go_on()
    library.clock.advance(60)  # the timer of an answered message rings, for nobody
    assert library.clock.getDelayedCalls() == []


def test_connection_closes_without_a_reply_when_the_outcome_is_unknown(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    assert _deadline(line).begin(again=False, late=False)
    with capture_logs() as lines:
        library.clock.advance(24.9)
        assert (line.value(), line.disconnecting) == (b"", False)
        library.clock.advance(0.1)
    assert (line.value(), line.disconnected) == (b"", True)
    assert [one["service"] for one in lines if one["event"] == "ncip.undecided"] == ["LookupUser"]
    library.circulation.go_on()


def test_reply_in_time_leaves_no_timer(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup(), b"Connection: close"))
    library.circulation.go_on()
    line.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert b"LookupUserResponse" in line.value()
    library.clock.advance(60)
    assert library.clock.getDelayedCalls() == []


# ---- limits


@pytest.mark.parametrize("headers", [(), (b"Expect: 100-continue",)])
def test_connection_is_not_read_while_its_replies_are_unread(library: House, headers: tuple[bytes, ...]) -> None:
    line = library.connect()
    write = line.write

    def write_to_the_deaf(data: bytes) -> None:
        write(data)
        line.producer.pauseProducing()  # what a transport does whose buffer is full

    line.write = write_to_the_deaf
    line.protocol.dataReceived(request(PROBLEM, *headers))
    assert b"HTTP/1.1 200 OK" in line.value()
    assert line.producerState == "paused"
    line.producer.resumeProducing()
    assert line.producerState == "producing"


def test_body_over_the_limit_gets_413(library: House) -> None:
    assert library.say(request(b"x" * (LIMIT + 1))).startswith(b"HTTP/1.1 413")


def test_body_at_the_limit_is_read(library: House) -> None:
    assert library.say(request(b"x" * LIMIT)).startswith(b"HTTP/1.1 200")


def test_body_of_excessive_declared_length_is_refused_at_once(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(b"POST /ncip HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nx")
    assert line.value().startswith(b"HTTP/1.1 413")
    assert line.disconnecting


def test_endless_body_is_cut_off(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(b"POST /ncip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    for _ in range(17):
        line.protocol.dataReceived(chunk)
    assert line.value().count(b"HTTP/1.1 413") == 1
    assert line.disconnecting


def test_idle_connection_is_closed_after_a_minute(library: House) -> None:
    line = library.connect()
    library.clock.advance(61)
    assert line.disconnecting


def test_slow_document_times_out_like_an_idle_connection(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup())[:-3])
    library.clock.pump([30, 29])
    line.protocol.dataReceived(b"p")
    assert not line.disconnecting
    library.clock.advance(2)
    assert line.disconnecting


def test_idle_timeout_restarts_for_each_document(library: House) -> None:
    line = library.connect()
    for _ in range(3):
        library.clock.advance(50)
        line.protocol.dataReceived(request(PROBLEM)[:10])
        library.clock.advance(50)
        line.protocol.dataReceived(request(PROBLEM)[10:])
    assert line.value().count(b"HTTP/1.1 200 OK") == 3
    assert not line.disconnecting


def test_idle_timeout_restarts_after_each_document_in_one_segment(library: House) -> None:
    line = library.connect()
    for _ in range(3):
        library.clock.advance(50)
        line.protocol.dataReceived(request(PROBLEM))
    assert (line.value().count(b"HTTP/1.1 200 OK"), line.disconnecting) == (3, False)
    library.clock.advance(61)
    assert line.disconnecting


def test_connection_waiting_for_a_reply_is_not_idle(library: House) -> None:
    line = library.connect()
    library.clock.advance(50)
    line.protocol.dataReceived(request(lookup()))
    library.clock.advance(15)
    assert not line.disconnecting
    library.circulation.go_on()
    assert b"LookupUserResponse" in line.value()


def test_idle_timeout_that_passes_while_a_reply_is_pending_begins_anew_after_the_reply() -> None:
    library = House(bounds(LIMIT, idle_s=5))
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    library.clock.advance(7)
    assert not line.disconnecting
    library.circulation.go_on()
    library.clock.advance(4)
    assert not line.disconnecting
    library.clock.advance(2)
    assert line.disconnecting


def test_lost_connection_leaves_no_timer(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(PROBLEM))
    line.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert library.clock.getDelayedCalls() == []


def test_listener_at_its_limit_refuses_connections() -> None:
    metrics = Metrics()
    library = House(bounds(LIMIT, per_address=1, metrics=metrics))
    first, second = library.connect(), library.connect()
    assert (first.disconnecting, second.disconnecting) == (False, True)
    assert value(metrics, "connections_refused_total", "ncip", "full") == 1


def test_closed_connection_frees_its_slot() -> None:
    library = House(bounds(LIMIT, per_address=1))
    library.connect().protocol.connectionLost()
    assert not library.connect().disconnecting


# ---- the end


def test_pending_requests_are_answered_before_the_listener_closes(library: House) -> None:
    line, done = library.connect(), list[None]()
    line.protocol.dataReceived(request(lookup()))
    library.site.drain().addCallback(done.append)
    assert (done, line.disconnecting) == ([], False)
    library.circulation.go_on()
    assert b"LookupUserResponse" in line.value()
    assert (done, line.disconnecting) == ([None], True)


def test_no_request_is_accepted_while_the_listener_closes(library: House) -> None:
    busy, late = library.connect(), library.connect()
    busy.protocol.dataReceived(request(lookup()))
    library.site.drain()
    late.protocol.dataReceived(request(lookup("UG2")))
    assert late.value().startswith(b"HTTP/1.1 503")
    assert [card for card, _ in library.circulation.waiting] == ["UG1"]


def test_idle_listener_closes_at_once(library: House) -> None:
    line, done = library.connect(), list[None]()
    library.site.drain().addCallback(done.append)
    assert (done, line.disconnecting) == ([None], True)


def test_client_that_disconnects_early_causes_no_error(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    line.protocol.connectionLost()
    library.circulation.go_on()
    assert library.site.in_hand == 0
    assert library.say(request(PROBLEM)).startswith(b"HTTP/1.1 200")


# ---- bounds


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_content_type_that_is_not_utf_8_is_a_bad_request(library: House, piece: int) -> None:
    line, said = library.connect(), request(PROBLEM, b"Content-Type: \xff\xfe")
    for place in range(0, len(said), piece):
        line.protocol.dataReceived(said[place : place + piece])
    assert line.value().startswith(b"HTTP/1.1 400")


def test_content_type_of_a_kilobyte_is_a_bad_request(library: House) -> None:
    assert library.say(request(PROBLEM, b"Content-Type: a/b" + b';"' * 500)).startswith(b"HTTP/1.1 400")


def test_connection_from_an_unlisted_address_closes_unread(library: House) -> None:
    line = library.connect("192.0.2.9")
    line.protocol.dataReceived(request(PROBLEM))
    assert (line.disconnecting, line.value()) == (True, b"")


def test_load_balancer_health_check_is_answered(library: House) -> None:
    library.site = NcipSite(library.services, bounds(LIMIT), library.clock, AllowList(("192.0.2.0/24",)))
    line = library.connect("192.0.2.9")
    line.protocol.dataReceived(request(b"", method=b"GET"))
    assert line.value().startswith(b"HTTP/1.1 200")


def test_authenticated_caller_is_no_longer_limited_as_unknown() -> None:
    library = House(bounds(LIMIT, unproven=1))
    known = library.connect()
    known.protocol.dataReceived(request(lookup()))
    assert [library.connect().disconnecting for _ in range(2)] == [False, True]


def test_unfinished_body_is_dropped_when_the_budget_is_used_up() -> None:
    library = House(bounds(200_000, unfinished=50_000))
    first, second = library.connect(), library.connect()
    for line in (first, second):
        line.protocol.dataReceived(request(b"x" * 150_000)[:100_000])
    assert first.value().startswith(b"HTTP/1.1 503")
    assert (first.disconnecting, second.disconnecting) == (True, False)


def test_many_requests_in_one_segment_close_the_connection(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(b"", method=b"GET") * 500)
    assert line.value().count(b"HTTP/1.1 200") == MOST_PIPELINED + 1
    assert line.disconnecting


def test_connection_closes_when_its_client_never_reads_the_last_reply(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(PROBLEM, b"Connection: close"))
    assert (line.disconnecting, line.disconnected) == (True, False)
    library.clock.advance(line.protocol.abortTimeout)
    assert line.disconnected


def test_connection_closes_without_a_reply_when_the_outcome_of_a_commit_is_unknown(library: House) -> None:
    line = library.connect()
    line.protocol.dataReceived(request(lookup()))
    ((_, turn),) = library.circulation.waiting
    turn.errback(Undecided())
    assert (line.value(), line.disconnected) == (b"", True)
