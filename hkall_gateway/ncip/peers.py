"""Who is at the other end: the address, and the certificate where one was shown; and a door that asks for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from hkall_gateway.edge.ports import entrance
from hkall_gateway.ncip.calls import Peer


def peer_of(transport: Any, address: str = "") -> Peer:
    """The peer of a transport; `address` where something in between knows better."""
    host = address or str(getattr(transport.getPeer(), "host", ""))
    shown = getattr(transport, "getPeerCertificate", None)
    certificate = shown() if shown else None
    if certificate is None:
        return Peer(host)
    read: Certificate = certificate.to_cryptography()
    names = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Peer(host, read.fingerprint(SHA256()).hex(), str(names[0].value) if names else "")


def endpoint(reactor: Any, text: str, authorities: Path | None, *, shared: bool = False) -> Any:
    """The server endpoint of a description; one with TLS asks for a certificate that an authority of the file has signed.

    Whoever shows none is let in all the same and must prove by other means who it is. Raises OSError and OpenSSL's errors for
    files that cannot be used. `shared` as in `entrance`.
    """
    made = entrance(reactor, text, shared=shared)
    if authorities is not None and text.startswith("ssl:"):
        # Twisted's endpoint strings have no word for client certificates; the context that they make is completed here.
        context = made._sslContextFactory.getContext()
        context.load_verify_locations(str(authorities))
        context.set_verify(SSL.VERIFY_PEER, lambda _line, _shown, _error, _depth, ok: bool(ok))
    return made
