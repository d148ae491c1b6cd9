"""Questions of the command line: lists of rows, one row in full, and the state of the whole site."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hkall_gateway.circulation.command import Context, long_question, question
from hkall_gateway.circulation.staff.partner_lines import PartnerLine, partner_lines
from hkall_gateway.db import api_tokens, instances, quarantine, rounds
from hkall_gateway.db.api_tokens import ApiToken
from hkall_gateway.db.instances import Instance
from hkall_gateway.db.loads import former_cards
from hkall_gateway.db.notices import SentNotice
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.db.queries import cli_lists, work_lists
from hkall_gateway.db.queries.work_lists import Moment
from hkall_gateway.db.rounds import FailedRequest, RoundState
from hkall_gateway.rules.circuit import CircuitState
from hkall_gateway.rules.dates import EVERY, civil
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import NoticeState, OutboxState
from hkall_gateway.rules.vocabulary import Candidate, Request

Row = Mapping[str, Any]


# ---- requests


@long_question
def open_requests(context: Context, position: str, partner: str) -> tuple[Request, ...]:
    """Return open requests, oldest first. An empty `position` or `partner` means all."""
    return context.unit.requests.open_list(position, partner)


@long_question
def ended_requests(context: Context, partner: str, days: int) -> tuple[Request, ...]:
    """Return the ended requests with a partner that were placed in the last `days` days."""
    return cli_lists.ended_with(context.unit, partner, context.now - timedelta(days=days))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRequest:
    """A request of a work list, with the job that could not process it and the partner's refusal, each "" if there is none."""

    request: Request
    set_aside: str
    fault: str


@long_question
def work_list_rows(context: Context, name: str) -> tuple[ListedRequest, ...]:
    """Return the requests of a list of the command line."""
    requests = cli_lists.open_list(context.unit, name, Moment(context.now, context.library.policy.waits))
    numbers = [request.id for request in requests]
    set_aside = work_lists.round_errors(context.unit, numbers)
    faults = work_lists.partner_faults(context.unit, numbers)
    return tuple(
        ListedRequest(
            request=request,
            set_aside=set_aside.get(request.id, ""),
            fault=faults.get(request.id, ""),
        )
        for request in requests
    )


@question
def lenders_of(context: Context, number: str) -> tuple[Candidate, ...]:
    """Return the copies that were or can be asked for, for one request."""
    return context.unit.candidates.of_request(number)


@question
def cards_of(context: Context, card: str) -> tuple[str, ...]:
    """Return all cards of this card's owner: the current card first, then the former cards."""
    return former_cards.cards_of(context.unit, card)


@long_question
def history_of(context: Context, what: str) -> tuple[Row, ...]:
    """Return the journal lines about a request, a copy, or a patron with all cards."""
    return former_cards.history(context.unit, what)


# ---- money, letters, closed days, tokens


@long_question
def unpaid_charges(context: Context, card: str) -> tuple[Row, ...]:
    """Return the unpaid charges of the patron with this card, a replaced one too, or of all patrons if `card` is empty."""
    present = former_cards.card_now(context.unit, card) if card else ""
    return cli_lists.charges(context.unit, present)


@long_question
def letters(context: Context, states: Sequence[NoticeState]) -> tuple[Row, ...]:
    """Return the letters in these states, oldest first, without addresses."""
    return cli_lists.notices(context.unit, states)


@question
def find_letter(context: Context, number: int) -> SentNotice | None:
    """Return the letter with this number, or None."""
    return context.unit.notices.find(number)


@question
def closed_days_ahead(context: Context) -> tuple[Row, ...]:
    """Return every library's closed days from today on."""
    return cli_lists.closures(context.unit, civil(context.now))


@question
def tokens(context: Context) -> tuple[ApiToken, ...]:
    """Return the tokens of all programs, without the secrets."""
    return api_tokens.listed(context.unit)


# ---- messages


@long_question
def outbox_rows(context: Context, partner: str, error: str, states: Sequence[OutboxState]) -> tuple[OutboxRow, ...]:
    """Return messages in these states, oldest first. An empty `partner` or `error` means all."""
    return context.unit.outbox.rows(partner=partner, error=error, states=states)


@question
def unreadable_rows(context: Context) -> Sequence[tuple[int, str]]:
    """Return (number, channel) of the messages that this version of the program cannot read."""
    return tuple(context.unit.outbox.unreadable())


@question
def quarantined_documents(context: Context, partner: str, with_settled: bool) -> tuple[QuarantinedDocument, ...]:
    """Return the quarantined documents of a partner, or of all partners if `partner` is empty."""
    return quarantine.listed(context.unit, partner, settled=with_settled)


# ---- partners


@long_question
def partner_rows(context: Context, agencies: Sequence[str], configured: Sequence[str]) -> tuple[PartnerLine, ...]:
    """Return the state of these partners; by default, of each that is configured or was ever sent a message."""
    shown = agencies or sorted({*configured, *context.unit.circuits.used()})
    return partner_lines(context.unit, context.now, shown)


# ---- the site


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """The state of the whole site.

    Attributes:
        gateways: The gateways that were ever started, each with the number of messages that it has claimed.
        requests: (position, side, number, time of the oldest) of open requests.
        outbox: (recipient, state, number, time of the oldest) of unsent messages.
        faults: Channels to partners that refuse our agency, version or service.
        quarantined: (partner, number, time of the oldest) of documents that wait to be judged.
        partners: Partners that are configured or were ever sent a message.
        loads: The last run of each import.
        rounds: The scheduled jobs.
        set_aside: Requests that a job could not process.
    """

    gateways: Sequence[tuple[Instance, int]]
    requests: Sequence[tuple[Any, ...]]
    outbox: Sequence[tuple[Any, ...]]
    faults: Sequence[CircuitState]
    quarantined: Sequence[tuple[Any, ...]]
    partners: Collection[Partner]
    loads: Sequence[Row]
    rounds: Sequence[RoundState]
    set_aside: Sequence[FailedRequest]


@question
def held_configurations(context: Context) -> Sequence[tuple[Instance, str]]:
    """Return the running gateways, each with the fingerprints of the configuration that it holds.

    A gateway of an earlier release has "". The process of a gateway's pages is left out, because it holds what its parent
    holds.
    """
    held = instances.held_configurations(context.unit)
    gateways = instances.list_instances(context.unit)
    running = [gateway for gateway in gateways if gateway.state(context.now) == "up"]
    named = [gateway for gateway in running if gateway.name in held]
    return [(gateway, held.get(gateway.name, "")) for gateway in named or running]


@long_question
def site_status(context: Context, configured: Sequence[str]) -> SiteStatus:
    """Return the state of the site. `configured` are the agencies in the configuration file."""
    unit = context.unit
    channels = [unit.circuits.find(agency) for agency in unit.circuits.used()]
    jobs = {job.name: job for job in rounds.jobs(unit)}
    return SiteStatus(
        gateways=[(gateway, unit.outbox.held_by(gateway.name)) for gateway in instances.list_instances(unit)],
        requests=tuple(unit.requests.open_by_position()),
        outbox=tuple(unit.outbox.depths()),
        faults=[channel for channel in channels if channel.fault],
        quarantined=quarantine.depths(unit),
        partners=unit.partners.among([*configured, *unit.circuits.used()]).values(),
        loads=[job for job in cli_lists.jobs(unit) if not job["name"].startswith(rounds.ROUND)],
        rounds=[jobs.get(name, rounds.never_run(name)) for name in EVERY],
        set_aside=rounds.all_aside(unit),
    )
