"""Client certificates over in-memory TLS: ours identify the caller, missing ones are accepted, others refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.testing import StringTransport

from hkall_gateway.net.client_certificate import ClientCertificate
from hkall_gateway.net.tls import server_context
from hkall_gateway.peers.callers import Peer, peer_of

START = datetime(2017, 1, 1, tzinfo=UTC)


class Identity:
    """A key and its certificate, self-signed or signed by another one, in files of a folder."""

    def __init__(self, folder: Path, name: str, issuer: Identity | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        by = issuer or self
        built = x509.CertificateBuilder(by.name, self.name, self.key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(START).not_valid_after(START + timedelta(days=36_500))
        built = built.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        self.certificate = built.sign(by.key, hashes.SHA256())
        self.pem, self.key_pem = folder / f"{name}.pem", folder / f"{name}.key"
        self.pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        self.key_pem.write_bytes(self.key.private_bytes(serialization.Encoding.PEM, form, plain))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("identities")
    authority = Identity(folder, "authority")
    names = {"authority": authority, "stranger": Identity(folder, "stranger")}
    return names | {name: Identity(folder, name, authority) for name in ("gateway.test", "ncip.cuhk.test")}


def server(people: dict[str, Identity], authorities: Path | None) -> SSL.Context:
    """The context of a port of the gateway."""
    ours = people["gateway.test"]
    return server_context({"privateKey": str(ours.key_pem), "certKey": str(ours.pem)}, authorities)


def shaken(context: SSL.Context, who: Identity | None) -> SSL.Connection:
    """The server's end after a handshake with this identity, or without one. Raises SSL.Error if refused."""
    theirs = SSL.Context(SSL.TLS_CLIENT_METHOD)
    theirs.set_max_proto_version(SSL.TLS1_2_VERSION)  # there a refused certificate is told within the handshake
    if who:
        theirs.use_privatekey_file(str(who.key_pem))
        theirs.use_certificate_file(str(who.pem))
    server, client = SSL.Connection(context, None), SSL.Connection(theirs, None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(6):
        for near, far in ((client, server), (server, client)):
            _step(near)
            _carry(near, far)
    return server


def _step(end: SSL.Connection) -> None:
    try:
        end.do_handshake()
    except SSL.WantReadError:
        return


def _carry(near: SSL.Connection, far: SSL.Connection) -> None:
    try:
        far.bio_write(near.bio_read(65_536))
    except SSL.WantReadError:
        return


class Line:
    """A TLS transport with Twisted's interface."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def getPeer(self) -> Any:  # noqa: N802  # Twisted's own name
        line: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted.testing has no types
        return line.getPeer()

    def getPeerCertificate(self) -> crypto.X509 | None:  # noqa: N802
        return self._connection.get_peer_certificate()


def test_certificate_from_a_trusted_authority_identifies_the_caller(people: dict[str, Identity]) -> None:
    context, who = server(people, people["authority"].pem), people["ncip.cuhk.test"]
    peer = peer_of(Line(shaken(context, who)), "10.0.0.7")
    fingerprint = who.certificate.fingerprint(hashes.SHA256()).hex()
    certificate = ClientCertificate(fingerprint=fingerprint, subject="ncip.cuhk.test")
    assert peer == Peer(address="10.0.0.7", certificate=certificate)


def test_caller_without_a_certificate_is_admitted_unidentified(people: dict[str, Identity]) -> None:
    peer = peer_of(Line(shaken(server(people, people["authority"].pem), None)), "10.0.0.7")
    assert peer == Peer(address="10.0.0.7")


def test_certificate_from_another_authority_is_refused(people: dict[str, Identity]) -> None:
    with pytest.raises(SSL.Error):
        shaken(server(people, people["authority"].pem), people["stranger"])


def test_no_certificate_is_requested_without_authorities(people: dict[str, Identity]) -> None:
    peer = peer_of(Line(shaken(server(people, None), people["ncip.cuhk.test"])), "10.0.0.7")
    assert peer == Peer(address="10.0.0.7")


def test_plaintext_connection_has_only_an_address() -> None:
    line: Any = StringTransport()  # type: ignore[no-untyped-call]  # twisted.testing has no types
    assert peer_of(line) == Peer(address=str(line.getPeer().host))


def test_fingerprint_equals_the_openssl_fingerprint_without_colons(people: dict[str, Identity]) -> None:
    context, who = server(people, people["authority"].pem), people["ncip.cuhk.test"]
    printed = crypto.X509.from_cryptography(who.certificate).digest("sha256").decode()
    assert peer_of(Line(shaken(context, who))).certificate.fingerprint == printed.replace(":", "").lower()
