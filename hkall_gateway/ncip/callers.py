"""Authenticates NCIP callers and limits their rates. Each secret, token, certificate or IP address belongs to one agency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID

from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.circulation.results import Refused
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.service_request import Caller, NcipServices, Peer, ServiceRequest, is_admitted, make_refusal
from hkall_gateway.ncip.tables import problems
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, PROBLEMS, Problem
from hkall_gateway.net.endpoints import Peered
from hkall_gateway.net.limits.allow_list import network_of, networks_of
from hkall_gateway.net.secrets import DECOY, are_equal
from hkall_gateway.peers.authentication import (
    BASIC,
    BEARER,
    HttpCredentials,
    challenge,
    is_accepted,
    issuer,
    parse_authorization,
)
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Sensitive


def peer_of(transport: Peered, address: str = "") -> Peer:
    """Return the peer of a connection. `address`, if reported by a proxy, overrides the transport's IP address."""
    host = address or str(getattr(transport.getPeer(), "host", ""))
    shown = getattr(transport, "getPeerCertificate", None)
    certificate = shown() if shown else None
    if certificate is None:
        return Peer(address=host)
    read: Certificate = certificate.to_cryptography()
    names = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Peer(address=host, fingerprint=read.fingerprint(SHA256()).hex(), subject=str(names[0].value) if names else "")


LOG = structlog.get_logger()

IDENTITY: Final = frozenset({"barcode id", "barcode", "user id", "username", "institution id number"})
CREDENTIAL: Final = frozenset({"pin", "password"})
LOOK_UPS: Final = frozenset({"LookupUser", "LookupRequest"})
"""Services that clients with `pin = "blocks"` may call without a PIN. The reply to such a call does not name the patron."""
STRANGE: Final = "AuthenticationInputType"


def read_credentials(call: ServiceRequest) -> tuple[str, Sensitive | None] | Refused | Problem:
    """Read the card of one of our patrons, and the PIN if the message contains a PIN.

    UserId takes precedence over AuthenticationInput, since peers send both. An AuthenticationInput of an unknown type, which
    may have been meant as a PIN, is answered like a wrong PIN.
    """
    message, parts = call.message, call.message.each("AuthenticationInput")
    for part in parts:
        kind = part.text("AuthenticationInputType")
        if kind.casefold() not in IDENTITY | CREDENTIAL and part.text("AuthenticationInputData"):
            known = "a card is a Barcode Id, a PIN is a PIN or a Password"
            return Problem(
                problem=PROBLEMS[Reason.WRONG_PIN].problem,
                detail=f"this type of proof is not known; {known}",
                element=STRANGE,
                value=kind,
            )
    inputs = {part.text("AuthenticationInputType").casefold(): part for part in parts}
    pin = Sensitive(_find_input(inputs, CREDENTIAL)) if CREDENTIAL & inputs.keys() else None
    if not pin and (call.caller.pin == "required" or (call.caller.pin == "blocks" and call.message.service not in LOOK_UPS)):
        return Problem(
            problem=NEEDED_DATA_MISSING, detail="this client must send the PIN of the reader", element="AuthenticationInput"
        )
    agency = message.text("UserId/AgencyId")
    card = message.text("UserId/UserIdentifierValue") or _find_input(inputs, IDENTITY)
    if not card or agency not in ("", call.services.agency):
        return make_refusal(Reason.UNKNOWN_BORROWER)
    return card, None if not pin and call.caller.pin in {"optional", "blocks"} else pin


async def identify_patron(call: ServiceRequest) -> str | Refused | Problem:
    """Return the card of one of our patrons, after checking the PIN if the message contains a PIN."""
    found = read_credentials(call)
    if isinstance(found, Refused | Problem) or found[1] is None:
        return found if isinstance(found, Refused | Problem) else found[0]
    seen = await find_patron(call, *found)
    return seen if isinstance(seen, Refused) else found[0] if seen.pin_ok else make_refusal(Reason.WRONG_PIN)


async def find_patron(call: ServiceRequest, card: str, pin: Sensitive | None) -> PatronSeen | Refused:
    """Find a patron, and check the PIN if given. After too many wrong PINs, refuse further PINs from the caller unchecked."""
    ways = {f"pins of {call.caller.agency}": call.caller.wrong_pins}
    if pin is not None and call.services.guesses.shut(ways, call.services.now()):
        return make_refusal(Reason.TOO_MANY_WRONG_PINS)
    seen = await call.services.circulation.execute(
        SeePatron(by=call.by, card=card, pin=pin or Sensitive(), pin_given=pin is not None)
    )
    away = seen.refusal is not None and seen.refusal.why is Reason.TRY_AGAIN
    if pin is not None and not seen.pin_ok and not away:
        call.services.guesses.count(ways, call.services.now())
        call.services.metrics.wrong_pins.labels("ncip", call.caller.agency).inc()
        LOG.warning("ncip.pin_wrong", peer=call.caller.agency, service=call.message.service, card=card)
    return seen


def _find_input(inputs: Mapping[str, NcipMessage], kinds: frozenset[str]) -> str:
    return next((part.text("AuthenticationInputData") for kind, part in inputs.items() if kind in kinds), "")


WRONG_PROOFS: Final = 10
"""Maximum failed authentications of one agency from one network within fifteen minutes."""
WRONG_PROOFS_OF_AN_ADDRESS: Final = 100
LONGEST_CLAIM: Final = 40
"""Maximum length to which a claimed AgencyId is cut before counting and logging failed authentications."""


async def authenticate_caller(services: NcipServices, message: NcipMessage, peer: Peer) -> Caller | Problem:
    """Authenticate the sender of a document. Return the caller, or the Problem to reply with.

    The agency named in the document's header must present its own credentials and connect from one of its own addresses. If
    the header names no agency, the HTTP credentials identify the caller, or else a caller with `without_header` is assumed. All
    failures get the same reply, and are counted per network and per claimed agency within a network.
    """
    claimed = services.known(message.text("InitiationHeader/FromAgencyId/AgencyId"))
    credentials = parse_authorization(peer.authorization) if peer.authorization else None
    rows = _find_claimed_callers(services, claimed, credentials, peer)
    if not claimed and not rows and credentials is None:
        missing = Problem(problem=problems.NEEDED_DATA_MISSING, detail="the header names no sender", element="FromAgencyId")
        return replace(missing, challenge=challenge(_schemes_for_address(services, peer)))
    guessed = claimed or (rows[0].agency if rows else credentials.name if credentials else "")
    ways = {f"{guessed[:LONGEST_CLAIM]} at {network_of(peer.address)}": WRONG_PROOFS}
    ways |= {f"network {name}": factor * WRONG_PROOFS_OF_AN_ADDRESS for name, factor in networks_of(peer.address)}
    if services.proofs.shut(ways, services.now()):
        return Problem(
            problem=problems.TRY_LATER,
            detail="too many wrong proofs; ask again in a quarter of an hour",
            element="FromAgencyId",
        )
    offered = OfferedProofs(message.text("InitiationHeader/FromAgencyAuthentication"), credentials, peer)
    found = await _find_proven_caller(services, claimed, rows, offered)
    if isinstance(found, Caller) or found.problem == problems.TRY_LATER:
        return found
    # Many HTTP clients send credentials only after a challenge, so a challenged request without credentials is not counted.
    if not found.challenge or offered.secret or offered.http is not None:
        services.proofs.count(ways, services.now())
        services.metrics.wrong_proofs.labels(guessed if guessed in services.callers else "unknown").inc()
    return found


@dataclass(frozen=True, slots=True)
class OfferedProofs:
    """The credentials sent with a document: the secret in the document, the Authorization header, and the connected peer."""

    secret: str = field(repr=False)
    http: HttpCredentials | None
    peer: Peer


def _find_claimed_callers(services: NcipServices, claimed: str, http: HttpCredentials | None, peer: Peer) -> tuple[Caller, ...]:
    """Find the callers that may have sent a document.

    If the document names a sender, only that caller qualifies. Otherwise callers that match the HTTP login or the token's
    issuer qualify, or else callers with `without_header`.
    """
    if claimed:
        return tuple(filter(None, [services.callers.get(claimed)]))
    near = [row for row in services.callers.values() if is_admitted(row.access.allow_from, peer.address)]
    named: tuple[Caller, ...] = ()
    if http is not None and http.scheme == BASIC:
        named = tuple(row for row in near if row.http.password_hash and _login_of(row) == http.name)
    elif http is not None and http.scheme == BEARER:
        named = tuple(row for row in near if row.http.token and issuer(http.secret) == row.http.token.issuer)
    return named or tuple(row for row in near if isinstance(row.access, Client) and row.access.without_header)


def _login_of(row: Caller) -> str:
    return row.http.login or row.agency


def _schemes_for_address(services: NcipServices, peer: Peer) -> frozenset[str]:
    """Return the HTTP authentication schemes that callers at this address may use."""
    return _schemes_of(tuple(row for row in services.callers.values() if is_admitted(row.access.allow_from, peer.address)))


async def _find_proven_caller(
    services: NcipServices, claimed: str, rows: tuple[Caller, ...], offered: OfferedProofs
) -> Caller | Problem:
    # Compare the secrets of all callers, so that the response time does not depend on which secret matches.
    owners = {row.agency for row in services.callers.values() if _is_proved_by_document(row, offered)}
    if claimed and not rows:
        return Problem(problem=problems.UNKNOWN_AGENCY, detail="no such agency", element="FromAgencyId")
    unknown = False
    for row in rows:
        if not is_admitted(row.access.allow_from, offered.peer.address):
            continue
        if row.agency in owners or (row.access.by_address and not offered.secret and offered.http is None):
            return row
        proved = await _is_proved_by_http(services, row, offered)
        if proved:
            return row
        unknown = unknown or proved is None
    if not rows and offered.http is not None:
        await _verify_decoy(services, offered.http, offered.peer)
    if unknown:
        return Problem(
            problem=problems.TRY_LATER, detail="the keys that would prove this token cannot be had now; ask again later"
        )
    refused = Problem(problem=problems.AUTHENTICATION_FAILED, detail=FITS_NOT, element="FromAgencyId")
    return replace(
        refused, challenge=challenge(_schemes_for_address(services, offered.peer) if not claimed else _schemes_of(rows))
    )


def _schemes_of(rows: tuple[Caller, ...]) -> frozenset[str]:
    return frozenset(scheme for row in rows for scheme in row.http.schemes)


FITS_NOT: Final = "the secret, the token, the certificate or the address does not fit"
"""Problem detail for every failed authentication, always the same so as not to reveal which credential was wrong."""


def _is_proved_by_document(caller: Caller, offered: OfferedProofs) -> bool:
    by_secret = are_equal(caller.secret, offered.secret) and bool(caller.secret)
    peer, bound = offered.peer, caller.access.certificate
    seen = [are_equal(bound, text) for text in (peer.fingerprint, peer.subject) if text] if bound else []
    return by_secret or any(seen)


async def _is_proved_by_http(services: NcipServices, caller: Caller, offered: OfferedProofs) -> bool | None:
    """Check whether the Authorization header authenticates this caller. Return None if a token's keys are unavailable."""
    http, proof = offered.http, caller.http
    if http is None or http.scheme not in proof.schemes or not http.secret:
        return False
    subject = f"ncip {caller.agency} at {network_of(offered.peer.address)}"
    if http.scheme == BASIC and _login_of(caller) != http.name:
        return await _verify_decoy(services, http, offered.peer)
    if http.scheme == BASIC:
        return await services.verify(subject, proof.password_hash, http.secret)
    signed = await is_accepted(http.secret, proof.token, services.now()) if proof.token else False
    if signed is not False or not proof.bearer_hash:
        return signed
    return await services.verify(subject, proof.bearer_hash, http.secret)


async def _verify_decoy(services: NcipServices, http: HttpCredentials, peer: Peer) -> bool:
    """Verify a decoy hash and return False, so that the response time does not reveal which logins exist."""
    await services.verify(f"ncip nobody at {network_of(peer.address)}", DECOY, http.secret)
    return False


def check_addressee(services: NcipServices, message: NcipMessage) -> Problem | None:
    """Return the Problem for a document addressed to another agency, or None if the addressee is missing or is us."""
    named = message.texts("InitiationHeader/ToAgencyId/AgencyId")
    if not named or named[0] == services.agency:
        return None
    ours = {name.casefold() for name in (services.agency, *services.other_names)}
    if any(name.casefold() in ours for name in named):
        return None
    return Problem(
        problem=problems.UNKNOWN_AGENCY,
        detail=f"this is {services.agency}, and the document is for another agency",
        element="ToAgencyId",
    )


def check_rate(services: NcipServices, caller: Caller, service: str) -> Problem | None:
    """Return the Problem for a look-up that exceeds the caller's limit per minute, or None if the look-up may be answered."""
    agreed = caller.access.lookups_per_minute if isinstance(caller.access, PartnerAccess) else 0
    if SHAPES[service].kind != "L" or services.rate.admits(caller.agency, agreed, services.now()):
        return None
    return Problem(problem=problems.TRY_LATER, detail=f"{agreed} look-ups a minute are agreed; ask again in a minute")
