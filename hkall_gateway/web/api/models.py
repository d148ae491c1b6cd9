"""The records of the API."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hkall_gateway.circulation.staff.console import RequestPage
from hkall_gateway.circulation.staff.permitted import Action
from hkall_gateway.db.queries.request_search import FoundBy, Match
from hkall_gateway.db.queries.work_lists import ListName, ListPage, ListRow, SortKey
from hkall_gateway.rules.dates import within_years
from hkall_gateway.rules.plain_text import ONE_LINE
from hkall_gateway.rules.vocabulary import Position, Side

Plain: TypeAlias = Annotated[str, Field(pattern=ONE_LINE)]
"""One line of text that may enter. `incoming` has refused what no text may have; this also describes it to programs."""
Day: TypeAlias = Annotated[date, AfterValidator(within_years)]
"""A date that may enter."""


class Record(BaseModel):
    """A record that is made of one of the desk's."""

    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """The body or query of a request; an unknown field is refused, since a mistyped one would be ignored without notice."""

    model_config = ConfigDict(extra="forbid")


# ---- requests


class RequestRecord(Record):
    """One request. `patron` is the card, "" where we lend. For the role viewer it and `reason` are ""."""

    id: str
    side: Side
    position: Position
    partner: str
    patron: str
    title: str
    bib_id: str
    volume: str
    item_agency: str
    item_barcode: str
    pickup_location: str
    placed_at: datetime | None
    moved_at: datetime | None
    received_on: date | None
    pickup_last: date | None
    due: date | None
    lender_due: date | None
    returned_on: date | None
    recalled_on: date | None
    renewals: int
    expired_pickup: bool
    reason: str
    flags: str


class ListEntry(BaseModel):
    """One request of a work list, with facts of its copy, and its days in this position."""

    request: RequestRecord
    days: int
    call_number: str
    author: str
    material: str
    set_aside: str
    fault: str


class ListPageRecord(BaseModel):
    """A page of a work list; `next` is the `after` of the next page, "" if this is the last."""

    rows: list[ListEntry]
    next: str


def list_page(page: ListPage) -> ListPageRecord:
    """Return a page of a list."""
    return ListPageRecord(rows=[_entry(row) for row in page.rows], next=page.next)


def _entry(row: ListRow) -> ListEntry:
    facts = {name: getattr(row, name) for name in ("days", "call_number", "author", "material", "set_aside", "fault")}
    return ListEntry(request=RequestRecord.model_validate(row.request), **facts)


class ListCounts(BaseModel):
    """The number of requests in each work list."""

    counts: dict[str, int]


class ListPath(BaseModel):
    """The name of a work list."""

    name: ListName


class ListQuery(Body):
    """The order, the place and the limits of a page."""

    sort: SortKey = SortKey.DAYS
    reverse: bool = False
    after: Plain = Field(default="", max_length=200, description="the `next` of the page before")
    most: int = Field(default=50, ge=1, le=200)
    partner: Plain = Field(default="", max_length=100)
    pickup: Plain = Field(default="", max_length=100)
    material: Plain = Field(default="", max_length=100)


class EventRecord(Record):
    """One line of the journal."""

    at: datetime
    who: str
    channel: str
    event: str
    source: str
    target: str
    rule: str
    outcome: str


class CandidateRecord(Record):
    """A lender that may be asked, or was: why it has its rank, and how it answered."""

    agency: str
    barcode: str
    rank: int
    reason: str
    skip: str
    outcome: str


class ActionRecord(Record):
    """A command for this request: whether the position and the token's role allow it, and what hinders it if not."""

    name: str
    needs_reason: bool
    takes: list[str]
    allowed: bool
    hindrance: str


class RequestDetail(BaseModel):
    """Everything about one request that a program may act on."""

    request: RequestRecord
    days: int
    actions: list[ActionRecord]
    events: list[EventRecord]
    candidates: list[CandidateRecord]


def request_detail(page: RequestPage) -> RequestDetail:
    """Return a request with its actions, journal and candidates."""
    return RequestDetail(
        request=RequestRecord.model_validate(page.request),
        days=page.days,
        actions=[_action(one) for one in page.actions],
        events=[EventRecord.model_validate(event.line) for event in page.events],
        candidates=[CandidateRecord.model_validate(one) for one in page.candidates],
    )


def _action(one: Action) -> ActionRecord:
    takes, hindrance = list(one.takes), str(one.hindrance or "")
    return ActionRecord(name=one.name, needs_reason=one.needs_reason, takes=takes, allowed=one.allowed, hindrance=hindrance)


class RequestPath(BaseModel):
    """The number of a request."""

    number: Plain = Field(min_length=1, max_length=64)


class ActionPath(RequestPath):
    """A request and a command."""

    action: str = Field(min_length=1, max_length=40, pattern="^[a-z_]+$")


class ActionBody(Body):
    """The arguments of a command beside the request; each command uses some of them."""

    reason: Plain = Field(default="", max_length=500)
    on: Day | None = None
    cents: int | None = Field(default=None, ge=0, le=10_000_000)
    item: Plain = Field(default="", max_length=100, description="a copy, AGENCY/BARCODE")
    lender: Plain = Field(default="", max_length=100, description="a lender's copy, AGENCY/BARCODE, or its agency")
    to: Position | None = None


class ActionDone(BaseModel):
    """The command is done; `again`: it was done before, without a change."""

    request: str
    position: str
    again: bool
    due: date | None
    cents: int
    note: str


class PlaceBody(Body):
    """A patron's request for a title."""

    card: Plain = Field(min_length=1, max_length=100)
    bib_id: Plain = Field(min_length=1, max_length=200)
    volume: Plain = Field(default="", max_length=100)
    pickup: Plain = Field(default="", max_length=100)


class Placed(BaseModel):
    """The number of the new request."""

    request: str


class SearchBody(Body):
    """A number, a barcode, a card or words of a title."""

    q: Plain = Field(min_length=1, max_length=200)


class FoundRequest(BaseModel):
    """A request that was found, and by what."""

    request: RequestRecord
    by: FoundBy


class Found(BaseModel):
    """The requests that a search has found, newest first."""

    requests: list[FoundRequest]


def found(matches: tuple[Match, ...]) -> Found:
    """Return the matches of a search for the API."""
    return Found(requests=[FoundRequest(request=RequestRecord.model_validate(one.request), by=one.by) for one in matches])


# ---- statistics


class PeriodQuery(Body):
    """The days from `from` to `to`, both included; at most three years."""

    first: Day = Field(alias="from")
    last: Day = Field(alias="to")


class CountRecord(Record):
    """Requests placed in a month, by side, partner and category of the patron."""

    month: str
    side: str
    partner: str
    category: str
    requests: int
    filled: int
    unfilled: int
    cancelled: int
    still_open: int
    fill_rate: float | None


class TurnaroundRecord(Record):
    """Books that came to our hold shelf so many days after their requests."""

    month: str
    partner: str
    category: str
    days: int
    requests: int


class RefusalRecord(Record):
    """Refusals by a rule."""

    month: str
    rule: str
    reason: str
    partner: str
    category: str
    times: int


class DeclineRecord(Record):
    """Libraries that did not supply a copy, and why."""

    month: str
    lender: str
    borrower: str
    reason: str
    times: int


class PairRecord(Record):
    """Requests from a lender to a borrower's pickup place."""

    lender: str
    borrower: str
    place: str
    requests: int
    filled: int


class StatisticsRecord(Record):
    """All figures of a period; no person is in them. `since`: the first day with a request in the database."""

    counts: list[CountRecord]
    turnarounds: list[TurnaroundRecord]
    refusals: list[RefusalRecord]
    declines: list[DeclineRecord]
    pairs: list[PairRecord]
    anonymised: int
    since: date | None
