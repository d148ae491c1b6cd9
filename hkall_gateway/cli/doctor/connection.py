"""Checks of the connection to a peer: host name, port, TLS and clock, in the way that the gateway uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from socket import SOCK_STREAM, getaddrinfo
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from cryptography.x509 import Certificate, DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer

from hkall_gateway.cli.doctor.findings import FAULTS, TLS, ExaminationTools, Sheet, TooLong, within
from hkall_gateway.net.endpoints import Transport
from hkall_gateway.rules.values import on_this_machine

P = TypeVar("P", bound=Protocol)

SHOWN: Final = 4
"""Maximum number of a host's addresses to show."""


async def check_reach(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> tuple[str, ...]:
    """Check name resolution and the connection to `port`. Return the host's addresses, or () if one of the checks failed."""
    addresses = await _resolve_host(sheet, tools, host, port)
    return addresses if addresses and await _check_connection(sheet, tools, host, port) else ()


def plan(address: str) -> tuple[str, ...]:
    """Return the names of the checks of the way to a URL or HOST:PORT, in order."""
    return ("dns", "tcp", *(TLS if urlsplit(address).scheme == "https" else ("tls.version",)))


async def check_url(sheet: Sheet, tools: ExaminationTools, url: str) -> tuple[tuple[str, ...], bool]:
    """Check the connection to the host of a URL or HOST:PORT.

    Returns:
        The addresses of the host, or () if it cannot be reached, and whether a secret may be sent there.
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    addresses = await check_reach(sheet, tools, host, port)
    if not addresses or secure:
        return addresses, bool(addresses) and await check_tls(sheet, tools, host, port)
    report_plain(sheet, host, "an https:// URL", "the secret and the data of patrons")
    return addresses, True


async def _resolve_host(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> tuple[str, ...]:
    def look_up() -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(where[0]) for *_, where in getaddrinfo(host, port, type=SOCK_STREAM)))

    try:
        addresses = await within(tools.reactor, sheet.left_s(), tools.in_thread(look_up))
    except TooLong as late:
        sheet.fail("dns", f"{host}: {late}")
        return ()
    except (OSError, UnicodeError):  # an unknown name, or a text that cannot be a name
        addresses = ()
    if addresses:
        sheet.ok("dns", ", ".join(addresses[:SHOWN]))
    else:
        sheet.fail("dns", f"{host} has no address")
    return addresses


async def _check_connection(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> bool:
    began, left_s = tools.reactor.seconds(), sheet.left_s()
    try:
        line = cast(Transport, (await connect(tools, host, port, left_s, Protocol)).transport)
    except (TooLong, ConnectError, OSError) as failed:
        sheet.fail("tcp", f"port {port}: {connection_error(failed)}")
        return False
    address, took_ms = getattr(line.getPeer(), "host", host), (tools.reactor.seconds() - began) * 1000
    sheet.ok("tcp", f"port {port} of {address}, {took_ms:.0f} ms")
    line.loseConnection()
    return True


async def connect(
    tools: ExaminationTools, host: str, port: int, seconds: float, make: Callable[[], P], recorder: Recorder | None = None
) -> P:
    """Connect a protocol created by `make`, as the gateway would; with a `recorder`, by TLS. Raise TooLong after `seconds`."""
    endpoint: Any = HostnameEndpoint(tools.reactor, host, port, timeout=seconds)  # the class is untyped
    factory: Any = Factory.forProtocol(make)
    factory.noisy = False
    if recorder is not None:
        endpoint = wrapClientTLS(recorder, endpoint)  # type: ignore[arg-type]  # mypy takes a zope interface for a class
    return cast(P, await within(tools.reactor, seconds, endpoint.connect(factory)))


def connection_error(failed: BaseException) -> str:
    """Return a short reason for a failed connection."""
    text = str(failed).rstrip(".")
    if isinstance(failed, ConnectError):
        text = text.rpartition(": ")[2]  # drop Twisted's prefix and the errno, keep the system's message
    return text or type(failed).__name__


# TLS checks of a peer: protocol version, chain, host name and expiry, each reported separately.
# The handshake uses the gateway's own TLS context. Certificate faults are recorded instead of ending the connection, so that
# one run reports all of them. No application data is sent over such a connection.


SOON_DAYS: Final = 14
"""Warn about a certificate with fewer days left: automatic renewal happens at least two weeks before the expiry."""
MODERN: Final = ("TLSv1.2", "TLSv1.3")

NOT_YET_VALID, HAS_EXPIRED = 9, 10
OF_TIME: Final = frozenset({NOT_YET_VALID, HAS_EXPIRED})
"""Errors about validity dates, as opposed to the chain. Source: OpenSSL, x509_vfy.h."""


@dataclass(frozen=True, slots=True)
class PeerHandshake:
    """Result of a TLS handshake with a peer. `chain` starts with the peer's certificate. `faults` are OpenSSL error numbers."""

    version: str
    chain: tuple[Certificate, ...]
    faults: tuple[int, ...]


class NoHandshake(Exception):
    """The TLS handshake did not complete."""


@implementer(IOpenSSLClientConnectionCreator)
class Recorder:
    """Creates the TLS connections that the gateway would make to `host`, but records certificate faults instead of failing."""

    def __init__(self, host: str) -> None:
        self._options: Any = optionsForClientTLS(host)  # mypy takes a zope interface for a class
        self._line: SSL.Connection | None = None
        self._faults: list[int] = []

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802  # Twisted's own name
        """Create the TLS layer of a new connection."""
        line: SSL.Connection = self._options.clientConnectionForTLS(protocol)
        line.set_verify(SSL.VERIFY_PEER, self._record_fault)
        self._line = line
        return line

    def handshake(self) -> PeerHandshake:
        """Return the version, chain and faults. Call it only after the handshake is complete."""
        assert self._line is not None
        # Use the verified chain instead of all certificates sent, since some peers also send expired roots.
        used = self._line.get_verified_chain() or self._line.get_peer_cert_chain() or ()
        chain = tuple(one.to_cryptography() for one in used)
        return PeerHandshake(self._line.get_protocol_version_name(), chain, tuple(dict.fromkeys(self._faults)))

    def _record_fault(self, _line: SSL.Connection, _shown: crypto.X509, fault: int, _depth: int, ok: int) -> bool:
        if not ok:
            self._faults.append(fault)
        return True


async def check_tls(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> bool:
    """Check a peer's TLS as the gateway would use it, and add the findings about version, chain, name and expiry."""
    recorder, left_s = Recorder(host), sheet.left_s()
    try:
        line = await connect(tools, host, port, left_s, HandshakeProbe, recorder)
        await within(tools.reactor, sheet.left_s(), line.shaken)
    except (TooLong, NoHandshake, SSL.Error, OSError) as failed:
        sheet.fail("tls.version", f"no handshake: {handshake_error(failed)}")
        return False
    cast(Transport, line.transport).abortConnection()
    return judge_handshake(sheet, host, recorder.handshake(), tools.means.clock())


def report_plain(sheet: Sheet, host: str, key: str, what: str) -> None:
    """Add the finding about an unencrypted connection. `key` is the setting that enables TLS, `what` the exposed data."""
    if on_this_machine(host):
        sheet.ok("tls.version", "not encrypted, on this machine only")
    else:
        sheet.warn("tls.version", f"not encrypted: {what} can be read on the way", f"Use {key}, or keep the way private (VPN).")


def judge_handshake(sheet: Sheet, host: str, handshake: PeerHandshake, now: datetime) -> bool:
    """Add the findings about a peer's TLS version, chain, name and expiry, and return whether all checks passed."""
    before = len(sheet.failed)
    if handshake.version in MODERN:
        sheet.ok("tls.version", handshake.version)
    else:
        sheet.fail("tls.version", f"{handshake.version} is too old")
    faults = [fault for fault in handshake.faults if fault not in OF_TIME]
    if faults:
        words = dict.fromkeys(FAULTS["chain"].get(str(fault), f"OpenSSL's error {fault}") for fault in faults)
        sheet.fail("tls.chain", "; ".join(words))
    else:
        sheet.ok("tls.chain", f"signed by {_common_name(handshake.chain[0].issuer.rfc4514_string())}")
    own = handshake.chain[0]
    verify = verify_certificate_ip_address if isIPAddress(host) or isIPv6Address(host) else verify_certificate_hostname
    try:
        verify(own, host)
    except (VerificationError, CertificateError):
        sheet.fail("tls.name", f"it is for {', '.join(names(own)) or 'no name'}, and not for {host}")
    else:
        sheet.ok("tls.name", host)
    expiry(sheet, "tls.expiry", handshake.chain, now)
    return len(sheet.failed) == before


def expiry(sheet: Sheet, check: str, chain: Sequence[Certificate], now: datetime, about: str = "") -> None:
    """Add the finding about the certificate that expires first in a chain."""
    own, first = chain[0], min(chain, key=lambda one: one.not_valid_after_utc)
    left, until = (first.not_valid_after_utc - now).days, f"{first.not_valid_after_utc:%Y-%m-%d}"
    whose = "" if first is own else f" ({_common_name(first.subject.rfc4514_string())}, further up the chain)"
    if own.not_valid_before_utc > now:
        sheet.fail(check, f"valid only from {own.not_valid_before_utc:%Y-%m-%d}; our clock says {now:%Y-%m-%d}", about=about)
    elif first.not_valid_after_utc <= now:
        sheet.fail(check, f"ended {_format_days((now - first.not_valid_after_utc).days)} ago, on {until}{whose}", about=about)
    elif left < SOON_DAYS:
        sheet.warn(check, f"ends in {_format_days(left)}, on {until}{whose}", about=about)
    else:
        sheet.ok(check, f"{_format_days(left)}, until {until}{whose}", about=about)


def _format_days(number: int) -> str:
    return f"{number} day{'' if number == 1 else 's'}"


def names(own: Certificate) -> list[str]:
    """Return the host names and IP addresses in a certificate."""
    try:
        difference = own.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return []
    return [*difference.get_values_for_type(DNSName), *(str(one) for one in difference.get_values_for_type(IPAddress))]


def _common_name(name: str) -> str:
    """Return the common name in a distinguished name, or the whole name if it has no common name."""
    return next((part[3:] for part in name.split(",") if part.startswith("CN=")), name)


def handshake_error(failed: BaseException) -> str:
    """Return the reason for a failed handshake, with OpenSSL's error message if there is one."""
    cause = failed.__cause__ if isinstance(failed, NoHandshake) and failed.__cause__ else failed
    if isinstance(cause, SSL.Error) and cause.args and cause.args[0]:
        return ", ".join(str(one[-1]) for one in cause.args[0])
    return connection_error(cause)


@implementer(IHandshakeListener)
class HandshakeProbe(Protocol):
    """A protocol that sends no data. `shaken` fires when the TLS handshake is complete, or fails with NoHandshake."""

    def __init__(self) -> None:
        self.shaken: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:  # noqa: N802  # Twisted's own name
        """Fire `shaken`."""
        self.shaken.callback(None)

    def connectionLost(self, handshake_error: Failure = connectionDone) -> None:  # noqa: N802
        """Fail `shaken` with the reason, unless the handshake was completed."""
        if not self.shaken.called:
            lost = NoHandshake("the connection was closed")
            lost.__cause__ = handshake_error.value if isinstance(handshake_error.value, SSL.Error) else None
            self.shaken.errback(lost)


MINUTE_S, HOUR_S, HALF_HOUR_S = 60, 3600, 1800
USUAL_S: Final = 60
MOST_S: Final = 300
"""Maximum clock difference in seconds. Beyond it, the two sides disagree on message dates, expiry dates and tokens."""


def judge_clock(sheet: Sheet, peer_time: datetime | None, before: datetime, after: datetime) -> None:
    """Add the finding about the peer's clock.

    `peer_time` is the time in the peer's reply, None if the peer sends no time. `before` and `after` are our times around the
    query.
    """
    if peer_time is None:
        sheet.skip("clock", "the peer does not send its time")
        return
    off_s = (peer_time - (before + (after - before) / 2)).total_seconds()
    if abs(off_s) <= USUAL_S:
        sheet.ok("clock", "agrees with ours")
        return
    difference = f"{_format_duration(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} ours"
    (sheet.fail if abs(off_s) > MOST_S else sheet.warn)("clock", difference + _zone_hint(abs(off_s)))


def _zone_hint(off_s: float) -> str:
    """Return a hint if the difference looks like a wrong time zone: whole half hours, up to fifteen hours."""
    rest = off_s % HALF_HOUR_S
    near = min(rest, HALF_HOUR_S - rest) <= USUAL_S
    return ", as with a wrong time zone" if near and HALF_HOUR_S - USUAL_S <= off_s <= 15 * HOUR_S else ""


def _format_duration(seconds: float) -> str:
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"
