"""The records of the patrons' half of the API. No name and no address is in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

from pydantic import BaseModel, Field

from hkall_gateway.circulation.messages.terminal_commands import AllRenewed
from hkall_gateway.circulation.patron_record import PatronLoan, PatronRecord, WaitingRequest
from hkall_gateway.circulation.ports import LiveStatuses, LocalLoan
from hkall_gateway.circulation.results import ChargeEntry, Refused, Renewed
from hkall_gateway.circulation.titles import CopySeen, CopyState, TitleSeen, VolumeSeen
from hkall_gateway.db.search.searching import LONGEST, MOST, PAGE, FoundTitle, FoundTitles, SearchField
from hkall_gateway.rules.vocabulary import BETWEEN_AUTHORS, Position, Request, Title
from hkall_gateway.web.api.models import Body, Plain, Record
from hkall_gateway.web.i18n import library_name
from hkall_gateway.web.labels import told

MOST_COPIES: Final = 500
"""Copies of a title that are told; a set of many volumes may have more."""


class WhyNot(BaseModel):
    """Why something is not possible: the gateway's word, the published rule behind it, and a sentence."""

    reason: str
    rule: str
    detail: str


def why_not(refused: Refused | None) -> WhyNot | None:
    """Return a refusal for a program; None for none."""
    said = told(refused)
    return WhyNot(reason=refused.why.value, rule=said.rule, detail=said.words) if refused and said else None


# ---- a patron's token


class PatronLogin(Body):
    """Card and PIN."""

    barcode: Plain = Field(min_length=1, max_length=100)
    pin: Plain = Field(min_length=1, max_length=100)


class PatronToken(BaseModel):
    """A bearer token, and when it ends."""

    token: str
    ends_at: datetime


# ---- titles


class SearchQuery(Body):
    """Words, the field that has them, and which page of results."""

    q: Plain = Field(min_length=1, max_length=LONGEST)
    field: SearchField = SearchField.ANY
    available: bool = Field(default=False, description="only titles of which a library has a copy available")
    page: int = Field(default=1, ge=1, le=MOST // PAGE)


class TitleRecord(Record):
    """A title. `linked_title` and `linked_author` are in the original script."""

    bib_id: str
    title: str
    authors: list[str]
    linked_title: str
    linked_author: str
    isbns: list[str]
    language: str
    published: str


class FoundTitleRecord(TitleRecord):
    """A title that was found. `libraries` are the agencies of those that have a copy available."""

    libraries: list[str]


class TitlesFound(BaseModel):
    """A page of results. `count` is the number of hits; `more`: there are more than these."""

    titles: list[FoundTitleRecord]
    count: int
    more: bool
    page: int
    pages: int


def titles_found(found: FoundTitles) -> TitlesFound:
    """Return a page of results."""
    rows = [FoundTitleRecord(**_described(one, one.isbns.split()), libraries=list(one.agencies)) for one in found.titles]
    return TitlesFound(titles=rows, count=found.count, more=found.more, page=found.page, pages=found.pages)


def _described(one: Title | FoundTitle, isbns: list[str]) -> dict[str, Any]:
    named = {name: getattr(one, name) for name in ("bib_id", "title", "linked_title", "linked_author", "language", "published")}
    authors = [each for each in one.author.split(BETWEEN_AUTHORS) if each]
    return {**named, "authors": authors, "isbns": isbns}


class CopyRecord(BaseModel):
    """A copy. `status` is its library's word, as it was loaded, or as the library gave it at `said_at`."""

    agency: str
    library: str
    call_number: str
    volume: str
    material: str
    status: str
    state: CopyState
    said_at: datetime | None


class VolumeRecord(BaseModel):
    """A volume, "" for a title without volumes, and why it cannot be requested now; None if it can."""

    volume: str
    refusal: WhyNot | None


class PickupLocation(BaseModel):
    """A place where a book can be collected."""

    code: str
    name: str


class TitleDetail(BaseModel):
    """A title with its copies. `loaded_at`: when copies were loaded last; `asking`: their libraries are asked for more now."""

    title: TitleRecord
    copies: list[CopyRecord]
    volumes: list[VolumeRecord]
    pickup_locations: list[PickupLocation]
    loaded_at: datetime | None
    asking: bool


def title_detail(seen: TitleSeen, live: LiveStatuses, places: list[PickupLocation]) -> TitleDetail:
    """Return a title; the statuses of `live` are in `seen` already."""
    return TitleDetail(
        title=TitleRecord(**_described(seen.title, list(seen.title.isbns))),
        copies=[_copy(one, seen, live) for one in seen.copies[:MOST_COPIES]],
        volumes=[_volume(one) for one in seen.volumes],
        pickup_locations=places,
        loaded_at=seen.as_of,
        asking=live.asking,
    )


def _copy(one: CopySeen, seen: TitleSeen, live: LiveStatuses) -> CopyRecord:
    copy, said = one.copy, live.statuses.get(one.copy.key)
    named = {name: getattr(copy, name) for name in ("agency", "call_number", "volume", "material", "status")}
    library = library_name(copy.agency, seen.names.get(copy.agency, copy.agency))
    return CopyRecord(**named, library=library, state=one.state, said_at=said.at if said else None)


def _volume(one: VolumeSeen) -> VolumeRecord:
    return VolumeRecord(volume=one.volume, refusal=why_not(one.refusal))


class TitlePath(BaseModel):
    """The number of a title in the union catalogue."""

    bib_id: Plain = Field(
        min_length=1,
        max_length=200,
        description="a part `.` or `..`, and a last part `request`, is written with a `~` before it",
    )


# ---- a patron's requests


class OnBehalf(Body):
    """The patron. A client names the card; a patron with a token of their own leaves it out."""

    card: Plain = Field(default="", max_length=100)


class RequestBody(OnBehalf):
    """A title, or one volume of it, and where it is to be collected; "" is the library's first place."""

    bib_id: Plain = Field(min_length=1, max_length=200)
    volume: Plain = Field(default="", max_length=100)
    pickup: Plain = Field(default="", max_length=100)


class MayRequest(BaseModel):
    """Whether a request would be placed now, and why not."""

    allowed: bool
    refusal: WhyNot | None


class CancelledRecord(BaseModel):
    """The request ends, now or when its lender has confirmed."""

    request: str


class RenewedRecord(BaseModel):
    """The loan's due date now. `pending`: its lender is being asked."""

    request: str
    due: date | None
    renewals: int
    pending: bool


def renewed(one: Renewed) -> RenewedRecord:
    """Return a renewal."""
    return RenewedRecord(request=one.request, due=one.due, renewals=one.renewals, pending=one.pending)


class NotRenewedRecord(BaseModel):
    """A loan that stays as it is."""

    title: str
    refusal: WhyNot | None


class AllRenewedRecord(BaseModel):
    """The loans that were renewed, and those that were not; each loan is in one of the two."""

    renewed: list[RenewedRecord]
    refused: list[NotRenewedRecord]


def all_renewed(outcome: AllRenewed) -> AllRenewedRecord:
    """Return the outcome for each loan."""
    return AllRenewedRecord(
        renewed=[renewed(one) for one in outcome.renewed],
        refused=[NotRenewedRecord(title=one.title, refusal=why_not(one)) for one in outcome.refused],
    )


# ---- the circulation record


class RecordEntry(BaseModel):
    """The fields of each line of the record. `library` is the name of the book's library, "" while none is known."""

    request: str
    title: str
    bib_id: str
    volume: str
    library: str


class WaitingRecord(RecordEntry):
    """A request before the loan. `label` is the published word; `refusal`: why it cannot be cancelled, None if it can.

    `pickup_last` is the last day on the hold shelf, `uncollected`: it is over.
    """

    position: Position
    label: str
    placed_at: datetime | None
    pickup_location: str
    pickup_last: date | None
    uncollected: bool
    refusal: WhyNot | None


class LoanRecord(RecordEntry):
    """A book on loan. `fine_cents` is the fine until today; `refusal`: why it cannot be renewed, None if it can.

    `pending`: its lender is being asked for a renewal.
    """

    due: date | None
    overdue: bool
    recalled: bool
    fine_cents: int
    renewals_left: int
    pending: bool
    refusal: WhyNot | None


class ChargeRecord(BaseModel):
    """A charge that is not fully paid."""

    request: str
    kind: str
    title: str
    left_cents: int
    at: datetime


class OwnLoanRecord(BaseModel):
    """A book of the library's own that the patron has, as its system tells it; to be read only."""

    barcode: str
    title: str
    due: date | None


class CirculationRecord(BaseModel):
    """A patron's record as it is now, without past loans. `refusal`: why the patron may not use HKALL, None if they may.

    `own_loans` are the library's own books; None where its system does not tell them, or does not answer.
    """

    requests: list[WaitingRecord]
    loans: list[LoanRecord]
    charges: list[ChargeRecord]
    owed_cents: int
    own_loans: list[OwnLoanRecord] | None
    refusal: WhyNot | None


def circulation_record(found: PatronRecord, own_loans: Sequence[LocalLoan] | None) -> CirculationRecord:
    """Return a patron's record; `own_loans` as in CirculationRecord."""
    own = None if own_loans is None else [OwnLoanRecord(barcode=o.barcode, title=o.title, due=o.due) for o in own_loans]
    return CirculationRecord(
        requests=[_waiting(one, found) for one in found.waiting],
        loans=[_loan(one, found) for one in found.loans],
        charges=[_charge(one) for one in found.charges],
        owed_cents=found.owed_cents,
        own_loans=own,
        refusal=why_not(found.refusal),
    )


def _entry(one: Request, found: PatronRecord) -> dict[str, Any]:
    agency = one.item_agency or one.partner
    return {
        "request": one.id,
        "title": one.title,
        "bib_id": one.bib_id,
        "volume": one.volume,
        "library": library_name(agency, found.libraries.get(agency, agency)),
    }


def _waiting(one: WaitingRequest, found: PatronRecord) -> WaitingRecord:
    request = one.request
    return WaitingRecord(
        **_entry(request, found),
        position=request.position,
        label=one.label,
        placed_at=request.placed_at,
        pickup_location=request.pickup_location,
        pickup_last=request.pickup_last,
        uncollected=one.uncollected,
        refusal=why_not(one.refusal),
    )


def _loan(one: PatronLoan, found: PatronRecord) -> LoanRecord:
    return LoanRecord(
        **_entry(one.request, found),
        due=one.request.due,
        overdue=one.overdue,
        recalled=one.request.recalled_on is not None,
        fine_cents=one.fine_cents,
        renewals_left=one.renewals_left,
        pending=one.pending,
        refusal=why_not(one.refusal),
    )


def _charge(one: ChargeEntry) -> ChargeRecord:
    return ChargeRecord(request=one.request, kind=one.kind, title=one.title, left_cents=one.left_cents, at=one.at)
