"""The shelf check before a request: the look-up for a copy on the lender's shelf, and the reading of its reply. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hkall_gateway.ncip.codec.messages import Fields, NcipMessage
from hkall_gateway.ncip.tables.notifications import item_id, record_id
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.vendor_words.availability import UNDEFINED, Availability, availability, circulation_status
from hkall_gateway.rules.vocabulary import ItemKey, Partner

STATUS: Final = "Circulation Status"
UNKNOWN_ITEM: Final = "Unknown Item"


class ShelfResult(StrEnum):
    """The result of a shelf check, in words for the journal."""

    HERE = "on the shelf"
    ANOTHER = "another copy is on the shelf"
    NONE = "none on the shelf"
    UNKNOWN = "the shelf could not be seen"


@dataclass(frozen=True, slots=True)
class ShelfCheck:
    """The result of a shelf check, and the copy to request."""

    shelf: ShelfResult
    item: ItemKey | None = None


UNSEEN: Final = ShelfCheck(ShelfResult.UNKNOWN)


def question(message: PartnerMessage, partner: Partner, *, one_copy: bool) -> Fields:
    """The fields of LookupItemSet for the title of a request, or, for `one_copy`, of LookupItem for its copy."""
    if one_copy:
        return {"ItemId": item_id(message.item), "ItemElementType": [STATUS]} if message.item else {}
    return {"BibliographicId": [{"BibliographicRecordId": record_id(message, partner)}], "ItemElementType": [STATUS]}


def seen(reply: NcipMessage, message: PartnerMessage, partner: Partner, statuses: Collection[str]) -> ShelfCheck:
    """Read a reply to the shelf check. `statuses` are those of an available copy.

    Another copy of the title is accepted, except if a volume is wanted (R8). Without an available copy the result is UNSEEN
    for a reply that has no statuses, or is not the whole list, or has a problem other than Unknown Item, also in one title.
    """
    if reply.has("Problem"):
        return ShelfCheck(ShelfResult.NONE) if _problems(reply) == {UNKNOWN_ITEM} else UNSEEN
    unseen = [_problems(one) for one in reply.each("BibInformation") if one.has("Problem")]
    copies = copies_in(reply)
    free = [code for code, status in copies.items() if availability(status, statuses) is Availability.AVAILABLE]
    if message.item and message.item.barcode in free:
        return ShelfCheck(ShelfResult.HERE, message.item)
    if free and not message.volume:
        return ShelfCheck(ShelfResult.ANOTHER, ItemKey(partner.agency, min(free)))
    says_so = all(_says_something(status) for status in copies.values()) and all(one == {UNKNOWN_ITEM} for one in unseen)
    whole = bool(copies or unseen) and not reply.has("NextItemToken")
    return ShelfCheck(ShelfResult.NONE) if says_so and whole else UNSEEN


def _problems(message: NcipMessage) -> set[str]:
    return {one.text("ProblemType") for one in message.each("Problem")}


def _says_something(status: str) -> bool:
    return bool(status) and circulation_status(status) != UNDEFINED


def copies_in(reply: NcipMessage) -> dict[str, str]:
    """Barcode -> CirculationStatus, "" where none is said."""
    found = [*reply.each("BibInformation/HoldingsSet/ItemInformation"), *([reply] if reply.has("ItemId") else [])]
    return {one.text("ItemId/ItemIdentifierValue"): one.text("ItemOptionalFields/CirculationStatus") for one in found}
