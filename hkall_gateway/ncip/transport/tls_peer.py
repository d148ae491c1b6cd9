"""The peer of a connection: its address, and its TLS client certificate if it has one."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID

from hkall_gateway.ncip.service_request import Peer


def peer_of(transport: Any, address: str = "") -> Peer:
    """The peer of a transport; `address` replaces the transport's own if a proxy in between reports it."""
    host = address or str(getattr(transport.getPeer(), "host", ""))
    shown = getattr(transport, "getPeerCertificate", None)
    certificate = shown() if shown else None
    if certificate is None:
        return Peer(host)
    read: Certificate = certificate.to_cryptography()
    names = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Peer(host, read.fingerprint(SHA256()).hex(), str(names[0].value) if names else "")
