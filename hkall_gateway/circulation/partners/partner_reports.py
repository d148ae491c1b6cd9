"""Other systems' commands besides borrowing: change a request, set a copy's status, report a loss, bill a patron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.find_request import StaffCommand, reason_not_owner, staff_result
from hkall_gateway.circulation.partners.partner_queries import RequestReference, find_by_reference
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import losses
from hkall_gateway.db import fines, quarantine
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.requests_by_partner_id import borrowed_under, held_with
from hkall_gateway.rules.dates import over
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.positions import MAY_CHANGE_DATE, MAY_CHANGE_PLACE
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Refusal, Request, Side

P = Position


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepUnplaced(Command[None, bool]):
    """Quarantine a notice that matches no request. The result is False if the partner has too many quarantined documents."""

    by: Actor
    digest: str
    document: str
    why: Reason


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Result: the changed request, with its values after the change. `patron` is empty if we lend."""

    request: str
    placed_by: str
    placed_id: str
    patron: str
    item: ItemKey | None
    pickup_location: str = ""
    need_before: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest(RequestReference, Command[None, Changed]):
    """Change the pickup location or the `need_before` date of a request."""

    pickup_location: str = ""
    need_before: date | None = None


@record
@dataclass(frozen=True, slots=True)
class StatusSet:
    """Result: the copy's status is recorded. `again` is set if the copy already had this status."""

    item: ItemKey
    again: bool = False
    status: str = ""


@dataclass(frozen=True, slots=True)
class SetStatus(Command[None, "StatusSet"]):
    """Set the status of a library's own copy (`status`: NCIP CirculationStatus)."""

    by: Actor
    item: ItemKey
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport(Command[None, Done]):
    """Report that a copy was returned, never borrowed or lost, or is missing. The holder is `partner` or `card`.

    `command` is the corresponding staff command: claim or lost.
    """

    by: Actor
    command: str
    item: ItemKey
    partner: str = ""
    card: str = ""
    reason: str = ""
    on: date | None = None


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """Result: the bill is charged to the patron. `fine` is our number for the charge."""

    card: str
    reference: str
    fine: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill(Command[None, "Billed"]):
    """Charge one of our patrons under another system's `reference`, optionally for one request or copy."""

    by: Actor
    card: str
    cents: int
    kind: str
    reference: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None


FEE: Final = "fee"


def change_request(context: Context, command: ChangeRequest) -> Changed | Refused:
    """Change the last day of a request or, until the book arrives, its pickup location (R4). A repetition succeeds."""
    found = find_by_reference(context, command)
    if found is None or (command.client and command.card and command.card != found.patron):
        return context.refuse(Refusal(reason_not_owner(context.unit, command.card)), command.by)
    place, need = command.pickup_location or found.pickup_location, command.need_before or found.need_before
    if (place, need) == (found.pickup_location, found.need_before):
        return _changed_result(found)
    if found.side is Side.BORROWING and place not in context.library.pickup_locations:
        return context.refuse(
            Refusal(Reason.PICKUP_LOCATION, detail={"place": ", ".join(context.library.pickup_locations)}), command.by, found
        )
    if found.position not in (MAY_CHANGE_PLACE if place != found.pickup_location else MAY_CHANGE_DATE):
        return context.refuse(Reason.WRONG_POSITION, command.by, found)
    if late := over(command.need_before, context.now):
        return context.refuse(late, command.by, found)
    return _changed_result(context.unit.amend(found, context.now, command.by, "R4", pickup_location=place, need_before=need))


def _changed_result(request: Request) -> Changed:
    placed = (request.placed_by, request.placed_id)
    named = placed if request.side is Side.BORROWING else (request.wire_agency, request.wire_id)
    placed_by, placed_id = named
    return Changed(
        request=request.id,
        placed_by=placed_by,
        placed_id=placed_id,
        patron=request.patron,
        item=request.item,
        pickup_location=request.pickup_location,
        need_before=request.need_before,
    )


def keep_unplaced(context: Context, command: KeepUnplaced) -> bool:
    """Quarantine a notice that matches no request. Return False if the partner has too many quarantined documents."""
    what = (command.by.who, command.digest, command.by.message, command.document, command.why.value)
    return quarantine.keep(context.unit, *what, context.now)


def set_status(context: Context, command: SetStatus) -> StatusSet | Refused:
    """Replace the loaded status of a library's own copy."""
    holding = context.unit.holdings.find(command.item)
    if holding is None:
        return context.refuse(Reason.UNKNOWN_ITEM, command.by)
    if holding.status == command.status:
        return StatusSet(command.item, again=True, status=command.status)
    context.unit.holdings.set_status(command.item, command.status)
    return StatusSet(command.item, status=command.status)


def report_copy(context: Context, command: CopyReport) -> Done | Refused:
    """Record the holder's report about a book as a claim or a loss, as staff would declare it."""
    held = context.unit.requests.open_with_item(command.item.barcode, command.item.agency)
    mine = [r for r in held if _holds_copy(r, command)]
    if not held and (last := context.unit.requests.last_with_item(command.item)) and _holds_copy(last, command):
        context.unit.note(last, "LATE", {"message": command.by.message}, context.now, command.by)
        return staff_result(last, again=True)
    if len(mine) != 1:
        return context.refuse(Refusal(Reason.NOT_ON_LOAN if held else Reason.UNKNOWN_ITEM), command.by)
    work = losses.claim if command.command == "claim" else losses.lose
    result = work(context, StaffCommand(by=command.by, request=mine[0].id, reason=command.reason, on=command.on), mine[0])
    return (
        replace(result, mark="claimed_on" if command.command == "claim" else "lost_on") if isinstance(result, Done) else result
    )


def _holds_copy(request: Request, command: CopyReport) -> bool:
    if command.partner:
        return request.side is Side.LENDING and request.partner == command.partner
    return request.side is Side.BORROWING and request.patron == command.card and bool(command.card)


def bill(context: Context, command: Bill) -> Billed | Refused:
    """Charge a patron for another system's bill, once per reference. The bill may name a former card."""
    command = replace(command, card=card_now(context.unit, command.card))
    if context.unit.patrons.find(command.card) is None:
        return context.refuse(Reason.UNKNOWN_BORROWER, command.by, patron=command.card)
    if command.cents <= 0:
        return context.refuse(Refusal(Reason.NOT_OWED, detail={"owed": "more than nothing"}), command.by, patron=command.card)
    mark = f"{command.by.who}:{command.reference}"
    known = [one for one in context.unit.patrons.charges(command.card) if one.reason == mark] if command.reference else []
    if known:
        same = known[0].cents == command.cents
        return _billed_result(command, known[0].id) if same else context.refuse(Reason.TRANSACTION_REUSED, command.by)
    found = borrowed_under(context.unit, command.by.who, command.wire_id)
    if found is None and command.item:
        found = held_with(context.unit, command.by.who, command.item.barcode)
    if found is None or found.patron != command.card:
        found = Request(id="", side=Side.BORROWING, position=P.NEW, title="", bib_id="", patron=command.card)
    return _billed_result(
        command, fines.charge(context.unit, found, command.kind or FEE, command.cents, mark, context.now, command.by)
    )


def _billed_result(command: Bill, number: int) -> Billed:
    return Billed(card=command.card, reference=command.reference or str(number), fine=number)
