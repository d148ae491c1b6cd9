"""Sending one document by HTTP: the bytes sent, and whether a failure happened before or after sending."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.error import TimeoutError as TooSlow
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import Agent

from hkall_gateway import __version__
from hkall_gateway.net.http_post import AgentPost, HttpReply, NoReply, NotSent, charset
from hkall_gateway.observability.log_context import log_context, trace_id, valid_traceparent

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/xml; charset="utf-8"\r\nContent-Length: 4\r\n\r\n<ok>'


class Partner:
    """An endpoint without a socket. `error` is its connection failure; with None it waits for `accept`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.wire: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted.testing has no types here
        self.protocol: Any = None
        self.waiting: Deferred[Any] = Deferred()
        self.factory: Any = None

    def endpointForURI(self, uri: Any) -> Partner:  # noqa: N802
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return fail(self.error) if self.error else self.waiting

    def accept(self) -> None:
        self.protocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)
        self.waiting.callback(self.protocol)

    def say(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def hang_up(self) -> None:
        reason = ConnectionDone("Bye.")
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # twisted.python has no types here


class Sending:
    """One posted document, its partner, and the outcome."""

    def __init__(self, partner: Partner, most_bytes: int = 1000) -> None:
        self.clock = Clock()
        agent = Agent.usingEndpointFactory(self.clock, partner)  # type: ignore[no-untyped-call]  # twisted.web has no types
        post = AgentPost(self.clock, agent, most_bytes)
        self.result: Any = None
        ensureDeferred(post("http://cuhk.test:9101/ncip", b"<doc/>", 20.0)).addBoth(self._keep)

    def _keep(self, result: Any) -> None:
        self.result = result.value if isinstance(result, Failure) else result


def connected() -> tuple[Partner, Sending]:
    partner = Partner()
    sending = Sending(partner)
    partner.accept()
    return partner, sending


def test_document_is_sent_with_content_length_and_user_agent() -> None:
    partner, _ = connected()
    head, _, body = partner.wire.value().partition(b"\r\n\r\n")
    lines = {line.lower() for line in head.split(b"\r\n")}
    assert (head.split(b"\r\n")[0], body) == (b"POST /ncip HTTP/1.1", b"<doc/>")
    assert {b"content-length: 6", b"accept-encoding: identity", b"host: cuhk.test:9101"} <= lines
    assert f"user-agent: hkall-gateway/{__version__}".encode() in lines


def test_documents_of_one_request_share_a_trace_id() -> None:
    sent = []
    for corr in ("c-1", "c-1", "c-2"):
        with log_context(corr_id=corr):
            partner, _ = connected()
        (line,) = (line for line in partner.wire.value().split(b"\r\n") if line.lower().startswith(b"traceparent: "))
        sent.append(line.decode().split(": ")[1])
    assert [valid_traceparent(one) for one in sent] == sent
    first, second, other = (one.split("-")[1] for one in sent)
    assert first == second == trace_id("c-1") != other


def test_credentials_are_generated_for_each_document() -> None:
    partner, proofs = Partner(), iter(["Bearer one", "Bearer two"])
    agent = Agent.usingEndpointFactory(Clock(), partner)  # type: ignore[no-untyped-call]  # twisted.web has no types
    post = AgentPost(Clock(), agent).proving(lambda: next(proofs))
    sending: Any = post("http://cuhk.test/ncip", b"<doc/>", 20.0)
    ensureDeferred(sending)
    partner.accept()
    assert b"Authorization: Bearer one\r\n" in partner.wire.value()
    assert next(proofs) == "Bearer two"


def fetched(partner: Partner) -> list[Any]:
    """The result of fetching a page."""
    agent = Agent.usingEndpointFactory(Clock(), partner)  # type: ignore[no-untyped-call]  # twisted.web has no types
    seen: list[Any] = []
    ensureDeferred(AgentPost(Clock(), agent).get("http://dcb.test/keys", 5.0)).addBoth(seen.append)
    return seen


def test_get_returns_the_body() -> None:
    partner = Partner()
    seen = fetched(partner)
    partner.accept()
    assert partner.wire.value().startswith(b"GET /keys HTTP/1.1\r\n")
    partner.say(OK)
    assert seen == [HttpReply(status=200, content_type='application/xml; charset="utf-8"', body=b"<ok>")]


def test_get_raises_one_error_type_for_every_failure() -> None:
    (seen,) = fetched(Partner(ConnectError("refused")))  # type: ignore[no-untyped-call]  # nor has twisted.internet.error
    assert (seen.type, seen.value.kind) == (NotSent, "connect")


def test_response_is_returned_for_any_status() -> None:
    partner, sending = connected()
    partner.say(b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nlater")
    assert sending.result == HttpReply(status=503, content_type="text/plain", body=b"later", retry_after_s=120)


@pytest.mark.parametrize(
    ("date", "until", "wait_s"),
    [
        ("Wed, 01 Mar 2017 02:00:00 GMT", "Wed, 01 Mar 2017 02:02:00 GMT", 120),
        ("Wed, 01 Mar 2017 02:00:00 GMT", "Wed, 01 Mar 2017 10:02:00 +0800", 120),
        ("Wed, 01 Mar 2017 02:00:00 GMT", "Wed, 01 Mar 2017 01:00:00 GMT", 0),  # it is over
        ("Wed, 01 Mar 2017 02:00:00 GMT", "Sat, 01 Apr 2017 02:00:00 GMT", 86_400),  # nobody waits a month
        ("Wed, 01 Mar 2017 02:00:00 GMT", "soon", 0),
        ("today", "Wed, 01 Mar 2017 02:02:00 GMT", 0),
    ],
)
def test_retry_after_date_is_relative_to_the_peers_clock(date: str, until: str, wait_s: int) -> None:
    partner, sending = connected()
    partner.say(f"HTTP/1.1 503 Busy\r\nDate: {date}\r\nRetry-After: {until}\r\nContent-Length: 0\r\n\r\n".encode())
    assert sending.result.retry_after_s == wait_s


def test_response_received_in_chunks_is_reassembled() -> None:
    partner, sending = connected()
    for byte in OK:
        partner.say(bytes([byte]))
    assert sending.result.body == b"<ok>"


def test_connection_close_ends_a_response_without_a_length() -> None:
    partner, sending = connected()
    partner.say(b"HTTP/1.0 200 OK\r\nContent-Type: application/xml\r\n\r\n<ok>")
    partner.hang_up()
    assert sending.result.body == b"<ok>"


def test_redirect_is_not_followed() -> None:
    partner, sending = connected()
    partner.say(b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n")
    assert sending.result.status == 302


# fmt: off
FAILED: tuple[tuple[Exception, str], ...] = (
    (ConnectError("refused"),        "connect"),  # type: ignore[no-untyped-call]  # twisted.internet.error has no types
    (DNSLookupError("no such host"), "dns"),
    (TooSlow("too long"),       "timeout"),  # type: ignore[no-untyped-call]  # nor here
    (SSL.Error("no shared cipher"),  "tls"),
)
# fmt: on


@pytest.mark.parametrize(("error", "kind"), FAILED)
def test_refused_connection_is_reported_as_not_sent_with_a_reason(error: Exception, kind: str) -> None:
    result = Sending(Partner(error)).result
    assert (type(result), result.kind) == (NotSent, kind)


def test_connect_timeout_is_reported_as_not_sent() -> None:
    sending = Sending(Partner())
    sending.clock.advance(21)
    assert isinstance(sending.result, NotSent)


def test_connection_lost_before_the_reply_leaves_the_outcome_unknown() -> None:
    partner, sending = connected()
    partner.hang_up()
    assert isinstance(sending.result, NoReply)
    assert sending.result.kind == "http"


def test_connection_lost_during_the_reply_leaves_the_outcome_unknown() -> None:
    partner, sending = connected()
    partner.say(OK[:-1])
    partner.hang_up()
    assert isinstance(sending.result, NoReply)


@pytest.mark.parametrize("said", [b"", OK[:-1]])
def test_silent_peer_times_out_and_is_disconnected(said: bytes) -> None:
    partner, sending = connected()
    partner.say(said)
    sending.clock.advance(21)
    assert isinstance(sending.result, NoReply)
    assert (str(sending.result), sending.result.kind) == ("no answer within 20 s", "timeout")
    assert partner.wire.disconnecting


def test_endless_reply_is_cut_off() -> None:
    partner, sending = connected()
    partner.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 1001)
    assert isinstance(sending.result, NoReply)
    assert partner.wire.disconnecting


def test_reply_that_is_not_http_leaves_the_outcome_unknown() -> None:
    partner, sending = connected()
    partner.say(b"+OK POP3 ready\r\n")
    assert isinstance(sending.result, NoReply)


def test_url_with_another_scheme_is_reported_as_not_sent() -> None:
    post = AgentPost(Clock(), Agent(Clock()))  # type: ignore[no-untyped-call]  # twisted.web has no types
    results: list[Any] = []
    ensureDeferred(post("gopher://cuhk.test/", b"<doc/>", 20.0)).addBoth(results.append)
    assert isinstance(results[0].value, NotSent)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ('application/xml; charset="utf-8"', "utf-8"),
        ("text/xml; charset=Big5", "big5"),
        ("text/xml", None),
        ("", None),
        (";;;", None),
    ],
)
def test_charset_is_read_from_the_content_type(said: str, named: str | None) -> None:
    assert charset(said) == named


def test_reply_in_single_byte_pieces_is_abandoned() -> None:
    partner, sending = connected()
    partner.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    partner.say(b"1\r\na\r\n" * 1_500)
    assert isinstance(sending.result, NoReply)
    assert "pieces" in str(sending.result) or "bytes" in str(sending.result)


def test_reply_may_have_any_content_type() -> None:
    partner, sending = connected()
    partner.say(b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe\r\nContent-Length: 4\r\n\r\n<ok>")
    assert sending.result.body == b"<ok>"
    assert charset(sending.result.content_type) is None
