"""Queries of the staff console: work lists, one request, search, statistics, messages.

Each question changes no data: `await circulation.execute(work_list(name, role))`.
Staff commands are in `actions`, and `permitted` selects them by position and role.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from hkall_gateway.circulation.command import Context, question
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import permitted
from hkall_gateway.circulation.staff.lender_list import has_slip, printed_at
from hkall_gateway.circulation.staff.permitted import Action, impersonal, request_for, sees_names
from hkall_gateway.db import quarantine, web_sessions
from hkall_gateway.db.fines import charges_of
from hkall_gateway.db.loads import former_cards
from hkall_gateway.db.outbox import UNSETTLED, Attempt, OutboxRow
from hkall_gateway.db.patrons import Charged
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.db.queries import cli_lists, request_history, request_search, statistics, work_lists
from hkall_gateway.db.queries.request_history import JournalRow, NoticeRow
from hkall_gateway.db.queries.request_search import Match
from hkall_gateway.db.queries.statistics import Period, Statistics
from hkall_gateway.db.queries.work_lists import ListName, ListPage, Moment, Only, PageOrder
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.partners import Charges, Partner
from hkall_gateway.rules.positions import SlipKind, with_slip
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import NoticeState, OutboxState, StaffRole
from hkall_gateway.rules.vocabulary import Borrower, Candidate, Holding, Request

ALL_STATES: Final = tuple(OutboxState)
DEAD: Final = (OutboxState.DEAD,)
LONGEST_DAYS: Final = 1_100
"""Maximum number of days in a period of statistics: three years."""
HIDDEN: Final = "•"

Facts = Mapping[str, str]


@question
def work_list(
    context: Context,
    name: ListName,
    role: StaffRole,
    order: PageOrder = work_lists.FIRST,
    only: Only = work_lists.ALL,
) -> ListPage:
    """Return one page of a work list, without data that this role may not see."""
    page = work_lists.page(context.unit, name, _moment_of(context), order, only)
    if sees_names(role):
        return page
    shown = (replace(row, request=request_for(row.request, role), set_aside="", fault="") for row in page.rows)
    return replace(page, rows=tuple(shown))


@question
def list_counts(context: Context) -> Mapping[ListName, int]:
    """Count the requests in each work list."""
    return work_lists.counts(context.unit, _moment_of(context))


def _moment_of(context: Context) -> Moment:
    return Moment(context.now, context.library.policy.waits)


@question
def quarantined(context: Context, partner: str = "", after: int = 0, most: int = 50) -> tuple[QuarantinedDocument, ...]:
    """Return quarantined documents with numbers after `after`, in order, with secrets removed."""
    return quarantine.listed(context.unit, partner, after=after, most=most)


@question
def undelivered_letters(context: Context, after: int = 0, most: int = 50) -> tuple[dict[str, Any], ...]:
    """Return undelivered letters with numbers after `after`, in order, without addresses."""
    return cli_lists.notices(context.unit, (NoticeState.UNDELIVERABLE,), after, most)


@question
def unsent_counts(context: Context) -> Mapping[str, int]:
    """Count `waiting`, `unsure` and `dead` messages, documents in `quarantine`, and `undelivered` letters."""
    found: dict[str, int] = dict.fromkeys(UNSETTLED, 0)
    for _recipient, state, count, _oldest in context.unit.outbox.depths():
        found[state] += count
    kept = sum(count for _agency, count, _oldest in quarantine.depths(context.unit))
    return {**found, "quarantine": kept, "undelivered": cli_lists.undelivered(context.unit)}


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """A journal line with the facts from its detail. A dot replaces each secret."""

    line: JournalRow
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """A message about the request: the outbox row with its facts, the delivery attempts, and the time of sending.

    `partner` is the recipient, or None for letters and for the local system. Pages compose the document anew from the row.
    """

    row: OutboxRow
    partner: Partner | None
    facts: Facts
    tries: tuple[Attempt, ...]
    sent_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingDocument:
    """A document about the request that a partner or a discovery system sent.

    `refused` and `rule` explain a refusal. `answer` has the facts of the reply while the inbox still stores it.
    """

    at: datetime
    sender: str
    service: str
    corr: str
    refused: str = ""
    rule: str = ""
    answer: Facts | None = None
    kept_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPage:
    """Everything about one request.

    Attributes:
        copy: The copy as last loaded.
        patron: The patron as last loaded. `former_cards` are the patron's earlier cards.
        printed_at: Time at which the current slip was printed.
        set_aside: Scheduled job that could not process the request, with the error.
        fault: The partner's reason for refusing our messages about the request.
        category: The patron's category.
        patron_number: Random number of the patron's page, or "" if the page has names or the patron has no such number.
        named: Whether the page contains names, cards, and texts that may mention them.
    """

    request: Request
    days: int
    actions: tuple[Action, ...]
    events: tuple[TimelineEvent, ...]
    sent: tuple[SentMessage, ...]
    received: tuple[IncomingDocument, ...]
    unplaced: tuple[QuarantinedDocument, ...]
    candidates: tuple[Candidate, ...]
    notices: tuple[NoticeRow, ...]
    charges: tuple[Charged, ...]
    copy: Holding | None
    patron: Borrower | None
    former_cards: tuple[str, ...]
    printed_at: datetime | None
    set_aside: str
    fault: str
    category: str
    patron_number: str = ""
    named: bool = True


@question
def request_page(context: Context, number: str, role: StaffRole) -> RequestPage | Refused:
    """Compile the data about one request that this role may see, and the commands that this role may run now."""
    unit = context.unit
    request = unit.requests.find(number)
    if request is None:
        return Refused(why=Reason.UNKNOWN_REQUEST, rule=Reason.UNKNOWN_REQUEST.rule)
    lines, candidates = request_history.journal(unit, number), unit.candidates.of_request(number)
    patron = unit.patrons.find(request.patron) if request.patron else None
    rows = unit.outbox.rows(request=number, states=ALL_STATES)
    tries, sent = request_history.tries(unit, [row.id for row in rows]), request_history.sent_at(unit, number)
    messages = []
    for row in rows:
        facts, partner = _facts_as_text(asdict(row.payload)), unit.partners.find(row.recipient)
        messages.append(
            SentMessage(row=row, partner=partner, facts=facts, tries=tries.get(row.id, ()), sent_at=sent.get(row.id))
        )
    page = RequestPage(
        request=request,
        days=work_lists.days_there(request, context.now),
        actions=permitted.actions(request, role),
        events=tuple(TimelineEvent(line, facts_in(line.detail)) for line in lines),
        sent=tuple(messages),
        received=_incoming_documents(unit, number, lines),
        unplaced=quarantine.unplaced(unit, request, candidates),
        candidates=candidates,
        notices=request_history.notices(unit, number),
        charges=charges_of(unit, number),
        copy=unit.holdings.find(request.item) if request.item else None,
        patron=patron,
        former_cards=former_cards.cards_of(unit, request.patron)[1:] if request.patron else (),
        printed_at=printed_at(unit, request),
        set_aside=work_lists.round_errors(unit, (number,)).get(number, ""),
        fault=work_lists.partner_faults(unit, (number,)).get(number, ""),
        category=patron.category if patron else "",
    )
    return page if sees_names(role) else _without_names(unit, page, role)


def _without_names(unit: UnitOfWork, page: RequestPage, role: StaffRole) -> RequestPage:
    """Remove the data that a viewer may not see: names, cards, documents and free text."""
    quiet = []
    for message in page.sent:
        tries = tuple(replace(one, problem="", detail="") for one in message.tries)
        quiet.append(replace(message, row=replace(message.row, last_error=""), facts={}, tries=tries))
    return replace(
        page,
        request=request_for(page.request, role),
        events=tuple(replace(event, facts=impersonal(event.facts)) for event in page.events),
        sent=tuple(quiet),
        received=tuple(replace(one, answer=None) for one in page.received),
        unplaced=tuple(replace(one, document="", reason="") for one in page.unplaced),
        notices=tuple(replace(one, error="") for one in page.notices),
        patron=None,
        former_cards=(),
        set_aside="",
        fault="",
        patron_number=web_sessions.find_number(unit, page.request.patron),
        named=False,
    )


def _incoming_documents(unit: UnitOfWork, number: str, lines: tuple[JournalRow, ...]) -> tuple[IncomingDocument, ...]:
    """Return the documents that caused the journal lines, each once, identified by sender, service and time."""
    kept = request_history.answered(unit, number, lines)
    found: dict[tuple[str, str, datetime], IncomingDocument] = {}
    for line in lines:
        if line.channel == request_history.NCIP:
            answer = kept.get((line.who, line.at))
            refused = line.outcome if line.outcome != "ok" else ""
            document = IncomingDocument(
                at=line.at,
                sender=line.who,
                service=line.message,
                corr=line.corr,
                refused=refused,
                rule=line.rule if refused else "",
                answer=facts_in(answer.outcome) if answer else None,
                kept_until=answer.keep_until if answer else None,
            )
            found.setdefault((line.who, line.message, line.at), document)
    return tuple(found.values())


@question
def search_requests(context: Context, words: str, role: StaffRole, most: int = request_search.MOST) -> tuple[Match, ...]:
    """Find requests by number, barcode or words of the title. A role that sees cards can also search by card."""
    cards = former_cards.cards_of(context.unit, words.strip()) if words.strip() and sees_names(role) else ()
    found = request_search.search(context.unit, words, cards, context.library.agency, most)
    return tuple(replace(match, request=request_for(match.request, role)) for match in found)


@question
def statistics_of(context: Context, first: date, last: date) -> Statistics | Refused:
    """Compute the statistics of the days from `first` to `last`, at most LONGEST_DAYS."""
    period = Period(first=first, last=last)
    if not 0 < period.days <= LONGEST_DAYS or not date(1970, 1, 1) < first <= last < date(9999, 1, 1):
        return Refused(why=Reason.WRONG_DATE, detail={"on": last})
    return statistics.statistics(context.unit, period, context.library.agency)


def facts_in(text: str) -> Facts:
    """Convert the fields of a JSON record to display text. Omit empty fields, and replace each secret by a dot."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return _facts_as_text(found) if isinstance(found, dict) else {}


def _facts_as_text(found: Mapping[str, object]) -> Facts:
    shown = {name: _value_as_text(value) for name, value in found.items() if name != "_"}
    return {name: value for name, value in shown.items() if value}


def _value_as_text(value: object) -> str:
    if value is None or value is False:
        return ""
    if isinstance(value, dict):
        kind, inner = value.get("_"), value.get("v")
        if kind == "secret":
            return HIDDEN
        if "v" not in value:
            return ", ".join(f"{name}: {text}" for name, text in _facts_as_text(value).items())
        return "/".join(map(str, inner)) if kind == "item" and isinstance(inner, list) else _value_as_text(inner)
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, [_value_as_text(one) for one in value]))
    return value.isoformat() if isinstance(value, date) else str(value)


@question
def partners_used(context: Context) -> Sequence[str]:
    """Return the agencies of the partners that were ever sent a message."""
    return tuple(context.unit.circuits.used())


@question
def loss_charges(context: Context, agencies: Collection[str]) -> Mapping[str, Charges]:
    """Return what these libraries charge for a lost book, by agency."""
    return {agency: partner.charges for agency, partner in context.unit.partners.among(agencies).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipRow:
    """What a slip may show: the request, its copy, the other library, and the patron who collects the book.

    Attributes:
        agency: The library to which the copy goes, or the owner on a slip for the hold shelf.
        patron: The patron, only on a slip for the hold shelf.
        printed_at: Time at which the slip was first printed, or None.
    """

    request: Request
    copy: Holding | None
    agency: str
    partner: Partner | None
    patron: Borrower | None
    printed_at: datetime | None


@question
def slips_for(context: Context, requests: Sequence[Request], kind: SlipKind) -> tuple[SlipRow, ...]:
    """Return what the slips of these requests show. Requests whose position has no slip of this kind are left out."""
    positions = with_slip(kind)
    with_slips = [request for request in requests if has_slip(request) and request.position in positions]
    return tuple(_slip_row(context.unit, request, kind) for request in with_slips)


def _slip_row(unit: UnitOfWork, request: Request, kind: SlipKind) -> SlipRow:
    agency = request.partner if kind is SlipKind.PULL else request.item_agency or request.partner
    is_for_patron = kind is SlipKind.HOLD and request.patron != ""
    return SlipRow(
        request=request,
        copy=unit.holdings.find(request.item) if request.item else None,
        agency=agency,
        partner=unit.partners.find(agency),
        patron=unit.patrons.find(request.patron) if is_for_patron else None,
        printed_at=printed_at(unit, request),
    )
