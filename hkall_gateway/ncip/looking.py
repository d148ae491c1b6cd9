"""Whether a copy stands on its lender's shelf: the question before a wish, and what its answer means. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hkall_gateway.ncip.documents import item_id, record_id
from hkall_gateway.ncip.messages import Fields, Message
from hkall_gateway.rules.tidings import Telling
from hkall_gateway.rules.vocabulary import ItemKey, Partner

STATUS: Final = "Circulation Status"
UNKNOWN_ITEM: Final = "Unknown Item"


class Shelf(StrEnum):
    """What was seen there, in words for the journal."""

    HERE = "on the shelf"
    ANOTHER = "another copy is on the shelf"
    NONE = "none on the shelf"
    UNKNOWN = "the shelf could not be seen"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, and the copy to ask for."""

    shelf: Shelf
    item: ItemKey | None = None


UNSEEN: Final = Look(Shelf.UNKNOWN)


def question(telling: Telling, partner: Partner, *, one_copy: bool) -> Fields:
    """The fields of LookupItemSet for the title that a wish is about, or, for `one_copy`, of LookupItem for its copy."""
    if one_copy:
        return {"ItemId": item_id(telling.item), "ItemElementType": [STATUS]} if telling.item else {}
    return {"BibliographicId": [{"BibliographicRecordId": record_id(telling, partner)}], "ItemElementType": [STATUS]}


def seen(reply: Message, telling: Telling, partner: Partner, statuses: Collection[str]) -> Look:
    """What a reply says of the shelf. `statuses` are those of a copy that can be had.

    Another copy of the title will do, except where a volume is wanted (R8). A reply that has no statuses, or is not the whole
    list, or is another problem than "there is no such thing", says nothing.
    """
    problems = {one.text("ProblemType") for path in ("Problem", "BibInformation/Problem") for one in reply.each(path)}
    if problems:
        return Look(Shelf.NONE) if problems == {UNKNOWN_ITEM} else UNSEEN
    copies = _copies(reply)
    free = [barcode for barcode, status in copies.items() if status.casefold() in {s.casefold() for s in statuses}]
    if telling.item and telling.item.barcode in free:
        return Look(Shelf.HERE, telling.item)
    if free and not telling.volume:
        return Look(Shelf.ANOTHER, ItemKey(partner.agency, min(free)))
    told = bool(copies) and all(copies.values()) and not reply.has("NextItemToken")
    return Look(Shelf.NONE) if told else UNSEEN


def _copies(reply: Message) -> dict[str, str]:
    """Barcode -> CirculationStatus, "" where none is said."""
    found = [*reply.each("BibInformation/HoldingsSet/ItemInformation"), *([reply] if reply.has("ItemId") else [])]
    return {one.text("ItemId/ItemIdentifierValue"): one.text("ItemOptionalFields/CirculationStatus") for one in found}
