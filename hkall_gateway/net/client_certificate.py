"""The certificate that a client shows over TLS, and what it proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID

from hkall_gateway.net.endpoints import Peered
from hkall_gateway.net.secrets import are_equal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A certificate that one of the configured authorities has signed, or NO_CERTIFICATE.

    Attributes:
        fingerprint: SHA-256 fingerprint in hex without colons, or "".
        subject: Common name, or "".
    """

    fingerprint: str = ""
    subject: str = ""

    def is_bound_to(self, configured: str) -> bool:
        """Check whether a row of the configuration names this certificate, by fingerprint or by common name."""
        names = [name for name in (self.fingerprint, self.subject) if name]
        return bool(configured) and any(are_equal(configured, name) for name in names)


NO_CERTIFICATE: Final = ClientCertificate()


def show_none() -> ClientCertificate:
    """Return NO_CERTIFICATE, for a connection without TLS."""
    return NO_CERTIFICATE


def client_certificate(transport: Peered) -> ClientCertificate:
    """Return the certificate that the client of a connection has shown. Call this only after the TLS handshake."""
    read_shown = getattr(transport, "getPeerCertificate", None)
    shown = read_shown() if read_shown else None
    if shown is None:
        return NO_CERTIFICATE
    certificate: Certificate = shown.to_cryptography()
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ClientCertificate(
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        subject=str(names[0].value) if names else "",
    )
