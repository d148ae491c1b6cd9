"""The INN-Reach flow: the central mirrors its events to us in NCIP 1.0.

An item identifier that begins with `i` means that we are the borrower. A book is identified by the barcode printed on it
(VisibleItemId) and its library. If a system joins the two into one word, as iNCIPit does for its temporary copies, they are
split again. Source: reference 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from hkall_gateway.circulation.messages.partner_commands import BrokerCommand
from hkall_gateway.ncip.broker_flow import command
from hkall_gateway.ncip.reply_payload import Payload, executed
from hkall_gateway.ncip.service_request import ServiceRequest, strange_number
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, Problem

PRINTED: Final = "ItemOptionalFields/ItemDescription/Ext/ItemId/ItemIdentifierValue"
CARDS: Final = ("UserOptionalFields/UserId/UserIdentifierValue", "Ext/UserId/UserIdentifierValue", "UserId/UserIdentifierValue")
BEGIN: Final = frozenset({"mirror_request"})
"""Events that begin a request."""
PLACE: Final = "ShippingInformation/PhysicalAddress/UnstructuredAddress/UnstructuredAddressData"
_CENTRAL: Final = re.compile(r"\.?i[0-9]")


def central_number(value: str) -> bool:
    """Whether an identifier is an item number of the central (`i1234567`, Sierra also writes `.i1234567`): we borrow."""
    return _CENTRAL.match(value) is not None


def mirrored(call: ServiceRequest) -> BrokerCommand:
    """The command record of an event: the central's number of the copy, its printed barcode, and the card of our patron."""
    ask = command(call)
    unique = without_library(call.message.text("ItemId/ItemIdentifierValue"), call.caller.agency)
    number = unique if central_number(unique) else ""
    printed = without_library(call.message.text(PRINTED), call.caller.agency)
    card = next((text for path in CARDS if (text := call.message.text(path))), "")
    place = ask.pickup_location or call.message.text(PLACE).strip()
    return replace(
        ask, number=number, barcode=printed or ("" if number else unique), agency="", card=card, pickup_location=place
    )


def without_library(identifier: str, agency: str) -> str:
    """The identifier without the library's code at its end; a barcode equal to the code is returned whole."""
    return identifier.removesuffix(agency) or identifier


def mirrors(name: str) -> Callable[[ServiceRequest], Awaitable[Payload]]:
    """Returns a handler that runs the desk's command `name` for a mirrored event."""

    async def handle(call: ServiceRequest) -> Payload:
        ask = mirrored(call)
        if not (ask.barcode or ask.number or ask.wire_id):
            return Problem(NEEDED_DATA_MISSING, "which book?", "ItemId")
        if name in BEGIN and (strange := strange_number(call)):
            return strange
        return await executed(call, replace(ask, service=name))

    return handle
