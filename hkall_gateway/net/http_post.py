"""Posts one document to a URL by HTTP. The exception type tells whether the document may have been sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message as MimeHeaders
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet import defer, error
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from hkall_gateway import __version__
from hkall_gateway.net.bounded_http import MOST_HEAD, BoundedEndpoints
from hkall_gateway.net.endpoints import Transport
from hkall_gateway.observability.log_context import HEADER, own_traceparent
from hkall_gateway.rules.plain_text import whole_number

MOST_BYTES: Final = 1_048_576
"""Maximum length of a reply's body in bytes. Chunked framing may add as many bytes again."""
FEWEST: Final = 1_000
SMALLEST: Final = 16
"""A body may arrive in FEWEST pieces plus one piece per SMALLEST bytes. More and smaller chunks take too much CPU time."""
LONGEST_TYPE: Final = 256
"""Maximum length of a Content-Type in bytes. Real peers send at most about forty bytes."""
CONNECT_S: Final = 10.0
LONGEST_WAIT_S: Final = 86_400
AGENT: Final = f"hkall-gateway/{__version__}"
CONTENT_TYPE: Final = 'application/xml; charset="utf-8"'

TIMEOUTS: Final = (defer.CancelledError, defer.TimeoutError, error.TimeoutError)
KINDS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    (TIMEOUTS, "timeout"),
    ((error.DNSLookupError,), "dns"),
    ((SSL.Error,), "tls"),
    ((error.ConnectError,), "connect"),
)
"""Exception types -> kind of failure. The first matching row determines the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """An HTTP response with any status. `said_at` is the Date header or None. `retry_after_s` is 0 without a Retry-After."""

    status: int
    content_type: str
    body: bytes
    retry_after_s: int = 0
    said_at: datetime | None = None


class NotSent(Exception):
    """The document was not sent, so it cannot have taken effect. `kind` is dns, connect, tls, timeout or http."""

    def __init__(self, detail: str, kind: str = "connect") -> None:
        super().__init__(detail)
        self.kind = kind


class NoReply(Exception):
    """The document was sent without a usable reply, so it may have taken effect. `kind` has the same values as in NotSent."""

    def __init__(self, detail: str, kind: str = "http") -> None:
        super().__init__(detail)
        self.kind = kind


Post = Callable[[str, bytes, float], Awaitable[HttpReply]]
"""Function that maps (URL, body, timeout in seconds) to the response. Raises only NotSent or NoReply."""


@lru_cache(maxsize=64)
def charset(content_type: str) -> str | None:
    """Return the charset parameter of an HTTP Content-Type, or None."""
    headers = MimeHeaders()
    headers["Content-Type"] = content_type[:LONGEST_TYPE]
    return headers.get_content_charset()


class HttpResponse(Protocol):
    """The part of twisted.web's response interface that this module uses."""

    code: int
    headers: Headers

    def deliverBody(self, protocol: TwistedProtocol) -> object:  # noqa: N802  # named by Twisted
        """Deliver the body to a protocol."""


class HttpAgent(Protocol):
    """The part of twisted.web's agent interface that this module uses."""

    def request(self, method: bytes, url: bytes, headers: Headers, body: object, /) -> Deferred[HttpResponse]:
        """Send a request."""


class AgentPost:
    """A `Post` that uses Twisted's HTTP client, without redirects or compression, for replies of up to `most_bytes` bytes.

    Each document uses a new connection, since a persistent connection that the peer has closed meanwhile would look like a lost
    reply. Tests replace the HTTP client by `agent`. `reactor` is untyped, since no single type has all required interfaces.
    """

    def __init__(
        self,
        reactor: Any,
        agent: object = None,
        most_bytes: int = MOST_BYTES,
        content_type: str = CONTENT_TYPE,
    ) -> None:
        self._reactor, self._most_bytes, self._content_type = reactor, most_bytes, content_type
        self._agent = cast(HttpAgent, agent or _make_agent(reactor, most_bytes))

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Post one document."""
        return await self._post_document(url, body, timeout_s, _make_headers(self._content_type))

    def proving(self, authorization: Callable[[], str]) -> Post:
        """Return a `Post` that calls `authorization` for each document to make the Authorization header."""

        async def post(url: str, body: bytes, timeout_s: float) -> HttpReply:
            headers = _make_headers(self._content_type)
            headers.setRawHeaders("Authorization", [authorization()])
            return await self._post_document(url, body, timeout_s, headers)

        return post

    async def _post_document(self, url: str, body: bytes, timeout_s: float, headers: Headers) -> HttpReply:
        document = _Document(body)
        try:
            return await self._send_request(b"POST", url, headers, document, timeout_s)
        except Exception as failed:  # any failure becomes NoReply if the document was sent, else NotSent
            cause = _find_cause(failed)
            detail, kind = _describe_failure(cause, timeout_s), _kind_of_failure(cause)
            raise (NoReply(detail, kind or "http") if document.left else NotSent(detail, kind or "connect")) from failed

    async def get(self, url: str, timeout_s: float, authorization: str = "") -> HttpReply:
        """GET JSON from a URL. Raises only NotSent."""
        headers = Headers({"User-Agent": [AGENT], "Accept": ["application/json"]})
        if authorization:
            headers.setRawHeaders("Authorization", [authorization])
        try:
            return await self._send_request(b"GET", url, headers, None, timeout_s)
        except Exception as failed:
            cause = _find_cause(failed)
            raise NotSent(_describe_failure(cause, timeout_s), _kind_of_failure(cause) or "connect") from failed

    def _send_request(self, method: bytes, url: str, headers: Headers, body: object, timeout_s: float) -> Deferred[HttpReply]:
        response = maybeDeferred(self._agent.request, method, url.encode("ascii", "replace"), headers, body)
        done: Deferred[HttpReply] = response.addCallback(_read_response, self._most_bytes)
        return done.addTimeout(timeout_s, self._reactor)


def _make_agent(reactor: object, most_bytes: int) -> object:
    pool = HTTPConnectionPool(reactor, persistent=False)  # type: ignore[no-untyped-call]  # twisted.web is untyped
    endpoints = BoundedEndpoints(reactor, CONNECT_S, 2 * most_bytes + MOST_HEAD)
    return Agent.usingEndpointFactory(reactor, endpoints, pool)  # type: ignore[no-untyped-call]  # twisted.web is untyped


def _make_headers(content_type: str) -> Headers:
    return Headers(
        {
            "User-Agent": [AGENT],
            "Content-Type": [content_type],
            "Accept": [content_type.partition(";")[0]],
            "Accept-Encoding": ["identity"],
            HEADER: [own_traceparent()],
        }
    )


def _find_cause(failed: Exception) -> Exception:
    reasons = getattr(failed, "reasons", None)  # twisted.web wraps the cause in a list of Failures
    cause: Exception = reasons[0].value if reasons else failed
    return cause


def _kind_of_failure(cause: Exception) -> str:
    return next((kind for types, kind in KINDS if isinstance(cause, types)), "")


def _describe_failure(cause: Exception, timeout_s: float) -> str:
    if isinstance(cause, TIMEOUTS):
        return f"no answer within {timeout_s:g} s"
    return f"{type(cause).__name__}: {cause}"[:200]


@implementer(IBodyProducer)
class _Document:
    """A request's body. `left` becomes True when the body is written to the connection."""

    def __init__(self, body: bytes) -> None:
        self.length, self.left, self._body = len(body), False, body

    def startProducing(self, consumer: Transport) -> Deferred[None]:  # noqa: N802  # named by Twisted
        self.left = True
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802
        """Do nothing, since the body is written all at once."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Do nothing, since the body is written all at once."""

    def stopProducing(self) -> None:  # noqa: N802
        """Do nothing, since the body is written all at once."""


def _read_response(response: HttpResponse, most_bytes: int) -> Deferred[HttpReply]:
    reader = _Reader(most_bytes)
    response.deliverBody(reader)
    kind, date = _find_header(response, "Content-Type"), _parse_http_date(_find_header(response, "Date"))
    return reader.done.addCallback(
        lambda body: HttpReply(
            status=response.code, content_type=kind, body=body, retry_after_s=_retry_after_s(response), said_at=date
        )
    )


def _find_header(response: HttpResponse, name: str) -> str:
    values = response.headers.getRawHeaders(name.encode(), [])
    return values[0].decode("utf-8", "replace") if values else ""


def _retry_after_s(response: HttpResponse) -> int:
    """Return the Retry-After in seconds. Compare a date with the Date header, so that clock differences do not matter."""
    text = _find_header(response, "Retry-After").strip()
    seconds = whole_number(text)
    if seconds is not None:
        return min(seconds, LONGEST_WAIT_S)
    until, since = _parse_http_date(text), _parse_http_date(_find_header(response, "Date"))
    return min(max(int((until - since).total_seconds()), 0), LONGEST_WAIT_S) if until and since else 0


def _parse_http_date(text: str) -> datetime | None:
    """Parse an HTTP date. Return None if the text is not a date."""
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


class _Reader(TwistedProtocol):
    """Collects a response's body up to a limit. Treats a truncated body as an error."""

    transport: Transport | None  # type: ignore[assignment]  # mypy does not treat zope interfaces as protocols

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._chunks, self._size, self._pieces = most_bytes, list[bytes](), 0, 0
        self.done: Deferred[bytes] = Deferred(lambda _: self._hang_up())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._size, self._pieces = self._size + len(data), self._pieces + 1
        most = FEWEST + self._size // SMALLEST
        if self._size > self._most_bytes:
            self._fail_with(NoReply(f"a reply of more than {self._most_bytes} bytes"))
        elif self._pieces > most:
            self._fail_with(NoReply(f"a reply in more than {most} pieces"))
        else:
            self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self.done.called:
            return
        # PotentialDataLoss: an HTTP/1.0 body without Content-Length ends when the connection closes.
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(reason)

    def _fail_with(self, error: Exception) -> None:
        self._chunks.clear()
        if not self.done.called:
            self.done.errback(error)
        self._hang_up()

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


def post(url: str, body: bytes, timeout_s: float, authorization: str = "", content_type: str = CONTENT_TYPE) -> HttpReply:
    """Post a document and wait for the reply, with any status. Raises ValueError for a malformed URL, else only NoReply."""
    headers = {"Content-Type": content_type, "Accept": content_type.partition(";")[0]}
    return _exchange_blocking("POST", url, body, headers, timeout_s, authorization)


async def blocking_get(url: str, timeout_s: float, authorization: str = "") -> HttpReply:
    """GET JSON from a URL, blocking the calling thread. Raises only NotSent."""
    try:
        return _exchange_blocking("GET", url, None, {"Accept": "application/json"}, timeout_s, authorization)
    except (NoReply, ValueError) as failed:
        raise NotSent(str(failed)) from failed


def _exchange_blocking(
    method: str, url: str, body: bytes | None, headers: dict[str, str], timeout_s: float, authorization: str
) -> HttpReply:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} must be a URL that begins with http:// or https://")
    made = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        line = made(parts.hostname, parts.port, timeout=timeout_s)
        proof = {"Authorization": authorization} if authorization else {}
        line.request(method, path, body, {**headers, "User-Agent": AGENT, **proof})
        response = line.getresponse()
        return HttpReply(
            status=response.status,
            content_type=response.headers.get("Content-Type", ""),
            body=response.read(MOST_BYTES),
            retry_after_s=0,
        )
    except (OSError, HTTPException, ValueError) as failed:
        raise NoReply(f"{url}: {failed or type(failed).__name__}") from None
