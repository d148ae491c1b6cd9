"""Commands of other systems beside commands.py, and their results: broker events, look-ups, bills, reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from hkall_gateway.circulation.command import Command, Query
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Answered, Done, ItemSeen, Refused
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Partner, Position, Side

MIRRORED: Final = "mirrored"
BROKERED: Final = "brokered"
"""Kinds of requests that another system placed for our patron: INN-Reach's central, which itself asks the lenders; a broker."""


# ---- asks


@dataclass(frozen=True, slots=True)
class BrokerCommand(Command[BorrowerFacts, Answered]):
    """One command of a broker, or one event mirrored by a central: a row of BROKER_COMMANDS or EVENTS.

    `partner` is that system. The request is named by `wire_agency`/`wire_id`, by `number` (the system's own number of a copy
    that has no barcode yet) or by the copy: `barcode` and, where it is known, `agency`. `card` is one of our patrons'.
    `judged` as in PartnerNotice. `service` is the key of the row.
    """

    by: Actor
    partner: str
    card: str = ""
    wire_agency: str = ""
    wire_id: str = ""
    number: str = ""
    barcode: str = ""
    agency: str = ""
    title: str = ""
    bib_id: str = ""
    pickup_location: str = ""
    at: datetime | None = None
    due: date | None = None
    judged: bool = False
    service: str = ""


@dataclass(frozen=True, slots=True)
class SeeRequest(Query[None, "RequestSeen | Refused"]):
    """Asks for a request's state. `agency`/`value` are its RequestId; without one, the request that holds `item`, for `card`.

    `caller` may see the requests it placed, those it borrows from us, and those we sent to it; a `client` also those under our
    own number.
    """

    by: Actor
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True)
class SeeCopyOf(Query[None, ItemSeen | Refused]):
    """Asks for the state of the copy of a request."""

    request: SeeRequest


@dataclass(frozen=True, slots=True)
class ServesPatron(Query[None, bool]):
    """Asks whether a partner has an open request for one of our patrons."""

    partner: str
    card: str


@dataclass(frozen=True, slots=True)
class FindInstitution(Query[None, Partner | None]):
    """Asks which partner an institutional card belongs to."""

    card: str


@dataclass(frozen=True, slots=True)
class FindClosedVolumes(Query[None, frozenset[tuple[str, str]]]):
    """Asks which volumes of these titles no patron could request now, as (record number, volume)."""

    bib_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeepUnplaced(Command[None, bool]):
    """Keeps a partner's notice that fits no request in the quarantine; the result is False where it has too many there."""

    by: Actor
    digest: str
    document: str
    why: Reason


@dataclass(frozen=True, slots=True)
class SeeShelves(Query[None, "ShelvesSeen | Refused"]):
    """Asks for the copies of titles, or the state of copies. At most `limit` copies, after `token`.

    `ours_only`: a partner sees our own copies only.
    """

    by: Actor
    titles: tuple[str, ...] = ()
    items: tuple[ItemKey, ...] = ()
    ours_only: bool = False
    limit: int = 100
    token: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRequest(Command[None, "Changed"]):
    """Changes the pickup location or the `need_before` date of a request. Named as for SeeRequest."""

    by: Actor
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None
    pickup_location: str = ""
    need_before: date | None = None


@dataclass(frozen=True, slots=True)
class SetStatus(Command[None, "StatusSet"]):
    """A library sets the status of its own copy (`status`: NCIP CirculationStatus)."""

    by: Actor
    item: ItemKey
    status: str


@dataclass(frozen=True, slots=True)
class CopyReport(Command[None, Done]):
    """A borrower's report that a copy was returned, never borrowed, lost or is missing. `partner` or `card` names the holder.

    `command` is the matching staff command: claim or lost.
    """

    by: Actor
    command: str
    item: ItemKey
    partner: str = ""
    card: str = ""
    reason: str = ""
    on: date | None = None


@dataclass(frozen=True, slots=True)
class Bill(Command[None, "Billed"]):
    """Another system charges one of our patrons, in cents, under its own `reference`, perhaps for one request or copy."""

    by: Actor
    card: str
    cents: int
    kind: str
    reference: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None


# ---- answers


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """The state of a request. `patron` is empty where we lend; `copy` is the state of its copy, if it has one.

    `label` is the word of the patron's record (R35), "" where we lend.
    `uncollected`, for the patron's own system: its last day on the hold shelf is over (R14).
    """

    request: str
    side: Side
    position: Position
    title: str
    patron: str
    item: ItemKey | None
    pickup_location: str
    pickup_last: date | None
    placed_at: datetime | None
    need_before: date | None
    copy: ItemSeen | None
    label: str = ""
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class TitleCopies:
    """The copies of one title at one library; `copies` is empty and `unknown` true if there is no such title or copy."""

    bib_id: str
    agency: str
    copies: tuple[ItemSeen, ...]
    wanted: ItemKey | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class ShelvesSeen:
    """The shelves, in the order asked for. `token` asks for the rest; "" when there is none."""

    shelves: tuple[TitleCopies, ...]
    token: str = ""


@record
@dataclass(frozen=True, slots=True)
class Changed:
    """The changed request, with its values after the change. `patron` is empty where we lend."""

    request: str
    placed_by: str
    placed_id: str
    patron: str
    item: ItemKey | None
    pickup_location: str = ""
    need_before: date | None = None


@record
@dataclass(frozen=True, slots=True)
class StatusSet:
    """The copy's status is recorded. `again`: it was the same before."""

    item: ItemKey
    again: bool = False
    status: str = ""


@record
@dataclass(frozen=True, slots=True)
class Billed:
    """The bill is charged to the patron. `fine` is our number of the charge."""

    card: str
    reference: str
    fine: int
