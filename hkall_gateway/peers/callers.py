"""Authenticates the callers of one protocol. Each secret, token, certificate or IP address belongs to one agency.

A caller belongs to a protocol: the table of callers that a protocol's responder gets has no caller of another protocol, so
that a secret agreed for one opens nothing of another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from functools import lru_cache
from typing import Final, Literal, Protocol

from hkall_gateway.net.client_certificate import NO_CERTIFICATE, ClientCertificate, client_certificate
from hkall_gateway.net.endpoints import Peered
from hkall_gateway.net.limits.allow_list import AllowList, network_of, networks_of
from hkall_gateway.net.limits.rate_limiter import OF_A_CALLER, Guesses
from hkall_gateway.net.secrets import DECOY, are_equal
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.authentication import (
    BASIC,
    BEARER,
    NO_HTTP_PROOF,
    HttpCredentials,
    HttpProof,
    challenge,
    is_accepted,
    issuer,
    parse_authorization,
)
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.partners import Partner

Kind = Literal["partner", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The sender of a document, as known from the connection.

    Attributes:
        address: IP address.
        certificate: Verified client certificate, or NO_CERTIFICATE.
        authorization: Authorization header of the HTTP request, or "".
        traceparent: Value of a valid traceparent header, or "".
    """

    address: str
    certificate: ClientCertificate = NO_CERTIFICATE
    authorization: str = field(default="", repr=False)
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSecret:
    """A secret that a caller sends inside documents, and the variable that holds it. The text "" never matches."""

    variable: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A partner or client that may call us, with credentials.

    Attributes:
        access: Configured row, including a certificate or IP addresses that authenticate the caller.
        secrets: Secrets of which the caller sends one inside documents: two while a secret is replaced.
        partner: Partner record, or None for a client.
        wrong_pins: Number of wrong PINs within fifteen minutes after which further PINs are refused unchecked.
        http: Credentials accepted in the Authorization header.
    """

    access: PartnerAccess | Client
    secrets: tuple[NamedSecret, ...] = ()
    partner: Partner | None = None
    wrong_pins: int = OF_A_CALLER
    http: HttpProof = NO_HTTP_PROOF

    @property
    def agency(self) -> str:
        """The caller's AgencyId."""
        return self.access.agency

    @property
    def secret(self) -> str:
        """The first secret, which a partner gets from us too, or "" without one."""
        return self.secrets[0].text if self.secrets else ""

    @property
    def kind(self) -> Kind:
        """Whether the caller is a partner or a client."""
        return "client" if isinstance(self.access, Client) else "partner"

    @property
    def pin(self) -> str:
        """How to check PINs from the caller, see `Client.pin`."""
        return self.access.pin if isinstance(self.access, Client) else "checked"


def peer_of(transport: Peered, address: str = "") -> Peer:
    """Return the peer of a connection. `address`, if reported by a proxy, overrides the transport's IP address."""
    host = address or str(getattr(transport.getPeer(), "host", ""))
    return Peer(address=host, certificate=client_certificate(transport))


Verify = Callable[[str, str, str], Awaitable[bool]]
"""Function that checks whether a secret matches a hash, from (subject, stored hash, secret). Slow unless cached."""


async def reject_secret(_whose: str, _stored: str, _secret: str) -> bool:
    """Return False. Used as `Verify` if no hashed secrets are configured."""
    return False


@lru_cache(maxsize=4096)
def is_admitted(networks: tuple[str, ...], address: str) -> bool:
    """Check whether an IP address is in one of the networks."""
    return AllowList(networks).admits(address)


class Gate(Protocol):
    """What authentication needs of a protocol's responder."""

    @property
    def protocol(self) -> str:
        """Name of the protocol."""

    @property
    def callers(self) -> Mapping[str, Caller]:
        """The callers of this protocol, by AgencyId."""

    @property
    def agency(self) -> str:
        """Our own AgencyId."""

    @property
    def metrics(self) -> Metrics:
        """The gateway's metrics."""

    @property
    def now(self) -> Callable[[], datetime]:
        """Function that returns the current time."""

    @property
    def proofs(self) -> Guesses:
        """Counts recent failed authentications."""

    @property
    def verify(self) -> Verify:
        """Function that compares a secret with a hash."""


def spell_agency(gate: Gate, agency: str) -> str:
    """Return the configured spelling of an AgencyId, ignoring case. Return an unknown AgencyId unchanged."""
    if agency in gate.callers or agency == gate.agency:
        return agency
    folded = agency.casefold()
    return next((name for name in (gate.agency, *gate.callers) if name.casefold() == folded), agency)


class NoProof(Enum):
    """Why a sender was not authenticated."""

    NO_SENDER = auto()
    TRY_LATER = auto()
    UNKNOWN = auto()
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class NotProven:
    """A sender that was not authenticated. `challenge` are the WWW-Authenticate headers to reply with, if any."""

    why: NoProof
    detail: str
    challenge: tuple[str, ...] = ()


WRONG_PROOFS: Final = 10
"""Maximum failed authentications of one agency from one network within fifteen minutes."""
WRONG_PROOFS_OF_AN_ADDRESS: Final = 100
LONGEST_CLAIM: Final = 40
"""Maximum length to which a claimed AgencyId is cut before counting and logging failed authentications."""


async def authenticate(gate: Gate, claimed: str, secret: str, peer: Peer) -> Caller | NotProven:
    """Authenticate the sender of a document that names the sender `claimed` and holds this `secret`, each "" if missing.

    The agency named in the document's header must present its own credentials and connect from one of its own addresses. If
    the header names no agency, the HTTP credentials identify the caller, or else a caller with `without_header` is assumed. All
    failures get the same reply, and are counted per network and per claimed agency within a network.
    """
    claimed = spell_agency(gate, claimed)
    credentials = parse_authorization(peer.authorization) if peer.authorization else None
    rows = _find_claimed_callers(gate, claimed, credentials, peer)
    if not claimed and not rows and credentials is None:
        return NotProven(NoProof.NO_SENDER, "the header names no sender", _challenge(gate, _schemes_for_address(gate, peer)))
    guessed = claimed or (rows[0].agency if rows else credentials.name if credentials else "")
    ways = {f"{guessed[:LONGEST_CLAIM]} at {network_of(peer.address)}": WRONG_PROOFS}
    ways |= {f"network {name}": factor * WRONG_PROOFS_OF_AN_ADDRESS for name, factor in networks_of(peer.address)}
    if gate.proofs.shut(ways, gate.now()):
        return NotProven(NoProof.TRY_LATER, "too many wrong proofs; ask again in a quarter of an hour")
    offered = OfferedProofs(secret, credentials, peer)
    found = await _find_proven_caller(gate, claimed, rows, offered)
    if isinstance(found, Caller):
        _note_secret(gate, found, secret)
    if isinstance(found, Caller) or found.why is NoProof.TRY_LATER:
        return found
    # Many HTTP clients send credentials only after a challenge, so a challenged request without credentials is not counted.
    if not found.challenge or offered.secret or offered.http is not None:
        gate.proofs.count(ways, gate.now())
        gate.metrics.wrong_proofs.labels(guessed if guessed in gate.callers else "unknown").inc()
    return found


def _note_secret(gate: Gate, caller: Caller, secret: str) -> None:
    """Note which of its secrets a caller has used, and when."""
    for named in caller.secrets:
        if secret and are_equal(named.text, secret):
            used = gate.metrics.secret_last_used.labels(caller.agency, named.variable)
            used.set(gate.now().timestamp())


@dataclass(frozen=True, slots=True)
class OfferedProofs:
    """The credentials sent with a document: the secret in the document, the Authorization header, and the connected peer."""

    secret: str = field(repr=False)
    http: HttpCredentials | None
    peer: Peer


def _find_claimed_callers(gate: Gate, claimed: str, http: HttpCredentials | None, peer: Peer) -> tuple[Caller, ...]:
    """Find the callers that may have sent a document.

    If the document names a sender, only that caller qualifies. Otherwise callers that match the HTTP login or the token's
    issuer qualify, or else callers with `without_header`.
    """
    if claimed:
        return tuple(filter(None, [gate.callers.get(claimed)]))
    near = [row for row in gate.callers.values() if is_admitted(row.access.allow_from, peer.address)]
    named: tuple[Caller, ...] = ()
    if http is not None and http.scheme == BASIC:
        named = tuple(row for row in near if row.http.password_hash and _login_of(row) == http.name)
    elif http is not None and http.scheme == BEARER:
        named = tuple(row for row in near if row.http.token and issuer(http.secret) == row.http.token.issuer)
    return named or tuple(row for row in near if isinstance(row.access, Client) and row.access.without_header)


def _login_of(row: Caller) -> str:
    return row.http.login or row.agency


def _schemes_for_address(gate: Gate, peer: Peer) -> frozenset[str]:
    """Return the HTTP authentication schemes that callers at this address may use."""
    return _schemes_of(tuple(row for row in gate.callers.values() if is_admitted(row.access.allow_from, peer.address)))


async def _find_proven_caller(gate: Gate, claimed: str, rows: tuple[Caller, ...], offered: OfferedProofs) -> Caller | NotProven:
    # Compare the secrets of all callers, so that the response time does not depend on which secret matches.
    owners = {row.agency for row in gate.callers.values() if _is_proved_by_document(row, offered)}
    if claimed and not rows:
        return NotProven(NoProof.UNKNOWN, "no such agency")
    unknown = False
    for row in rows:
        if not is_admitted(row.access.allow_from, offered.peer.address):
            continue
        if row.agency in owners or (row.access.by_address and not offered.secret and offered.http is None):
            return row
        proved = await _is_proved_by_http(gate, row, offered)
        if proved:
            return row
        unknown = unknown or proved is None
    if not rows and offered.http is not None:
        await _verify_decoy(gate, offered.http, offered.peer)
    if unknown:
        return NotProven(NoProof.TRY_LATER, "the keys that would prove this token cannot be had now; ask again later")
    schemes = _schemes_of(rows) if claimed else _schemes_for_address(gate, offered.peer)
    return NotProven(NoProof.WRONG, FITS_NOT, _challenge(gate, schemes))


def _challenge(gate: Gate, schemes: frozenset[str]) -> tuple[str, ...]:
    return challenge(schemes, gate.protocol.upper())


def _schemes_of(rows: tuple[Caller, ...]) -> frozenset[str]:
    return frozenset(scheme for row in rows for scheme in row.http.schemes)


FITS_NOT: Final = "the secret, the token, the certificate or the address does not fit"
"""Problem detail for every failed authentication, always the same so as not to reveal which credential was wrong."""


def _is_proved_by_document(caller: Caller, offered: OfferedProofs) -> bool:
    # Compare with all secrets, so that the response time does not depend on which one matches.
    matching = [are_equal(named.text, offered.secret) and bool(named.text) for named in caller.secrets]
    return any(matching) or offered.peer.certificate.is_bound_to(caller.access.certificate)


async def _is_proved_by_http(gate: Gate, caller: Caller, offered: OfferedProofs) -> bool | None:
    """Check whether the Authorization header authenticates this caller. Return None if a token's keys are unavailable."""
    http, proof = offered.http, caller.http
    if http is None or http.scheme not in proof.schemes or not http.secret:
        return False
    subject = f"{gate.protocol} {caller.agency} at {network_of(offered.peer.address)}"
    if http.scheme == BASIC and _login_of(caller) != http.name:
        return await _verify_decoy(gate, http, offered.peer)
    if http.scheme == BASIC:
        return await gate.verify(subject, proof.password_hash, http.secret)
    signed = await is_accepted(http.secret, proof.token, gate.now()) if proof.token else False
    if signed is not False or not proof.bearer_hash:
        return signed
    return await gate.verify(subject, proof.bearer_hash, http.secret)


async def _verify_decoy(gate: Gate, http: HttpCredentials, peer: Peer) -> bool:
    """Verify a decoy hash and return False, so that the response time does not reveal which logins exist."""
    await gate.verify(f"{gate.protocol} nobody at {network_of(peer.address)}", DECOY, http.secret)
    return False
