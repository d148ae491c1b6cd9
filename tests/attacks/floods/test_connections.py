"""Idle connections, endless bodies, unread replies, and floods of resends."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.net.bounded_http import MOST_HEAD
from hkall_gateway.net.http_post import AgentPost, NoReply
from hkall_gateway.net.limits.connection_limit import UNPROVEN
from tests.attacks.floods.arena import HOST, LOGIN, PATIENCE_S, Arena, connected, is_open, said
from tests.company import until

pytestmark = pytest.mark.long

NOTICED_S = 0.75
WAITS_S = 0.3
GROWN_MIB = 48
"""Allowed growth of the daemon's memory in MiB. A fresh daemon grows by twenty; unread replies would add more in seconds."""


def held_open(stack: ExitStack, port: int, source: str, number: int) -> list[socket.socket]:
    """Open connections from one address and return those that the daemon did not close at once."""
    lines: list[socket.socket] = []
    for _ in range(number):
        with suppress(ConnectionError):
            lines.append(stack.enter_context(closing(connected(port, source))))
    return lines


def readable(lines: list[socket.socket]) -> list[socket.socket]:
    """Return the connections that have received a reply or were closed."""
    return select.select(lines, [], [], 0)[0]


def unverified() -> ssl.SSLContext:
    """Return a TLS context that does not verify certificates."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def log_in(line: socket.socket) -> bytes:
    """Return the reply to a login, after the handshake if the port is encrypted."""
    if isinstance(line, ssl.SSLSocket):
        line.do_handshake()
    line.sendall(LOGIN)
    return line.recv(100)


@pytest.mark.parametrize("services", ["ncip", "raw"])
def test_unauthenticated_connections_of_an_address_are_limited(arena: Arena, services: str) -> None:
    with ExitStack() as stack:
        lines = held_open(stack, getattr(arena, services), "127.0.0.2", 2 * UNPROVEN)
        until(lambda: len(lines) - len(readable(lines)) <= UNPROVEN, "the end of those beyond the limit")
        assert arena.terminal().asks() < NOTICED_S
        assert arena.partner().asks() < NOTICED_S


@pytest.mark.parametrize("terminals", ["plain", "secure"])
def test_terminal_waits_while_many_connections_of_its_address_are_silent(arena: Arena, terminals: str) -> None:
    port = getattr(arena, terminals)
    with ExitStack() as stack:
        silent = held_open(stack, port, "127.0.0.2", UNPROVEN)
        line = stack.enter_context(closing(connected(port, "127.0.0.2")))
        if terminals == "secure":
            line = stack.enter_context(closing(unverified().wrap_socket(line, do_handshake_on_connect=False)))
        others = held_open(stack, port, "127.0.0.2", UNPROVEN)
        line.settimeout(WAITS_S)
        with pytest.raises(TimeoutError):
            log_in(line)
        assert arena.terminal().asks() < NOTICED_S
        assert arena.partner().asks() < NOTICED_S
        assert not readable(silent + others)  # no connection was closed
        silent[0].close()
        line.settimeout(PATIENCE_S)
        assert log_in(line).startswith(b"941")


def test_terminals_sharing_one_address_can_log_in_one_by_one(arena: Arena) -> None:
    with ExitStack() as stack:
        for _ in range(2 * UNPROVEN):
            line = stack.enter_context(closing(connected(arena.plain, "127.0.0.3")))
            line.sendall(LOGIN)
            assert line.recv(100).startswith(b"941")


def test_operators_can_connect_while_their_port_is_flooded(arena: Arena) -> None:
    with ExitStack() as stack:
        for line in held_open(stack, arena.ops, "127.0.0.2", 60):
            with suppress(ConnectionError):  # the connection was displaced by a newer one
                line.sendall(b"GET /metrics HTTP/1.1\r\n")
        heard = said(connected(arena.ops), b"GET /healthz HTTP/1.0\r\n\r\n")
    assert heard.startswith(b"HTTP/1.0 200")


def test_resends_before_a_login_in_one_packet_count_as_a_flood(arena: Arena) -> None:
    with arena.asked_meanwhile() as waits:
        heard = said(connected(arena.plain), b"97\r" * 65_000)
    assert heard.count(b"96") <= 100
    assert max(waits) < NOTICED_S


def test_garbage_before_a_login_counts_as_a_flood(arena: Arena) -> None:
    with arena.asked_meanwhile() as waits:
        assert said(connected(arena.plain), b"zz\r" * 65_000) == b""
    assert max(waits) < NOTICED_S


@pytest.mark.parametrize("question", [b"97\r", b"9900302.00\r", b"zz\r9900302.00\r"])
def test_terminal_is_not_read_while_its_replies_are_unread(arena: Arena, question: bytes) -> None:
    before = arena.rss_mib()
    with closing(connected(arena.plain, "127.0.0.4", receive_buffer=4096)) as line:
        line.sendall(LOGIN)
        time.sleep(0.1)
        assert _sent_until_blocked(line, question * 20) < 16 * 2**20
        assert arena.terminal().asks() < NOTICED_S
    assert arena.rss_mib() - before < GROWN_MIB


def test_partner_is_not_read_while_its_replies_are_unread(arena: Arena) -> None:
    before = arena.rss_mib()
    with closing(connected(arena.ncip, "127.0.0.4", receive_buffer=4096)) as line:
        assert _sent_until_blocked(line, b"GET /ncip HTTP/1.1\r\nHost:x\r\n\r\n") < 16 * 2**20
    assert arena.rss_mib() - before < GROWN_MIB


def _sent_until_blocked(line: socket.socket, data: bytes) -> int:
    """Return the number of bytes sent until the peer accepted nothing for half a second or closed the connection."""
    line.setblocking(False)
    sent, since, end = 0, time.monotonic(), time.monotonic() + PATIENCE_S
    while time.monotonic() - since < 0.5 and time.monotonic() < end:
        try:
            sent += line.send(data)
            since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return sent
    return sent


# ---- a partner with an endless reply


@contextmanager
def answering(head: bytes, piece: bytes) -> Iterator[tuple[int, list[int]]]:
    """A server that sends `head` and then `piece` endlessly; yields its port and the number of bytes taken from it."""
    taken = [0]
    with closing(socket.create_server((HOST, 0))) as server:

        def serve() -> None:
            line, _ = server.accept()
            with closing(line):
                line.settimeout(PATIENCE_S)
                line.recv(65_536)
                try:
                    line.sendall(head)
                    while taken[0] < 100 * 2**20:
                        taken[0] += line.send(piece * 500)
                except OSError:
                    return

        serving = threading.Thread(target=serve)
        serving.start()
        yield server.getsockname()[1], taken
        serving.join(PATIENCE_S)


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX-More: ", b"and more "),
    "interim responses": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "headers behind an interim response": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"<a/>" * 100),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 100),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_partner_reply_is_cut_off(reactor: object, name: str) -> None:
    head, piece = ENDLESS[name]
    post = AgentPost(reactor)
    with answering(head, piece) as (port, taken):
        began = time.monotonic()

        async def ask() -> object:
            return await post(f"http://{HOST}:{port}/ncip", b"<NCIPMessage/>", PATIENCE_S)

        with pytest.raises(NoReply, match="more than"):
            blockingCallFromThread(reactor, lambda: ensureDeferred(ask()))  # type: ignore[arg-type]
        assert time.monotonic() - began < PATIENCE_S / 2
    assert taken[0] < MOST_HEAD + 16 * 2**20  # bytes in kernel buffers do not count


# ---- long bodies


@pytest.mark.attack
def test_unfinished_bodies_stay_within_the_memory_budget(arena: Arena) -> None:
    before, body = arena.rss_mib(), b"a" * 900_000
    head = b"POST /ncip HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with ExitStack() as stack:
        lines = [line for n in range(2, 9) for line in held_open(stack, arena.ncip, f"127.0.0.{n}0", UNPROVEN)]
        for line in lines:
            line.setblocking(False)
        waiting = {line: memoryview(head + body) for line in lines}
        end = time.monotonic() + 30
        while waiting and time.monotonic() < end:
            for line in select.select([], list(waiting), [], 1)[1]:
                try:
                    waiting[line] = waiting[line][line.send(waiting[line][:65_536]) :]
                except OSError:
                    del waiting[line]
                else:
                    if not waiting[line]:
                        del waiting[line]
        assert arena.partner().asks() < NOTICED_S
        assert arena.rss_mib() - before < 48  # without a limit, it would grow by 155 MiB


DRIPS = {
    "blanks at a bare port":      ("raw", b"", b" "),
    "a document at a bare port":  ("raw", b"<NCIPMessage>", b"a"),
    "a head":                     ("ncip", b"POST /ncip HTTP/1.1\r\n", b"X-A: b\r\n"),
    "a body":                     ("ncip", b"POST /ncip HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"a"),
    "an operator's head":         ("ops", b"GET /metrics HTTP/1.1\r\n", b"X-A: b\r\n"),
    "a line before a login":      ("plain", b"", b"9"),
    "half of a TLS handshake":    ("secure", b"\x16\x03\x01\x01\x00", b"\x01"),
}  # fmt: skip
"""The port, the first bytes, and the drip sent once a second."""
LONGEST_S = 90


@pytest.mark.attack
def test_slow_sender_is_disconnected_in_time(arena: Arena) -> None:
    with ExitStack() as stack:
        alive = {
            name: stack.enter_context(closing(connected(getattr(arena, services)))) for name, (services, _, _) in DRIPS.items()
        }
        for name, line in alive.items():
            line.sendall(DRIPS[name][1])
        end = time.monotonic() + LONGEST_S
        while alive and time.monotonic() < end:
            time.sleep(1)
            for name, line in list(alive.items()):
                with suppress(OSError):
                    line.sendall(DRIPS[name][2])
                if not is_open(line):
                    del alive[name]
    assert not alive
