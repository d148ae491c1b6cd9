"""Checks the keys and certificates for our own `ssl:` ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL import SSL

from hkall_gateway.app.start_checks.faults import Effect, Start, StartFault, endpoints
from hkall_gateway.net.tls import ERRORS, KIND, endpoint_arguments, server_context

OTHER_KEY: Final = ("no private key assigned", "key values mismatch")
"""OpenSSL's error texts for a private key that does not match the certificate."""
MEND: Final = "name a privateKey and a certKey that belong together and that the gateway's user can read (PEM)"
RENEW: Final = "renew the certificate, then reload the gateway"


def check_certificates(start: Start) -> Iterator[StartFault]:
    """Check that the files for each `ssl:` port are usable and that the certificate is currently valid."""
    for where, port, file, chain in read_certificates(start):
        if isinstance(chain, str):
            yield StartFault(check="certificate", where=where, what=f"port {port}: {chain}", remedy=MEND, subject=port)
            continue
        first, last = max(one.not_valid_before_utc for one in chain), min(one.not_valid_after_utc for one in chain)
        if last <= start.now:
            what = f"port {port}: {file}: the certificate ended on {last:%Y-%m-%d}"
            yield StartFault(check="certificate", where=where, what=what, remedy=RENEW, effect=Effect.TOLERATED, subject=port)
        elif first > start.now:
            what = f"port {port}: {file}: the certificate is valid only from {first:%Y-%m-%d}"
            yield StartFault(
                check="certificate",
                where=where,
                what=what,
                remedy="set this machine's clock, or wait",
                effect=Effect.TOLERATED,
                subject=port,
            )


def read_certificates(start: Start) -> Iterator[tuple[str, str, str, Sequence[Certificate] | str]]:
    """Yield (configuration key, port, file, certificate with chain or error text) for each `ssl:` port."""
    for endpoint in endpoints(start.config, start.number, start.serving):
        if endpoint.text.startswith(KIND):
            port, named = endpoint_arguments(endpoint.text)
            key = named.get("privateKey", "server.pem")
            file = named.get("certKey", key)
            try:
                if endpoint.client_ca is not None:
                    endpoint.client_ca.read_bytes()  # an OSError names the file, which OpenSSL's error does not
                server_context(named, endpoint.client_ca)
                yield endpoint.where, port, file, load_pem_x509_certificates(Path(file).read_bytes())
            except ERRORS as bad:
                yield endpoint.where, port, file, _describe_error(bad, key, file)


def _describe_error(bad: BaseException, key: str, file: str) -> str:
    """Return the reason why the files cannot be used. An OpenSSL error contains a list of reasons."""
    if isinstance(bad, OSError) and bad.filename:
        return f"{bad.filename}: {(bad.strerror or '').lower()}"
    listed = isinstance(bad, SSL.Error) and bad.args and bad.args[0]
    why = ", ".join(str(one[-1]) for one in bad.args[0]) if listed else str(bad) or type(bad).__name__
    if why in OTHER_KEY:
        return f"{file}: the key is not the certificate's"
    return why if isinstance(bad, ValueError) and why.startswith("/") else f"{key}: {why}"
