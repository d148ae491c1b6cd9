"""API models for patrons. No model contains a person's name or address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from hkall_gateway.circulation.borrowing import Cancelled
from hkall_gateway.circulation.fines import ChargeEntry
from hkall_gateway.circulation.loans import AllRenewed
from hkall_gateway.circulation.patron_record import PatronLoan, PatronRecord, WaitingRequest
from hkall_gateway.circulation.ports import LiveStatuses, LocalLoan
from hkall_gateway.circulation.results import Refused, Renewed
from hkall_gateway.circulation.titles import CopyState, TitleSeen, VolumeSeen
from hkall_gateway.db.search.parsing import LONGEST, SearchField
from hkall_gateway.db.search.searching import MOST_COUNTED, PAGE, FacetValue, FoundTitle, FoundTitles, Sort
from hkall_gateway.rules.vocabulary import Holding, Request, Title, authors_of
from hkall_gateway.web.api.models import RECORDS, Body, Plain, Record, made_of
from hkall_gateway.web.i18n import library_name
from hkall_gateway.web.labels import patron_words, rule_of

MOST_COPIES: Final = 500
"""Maximum number of copies in a response. A set of many volumes may have more."""


class WhyNot(Record):
    """A refusal for a patron: the reason code, the published rule, and an explanation in words."""

    reason: str
    rule: str
    detail: str

    @model_validator(mode="before")
    @classmethod
    def in_words(cls, found: object) -> object:
        """Convert a refusal to the fields of this record."""
        if not isinstance(found, Refused):
            return found
        return {"reason": found.why.value, "rule": rule_of(found), "detail": patron_words(found)}


RECORDS[Refused] = WhyNot


class PatronLogin(Body):
    """A patron's card and PIN."""

    barcode: Plain = Field(min_length=1, max_length=100)
    pin: Plain = Field(min_length=1, max_length=100)


class PatronToken(BaseModel):
    """A bearer token and its expiry."""

    token: str
    ends_at: datetime


class SearchQuery(Body):
    """Search words, the field to search, and the page number."""

    q: Plain = Field(min_length=1, max_length=LONGEST)
    field: SearchField = SearchField.ANY
    available: bool = Field(default=False, description="only titles of which a library has a copy available")
    library: Plain = Field(default="", max_length=100, description="only titles of which this library has a copy")
    language: Plain = Field(default="", max_length=20, description="only titles in this language, by its MARC code")
    decade: Plain = Field(default="", max_length=4, description="only titles of this decade, by its first year")
    sort: Sort = Sort.RELEVANCE
    page: int = Field(default=1, ge=1, le=MOST_COUNTED // PAGE)


@made_of(Title, fields="bib_id title authors linked_title linked_author isbns language published")
class TitleRecord(Record):
    """A title. `linked_title` and `linked_author` are in the original script."""

    authors: list[str]


class FoundTitleRecord(TitleRecord):
    """A title found by a search. `libraries` lists the agencies of the libraries with an available copy."""

    libraries: list[str]


@made_of(FacetValue)
class FacetRecord(Record):
    """A value by which results can be narrowed, and the number of hits that have it."""


@made_of(FoundTitles)
class TitlesFound(Record):
    """One page of search results. `count` is the number of hits up to a maximum. `more` is true if there are more hits.

    If nothing matches, the titles are those of `instead`, which is the query in another spelling, or `similar` is true.
    """

    titles: list[FoundTitleRecord]


def titles_found(found: FoundTitles) -> dict[str, object]:
    """Convert one page of search results to JSON types."""
    rows = [{**_title_facts(one), "isbns": one.isbns.split(), "libraries": one.agencies} for one in found.titles]
    return TitlesFound.json_of({**_fields_of(found), "titles": rows})


def _title_facts(one: Title | FoundTitle) -> dict[str, object]:
    return {**_fields_of(one), "authors": authors_of(one.author)}


def _fields_of(
    one: Title | FoundTitle | FoundTitles | Holding | PatronRecord | PatronLoan | WaitingRequest | Request,
) -> dict[str, object]:
    """Return a mapping from a result's field names to their values."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


@made_of(Holding, fields="agency library call_number volume material status state said_at")
class CopyRecord(Record):
    """A copy. `status` is the owning library's own term, from the loaded catalogue or as reported at `said_at`."""

    library: str
    state: CopyState
    said_at: datetime | None


@made_of(VolumeSeen)
class VolumeRecord(Record):
    """A volume. `volume` is "" for a title without volumes. `refusal` says why the volume cannot be requested now."""


class PickupLocation(BaseModel):
    """A place where a book can be collected."""

    code: str
    name: str


class TitleDetail(Record):
    """A title with its copies, last loaded at `loaded_at`. `asking` is true while we query libraries for copy statuses."""

    title: TitleRecord
    copies: list[CopyRecord]
    volumes: list[VolumeRecord]
    pickup_locations: list[PickupLocation]
    loaded_at: datetime | None
    asking: bool


def title_detail(seen: TitleSeen, live: LiveStatuses, places: list[dict[str, str]]) -> dict[str, object]:
    """Convert a title to JSON types. `seen` must already include the statuses in `live`."""
    copies = []
    for one in seen.copies[:MOST_COPIES]:
        agency, live_status = one.copy.agency, live.statuses.get(one.copy.key)
        library = library_name(agency, seen.names.get(agency, agency))
        copies.append(
            {**_fields_of(one.copy), "library": library, "state": one.state, "said_at": live_status.at if live_status else None}
        )
    return TitleDetail.json_of(
        {
            "title": _title_facts(seen.title),
            "copies": copies,
            "volumes": seen.volumes,
            "pickup_locations": places,
            "loaded_at": seen.as_of,
            "asking": live.asking,
        }
    )


class TitlePath(BaseModel):
    """The number of a title in the union catalogue."""

    bib_id: Plain = Field(
        min_length=1,
        max_length=200,
        description="a part `.` or `..`, and a last part `request`, is written with a `~` before it",
    )


class OnBehalf(Body):
    """The patron for whom the request is made. A client names the card. A patron's own token implies the card."""

    card: Plain = Field(default="", max_length=100)


class RequestBody(OnBehalf):
    """A title or one of its volumes, and the pickup location. If `pickup` is "", the library's first location is used."""

    bib_id: Plain = Field(min_length=1, max_length=200)
    volume: Plain = Field(default="", max_length=100)
    pickup: Plain = Field(default="", max_length=100)


class MayRequest(Record):
    """Whether a request would be accepted now, and if not, why."""

    allowed: bool
    refusal: WhyNot | None


@made_of(Cancelled, fields="request")
class CancelledRecord(Record):
    """The cancelled request, which ends at once or when its lender has confirmed the cancellation."""


@made_of(Renewed, fields="request due renewals pending")
class RenewedRecord(Record):
    """The loan's due date. `pending` is true while the lender has not answered the renewal."""


class NotRenewedRecord(Record):
    """A loan that was not renewed. `title` is in both scripts."""

    title: str
    refusal: WhyNot | None


@made_of(AllRenewed, fields="renewed refused")
class AllRenewedRecord(Record):
    """The renewed loans, and the loans that could not be renewed."""

    refused: Annotated[
        list[NotRenewedRecord], BeforeValidator(lambda found: [{"title": one.title, "refusal": one} for one in found])
    ]


class RecordEntry(Record):
    """The fields common to all entries of the record. `library` is the owning library's name, or "" while it is unknown."""

    request: str
    title: str
    linked_title: str
    bib_id: str
    volume: str
    library: str


@made_of(WaitingRequest, Request, fields="position label placed_at pickup_location pickup_last uncollected refusal")
class WaitingRecord(RecordEntry):
    """A request that has not become a loan yet.

    `label` is the published word for the request's position. `pickup_last` is the last day to collect the book from the hold
    shelf, and `uncollected` is true if that day is over. `refusal` says why the request cannot be cancelled, or is None.
    """


@made_of(PatronLoan, Request, fields="due overdue recalled fine_cents fine_stopped_on renewals_left pending refusal")
class LoanRecord(RecordEntry):
    """A book on loan. `fine_cents` is the fine until today, or until `fine_stopped_on`.

    `pending` is true while the lender has not answered a renewal. `refusal` says why the loan cannot be renewed, or is None.
    """

    recalled: bool


@made_of(ChargeEntry, fields="request kind title linked_title charged_cents paid_cents waived_cents left_cents at")
class ChargeRecord(Record):
    """A charge that is not settled. All sums of a refund that the library owes are negative."""


@made_of(LocalLoan)
class OwnLoanRecord(Record):
    """A read-only loan of one of the library's own books, as reported by the local system."""


class CirculationRecord(Record):
    """A patron's current record, without past loans. `refusal` says why the patron may not use HKALL, or is None.

    `charges` are to be paid, `owed_cents` in all. `credits` are refunds that the library owes, `credit_cents` in all.
    `own_loans` lists loans of the library's own books, or is None if the local system does not report or does not answer.
    """

    requests: list[WaitingRecord]
    loans: list[LoanRecord]
    charges: list[ChargeRecord]
    owed_cents: int
    credits: list[ChargeRecord]
    credit_cents: int
    own_loans: list[OwnLoanRecord] | None
    refusal: WhyNot | None


def circulation_record(found: PatronRecord, own_loans: Sequence[LocalLoan] | None) -> dict[str, object]:
    """Convert a patron's record to JSON types. `own_loans` has the same meaning as in CirculationRecord."""
    requests, loans = ([_line_facts(one, found) for one in lines] for lines in (found.waiting, found.loans))
    return CirculationRecord.json_of({**_fields_of(found), "requests": requests, "loans": loans, "own_loans": own_loans})


def _line_facts(one: WaitingRequest | PatronLoan, found: PatronRecord) -> dict[str, object]:
    """Return the fields of a record entry and its request, with the name of the owning library."""
    request = one.request
    agency = request.item_agency or request.partner
    return {
        **_fields_of(request),
        **_fields_of(one),
        "request": request.id,
        "library": library_name(agency, found.libraries.get(agency, agency)),
        "recalled": request.recalled_on is not None,
    }
