"""Commands of a terminal beside commands.py, and their results: cards, holds, renew all, a copy's properties."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from hkall_gateway.circulation.command import Command, Query
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Refused, Renewed
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.vocabulary import NOTHING, Actor, ItemKey, Position, Sensitive

# ---- asks


@dataclass(frozen=True, slots=True)
class BlockCard(Command[BorrowerFacts, "CardSet"]):
    """Blocks a card. `text` is the terminal's message about it, `retained`: the terminal has kept the card."""

    by: Actor
    card: str
    text: str = ""
    retained: bool = False


@dataclass(frozen=True, slots=True)
class EnableCard(Command[BorrowerFacts, "CardSet"]):
    """Lifts a block that a terminal set here; a block of the local library system stays."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING


class HoldMode(StrEnum):
    """The action on a hold."""

    PLACE = "place"
    CANCEL = "cancel"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Hold(Command[BorrowerFacts, "HoldResult"]):
    """A hold by a patron at a terminal: place it, cancel it, or change its pickup location or last day.

    The title is named by a copy's `barcode`, else by `title`: its name, or its number in the union catalogue. `this_copy`: no
    other copy will do. The hold expires after `need_before`. `told` are the numbers of the requests that the terminal's words
    may mean: it sends back the texts of the patron record's lists.
    """

    by: Actor
    mode: HoldMode
    card: str
    barcode: str = ""
    title: str = ""
    pickup_location: str = ""
    need_before: date | None = None
    this_copy: bool = False
    told: frozenset[str] = frozenset()
    pin: Sensitive = NOTHING


@dataclass(frozen=True, slots=True)
class ConcernsHkall(Query[None, bool]):
    """Asks whether a hold concerns HKALL, and not the library's own hold list."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class RenewAll(Command[BorrowerFacts, "AllRenewed"]):
    """Renews all loans. `fee_acknowledged`: the caller accepts the fines."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING
    fee_acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class NoteProperties(Command[None, "PropertiesNoted"]):
    """Properties of a copy as a terminal reports them."""

    by: Actor
    barcode: str
    text: str


# ---- answers


@dataclass(frozen=True, slots=True)
class CardSet:
    """The card is blocked or enabled. `again`: it was so before."""

    card: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class HoldResult:
    """The request after the command."""

    request: str
    title: str
    item: ItemKey | None
    position: Position
    pickup_location: str
    need_before: date | None
    language: str = ""


@record
@dataclass(frozen=True, slots=True)
class AllRenewed:
    """The renewed loans, and the refused ones with reasons; each loan is in one of the two."""

    renewed: tuple[Renewed, ...]
    refused: tuple[Refused, ...]
    language: str = ""


@dataclass(frozen=True, slots=True)
class PropertiesNoted:
    """The copy with its recorded properties."""

    item: ItemKey
    title: str
    text: str
