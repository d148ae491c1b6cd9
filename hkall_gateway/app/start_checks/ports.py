"""Checks that each port is configured only once, and is free or in use by this gateway."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hkall_gateway.app.machine import listens
from hkall_gateway.app.start_checks import database
from hkall_gateway.app.start_checks.faults import Start, StartFault, endpoints
from hkall_gateway.db.instances import Instance
from hkall_gateway.net.endpoints import SHARED
from hkall_gateway.net.tls import endpoint_arguments

CONNECT_S: Final = 1.0
DENIED: Final = os.strerror(errno.EACCES)
IN_USE: Final = os.strerror(errno.EADDRINUSE)
PRIVILEGED: Final = "Give the service CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), or use a port above 1023."
_HERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # these addresses are not bound here
"""Wildcard address -> IP address to connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCheck:
    """An endpoint's state. `answers` is true if it accepts connections. `taken` says why we cannot listen on it, or is ""."""

    name: str
    answers: bool = False
    taken: str = ""
    network: bool = True
    port: int = 0
    is_shared: bool = False


def probe_endpoint(text: str, *, shared: bool = False, connect: bool = True) -> EndpointCheck:
    """Return an endpoint's state. Block for at most CONNECT_S seconds, and not at all if `connect` is False."""
    kind = text.partition(":")[0]
    if kind not in SHARED:
        return EndpointCheck(name=text, network=False)
    host, port = _port_and_host(text)
    return EndpointCheck(
        name=f"{kind}:{port}",
        answers=connect and _accepts_connection(host, port),
        taken=_find_bind_error(host, port, shared=shared),
        port=port,
        is_shared=shared,
    )


def check_twice(start: Start) -> Iterator[StartFault]:
    """Check that no two configured endpoints listen on the same port."""
    seen: list[tuple[str, str, str, int]] = []
    for endpoint in endpoints(start.config, start.number, start.serving):
        kind = endpoint.text.partition(":")[0]
        host, port = _port_and_host(endpoint.text) if kind in SHARED else (endpoint.text, -1)
        family = "6" if ":" in host and port >= 0 else "4"
        first = next((one for one in seen if port and one[1] == family and _do_overlap((one[2], one[3]), (host, port))), None)
        if first is not None:
            what = f"{_short_reason(endpoint.text)}: {first[0]} listens there already"
            yield StartFault(
                check="ports",
                where=endpoint.where,
                what=what,
                remedy="give each its own port",
                subject=_short_reason(endpoint.text),
            )
        seen.append((endpoint.where, family, host, port))


def check_free(start: Start) -> Iterator[StartFault]:
    """Check that each port is free or, if this gateway is running, in use by this gateway."""
    running = database.running_here(start)
    for endpoint in endpoints(start.config, start.number, start.serving):
        seen = probe_endpoint(endpoint.text, shared=endpoint.shared, connect=False)
        if not seen.taken:
            continue
        what, remedy = f"{seen.name}: {seen.taken}", _port_remedy(seen.taken)
        if seen.taken == IN_USE:
            if running is None and start.running:  # another check reports the database, which would tell who has the port
                continue
            holder = find_holder(running or (), seen.port, start.instance)
            if holder is not None and start.running and (is_ours(holder, start.instance) or endpoint.shared):
                continue
            if holder is not None:
                what, remedy = f"{seen.name}: gateway {holder.name} of this machine has it", OWN_PORT
        yield StartFault(check="ports", where=endpoint.where, what=what, remedy=remedy, subject=seen.name)


OWN_PORT: Final = "give each gateway its own port ({instance} in the endpoint), or set share_ports"


def is_ours(row: Instance, instance: str) -> bool:
    """Check whether a running gateway is the one with this name, or its web process."""
    return row.name.removesuffix("-web") == instance


def find_holder(running: Iterable[Instance], port: int, instance: str) -> Instance | None:
    """Return the gateway among those of this machine that has opened a port, ours first, or None for another program."""
    for row in sorted(running, key=lambda row: not is_ours(row, instance)):
        if row.ports:
            has_it = str(port) in row.ports.split()
        else:
            # It is starting, or of an older version. If we may not inspect the process, believe that the port is ours.
            sees = listens(row.pid, port)
            has_it = is_ours(row, instance) if sees is None else sees
        if has_it:
            return row
    return None


def _port_remedy(taken: str) -> str:
    if taken == DENIED:
        return PRIVILEGED[:1].lower() + PRIVILEGED[1:-1]
    return "choose another port or address" + (", or end the program that has it" if taken == IN_USE else "")


def _short_reason(text: str) -> str:
    kind = text.partition(":")[0]
    return f"{kind}:{_port_and_host(text)[1]}" if kind in SHARED else text


def _do_overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    return one[1] == other[1] and (one[0] == other[0] or (one[1] > 0 and (one[0] in _HERE or other[0] in _HERE)))


def _port_and_host(text: str) -> tuple[str, int]:
    port, named = endpoint_arguments(text)
    return named.get("interface", "::" if text.startswith("tcp6") else ""), int(port)


def _accepts_connection(host: str, port: int) -> bool:
    """Check whether a TCP connection to the port is accepted within CONNECT_S seconds."""
    try:
        with socket.create_connection((_HERE.get(host, host), port), CONNECT_S):
            return True
    except OSError:
        return False


def _find_bind_error(host: str, port: int, *, shared: bool) -> str:
    """Return the reason why we cannot listen on a port, or "" if the port is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the gateway sets this option too
        if shared:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            trial.bind((host, port))
        except OSError as bad:
            return bad.strerror or str(bad)
    return ""
