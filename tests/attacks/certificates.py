"""A certificate authority for tests, and the certificates that it issues, as files in a folder."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


class Authority:
    """A certificate authority for this machine; `pem` is its own certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _named("The tests' authority")
        self.pem = folder / "authority.pem"
        ours = self._signed(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.pem.write_bytes(ours.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> int:
        """Write `name`.key and `name`.pem, replacing existing files; return the certificate's serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(_named("localhost"), key.public_key(), x509.BasicConstraints(ca=False, path_length=None))
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self._folder / f"{name}.key").write_bytes(secret)
        (self._folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return made.serial_number

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePublicKey, kind: x509.BasicConstraints) -> x509.Certificate:
        now = datetime.now(UTC)  # noqa: TID251  # real TLS looks at the real clock
        built = x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
        built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=80))
        built = built.add_extension(kind, critical=True).add_extension(_use(signs=kind.ca), critical=True)
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        built = built.add_extension(by, critical=False)
        if not kind.ca:
            built = built.add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
            built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return built.sign(self._key, hashes.SHA256())


def _use(*, signs: bool) -> x509.KeyUsage:
    """Key usage: an authority's key signs certificates, a server's key signs handshakes."""
    never = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    never |= dict.fromkeys(("encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **never)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
