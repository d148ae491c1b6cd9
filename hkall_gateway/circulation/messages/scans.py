"""A scan at the station of staff, and its results: frozen records, independent of the pages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hkall_gateway.circulation.messages.results import Outcome, PatronSeen
from hkall_gateway.rules.vocabulary import Actor, Borrower, Holding, Partner, Request


class ScanKind(StrEnum):
    """The clerk's own word for a text that may be either."""

    CARD = "card"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan. `text` is a copy's barcode, AGENCY/BARCODE, the number of a request, or a card; `kind` says which, if known.

    `card`: the copy is lent to it; "" = the copy is checked in. `agency` names the owner where two libraries share the barcode.
    `place` is the pickup location where the station stands; "" = not known: any may lend, and books come to the first one.
    """

    by: Actor
    text: str
    card: str = ""
    agency: str = ""
    kind: ScanKind | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class CardScanned:
    """A card: a patron's, with the record, or a partner's institutional card. `card` is the owner's present card."""

    card: str
    patron: PatronSeen | None = None
    partner: Partner | None = None


@dataclass(frozen=True, slots=True)
class CopyScanned:
    """A copy, with the result of its check-in or checkout.

    `before` and `request`: its request before and after; of our own copy that no open request has, the one that ended last.
    `patron` is the record of the card that borrows it, else of the request's patron. `copies`: every library's copies with this
    barcode, as last loaded.
    `owners`: the libraries to choose from where the barcode fits copies of more than one.
    """

    barcode: str
    outcome: Outcome
    before: Request | None = None
    request: Request | None = None
    patron: PatronSeen | None = None
    copies: tuple[Holding, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CardOrCopy:
    """A text that is both a copy's barcode and a card: the station acts once the clerk has chosen one.

    `title` and `owner` are the copy's, "" if several have the barcode; `borrower` is the patron, `library` the partner with the
    card.
    """

    text: str
    title: str = ""
    owner: str = ""
    borrower: Borrower | None = None
    library: str = ""
