"""NCIP over HTTP: a document is posted, its reply goes out with status 200; limits, turn-taking and an orderly end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hkall_gateway.edge.allow import AllowList
from hkall_gateway.edge.bounded_http import BoundedChannel, BoundedRequest, BoundedSite, Bounds
from hkall_gateway.edge.connection_limit import Seat
from hkall_gateway.edge.ports import vouch
from hkall_gateway.ncip.handlers import Caller, Door, Peer, respond
from hkall_gateway.ncip.peers import peer_of
from hkall_gateway.ncip.transport import CONTENT_TYPE, LONGEST_TYPE, charset

LOG = structlog.get_logger()

NOBODY_ELSE: Final = AllowList(())
METHODS: Final = b"GET, HEAD, POST"
ABOUT: Final = "This is the NCIP responder of {agency}. Post an NCIP document here, version 1 or 2, as application/xml.\n"


class NcipRequest(BoundedRequest):
    """A request of the NCIP door."""

    def challenge(self, schemes: tuple[str, ...]) -> None:
        """Answer with 401: who sent this has not proven who it is. The Problem is the body all the same."""
        self.setResponseCode(http.UNAUTHORIZED)
        self.responseHeaders.setRawHeaders("WWW-Authenticate", schemes)

    def send(self, reply: bytes, _now: datetime) -> None:
        """The answer, and the channel is free for the next."""
        self.setHeader(b"Content-Type", CONTENT_TYPE.encode())  # type: ignore[no-untyped-call]
        self.setHeader(b"Content-Length", b"%d" % len(reply))  # type: ignore[no-untyped-call]
        self.write(reply)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class NcipChannel(BoundedChannel):
    """A connection that its factory knows, so that it can be closed."""

    requests: Any

    @cached_property
    def peer(self) -> Peer:
        """Who is at the other end. Asked for with its first document, when the certificate has been shown."""
        return peer_of(self.transport)

    def prove(self, caller: Caller) -> None:
        """A document has proven who is at the other end; beyond the caller's number it stays among the strangers."""
        if self.seat is not None and self.seat.prove(caller.agency, caller.max_connections):
            vouch(self.transport, f"ncip {caller.agency}")

    def _finishRequestBody(self, data: bytes) -> None:  # noqa: N802
        # lib-ncip-client counts characters where Content-Length counts bytes, so that the end of a Chinese document comes
        # behind it; where no other request can follow, what follows is still this one (reference page ncip.md 4, quirk 14).
        if data and not self.persistent:
            self.requests[-1].handleContentChunk(data)
            data = b""
        super()._finishRequestBody(data)  # type: ignore[no-untyped-call]


class NcipSite(BoundedSite):
    """All connections of the door. `drain` ends it in good order. TLS comes with the endpoint that it is given to.

    `balancers` may also look for themselves whether we live; they are no callers.
    """

    protocol: Any = NcipChannel

    def __init__(self, door: Door, bounds: Bounds, reactor: Any, balancers: AllowList = NOBODY_ELSE) -> None:
        self.door, self._balancers = door, balancers
        self._channels: set[NcipChannel] = set()
        self.in_hand, self.draining, self._drained = 0, False, list[Deferred[None]]()
        root: Any = _Root()
        root.putChild(b"ncip", Responder(self))
        known: Any = _Root()
        known.putChild(b"jwks.json", PublicKeys(self))
        root.putChild(b".well-known", known)
        super().__init__(root, bounds, reactor, NcipRequest)

    def drain(self) -> Deferred[None]:
        """Answer what is in hand, take nothing new, then close every connection. Fires when nothing is in hand any more."""
        self.draining = True
        if not self.in_hand:
            self._close()
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._drained.append(waiting)
        return waiting

    # ---- called by channels and the resource

    def enter(self, channel: NcipChannel) -> Seat | None:
        address = str(getattr(channel.transport.getPeer(), "host", ""))
        if not self.door.admits(address) and not self._balancers.admits(address):
            self.bounds.refusals.note("address", address)
            return None
        seat = super().enter(channel)
        if seat is not None:
            self._channels.add(channel)
        return seat

    def leave(self, channel: NcipChannel) -> None:
        super().leave(channel)
        self._channels.discard(channel)

    def too_long(self, request: Any) -> None:
        LOG.warning("ncip.too_long", host=request.client_address, bytes=request.received)

    def answer(self, request: NcipRequest, body: bytes, content_type: str) -> None:
        self.in_hand += 1
        channel = request.channel
        authorization: bytes = request.getHeader(b"Authorization") or b""
        peer = replace(channel.peer, authorization=authorization.decode("latin-1")) if authorization else channel.peer
        answering = respond(self.door, body, charset(content_type), peer, channel.prove, request.challenge)
        answering.addCallback(self._give, request).addBoth(self._done)

    def _give(self, reply: bytes, request: NcipRequest) -> None:
        if not request.gone:
            request.send(reply, self.door.now())

    def _done(self, result: Failure | None) -> Failure | None:
        self.in_hand -= 1
        if self.draining and not self.in_hand:
            self._close()
            while self._drained:
                self._drained.pop().callback(None)
        return result

    def _close(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.loseConnection()


class _Root(Resource):
    """Nothing, but for what is put into it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types here

    def getChild(self, path: bytes, request: Any) -> Any:  # noqa: ARG002, N802
        return notFound(message="Documents are posted to /ncip.")


class PublicKeys(Resource):
    """The public halves of the keys with which we sign, for partners that fetch them."""

    isLeaf = True  # noqa: N815

    def __init__(self, site: NcipSite) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._site = site

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        if not (keys := self._site.door.public_keys):
            return _plain(request, http.NOT_FOUND, "This gateway signs nothing.\n")
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"max-age=3600")
        return keys


class Responder(Resource):
    """The one address: POST a document, GET what this is."""

    isLeaf = True  # noqa: N815

    def __init__(self, site: NcipSite) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._site = site

    def render(self, request: Any) -> Any:
        if request.method in (b"GET", b"HEAD"):
            return _plain(request, http.OK, ABOUT.format(agency=self._site.door.agency))
        if request.method != b"POST":
            request.setHeader(b"Allow", METHODS)
            return _plain(request, http.NOT_ALLOWED, "Post an NCIP document.\n")
        return self._post(request)

    def _post(self, request: Any) -> Any:
        if request.too_long:
            self._site.too_long(request)
            return _plain(request, http.REQUEST_ENTITY_TOO_LARGE, f"At most {self._site.bounds.max_body_bytes} bytes.\n")
        if self._site.draining:
            request.setHeader(b"Retry-After", b"10")
            return _plain(request, http.SERVICE_UNAVAILABLE, "This gateway is about to stop.\n")
        kind = _content_type(request)
        if kind is None:
            return _plain(request, http.BAD_REQUEST, f"The Content-Type is no text in UTF-8 of up to {LONGEST_TYPE} bytes.\n")
        self._site.answer(request, request.content.read(), kind)
        return NOT_DONE_YET


def _content_type(request: Any) -> str | None:
    """The Content-Type, "" where there is none; None for one that cannot be read."""
    said: bytes = request.getHeader(b"Content-Type") or b""
    try:
        return said.decode() if len(said) <= LONGEST_TYPE else None
    except UnicodeDecodeError:
        return None


def _plain(request: Any, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return text.encode()
