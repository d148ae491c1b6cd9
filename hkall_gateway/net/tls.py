"""TLS for our own ports: modern parameters, certificate reload on open ports, and PROXY headers before the handshake.

Source: Mozilla's server side TLS guidelines, "intermediate": TLS 1.2 with ECDHE and an AEAD cipher, or TLS 1.3.
"""

from __future__ import annotations

import re
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolNegotiationFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from hkall_gateway.clock import ScheduledCall, cancel
from hkall_gateway.net.endpoints import server_endpoint

KIND: Final = "ssl:"
CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""The ciphers for TLS 1.2. TLS 1.3 needs no list, since all of its ciphers are modern."""
CURVE: Final = ec.SECP256R1()
"""The curve for ECDHE, which every client supports. pyOpenSSL can set only one curve, and OpenSSL's defaults are too wide."""
HANDSHAKE_S: Final = 10.0
"""Seconds within which a client must complete the handshake."""
OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """The certificates for one port. `read` creates a TLS context from the files, including client certificate authorities."""

    def __init__(self, read: Callable[[], SSL.Context], port: str = "") -> None:
        self._read, self.port = read, port
        self._context = read()

    def renew(self) -> None:
        """Reload the files for new connections. Raise one of ERRORS if they are unusable; the current context then stays."""
        self._context = self._read()

    def serverConnectionForTLS(self, _protocol: object) -> SSL.Connection:  # noqa: N802  # Twisted's own name
        """Return the TLS state for a new connection."""
        return SSL.Connection(self._context, None)


class _Handshake(BufferingTLSTransport):
    """The TLS layer of a connection, which is aborted if the handshake takes too long."""

    factory: Any
    _timeout: ScheduledCall | None = None

    def makeConnection(self, transport: object) -> None:  # noqa: N802  # Twisted's own names
        self._timeout = self.factory.reactor.callLater(HANDSHAKE_S, self._check_handshake)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]  # it has no types

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        cancel(self._timeout)
        super().connectionLost(reason)

    def _check_handshake(self) -> None:
        if self.getHandle().get_peer_finished() is None:  # type: ignore[no-untyped-call]
            self.abortConnection()  # type: ignore[no-untyped-call]


class TlsEndpoint:
    """An `ssl:` endpoint. `around` wraps the factory below TLS, since a balancer sends a PROXY header before the handshake."""

    def __init__(self, plain: Any, certificates: Certificates, reactor: Any, around: Callable[[object], object]) -> None:
        self._plain, self.certificates, self._reactor, self._around = plain, certificates, reactor, around

    def listen(self, factory: Any) -> object:
        """Start listening and return a Deferred for the port."""
        shown: Any = self.certificates  # mypy takes a zope interface for a class
        made: Any = TLSMemoryBIOFactory(shown, False, factory, self._reactor)
        made.protocol, made.reactor = _Handshake, self._reactor
        return self._plain.listen(self._around(made))


def tls_entrance(
    reactor: object,
    text: str,
    *,
    shared: bool = False,
    authorities: Path | None = None,
    around: Callable[[object], object] = lambda factory: factory,
) -> TlsEndpoint:
    """Create a server endpoint from an `ssl:` endpoint string. Raise one of ERRORS if the files are unusable.

    With `authorities`, clients are asked for a certificate signed by one of these authorities. A client without a certificate
    is admitted and must authenticate by other means.
    """
    port, named = endpoint_arguments(text)
    given = (f"{key}=" + re.sub(r"([:=\\])", r"\\\1", named[key]) for key in ("interface", "backlog") if key in named)
    plain = ":".join(("tcp", port, *given))
    shown = Certificates(lambda: server_context(named, authorities), port)
    return TlsEndpoint(server_endpoint(reactor, plain, shared=shared), shown, reactor, around)


def endpoint_arguments(text: str) -> tuple[str, Mapping[str, str]]:
    """Parse an endpoint string such as `ssl:6443:privateKey=key.pem:…` into its port and its named arguments."""
    _kind, *parts = re.split(r"(?<!\\):", text)
    pairs = [part.partition("=") for part in parts]
    named = {key: re.sub(r"\\(.)", r"\1", value) for key, equals, value in pairs if equals}
    port = next((key for key, equals, _ in pairs if not equals), named.get("port", ""))
    return port, named


def server_context(named: Mapping[str, str], authorities: Path | None = None) -> SSL.Context:
    """Create a TLS context from the arguments privateKey, certKey (which may include the chain) and extraCertChain."""
    key = named.get("privateKey", "server.pem")
    for file in dict.fromkeys((key, named.get("certKey", key))):
        _require_pem(Path(file))
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.set_options(OPTIONS)
    made.set_session_id(secrets.token_hex(7).encode())
    made.set_tmp_ecdh(CURVE)
    made.use_privatekey_file(key)
    own, *chain = _certificates(named.get("certKey", key))
    made.use_certificate(own)
    for one in (*chain, *_certificates(named.get("extraCertChain", ""))):
        made.add_extra_chain_cert(one)
    made.check_privatekey()
    if authorities is not None:
        made.load_verify_locations(str(authorities))
        made.set_verify(SSL.VERIFY_PEER, lambda _line, _shown, _error, _depth, ok: bool(ok))
    made.set_alpn_select_callback(_choose_protocol)
    made.set_cipher_list(CIPHERS)  # last, because it opens a test connection, after which the context cannot be changed
    return made


def client_context(authority: Path | None = None) -> ssl.SSLContext:
    """Return the context of a command that connects as a client. It trusts what the gateway trusts, and `authority`.

    Python 3.13 refuses authorities without the extensions of RFC 5280, such as those that `openssl req -x509` makes. The
    gateway's own connections take them, so that a command must not differ.
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _require_pem(file: Path) -> None:
    """Raise OSError or ValueError, which name the file and the remedy: OpenSSL's own error names neither.

    OpenSSL would ask for the passphrase of a key on the terminal.
    """
    text = file.read_bytes()
    if text.startswith(_DER):
        raise ValueError(f"{file}: is DER, not PEM: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`")
    if b"ENCRYPTED" in text:
        raise ValueError(f"{file}: the key has a passphrase: remove it with `openssl pkey -in {file.name} -out NEW`")


_DER: Final = (b"\x30\x82", b"\x30\x81")
"""The first bytes of a certificate or key in DER: a sequence with a length of one or two bytes."""


def _certificates(file: str) -> Sequence[Certificate]:
    return load_pem_x509_certificates(Path(file).read_bytes()) if file else ()


def _choose_protocol(line: SSL.Connection, offered: Sequence[bytes]) -> Any:
    """Choose one of the protocols that the client offers (ALPN). A client without a common protocol is still served."""
    factory = line.get_app_data().factory.wrappedFactory
    ours: Any = IProtocolNegotiationFactory(factory, None)
    known = ours.acceptableProtocols() if ours else ()
    return next((name for name in known if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


ERRORS: Final = (OSError, ValueError, SSL.Error, crypto.Error)
"""Exceptions raised for unusable certificate and key files."""
