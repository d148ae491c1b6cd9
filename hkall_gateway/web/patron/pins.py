"""A patron's card and PIN as they come from the web, by a page or by the API: checked, counted, and slowed down.

One throttle serves both ways in. Guesses by strangers here lock no card at a terminal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from flask import current_app, request

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Borrower, Sensitive
from hkall_gateway.web.services import WebServices, services
from hkall_gateway.web.sessions import count_login
from hkall_gateway.web.throttle import LoginThrottle

THROTTLE: Final = "hkall_patron_throttle"
LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class PinRefused:
    """A login that is refused. `wait_s`: the seconds until the next try; 0 where that is not the reason, which is `why`."""

    why: Refused
    wait_s: int = 0


TOO_MANY: Final = Refused(Reason.TOO_MANY_WRONG_PINS)


def shared(own: WebServices) -> dict[str, Any]:
    """Return the throttle, for the extensions of the pages and of the API."""
    return {THROTTLE: LoginThrottle(own.seconds)}


def check(card: str, pin: str, browser: str = "") -> Borrower | PinRefused:
    """Return the patron of this card and PIN, or why not. An unknown card is refused as a wrong PIN, after the same time.

    Args:
        browser: The browser by which this card's owner has logged in before, "" for another one.
    """
    card, address = card.strip()[:LONGEST], request.remote_addr or ""
    wrong: LoginThrottle = current_app.extensions[THROTTLE]
    if (wait_s := math.ceil(wrong.wait_s(address, card, browser))) > 0:
        count_login("patron", "throttled")
        return PinRefused(TOO_MANY, wait_s)
    found = services().bridge.ask(services().circulation.ils.authenticate(card, Sensitive(pin[:LONGEST])))
    if isinstance(found, Borrower):
        wrong.right(address, card, browser)
        return found
    if found.why is Reason.TRY_AGAIN:
        count_login("patron", "ils_away")
    else:
        wrong.wrong(address, card, browser)
        count_login("patron", "wrong")
    return PinRefused(found)


def compared_hash(borrower: Borrower) -> str:
    """Return the hash with which a right PIN was compared; "" where the library's own system compared it."""
    return borrower.pin_hash.reveal() if services().circulation.ils.compares_web_pins else ""
