"""NCIP over HTTP: a document is posted, its reply goes out with status 200; limits, turn-taking and an orderly end."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from io import BytesIO
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from hkall_gateway.edge.limits import Gate
from hkall_gateway.ncip.handlers import Door, Peer, respond
from hkall_gateway.ncip.peers import peer_of
from hkall_gateway.ncip.posting import Posted, whole
from hkall_gateway.ncip.transport import CONTENT_TYPE, charset

LOG = structlog.get_logger()

IDLE_S: Final = 60
METHODS: Final = b"GET, HEAD, POST"
DRAINED: Final = 16
"""A body of up to so many times the limit is read to its end and dropped, so that its sender is there to read the 413."""
TOO_LONG: Final = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
ABOUT: Final = "This is the NCIP responder of {agency}. Post an NCIP document here, version 1 or 2, as application/xml.\n"


def ncip_site(door: Door, max_body_bytes: int, reactor: Any, gate: Gate | None = None, idle_s: float = IDLE_S) -> NcipSite:
    """The factory of the NCIP door. TLS comes with the endpoint that it is given to."""
    return NcipSite(door, max_body_bytes, reactor, gate, idle_s)


class NcipRequest(Request):
    """A request whose body is counted while it comes, and kept only up to the limit."""

    channel: Any
    content: Any
    received, hung_up, gone = 0, False, False

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's own name
        self.content = BytesIO()
        if length is not None and length > DRAINED * self.most_bytes:
            self._hang_up()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        self.received += len(data)
        if self.received > DRAINED * self.most_bytes:
            self._hang_up()
        elif not self.too_long:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        if not self.hung_up:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]  # twisted.web has no types

    @property
    def most_bytes(self) -> int:
        return int(self.channel.site.max_body_bytes)

    @property
    def too_long(self) -> bool:
        return self.received > self.most_bytes

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        self.gone = True
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def send(self, reply: bytes, _now: datetime) -> None:
        """The answer, and the channel is free for the next."""
        self.setHeader(b"Content-Type", CONTENT_TYPE.encode())  # type: ignore[no-untyped-call]
        self.setHeader(b"Content-Length", b"%d" % len(reply))  # type: ignore[no-untyped-call]
        self.write(reply)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def _hang_up(self) -> None:
        if not self.hung_up:
            self.hung_up = True
            _log_too_long(self.client_address, self.received)
            self.channel.transport.write(TOO_LONG)
            self.channel.loseConnection()

    @property
    def client_address(self) -> str:
        return str(getattr(self.getClientAddress(), "host", ""))  # type: ignore[no-untyped-call]


class NcipChannel(http.HTTPChannel):
    """A connection that its factory knows, so that it can be counted and closed."""

    transport: Any
    site: Any
    requests: Any
    persistent: Any
    let_in = begun = False
    _handlingRequest: bool  # noqa: N815  # Twisted's own names
    _waitingForTransport: bool  # noqa: N815
    _buffer: bytes

    @cached_property
    def peer(self) -> Peer:
        """Who is at the other end. Asked for with its first document, when the certificate has been shown."""
        return peer_of(self.transport)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """A document that arrives whole is answered without further ado; all else is twisted.web's."""
        post = whole(data, self.site.max_body_bytes) if self._at_rest else None
        if post is None:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        posted, self._handlingRequest = Posted(self), True
        self.setRawMode()  # type: ignore[no-untyped-call]  # what comes meanwhile is kept for later
        self.requests.append(posted)
        self.site.answer(posted, *post)

    def answered(self, posted: Posted) -> None:
        """The answer has been written; silence begins, or the next document."""
        super().resetTimeout()  # type: ignore[no-untyped-call]
        self.requestDone(posted)

    def requestDone(self, request: Any) -> None:  # noqa: N802
        """Who does not take its answers is not read any further; the transport says when it has taken some."""
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if self._waitingForTransport:
            self.pauseProducing()  # type: ignore[no-untyped-call]

    @property
    def _at_rest(self) -> bool:
        """Whether nothing of a request is here, and more than nothing is wanted."""
        return self.persistent and not (self.begun or self._handlingRequest or self._buffer or self.site.draining)

    def timeoutConnection(self) -> None:  # noqa: N802
        """Who waits for an answer is not silent."""
        if self._handlingRequest:
            self.setTimeout(self.timeOut)  # type: ignore[no-untyped-call]
        else:
            super().timeoutConnection()  # type: ignore[no-untyped-call]

    def resetTimeout(self) -> None:  # noqa: N802
        """Silence ends when a request begins; from there on all of it has as long, however it drips."""
        if not self.begun:
            self.begun = True
            super().resetTimeout()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:  # noqa: N802
        self.begun = False
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def _finishRequestBody(self, data: bytes) -> None:  # noqa: N802
        # lib-ncip-client counts characters where Content-Length counts bytes, so that the end of a Chinese document comes
        # behind it; where no other request can follow, what follows is still this one (reference page ncip.md 4, quirk 14).
        if data and not self.persistent:
            self.requests[-1].handleContentChunk(data)
            data = b""
        super()._finishRequestBody(data)  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.let_in = self.site.enter(self)
        if not self.let_in:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self.let_in:
            self.site.leave(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class NcipSite(Site):
    """All connections of the door. `drain` ends it in good order."""

    noisy = False
    protocol: Any = NcipChannel

    def __init__(self, door: Door, max_body_bytes: int, reactor: Any, gate: Gate | None, idle_s: float) -> None:
        self.door, self.max_body_bytes = door, max_body_bytes
        self._gate, self._channels = gate, dict[NcipChannel, str]()
        self.in_hand, self.draining, self._drained = 0, False, list[Deferred[None]]()
        root: Any = _Root()
        root.putChild(b"ncip", Responder(self))
        super().__init__(  # type: ignore[no-untyped-call]
            root, requestFactory=NcipRequest, timeout=idle_s, reactor=reactor, parsePOSTFormSubmission=False
        )

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

    def enter(self, channel: NcipChannel) -> bool:
        address = _host(channel.transport.getPeer())
        if self._gate is not None and not self._gate.enter(address):
            self.door.counters.add("connections_refused_total", "ncip", "limit")
            return False
        self._channels[channel] = address
        return True

    def leave(self, channel: NcipChannel) -> None:
        address = self._channels.pop(channel)
        if self._gate is not None:
            self._gate.leave(address)

    def answer(self, request: NcipRequest | Posted, body: bytes, content_type: str) -> None:
        self.in_hand += 1
        answering = respond(self.door, body, charset(content_type), request.channel.peer)
        answering.addCallback(self._give, request).addBoth(self._done)

    def _give(self, reply: bytes, request: NcipRequest | Posted) -> None:
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
        for channel in list(self._channels):
            channel.transport.loseConnection()

    # ---- Twisted's access log: every document has its line in ours already

    def log(self, request: Any) -> None:
        """No access log."""

    def startFactory(self) -> None:  # noqa: N802
        """Without an access log there is no file to open and no clock to keep."""

    def stopFactory(self) -> None:  # noqa: N802
        """See startFactory."""


class _Root(Resource):
    """Nothing, but for what is put into it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types here

    def getChild(self, path: bytes, request: Any) -> Any:  # noqa: ARG002, N802
        return notFound(message="Documents are posted to /ncip.")


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
            _log_too_long(request.client_address, request.received)
            return _plain(request, http.REQUEST_ENTITY_TOO_LARGE, f"At most {self._site.max_body_bytes} bytes.\n")
        if self._site.draining:
            request.setHeader(b"Retry-After", b"10")
            return _plain(request, http.SERVICE_UNAVAILABLE, "This gateway is about to stop.\n")
        self._site.answer(request, request.content.read(), request.getHeader("Content-Type") or "")
        return NOT_DONE_YET


def _plain(request: Any, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return text.encode()


def _host(address: IAddress) -> str:
    return str(getattr(address, "host", ""))


def _log_too_long(address: str, size: int) -> None:
    LOG.warning("ncip.too_long", host=address, bytes=size)
