"""What a terminal asks beside the daily round of asks.py, and the answers: cards, holds, all loans at once, a copy's make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from hkall_gateway.desk.messages.results import Refused, Renewed
from hkall_gateway.rules.vocabulary import NOTHING, By, ItemKey, Position, Sensitive

# ---- asks


@dataclass(frozen=True, slots=True)
class BlockCard:
    """This card must not be used. `text` is what the terminal says about it, `retained`: it has kept the card."""

    by: By
    card: str
    text: str = ""
    retained: bool = False


@dataclass(frozen=True, slots=True)
class EnableCard:
    """What a terminal blocked here is lifted; what the local library system blocks is not ours to lift."""

    by: By
    card: str
    pin: Sensitive = NOTHING


class HoldMode(StrEnum):
    """What is to be done about a hold."""

    PLACE = "place"
    CANCEL = "cancel"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Hold:
    """A patron at a terminal wants a title, wants it no more, or wants it elsewhere or for longer.

    The title is named by a copy's `barcode`, else by `title`: its name, or its number in the union catalogue. `this_copy`:
    no other copy will do. Nobody wants it after `need_before`. `told` are the requests that the terminal's own words may mean,
    by number: what it was told of them before, in a list of the patron's record, is what it sends now.
    """

    by: By
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
class RenewAll:
    """Keep everything longer. `fee_acknowledged`: what that costs is agreed to."""

    by: By
    card: str
    pin: Sensitive = NOTHING
    fee_acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class NoteProperties:
    """What a terminal knows of a copy's make."""

    by: By
    barcode: str
    text: str


# ---- answers


@dataclass(frozen=True, slots=True)
class CardSet:
    """The card is blocked, or is no longer. `again`: it was so before."""

    card: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The request as it stands now."""

    request: str
    title: str
    item: ItemKey | None
    position: Position
    pickup_location: str
    need_before: date | None
    language: str = ""


@dataclass(frozen=True, slots=True)
class AllRenewed:
    """What was renewed, and what was not and why; each loan stands in one of the two."""

    renewed: tuple[Renewed, ...]
    refused: tuple[Refused, ...]
    language: str = ""


@dataclass(frozen=True, slots=True)
class PropertiesNoted:
    """The copy, as it is known now."""

    item: ItemKey
    title: str
    text: str


SlipOutcome = Refused | CardSet | Held | AllRenewed | PropertiesNoted
