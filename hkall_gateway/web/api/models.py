"""API models: request bodies, query parameters, and the records in responses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from hkall_gateway.circulation.borrowing import Requested
from hkall_gateway.circulation.fines import Refunded
from hkall_gateway.circulation.staff.console import RequestPage
from hkall_gateway.circulation.staff.permitted import Action
from hkall_gateway.db.queries.request_history import JournalRow
from hkall_gateway.db.queries.request_search import Match
from hkall_gateway.db.queries.statistics import Count, DeclineCount, PairCount, RefusalCount, Statistics, Turnaround
from hkall_gateway.db.queries.work_lists import ListName, ListPage, ListRow, SortKey
from hkall_gateway.rules.dates import within_years
from hkall_gateway.rules.plain_text import ONE_LINE
from hkall_gateway.rules.vocabulary import Candidate, Position, Request

Plain: TypeAlias = Annotated[str, Field(pattern=ONE_LINE)]
"""One line of request text. The module `incoming` refuses invalid characters; the pattern only documents them for clients."""
Day: TypeAlias = Annotated[date, AfterValidator(within_years)]
"""A date in a request, limited to plausible years."""


R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """A response model built from a circulation result."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def json_of(cls, found: object) -> dict[str, object]:
        """Convert a circulation result to this record, in JSON types."""
        return cls.model_validate(found).model_dump(mode="json")


RECORDS: Final[dict[object, type[Record]]] = {}
"""The response record for each result class."""


def made_of(*sources: type, fields: str = "") -> Callable[[type[R]], type[R]]:
    """Derive a record's fields from a result class, so that their names and types are defined in one place.

    Nested results become records too. Fields that the record class declares take precedence.

    Args:
        sources: The result class, and further classes from which fields are taken.
        fields: Field names in the order of the API description; "" for every field of the result. Records about requests and
            patrons list the fields, so that a new column is not published by accident. A property is included only if
            listed.
    """

    def make(record: type[R]) -> type[R]:
        made: dict[str, Any] = {}  # the type that `create_model` needs
        for name in fields.split() or [field.name for field in dataclasses.fields(sources[0])]:
            declared = record.model_fields.get(name)
            made[name] = (declared.annotation, declared) if declared else (_as_record(_type_of(name, sources)), ...)
        base = cast(type[R], record.__base__)
        found = create_model(record.__name__, __base__=base, __doc__=record.__doc__, __module__=record.__module__, **made)
        RECORDS[sources[0]] = found
        return found

    return make


def _type_of(name: str, sources: tuple[type, ...]) -> object:
    for source in sources:
        if name in (hints := get_type_hints(source)):
            return hints[name]
        if isinstance(found := getattr(source, name, None), property):
            return get_type_hints(found.fget)["return"]
    raise AttributeError(f"{name} is no field of {sources}")


def _as_record(hint: Any) -> Any:
    """Replace each result class in a type with its record: `tuple[Count, ...]` becomes `tuple[CountRecord, ...]`."""
    inner = tuple(map(_as_record, get_args(hint)))
    if inner == get_args(hint):
        return RECORDS.get(hint, hint)
    return reduce(or_, inner) if isinstance(hint, UnionType) else get_origin(hint)[inner]


class Body(BaseModel):
    """A request body or query. Unknown fields are refused, since a mistyped field would otherwise be ignored silently."""

    model_config = ConfigDict(extra="forbid")


@made_of(
    Request,
    fields="id side position partner patron title linked_title bib_id volume item_agency item_barcode pickup_location"
    " placed_at moved_at received_on pickup_last due lender_due returned_on recalled_on renewals expired_pickup reason flags",
)
class RequestRecord(Record):
    """A request. `patron` is the card, or "" if we are the lender. The role viewer sees "" as `patron` and `reason`."""


@made_of(ListRow)
class ListEntry(Record):
    """A request in a work list, with data about the copy and the number of days in the current position."""


@made_of(ListPage)
class ListPageRecord(Record):
    """One page of a work list. `next` is the `after` parameter for the next page, or "" on the last page."""


class ListCounts(BaseModel):
    """The number of requests in each work list."""

    counts: dict[str, int]


class ListPath(BaseModel):
    """The name of a work list."""

    name: ListName


class ListQuery(Body):
    """Sort order, cursor, size and filters for one page of a work list."""

    sort: SortKey = SortKey.DAYS
    reverse: bool = False
    after: Plain = Field(default="", max_length=200, description="the `next` of the page before")
    most: int = Field(default=50, ge=1, le=200)
    partner: Plain = Field(default="", max_length=100)
    pickup: Plain = Field(default="", max_length=100)
    material: Plain = Field(default="", max_length=100)


@made_of(JournalRow, fields="at who channel event source target rule outcome")
class EventRecord(Record):
    """One line of the journal."""


@made_of(Candidate, fields="agency barcode rank reason skip outcome")
class CandidateRecord(Record):
    """A possible lender for a request: its rank, the reason for the rank, and its answer if it was asked."""


@made_of(Action, fields="name needs_reason takes allowed hindrance")
class ActionRecord(Record):
    """A command for this request: whether the request's position and the token's role allow it, or else what prevents it."""

    hindrance: Annotated[str, BeforeValidator(lambda found: str(found or ""))]


@made_of(RequestPage, fields="request days actions events candidates")
class RequestDetail(Record):
    """One request with the data that a program needs to act on it."""

    events: Annotated[list[EventRecord], BeforeValidator(lambda found: [event.line for event in found])]


class RequestPath(BaseModel):
    """The number of a request."""

    number: Plain = Field(min_length=1, max_length=64)


class ActionPath(RequestPath):
    """The number of a request, and the name of a command."""

    action: str = Field(min_length=1, max_length=40, pattern="^[a-z_]+$")


class ActionBody(Body):
    """The arguments of a command, apart from the request number. Each command uses only some of the arguments."""

    reason: Plain = Field(default="", max_length=500)
    on: Day | None = None
    cents: int | None = Field(default=None, ge=0, le=10_000_000)
    item: Plain = Field(default="", max_length=100, description="a copy, AGENCY/BARCODE")
    lender: Plain = Field(default="", max_length=100, description="a lender's copy, AGENCY/BARCODE, or its agency")
    to: Position | None = None


class ActionDone(BaseModel):
    """The result of a command. `again` is true if the command had already been run, so that nothing has changed now."""

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


@made_of(Requested, fields="request")
class Placed(Record):
    """The number of the new request."""


class RefundBody(Body):
    """Money that is given back to a patron, in Hong Kong cents. A `transaction` counts once for each token and patron."""

    card: Plain = Field(min_length=1, max_length=100)
    cents: int = Field(ge=1, le=10_000_000)
    transaction: Plain = Field(default="", max_length=100)


@made_of(Refunded, fields="card cents credit_cents again")
class RefundDone(Record):
    """A refund that was given. `credit_cents` is what we still owe, and `again` marks a repeated transaction."""


class SearchBody(Body):
    """A search text: a request number, a barcode, a card or title words."""

    q: Plain = Field(min_length=1, max_length=200)


@made_of(Match)
class FoundRequest(Record):
    """A search hit: the request, and the field that matched."""


class Found(Record):
    """The requests that a search found, newest first."""

    requests: list[FoundRequest]


class PeriodQuery(Body):
    """The days from `from` to `to`, inclusive; at most three years."""

    first: Day = Field(alias="from")
    last: Day = Field(alias="to")


@made_of(Count, fields="month side partner category requests filled unfilled cancelled still_open fill_rate")
class CountRecord(Record):
    """Number of requests placed in a month, by side, partner and patron category."""


@made_of(Turnaround)
class TurnaroundRecord(Record):
    """Number of books that reached our hold shelf `days` days after their requests."""


@made_of(RefusalCount)
class RefusalRecord(Record):
    """Number of refusals by a rule."""


@made_of(DeclineCount)
class DeclineRecord(Record):
    """Number of times a library did not supply a copy, by reason."""


@made_of(PairCount)
class PairRecord(Record):
    """Number of requests between a lender and one pickup location of a borrower."""


@made_of(Statistics, fields="counts turnarounds refusals declines pairs anonymised since")
class StatisticsRecord(Record):
    """All figures for a period, without personal data. `since` is the date of the oldest request in the database."""
