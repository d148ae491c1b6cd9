"""Queries to the library's own system from a command, each on its own connection."""

from __future__ import annotations

import os
import socket

from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.clock import now
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.db.database import Immediate
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.ils.local_system import ConnectedSystem, OfflineRules, reject_pin
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.http_post import Post, blocking_get
from hkall_gateway.net.socket_lines import SocketLines
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.client import MOST_BYTES, TRIES, Login, Unusable, classify_reply, login_line
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.lines import Sip2Message, body_of, seal_body


class IlsConnection:
    """Sends queries to a SIP2 server, each on its own connection."""

    def __init__(self, ils: IlsConfig, dialect: Sip2Dialect, login: Login) -> None:
        self._ils, self._dialect, self._login = ils, dialect, login

    async def __call__(self, body: bytes) -> bytes:
        """Send a message and return the reply, as `sip2.client.Ask` requires."""
        try:
            with _connect(self._ils) as line:
                if self._login.name and not self._exchange(line, login_line(self._login, self._dialect), 0).startswith(b"941"):
                    raise Unusable("the login was refused")
                return self._exchange(line, body, 1)
        except (OSError, Unusable) as failed:
            raise Unreachable(str(failed) or type(failed).__name__) from None

    def _exchange(self, line: socket.socket, body: bytes, number: int) -> bytes:
        question = Sip2Message(body[:2].decode("latin-1"), sequence=str(number), checked=True)
        wire = SocketLines(line, MOST_BYTES)
        line.sendall(seal_body(body, question, self._dialect))
        for _ in range(TRIES):
            reply = wire.hear()
            if classify_reply(reply, question, self._dialect) == "":
                return body_of(reply, self._dialect)
        raise Unusable("no usable reply")


def live_system(config: GatewayConfig, library: Library, store: Immediate, post: Post) -> ConnectedSystem:
    """Return the configured system with its offline fallback. It never checks a PIN, since a command has none."""
    ils, dialect = config.ils, config_mapping.framing_of_ils(config)
    password = Sensitive(os.environ.get(ils.password_env or "", ""))
    login = Login(ils.login, password, ils.location)
    outside = ConnectorServices(
        now=now,
        health=CircuitBreaker("command", now),
        line=lambda: IlsConnection(ils, dialect, login),
        post=post,
        dialect=dialect,
        password=password,
        get=blocking_get,
    )
    tools = ConnectorTools(store=store, agency=config.library.agency, verify=reject_pin, settings=ils, outside=outside)
    terms = OfflineRules(fallback=ils.fallback, keep_s=ils.keep_s)
    return ConnectedSystem(store, find_adapter(ils.connector).build(tools), lambda: library, now, lambda: terms)


def _connect(ils: IlsConfig) -> socket.socket:
    line = socket.create_connection((ils.host, ils.port), ils.timeout_s)
    from hkall_gateway.net.tls import client_context

    return client_context().wrap_socket(line, server_hostname=ils.host) if ils.tls else line
