"""TLS listeners and their parameters from an endpoint string."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, MemoryReactorClock, StringTransport

from hkall_gateway.net.tls import ERRORS, HANDSHAKE_S, Certificates, endpoint_arguments, server_context, tls_entrance
from tests.test_daemon_ncip import identity


@pytest.mark.parametrize(
    ("text", "port", "named"),
    [
        ("ssl:6443", "6443", {}),
        ("ssl:port=6443:privateKey=a.pem", "6443", {"port": "6443", "privateKey": "a.pem"}),
        ("ssl:6443:interface=127.0.0.1", "6443", {"interface": "127.0.0.1"}),
        (r"ssl:6443:certKey=C\:/a\=b.pem:backlog=5", "6443", {"certKey": "C:/a=b.pem", "backlog": "5"}),
        (r"ssl:6443:interface=\:\:1", "6443", {"interface": "::1"}),
    ],
)
def test_endpoint_arguments_are_parsed_like_twisted_does(text: str, port: str, named: dict[str, str]) -> None:
    assert endpoint_arguments(text) == (port, named)


def test_tls_listener_uses_the_port_of_its_endpoint_string(tmp_path: Path) -> None:
    reactor: Any = MemoryReactor()  # type: ignore[no-untyped-call]  # twisted.testing has no types
    own = identity(tmp_path, "own")
    tls_entrance(reactor, f"ssl:6443:privateKey={own}:interface=127.0.0.1:backlog=7").listen(Factory())
    (port, _factory, backlog, interface) = reactor.tcpServers[0]
    assert (port, backlog, interface) == (6443, 7, "127.0.0.1")


def _connected(folder: Path, clock: Clock) -> Any:
    """Return a client of an `ssl:` port that has not sent anything yet."""
    reactor: Any = MemoryReactorClock()  # type: ignore[no-untyped-call]
    reactor.callLater = clock.callLater
    tls_entrance(reactor, f"ssl:6443:privateKey={identity(folder, 'own')}").listen(Factory.forProtocol(Protocol))
    line: Any = StringTransport()  # type: ignore[no-untyped-call]
    line.protocol = reactor.tcpServers[0][1].buildProtocol(None)
    line.protocol.makeConnection(line)
    return line


def test_slow_handshake_is_aborted(tmp_path: Path) -> None:
    clock = Clock()
    line = _connected(tmp_path, clock)
    line.protocol.dataReceived(b"\x16\x03\x01")
    clock.advance(HANDSHAKE_S - 0.1)
    assert not line.disconnected
    clock.advance(0.2)
    assert line.disconnected


def test_idle_connection_is_kept_after_its_handshake(tmp_path: Path) -> None:
    clock = Clock()
    line = _connected(tmp_path, clock)
    near = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    near.set_connect_state()
    for _ in range(4):
        with suppress(SSL.WantReadError):
            near.do_handshake()
        with suppress(SSL.WantReadError):
            line.protocol.dataReceived(near.bio_read(65_536))
        if said := line.value():
            near.bio_write(said)
            line.clear()
    clock.advance(HANDSHAKE_S + 1)
    assert (near.get_peer_finished() is not None, line.disconnected) == (True, False)


def test_disconnect_during_the_handshake_leaves_no_timer(tmp_path: Path) -> None:
    clock = Clock()
    _connected(tmp_path, clock).protocol.connectionLost(connectionDone)
    assert clock.getDelayedCalls() == []


def shaken(server: SSL.Context, **client: Any) -> SSL.Connection:
    """Return the client's end after an in-memory handshake. Raises SSL.Error if the two do not agree."""
    theirs = SSL.Context(SSL.TLS_CLIENT_METHOD)
    for name, value in client.items():
        getattr(theirs, name)(value)
    near, far = SSL.Connection(theirs, None), SSL.Connection(server, None)
    far.set_app_data(_Line())
    near.set_connect_state()
    far.set_accept_state()
    for _ in range(6):
        for one, other in ((near, far), (far, near)):
            with suppress(SSL.WantReadError):
                one.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65_536))
    assert near.get_cipher_name()
    return near


class _Line:
    """A connection for a factory without named protocols, as Twisted would wrap it."""

    def __init__(self) -> None:
        self.factory, self.wrappedFactory = self, Factory()


@pytest.fixture
def own(tmp_path: Path) -> SSL.Context:
    return server_context({"privateKey": str(identity(tmp_path, "own"))})


@pytest.mark.parametrize("suite", [b"AES128-SHA", b"AES256-GCM-SHA384", b"ECDHE-ECDSA-AES256-SHA384"])
def test_cbc_and_static_rsa_are_refused(own: SSL.Context, suite: bytes) -> None:
    with pytest.raises(SSL.Error):
        shaken(own, set_max_proto_version=SSL.TLS1_2_VERSION, set_cipher_list=suite)


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_old_tls_versions_are_refused(own: SSL.Context, version: int) -> None:
    with pytest.raises(SSL.Error):
        shaken(own, set_max_proto_version=version, set_cipher_list=b"ALL@SECLEVEL=0")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_current_versions_use_an_aead_cipher(own: SSL.Context, version: int) -> None:
    name = shaken(own, set_max_proto_version=version).get_cipher_name()
    assert name is not None
    assert "GCM" in name or "CHACHA20" in name


def test_client_offering_unknown_protocols_is_served(own: SSL.Context) -> None:
    assert shaken(own, set_alpn_protos=[b"h2", b"sip2"]).get_alpn_proto_negotiated() == b""


def test_certificate_chain_in_the_file_is_sent(tmp_path: Path) -> None:
    own, other = identity(tmp_path, "own"), identity(tmp_path, "other")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(own.read_bytes() + other.read_bytes())
    shown = shaken(server_context({"privateKey": str(own), "certKey": str(chain)})).get_peer_cert_chain()
    assert shown is not None
    assert [name_in(one) for one in shown] == ["own", "other"]


def test_invalid_files_keep_the_current_certificate(tmp_path: Path) -> None:
    file = identity(tmp_path, "own")
    port = Certificates(lambda: server_context({"privateKey": str(file)}))
    file.write_text("no certificate")
    with pytest.raises(ERRORS):
        port.renew()
    assert _name(port) == "own"
    file.write_bytes(identity(tmp_path, "new").read_bytes())
    port.renew()
    assert _name(port) == "new"


def name_in(shown: crypto.X509) -> str:
    return str(shown.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _name(port: Certificates) -> str:
    shown = shaken(port.serverConnectionForTLS(None).get_context()).get_peer_certificate()
    assert shown is not None
    return name_in(shown)


def test_mismatched_key_is_refused(tmp_path: Path) -> None:
    own, other = identity(tmp_path, "own"), identity(tmp_path, "other")
    with pytest.raises(ERRORS):
        server_context({"privateKey": str(own), "certKey": str(other)})
