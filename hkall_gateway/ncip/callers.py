"""Identifies the senders of NCIP documents and the patrons in them, and limits the rate of look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.circulation.results import Refused
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.service_request import NcipServices, ServiceRequest, make_refusal
from hkall_gateway.ncip.tables import problems
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, PROBLEMS, Problem
from hkall_gateway.peers.callers import Caller, NoProof, Peer, authenticate
from hkall_gateway.rules.callers import PartnerAccess
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Sensitive

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
    unknown = away or seen.known  # there is nothing with which the PIN could be compared
    if pin is not None and not seen.pin_ok and not unknown:
        call.services.guesses.count(ways, call.services.now())
        call.services.metrics.wrong_pins.labels("ncip", call.caller.agency).inc()
        LOG.warning("ncip.pin_wrong", peer=call.caller.agency, service=call.message.service, card=card)
    return seen


def _find_input(inputs: Mapping[str, NcipMessage], kinds: frozenset[str]) -> str:
    return next((part.text("AuthenticationInputData") for kind, part in inputs.items() if kind in kinds), "")


async def authenticate_caller(services: NcipServices, message: NcipMessage, peer: Peer) -> Caller | Problem:
    """Authenticate the sender of a document. Return the caller, or the Problem to reply with."""
    claimed = message.text("InitiationHeader/FromAgencyId/AgencyId")
    secret = message.text("InitiationHeader/FromAgencyAuthentication")
    found = await authenticate(services, claimed, secret, peer)
    if isinstance(found, Caller):
        return found
    return Problem(problem=NOT_PROVEN[found.why], detail=found.detail, element="FromAgencyId", challenge=found.challenge)


NOT_PROVEN: Final = {
    NoProof.NO_SENDER: NEEDED_DATA_MISSING,
    NoProof.TRY_LATER: problems.TRY_LATER,
    NoProof.UNKNOWN: problems.UNKNOWN_AGENCY,
    NoProof.WRONG: problems.AUTHENTICATION_FAILED,
}
"""Why a sender was not authenticated -> ProblemType of the reply."""


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


LONGEST_BARCODE: Final = 255
"""Maximum length of a barcode: that of a SIP2 field, by which terminals name the copy."""


def check_barcodes(message: NcipMessage) -> Problem | None:
    """Return the Problem for a barcode that no scanner can send, or None. Such a copy could never be scanned here."""
    for barcode in message.texts("ItemId/ItemIdentifierValue"):
        if len(barcode) > LONGEST_BARCODE or not barcode.isprintable() or "|" in barcode:
            return Problem(
                problem="Unknown Item",
                detail="no scanner can read this barcode",
                element="ItemId",
                value=barcode[:LONGEST_BARCODE],
            )
    return None


def check_rate(services: NcipServices, caller: Caller, service: str) -> Problem | None:
    """Return the Problem for a look-up that exceeds the caller's limit per minute, or None if the look-up may be answered."""
    agreed = caller.access.lookups_per_minute if isinstance(caller.access, PartnerAccess) else 0
    if SHAPES[service].kind != "L" or services.rate.admits(caller.agency, agreed, services.now()):
        return None
    return Problem(problem=problems.TRY_LATER, detail=f"{agreed} look-ups a minute are agreed; ask again in a minute")
