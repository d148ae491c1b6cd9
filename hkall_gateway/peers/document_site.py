"""A site to which peers post documents by HTTP, within limits, and which shuts down gracefully.

A protocol gives it a `Responder`, which answers one document. The status is 200 unless the responder sets another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol

import structlog
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.net.bounded_http import BoundedChannel, BoundedRequest, BoundedSite, Bounds
from hkall_gateway.net.http_post import LONGEST_TYPE
from hkall_gateway.net.limits.allow_list import NO_ADDRESS, AllowList
from hkall_gateway.net.limits.connection_limit import ConnectionSlot
from hkall_gateway.net.limits.fair_reads import mark_authenticated
from hkall_gateway.net.limits.timeout import Timeout, TooLate, message_deadline
from hkall_gateway.observability.log_context import HEADER, valid_traceparent
from hkall_gateway.peers.callers import Caller, Peer, is_admitted, peer_of
from hkall_gateway.peers.protocol import Peers

LOG = structlog.get_logger()

METHODS: Final = "GET, HEAD, POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A posted document, with what the transport knows of it.

    Attributes:
        body: The document as received.
        content_type: Content-Type header, or "".
        peer: The sender, as known from the connection and the headers.
        prove: Called with the caller after successful authentication.
        challenge: Called with WWW-Authenticate headers if authentication fails.
        set_status: Called with the HTTP status of the reply, unless it is 200.
        deadline: The time limit for this document, or None.
    """

    body: bytes
    content_type: str
    peer: Peer
    prove: Callable[[Caller], object]
    challenge: Callable[[tuple[str, ...]], object]
    set_status: Callable[[int], object]
    deadline: Deadline | None


class Responder(Protocol):
    """What answers the documents of a protocol."""

    @property
    def protocol(self) -> str:
        """Name of the protocol, which is also the path to which documents are posted."""

    @property
    def content_type(self) -> str:
        """Content-Type of every reply."""

    @property
    def about(self) -> str:
        """Text for people who open the path in a browser."""

    @property
    def public_keys(self) -> bytes:
        """JSON Web Key Set of our signing keys, or b""."""

    @property
    def timeout(self) -> Timeout | None:
        """Time limit for a reply, or None for no limit."""

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""

    def serve(self, peers: Peers) -> None:
        """Use these callers and settings from now on, after a reload."""

    def refuse_long(self, address: str, size: int) -> None:
        """Log that a body of more than `size` bytes was refused."""

    def respond(self, posted: Posted) -> Deferred[bytes]:
        """Answer a document. The Deferred may fail only with Undecided, and the connection is then closed."""


class PeersResponder(ABC):
    """A responder that needs no more of the gateway than its `Peers`. Its protocol says how a document is answered.

    Whatever goes wrong in `answer`, the peer is asked to try again, unless the outcome of a command is unknown.
    """

    content_type = "application/json"

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    @abstractmethod
    async def answer(self, posted: Posted) -> bytes:
        """Return the reply to a document."""

    @abstractmethod
    def try_again(self, posted: Posted) -> bytes:
        """Return the reply to a document that has had no effect and may come again."""

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.peers.protocol

    @property
    def about(self) -> str:
        """Text for people who open the path in a browser."""
        return f"Documents for {self.peers.agency} are posted here.\n"

    @property
    def public_keys(self) -> bytes:
        """JSON Web Key Set of our signing keys, or b""."""
        return self.peers.public_keys

    @property
    def timeout(self) -> Timeout | None:
        """Time limit for a reply, or None for no limit."""
        return self.peers.timeout

    def serve(self, peers: Peers) -> None:
        """Use these callers and settings from now on, after a reload."""
        self.peers = peers

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""
        return any(is_admitted(row.access.allow_from, address) for row in self.peers.callers.values())

    def refuse_long(self, address: str, size: int) -> None:
        """Log that a document is too long."""
        LOG.warning("peers.too_long", protocol=self.protocol, host=address, bytes=size)

    def respond(self, posted: Posted) -> Deferred[bytes]:
        """Answer a document within the time limit."""
        work = self._answer_safely(posted)
        if self.timeout is None:
            return Deferred.fromCoroutine(work)
        answering = self.timeout.run(work, posted.deadline)
        return answering.addErrback(self._answer_late, posted)

    async def _answer_safely(self, posted: Posted) -> bytes:
        try:
            return await self.answer(posted)
        except Unavailable:  # the store has already logged the cause
            return self.try_again(posted)
        except Undecided:  # the outcome is unknown, so any reply might be wrong
            raise
        except Exception:
            LOG.exception("peers.handler_failed", protocol=self.protocol)
            return self.try_again(posted)

    def _answer_late(self, failure: Failure, posted: Posted) -> bytes:
        """Reply "try again" if the command had not started at the limit. Otherwise the connection is closed."""
        failure.trap(TooLate, Undecided)  # type: ignore[no-untyped-call]  # Failure.trap is untyped
        if failure.check(Undecided):  # type: ignore[no-untyped-call]
            LOG.error("peers.undecided", protocol=self.protocol)
            failure.raiseException()
        LOG.warning("peers.too_late", protocol=self.protocol)
        return self.try_again(posted)


class DocumentRequest(BoundedRequest):
    """An HTTP request to a responder. `deadline` is the time limit for the posted document."""

    deadline: Deadline | None = None

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Drop the document's command if it has not started."""
        if self.deadline is not None:
            self.deadline.drop()
        super().connectionLost(reason)

    def challenge(self, schemes: tuple[str, ...]) -> None:
        """Set status 401 and the WWW-Authenticate headers. The body is still the Problem."""
        self.setResponseCode(http.UNAUTHORIZED)
        self.responseHeaders.setRawHeaders("WWW-Authenticate", schemes)

    def send(self, reply: bytes, content_type: str) -> None:
        """Write the reply and finish the request."""
        self.responseHeaders.setRawHeaders("Content-Type", [content_type])
        self.responseHeaders.setRawHeaders("Content-Length", [str(len(reply))])
        self.write(reply)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class DocumentChannel(BoundedChannel):
    """An HTTP connection, which the site keeps track of in order to close it."""

    @cached_property
    def peer(self) -> Peer:
        """The connection's peer. Read this only after the TLS handshake, since the peer includes the certificate."""
        return peer_of(self.transport)

    def prove(self, caller: Caller) -> None:
        """Count the connection for its authenticated caller, unless the caller has reached its `max_connections`."""
        if self.seat is not None and self.seat.prove(caller.agency, caller.access.max_connections):
            mark_authenticated(self.transport, f"{self.site.responder.protocol} {caller.agency}")

    def _finishRequestBody(self, data: bytes) -> None:  # noqa: N802
        # lib-ncip-client sends the number of characters instead of bytes as Content-Length, which truncates Chinese documents.
        # If no further request can follow on this connection, the remaining bytes belong to this request.
        if data and not self.persistent:
            self.requests[-1].handleContentChunk(data)
            data = b""
        super()._finishRequestBody(data)  # type: ignore[no-untyped-call]


class DocumentSite(BoundedSite):
    """The HTTP site of one protocol's responder. `drain` shuts the site down gracefully.

    TLS is configured in the endpoint string.
    Load balancers at the addresses in `balancers` may connect for health checks.
    """

    protocol: object = DocumentChannel

    def __init__(self, responder: Responder, bounds: Bounds, reactor: object, balancers: AllowList = NO_ADDRESS) -> None:
        self.responder, self._balancers = responder, balancers
        self._channels: set[DocumentChannel] = set()
        self.in_hand, self.draining, self._drained = 0, False, list[Deferred[None]]()
        root: Any = _Root(responder.protocol)  # mypy does not see that a Resource is the IResource for putChild
        root.putChild(responder.protocol.encode(), _Entrance(self))
        known: Any = _Root(responder.protocol)
        known.putChild(b"jwks.json", PublicKeys(self))
        root.putChild(b".well-known", known)
        super().__init__(root, bounds, reactor, DocumentRequest)

    def drain(self) -> Deferred[None]:
        """Stop accepting documents, answer the current documents, and close all connections. Fires after the last answer."""
        self.draining = True
        if not self.in_hand:
            self._close_channels()
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._drained.append(waiting)
        return waiting

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""
        return self.responder.admits(address)

    def serve(self, peers: Peers) -> None:
        """Use these callers and settings from now on, after a reload."""
        self.responder.serve(peers)

    def enter(self, channel: DocumentChannel) -> ConnectionSlot | None:
        """Return a slot for a connection, or None if the IP address is not allowed or a limit is reached."""
        address = str(getattr(channel.transport.getPeer(), "host", ""))
        if not self.responder.admits(address) and not self._balancers.admits(address):
            self.bounds.refusals.note("address", address)
            return None
        seat = super().enter(channel)
        if seat is not None:
            self._channels.add(channel)
        return seat

    def leave(self, channel: DocumentChannel) -> None:
        """Free the slot of a closed connection."""
        super().leave(channel)
        self._channels.discard(channel)

    def too_long(self, request: BoundedRequest) -> None:
        """Report that a request's body exceeds the limit."""
        self.responder.refuse_long(request.client_address, request.received)

    def answer(self, request: DocumentRequest, body: bytes, content_type: str) -> None:
        """Answer a posted document."""
        self.in_hand += 1
        channel = request.channel
        authorization: bytes = request.getHeader(b"Authorization") or b""
        traces = request.requestHeaders.getRawHeaders(HEADER.encode(), [])
        trace = valid_traceparent(traces[0].decode("latin-1")) if len(traces) == 1 else ""
        sent = {"authorization": authorization.decode("latin-1"), "traceparent": trace}
        peer = replace(channel.peer, **sent) if any(sent.values()) else channel.peer
        deadline = message_deadline(self.responder.timeout, channel.transport)
        request.deadline = deadline
        posted = Posted(
            body=body,
            content_type=content_type,
            peer=peer,
            prove=channel.prove,
            challenge=request.challenge,
            set_status=request.setResponseCode,
            deadline=deadline,
        )
        answering = self.responder.respond(posted)
        _ = answering.addCallbacks(self._send_reply, _abort_undecided, callbackArgs=(request,), errbackArgs=(request,))
        _ = answering.addBoth(self._finish_document)

    def _send_reply(self, reply: bytes, request: DocumentRequest) -> None:
        if not request.gone:
            request.send(reply, self.responder.content_type)

    def _finish_document(self, result: Failure | None) -> Failure | None:
        self.in_hand -= 1
        if self.draining and not self.in_hand:
            self._close_channels()
            while self._drained:
                self._drained.pop().callback(None)
        return result

    def _close_channels(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.loseConnection()


def _abort_undecided(failure: Failure, request: DocumentRequest) -> None:
    """Close the connection without a reply, since the command's outcome is unknown."""
    failure.trap(Undecided)  # type: ignore[no-untyped-call]  # Failure.trap is untyped
    request.channel.transport.abortConnection()


class _Root(Resource):
    """A resource that answers 404 for every path without a child resource."""

    def __init__(self, protocol: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web is untyped
        self._protocol = protocol

    def getChild(self, path: bytes, request: object) -> object:  # noqa: ARG002, N802
        return notFound(message=f"Documents are posted to /{self._protocol}.")


class PublicKeys(Resource):
    """The public halves of our signing keys, for partners to fetch."""

    isLeaf = True  # noqa: N815

    def __init__(self, site: DocumentSite) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._site = site

    def render_GET(self, request: DocumentRequest) -> bytes:  # noqa: N802
        """Return the key set, or 404 if we have no signing keys."""
        if not (keys := self._site.responder.public_keys):
            return _answer_text(request, http.NOT_FOUND, "This gateway signs nothing.\n")
        request.responseHeaders.setRawHeaders("Content-Type", ["application/json"])
        request.responseHeaders.setRawHeaders("Cache-Control", ["max-age=3600"])
        return keys


class _Entrance(Resource):
    """The path of the protocol. POST answers a document. GET describes the responder."""

    isLeaf = True  # noqa: N815

    def __init__(self, site: DocumentSite) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._site = site

    def render(self, request: DocumentRequest) -> object:
        """Handle a request with any HTTP method."""
        if request.method in (b"GET", b"HEAD"):
            return _answer_text(request, http.OK, self._site.responder.about)
        if request.method != b"POST":
            request.responseHeaders.setRawHeaders("Allow", [METHODS])
            return _answer_text(request, http.NOT_ALLOWED, "Post a document.\n")
        if request.too_long:
            self._site.too_long(request)
            return _answer_text(request, http.REQUEST_ENTITY_TOO_LARGE, f"At most {self._site.bounds.max_body_bytes} bytes.\n")
        if self._site.draining:
            request.responseHeaders.setRawHeaders("Retry-After", ["10"])
            return _answer_text(request, http.SERVICE_UNAVAILABLE, "This gateway is about to stop.\n")
        content_type: bytes = request.getHeader(b"Content-Type") or b""
        try:
            kind = content_type.decode()
        except UnicodeDecodeError:
            kind = None
        if kind is None or len(content_type) > LONGEST_TYPE:
            return _answer_text(
                request, http.BAD_REQUEST, f"The Content-Type is no text in UTF-8 of up to {LONGEST_TYPE} bytes.\n"
            )
        self._site.answer(request, request.content.read(), kind)
        return NOT_DONE_YET


def _answer_text(request: DocumentRequest, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.responseHeaders.setRawHeaders("Content-Type", ["text/plain; charset=utf-8"])
    return text.encode()
