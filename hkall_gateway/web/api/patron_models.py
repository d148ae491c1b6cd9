"""Models of the API for patrons. They contain no person's name or address."""

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
from hkall_gateway.db.search.searching import LONGEST, MOST, PAGE, FoundTitle, FoundTitles, SearchField
from hkall_gateway.rules.vocabulary import Holding, Request, Title, authors_of
from hkall_gateway.web.api.models import RECORDS, Body, Plain, Record, made_of
from hkall_gateway.web.i18n import library_name
from hkall_gateway.web.labels import patron_words, rule_of

MOST_COPIES: Final = 500
"""Maximum number of copies in a response. A set of many volumes may have more."""


class WhyNot(Record):
    """Why something is not possible: the reason's code, the published rule behind it, and a sentence."""

    reason: str
    rule: str
    detail: str

    @model_validator(mode="before")
    @classmethod
    def in_words(cls, found: object) -> object:
        """Convert a refusal to words for a patron."""
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
    """The words of a search, the field to search, and the page of results."""

    q: Plain = Field(min_length=1, max_length=LONGEST)
    field: SearchField = SearchField.ANY
    available: bool = Field(default=False, description="only titles of which a library has a copy available")
    page: int = Field(default=1, ge=1, le=MOST // PAGE)


@made_of(Title, fields="bib_id title authors linked_title linked_author isbns language published")
class TitleRecord(Record):
    """A title. `linked_title` and `linked_author` are in the original script."""

    authors: list[str]


class FoundTitleRecord(TitleRecord):
    """A title that a search found. `libraries` are the agencies of the libraries with an available copy."""

    libraries: list[str]


@made_of(FoundTitles)
class TitlesFound(Record):
    """A page of results. `count` is the number of hits up to a maximum; `more` is true if there are further hits."""

    titles: list[FoundTitleRecord]


def titles_found(found: FoundTitles) -> dict[str, object]:
    """Convert a page of results to JSON types."""
    rows = [{**_title_facts(one), "isbns": one.isbns.split(), "libraries": one.agencies} for one in found.titles]
    return TitlesFound.json_of({**_fields_of(found), "titles": rows})


def _title_facts(one: Title | FoundTitle) -> dict[str, object]:
    return {**_fields_of(one), "authors": authors_of(one.author)}


def _fields_of(
    one: Title | FoundTitle | FoundTitles | Holding | PatronRecord | PatronLoan | WaitingRequest | Request,
) -> dict[str, object]:
    """Return the fields of a result by name."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


@made_of(Holding, fields="agency library call_number volume material status state said_at")
class CopyRecord(Record):
    """A copy. `status` is its library's own word, from the loaded catalogue or as reported at `said_at`."""

    library: str
    state: CopyState
    said_at: datetime | None


@made_of(VolumeSeen)
class VolumeRecord(Record):
    """A volume. `volume` is "" for a title without volumes; `refusal` says why it cannot be requested now."""


class PickupLocation(BaseModel):
    """A place where a book can be collected."""

    code: str
    name: str


class TitleDetail(Record):
    """A title with its copies, last loaded at `loaded_at`. `asking` is true while libraries are queried for statuses."""

    title: TitleRecord
    copies: list[CopyRecord]
    volumes: list[VolumeRecord]
    pickup_locations: list[PickupLocation]
    loaded_at: datetime | None
    asking: bool


def title_detail(seen: TitleSeen, live: LiveStatuses, places: list[dict[str, str]]) -> dict[str, object]:
    """Convert a title to JSON types. `seen` already includes the statuses of `live`."""
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
    """The patron. A client names the card; a patron with a token of their own omits it."""

    card: Plain = Field(default="", max_length=100)


class RequestBody(OnBehalf):
    """A title or one of its volumes, and the pickup location. If `pickup` is "", it is the library's first location."""

    bib_id: Plain = Field(min_length=1, max_length=200)
    volume: Plain = Field(default="", max_length=100)
    pickup: Plain = Field(default="", max_length=100)


class MayRequest(Record):
    """Whether a request would be placed now, and if not, why."""

    allowed: bool
    refusal: WhyNot | None


@made_of(Cancelled, fields="request")
class CancelledRecord(Record):
    """The cancelled request. It ends now, or when its lender has confirmed."""


@made_of(Renewed, fields="request due renewals pending")
class RenewedRecord(Record):
    """The loan's due date. `pending` is true while the lender has not answered the renewal."""


class NotRenewedRecord(Record):
    """A loan that was not renewed."""

    title: str
    refusal: WhyNot | None


@made_of(AllRenewed, fields="renewed refused")
class AllRenewedRecord(Record):
    """The loans that were renewed, and the loans that were not. Each loan is in one of the two lists."""

    refused: Annotated[
        list[NotRenewedRecord], BeforeValidator(lambda found: [{"title": one.title, "refusal": one} for one in found])
    ]


class RecordEntry(Record):
    """The fields that every entry of the record has. `library` is the name of the book's library, "" while none is known."""

    request: str
    title: str
    bib_id: str
    volume: str
    library: str


@made_of(WaitingRequest, Request, fields="position label placed_at pickup_location pickup_last uncollected refusal")
class WaitingRecord(RecordEntry):
    """A request before its loan. `label` is the published word for its position.

    `pickup_last` is the last day to collect the book from the hold shelf; `uncollected` is true if that day is over. `refusal`
    says why the request cannot be cancelled, None if it can.
    """


@made_of(PatronLoan, Request, fields="due overdue recalled fine_cents renewals_left pending refusal")
class LoanRecord(RecordEntry):
    """A book on loan. `fine_cents` is the fine until today.

    `pending` is true while the lender is asked to renew. `refusal` says why the loan cannot be renewed, None if it can.
    """

    recalled: bool


@made_of(ChargeEntry, fields="request kind title left_cents at")
class ChargeRecord(Record):
    """A charge that is not fully paid."""


@made_of(LocalLoan)
class OwnLoanRecord(Record):
    """A loan of one of the library's own books, as its local system reports it. It is read-only."""


class CirculationRecord(Record):
    """A patron's current record, without past loans. `refusal` says why the patron may not use HKALL, None if they may.

    `own_loans` are loans of the library's own books, None if its local system does not report them or does not answer.
    """

    requests: list[WaitingRecord]
    loans: list[LoanRecord]
    charges: list[ChargeRecord]
    owed_cents: int
    own_loans: list[OwnLoanRecord] | None
    refusal: WhyNot | None


def circulation_record(found: PatronRecord, own_loans: Sequence[LocalLoan] | None) -> dict[str, object]:
    """Convert a patron's record to JSON types. `own_loans` is as in CirculationRecord."""
    requests, loans = ([_line_facts(one, found) for one in lines] for lines in (found.waiting, found.loans))
    return CirculationRecord.json_of({**_fields_of(found), "requests": requests, "loans": loans, "own_loans": own_loans})


def _line_facts(one: WaitingRequest | PatronLoan, found: PatronRecord) -> dict[str, object]:
    """Return the fields of an entry and of its request, with the name of its library."""
    request = one.request
    agency = request.item_agency or request.partner
    return {
        **_fields_of(request),
        **_fields_of(one),
        "request": request.id,
        "library": library_name(agency, found.libraries.get(agency, agency)),
        "recalled": request.recalled_on is not None,
    }
