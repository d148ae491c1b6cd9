"""The patron's credentials in a document: a card, and a PIN; wrong PINs are counted and limited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from hkall_gateway.circulation.messages.commands import SeePatron
from hkall_gateway.circulation.messages.results import PatronSeen, Refused
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.service_request import ServiceRequest, refused
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, PROBLEMS, Problem
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Sensitive

LOG = structlog.get_logger()

IDENTITY: Final = frozenset({"barcode id", "barcode", "user id", "username", "institution id number"})
CREDENTIAL: Final = frozenset({"pin", "password"})
LOOK_UPS: Final = frozenset({"LookupUser", "LookupRequest"})
"""Services that answer a client with `pin = "blocks"` without a PIN, and then name no patron."""
STRANGE: Final = "AuthenticationInputType"


def credentials(call: ServiceRequest) -> tuple[str, Sensitive | None] | Refused | Problem:
    """The card of one of our patrons, and the PIN if one was given. UserId goes before AuthenticationInput: peers send both.

    A value of a type that is not known here is a proof that failed: it may have been meant as a PIN.
    """
    message = call.message
    if strange := _strange_proof(message):
        return strange
    inputs = {part.text("AuthenticationInputType").casefold(): part for part in message.each("AuthenticationInput")}
    pin = Sensitive(_first(inputs, CREDENTIAL)) if CREDENTIAL & inputs.keys() else None
    if not pin and (call.caller.pin == "required" or (call.caller.pin == "blocks" and call.message.service not in LOOK_UPS)):
        return Problem(NEEDED_DATA_MISSING, "this client must send the PIN of the reader", "AuthenticationInput")
    agency = message.text("UserId/AgencyId")
    card = message.text("UserId/UserIdentifierValue") or _first(inputs, IDENTITY)
    if not card or agency not in ("", call.services.agency):
        return refused(Reason.UNKNOWN_BORROWER)
    return card, None if not pin and call.caller.pin in {"optional", "blocks"} else pin


def _strange_proof(message: NcipMessage) -> Problem | None:
    for part in message.each("AuthenticationInput"):
        kind = part.text("AuthenticationInputType")
        if kind.casefold() not in IDENTITY | CREDENTIAL and part.text("AuthenticationInputData"):
            known = "a card is a Barcode Id, a PIN is a PIN or a Password"
            return Problem(PROBLEMS[Reason.WRONG_PIN].problem, f"this type of proof is not known; {known}", STRANGE, kind)
    return None


async def patron(call: ServiceRequest) -> str | Refused | Problem:
    """The card of one of our patrons, its PIN found right where one was given."""
    found = credentials(call)
    if isinstance(found, Refused | Problem) or found[1] is None:
        return found if isinstance(found, Refused | Problem) else found[0]
    seen = await seen_with(call, *found)
    return seen if isinstance(seen, Refused) else found[0] if seen.pin_ok else refused(Reason.WRONG_PIN)


async def seen_with(call: ServiceRequest, card: str, pin: Sensitive | None) -> PatronSeen | Refused:
    """A patron's record, the PIN compared where one was given. After too many wrong ones not even a right one is looked at."""
    ways = {f"pins of {call.caller.agency}": call.caller.wrong_pins}
    if pin is not None and call.services.guesses.shut(ways, call.services.now()):
        return refused(Reason.TOO_MANY_WRONG_PINS)
    seen = await call.services.circulation.execute(SeePatron(call.by, card, pin or Sensitive(), pin_given=pin is not None))
    away = seen.refusal is not None and seen.refusal.why is Reason.TRY_AGAIN
    if pin is not None and not seen.pin_ok and not away:
        call.services.guesses.count(ways, call.services.now())
        call.services.metrics.wrong_pins.labels("ncip", call.caller.agency).inc()
        LOG.warning("ncip.pin_wrong", peer=call.caller.agency, service=call.message.service, card=card)
    return seen


def _first(inputs: Mapping[str, NcipMessage], kinds: frozenset[str]) -> str:
    return next((part.text("AuthenticationInputData") for kind, part in inputs.items() if kind in kinds), "")
