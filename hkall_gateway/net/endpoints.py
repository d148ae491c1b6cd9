"""Server endpoints: opens a port from its endpoint string, alone or shared with other gateways, with fair reads."""

from __future__ import annotations

import socket
import struct
from struct import Struct
from typing import Any, Final, Protocol, cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.tcp import Port, Server, makeBinding
from twisted.python.failure import Failure

from hkall_gateway.db.engine.deadline import Deadline
from hkall_gateway.net.limits.fair_reads import FairReads
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.rules.values import NUMBER


def numbered(text: str, number: str) -> str:
    """Return the endpoint of the gateway with this number: `tcp:808{instance}` is `tcp:8082` for the second."""
    return text.replace(NUMBER, number)


class Peered(Protocol):
    """What tells the address of its peer: a transport of any kind."""

    def getPeer(self) -> object: ...  # noqa: N802


class Transport(Peered, Protocol):
    """The part of a Twisted transport that protocols use, plain TCP or TLS: to mypy zope's interfaces are no protocols."""

    def write(self, data: bytes) -> object: ...

    def loseConnection(self) -> object: ...  # noqa: N802

    def abortConnection(self) -> object: ...  # noqa: N802

    def pauseProducing(self) -> object: ...  # noqa: N802

    def resumeProducing(self) -> object: ...  # noqa: N802

    def registerProducer(self, producer: object, streaming: bool) -> object: ...  # noqa: N802

    def unregisterProducer(self) -> object: ...  # noqa: N802


# ---- When a message arrived, and whether its caller still waits, as the kernel tells it of a TCP connection.
# A process that was stopped, or was busy for long, reads messages whose callers have given up meanwhile.


TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_INFO: Final = Struct("=B51xI")
"""The fields tcpi_state and tcpi_last_data_recv of struct tcp_info (linux/tcp.h)."""
_ESTABLISHED: Final = 1


def arrived(timeout: Timeout | None, transport: object, at_most_s: float | None = None) -> Deadline | None:
    """Returns the deadline of a message that was just read; it has passed if the caller has hung up. None without a limit.

    `at_most_s`: the caller's own patience.
    """
    if timeout is None:
        return None
    waited = waited_s(transport)
    deadline = timeout.deadline(waited or 0.0, at_most_s)
    if waited is None:
        deadline.drop()
    return deadline


def waited_s(transport: object) -> float | None:
    """Returns how long the newest received bytes of a connection waited to be read; None if the peer has hung up since.

    Linux tells both of TCP connections; of all others 0 is returned.
    """
    while transport is not None and not hasattr(transport, "socket"):
        transport = getattr(transport, "transport", None)  # of TLS, or of a balancer's header
    if transport is None or TCP_INFO is None:
        return 0.0
    try:
        state, waited_ms = _INFO.unpack(transport.socket.getsockopt(socket.IPPROTO_TCP, TCP_INFO, _INFO.size))
    except (OSError, struct.error):  # a UNIX socket, or another system
        return 0.0
    return waited_ms / 1000 if state == _ESTABLISHED else None


_endpoint: Any = serverFromString  # it has no types

SHARED: Final = ("tcp", "tcp6", "ssl")
"""The kinds of endpoints that have a port to share."""
BACKLOG: Final = 512
"""Connections that the kernel holds until they are accepted; a full backlog delays a client by a second."""


class CannotOpen(Exception):
    """A port that cannot be opened. The text names it, the reason and the remedy."""


class NotPassed(CannotOpen):
    """A socket that the configuration expects of systemd, and that systemd has not passed to this process."""


def server_endpoint(reactor: object, text: str, *, shared: bool = False) -> Any:
    """The server endpoint of a description. `shared`: other processes may listen on its port too (SO_REUSEPORT).

    Twisted's endpoint strings have no option for SO_REUSEPORT, so the port of their endpoint is made to set it.

    Raises NotPassed.
    """
    if text.startswith("systemd:"):
        try:
            return _endpoint(reactor, text)
        except LookupError:
            remedy = (
                "start its .socket unit (FileDescriptorName is the name) and this service by systemd, or listen on a tcp: port"
            )
            raise NotPassed(f"{text}: systemd has passed no such socket: {remedy}") from None
    roomy = text.partition(":")[0] in SHARED and "backlog=" not in text
    made = _endpoint(reactor, f"{text}:backlog={BACKLOG}" if roomy else text)
    if shared and text.partition(":")[0] in SHARED:
        made._port = makeBinding(made._interface, made._port, reuseAddress=True, reusePort=True)
    return made


def use_fair_reads(port: object, fair: FairReads) -> object:
    """Return the same port; its connections are unauthenticated: they read little at a time and take turns.

    `mark_authenticated` ends that for a connection. A UNIX socket is left alone.
    """
    if isinstance(port, Port):
        port.transport = cast(Any, type)("Fair", (FairTransport,), {"fair": fair})  # Twisted's own hook
    return port


def mark_authenticated(transport: object, row: str) -> None:
    """Marks the connection below a transport as authenticated as `row`. Others are left alone."""
    while transport is not None and not isinstance(transport, FairTransport):
        transport = getattr(transport, "transport", None)  # of TLS, or of a balancer's header
    if transport is not None:
        transport.mark_authenticated(row)


STRANGER_READ: Final = 4_096
KNOWN_READ: Final = 16_384
"""Bytes read at a time, from an unauthenticated and from an authenticated connection."""


class FairTransport(Server):
    """A connection that reads when its turn comes."""

    fair: FairReads
    row = ""
    _parked = False

    def doRead(self) -> Any:  # noqa: N802
        """Reads some of the received bytes, if `fair` admits this connection now."""
        fair = self.fair
        trusted = fair.trusts(self.row)
        if not fair.admits(self, trusted=trusted):
            super().stopReading()  # type: ignore[no-untyped-call]  # it has no types
            self._parked = True
            return None
        self._parked = False
        self.bufferSize = KNOWN_READ if trusted else STRANGER_READ
        before_s = fair.spent()
        try:
            return super().doRead()
        finally:
            fair.used(self.row, fair.spent() - before_s, trusted=trusted)

    def stopReading(self) -> None:  # noqa: N802
        self.fair.forget(self)
        self._parked = False
        super().stopReading()  # type: ignore[no-untyped-call]  # it has no types

    def mark_authenticated(self, row: str) -> None:
        """Marks the connection as `row`'s from now on. If it waits for its turn to read, it resumes at once."""
        self.row = row
        if self._parked:
            self.startReading()  # type: ignore[no-untyped-call]  # it has no types

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        self.fair.forget(self)
        super().connectionLost(reason)
