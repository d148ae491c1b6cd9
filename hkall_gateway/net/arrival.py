"""When a message arrived, and whether its caller still waits, as the kernel tells it of a TCP connection.

A process that was stopped, or was busy for long, reads messages whose callers have given up meanwhile.
"""

from __future__ import annotations

import socket
import struct
from struct import Struct
from typing import Any, Final

from hkall_gateway.db.engine.deadline import Deadline
from hkall_gateway.net.limits.timeout import Timeout

TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_INFO: Final = Struct("=B51xI")
"""The fields tcpi_state and tcpi_last_data_recv of struct tcp_info (linux/tcp.h)."""
_ESTABLISHED: Final = 1


def arrived(timeout: Timeout | None, transport: Any, at_most_s: float | None = None) -> Deadline | None:
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


def waited_s(transport: Any) -> float | None:
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
