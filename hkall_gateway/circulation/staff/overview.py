"""Questions about the whole site: what is to do today, the state of each partner, and of each terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby

from hkall_gateway.circulation.command import Context, question
from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.partner_lines import PartnerLine, partner_lines
from hkall_gateway.db import instances, rounds
from hkall_gateway.db.instances import TerminalActivity
from hkall_gateway.db.queries import cli_lists, work_lists
from hkall_gateway.db.queries.work_lists import ListName, Moment
from hkall_gateway.db.rounds import RoundState
from hkall_gateway.rules.circuit import UP, CircuitState
from hkall_gateway.rules.dates import EVERY, ROUND_CHECK_S, civil, start_of
from hkall_gateway.rules.settings import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """What a clerk looks at first.

    Attributes:
        lists: Number of rows of each work list.
        down: Channels that do not work.
        late: Scheduled jobs that are late.
        unsent: Number of messages of each kind that wait for staff.
        today: Number of requests that have reached each position since midnight.
    """

    lists: Mapping[ListName, int]
    down: Sequence[CircuitState]
    late: Sequence[RoundState]
    unsent: Mapping[str, int]
    today: Mapping[str, int]


@question
def dashboard(context: Context) -> Dashboard:
    """Return what is to do today. Every query is bounded by the number of open requests or by an index."""
    unit, now = context.unit, context.now
    channels = [unit.circuits.find(agency) for agency in unit.circuits.used()]
    jobs = {job.name: job for job in rounds.jobs(unit)}
    late = [jobs[name] for name in EVERY if name in jobs and jobs[name].lag_s(now) > 2 * ROUND_CHECK_S]
    return Dashboard(
        lists=work_lists.counts(unit, Moment(now, context.library.policy.waits)),
        down=[channel for channel in channels if channel.state != UP or channel.fault],
        late=late,
        unsent=console.unsent_counts.within(context),
        today=work_lists.moved(unit, start_of(civil(now))),
    )


@question
def partner_states(context: Context, most: int) -> tuple[tuple[PartnerLine, ...], Mapping[str, str]]:
    """Return rows and names of the partners that were ever sent a message, and of the directory's first `most` partners."""
    unit = context.unit
    agencies = sorted({*unit.circuits.used(), *unit.circuits.listed(most)})
    names = {agency: partner.name for agency, partner in unit.partners.among(agencies).items()}
    return partner_lines(unit, context.now, agencies), names


@question
def terminal_states(context: Context) -> tuple[list[TerminalActivity], datetime | None]:
    """Return the terminals of all running gateways and the time of the oldest report, or None if no gateway is running."""
    running = {gateway.name for gateway in instances.list_instances(context.unit) if gateway.state(context.now) == "up"}
    reported = [row for row in instances.terminals(context.unit) if row.instance in running]
    terminals = [_combine_gateways(list(rows)) for _, rows in groupby(reported, key=lambda row: row.login)]
    return terminals, min((row.seen_at for row in reported), default=None)


def _combine_gateways(rows: Sequence[TerminalActivity]) -> TerminalActivity:
    """Return one row for a terminal: the latest message and refusal of all gateways, and the totals."""
    latest = max(rows, key=lambda row: row.last_at.timestamp() if row.last_at else 0.0)
    latest_refusal = max(rows, key=lambda row: row.refused_at.timestamp() if row.refused_at else 0.0)
    return replace(
        rows[0],
        last_code=latest.last_code,
        last_at=latest.last_at,
        refused=sum(row.refused for row in rows),
        refused_why=latest_refusal.refused_why,
        refused_at=latest_refusal.refused_at,
        connections=sum(row.connections for row in rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedDays:
    """The closed days of all libraries from today on, our suspensions, and our own library's last known closed day."""

    days: Sequence[Mapping[str, object]]
    windows: Sequence[Window]
    last: date | None


@question
def closed_days(context: Context) -> ClosedDays:
    """Return the closed days of every library, from today on."""
    today = civil(context.now)
    return ClosedDays(
        days=cli_lists.closures(context.unit, today),
        windows=[window for window in context.library.policy.service_windows if window.end >= today],
        last=cli_lists.last_closure(context.unit, context.library.agency),
    )
