"""Handlers for brokers, which convert each NCIP message from a broker to one broker command of the circulation service.

In the broker flow, a broker controls us as the local system of a borrower or lender. Source: NCIP reference 6.3 (crosslink,
ReShare), 6.4 (Sierra, Relais, VDX).

In the INN-Reach flow, the central server mirrors its events to us in NCIP 1.0. An item identifier that begins with `i` means
that we are the borrower. A book is identified by the library and the printed barcode (VisibleItemId). Some systems join
barcode and library code into one word, as iNCIPit does for temporary items; we split the word again. Source: reference 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from hkall_gateway.circulation.partners.broker_services import BrokerCommand
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled
from hkall_gateway.ncip.reply_payload import Payload, execute_command
from hkall_gateway.ncip.service_request import (
    MANDATED,
    Notice,
    ServiceRequest,
    check_request_id,
    find_first_text,
    read_bib_id,
    read_due_date,
    read_event_time,
    read_request_id,
)
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, Problem
from hkall_gateway.rules.vocabulary import ItemKey

TITLES = ("ItemOptionalFields/BibliographicDescription/Title", "BibliographicDescription/Title")
TITLES_GIVEN = (*TITLES, "AddItemFields/BibliographicDescription/Title")
DUES = ("DateDue", "DateForReturn", "DesiredDateDue", "ItemOptionalFields/DateDue")


BEGIN = frozenset({"announce", "mirror_request"})
"""Broker commands that create a request. The message's RequestId becomes the number of the request."""


def make_command(call: ServiceRequest) -> BrokerCommand:
    """Make the broker command from a message's ids, dates and title. Replace a missing barcode with the RequestId."""
    message = call.message
    agency, value = read_request_id(call)
    return BrokerCommand(
        by=call.by,
        partner=call.caller.agency,
        card=message.text("UserId/UserIdentifierValue"),
        wire_agency=agency,
        wire_id=value,
        barcode=message.text("ItemId/ItemIdentifierValue") or value,
        agency=message.text("ItemId/AgencyId"),
        title=find_first_text(message, TITLES_GIVEN),
        bib_id=read_bib_id(call),
        pickup_location=message.text("PickupLocation"),
        at=read_event_time(call, (MANDATED,)),
        due=read_due_date(call, DUES),
        judged=call.judged,
    )


def make_broker_handler(
    name: str, read: Callable[[ServiceRequest], BrokerCommand] = make_command
) -> Callable[[ServiceRequest], Awaitable[Payload]]:
    """Make a handler that executes the broker command `name`. `read` converts the message to the command."""

    async def handle(call: ServiceRequest) -> Payload:
        command = read(call)
        if not (command.barcode or command.number or command.wire_id):
            return Problem(problem=NEEDED_DATA_MISSING, detail="which book?", element="ItemId")
        if name in BEGIN and (strange := check_request_id(call)):
            return strange
        return await execute_command(call, replace(command, service=name))

    return handle


async def handle_recall(call: ServiceRequest) -> Payload:
    """Handle a recall by the lender."""
    return await execute_command(call, _make_lender_notice(ItemRecalled, call))


async def handle_recall_cancelled(call: ServiceRequest) -> Payload:
    """Handle a lender's cancellation of its recall."""
    return await execute_command(call, _make_lender_notice(RecallCancelled, call))


def _make_lender_notice(kind: type[Notice], call: ServiceRequest) -> Notice:
    command = make_command(call)
    return kind(
        by=command.by,
        partner=command.partner,
        wire_agency=command.wire_agency,
        wire_id=command.wire_id,
        item=ItemKey(command.partner, command.barcode),
        at=command.at,
        due=command.due,
        judged=command.judged,
    )


def make_accept_handler(name: str) -> Callable[[ServiceRequest], Awaitable[Payload]]:
    """Make the AcceptItem handler for a patron's book that has arrived (`accept`) or will arrive later (`expect`)."""

    async def handle(call: ServiceRequest) -> Payload:
        command = make_command(call)
        if not command.card:
            return Problem(problem=NEEDED_DATA_MISSING, detail="for whom?", element="UserId")
        if strange := check_request_id(call):
            return strange
        return await execute_command(call, replace(command, service=name))

    return handle


PRINTED: Final = "ItemOptionalFields/ItemDescription/Ext/ItemId/ItemIdentifierValue"
CARDS: Final = ("UserOptionalFields/UserId/UserIdentifierValue", "Ext/UserId/UserIdentifierValue", "UserId/UserIdentifierValue")
PLACE: Final = "ShippingInformation/PhysicalAddress/UnstructuredAddress/UnstructuredAddressData"
_CENTRAL: Final = re.compile(r"\.?i[0-9]")


def is_central_number(value: str) -> bool:
    """Check whether an identifier is one of the central server's item numbers (`i1234567`, in Sierra also `.i1234567`)."""
    return _CENTRAL.match(value) is not None


def make_mirrored_command(call: ServiceRequest) -> BrokerCommand:
    """Make the broker command for a mirrored event, with the central server's item number, the printed barcode and the card."""
    command = make_command(call)
    unique = without_library(call.message.text("ItemId/ItemIdentifierValue"), call.caller.agency)
    number = unique if is_central_number(unique) else ""
    printed = without_library(call.message.text(PRINTED), call.caller.agency)
    card = find_first_text(call.message, CARDS)
    place = command.pickup_location or call.message.text(PLACE).strip()
    return replace(
        command, number=number, barcode=printed or ("" if number else unique), agency="", card=card, pickup_location=place
    )


def without_library(identifier: str, agency: str) -> str:
    """Remove the library's code from the end of an identifier, unless nothing would remain."""
    return identifier.removesuffix(agency) or identifier


def make_mirror_handler(name: str) -> Callable[[ServiceRequest], Awaitable[Payload]]:
    """Make a handler that executes the broker command `name` for a mirrored event."""
    return make_broker_handler(name, make_mirrored_command)
