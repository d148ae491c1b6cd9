"""Commands status and partners: gateways, jobs, channels to partners, and undelivered messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hkall_gateway.app import machine
from hkall_gateway.cli.options import CliError, Site, json_option, with_site
from hkall_gateway.cli.show import show
from hkall_gateway.db import bind
from hkall_gateway.rules.dates import EVERY, LOOK_S
from hkall_gateway.rules.stored_words import QuarantineState

if TYPE_CHECKING:
    from hkall_gateway.db import instances, rounds
    from hkall_gateway.db.unit_of_work import UnitOfWork


NOBODY = "HKALL-STATUS"
"""A card that does not exist. The look-up only tests whether the library's own system answers."""


@click.command()
@with_site
@json_option
def status(site: Site, as_json: bool) -> None:
    """Show running gateways, open requests, unsent messages, rounds, and partners (configured, or ever sent a message).

    Example: hkall-gateway status --json
    """
    from hkall_gateway.db.database import finished

    found: list[dict[str, object]] = []
    if site.asks_local_system:
        facts = finished(site.circulation.ils.facts(NOBODY))
        found.append(_status_row("ils", facts.source, "away" if facts.flag or not facts.reachable else "answers", 1, None))
    found += site.read(bind(lines, site.now(), [p.agency for p in site.partners]))
    show(found, as_json, ("what", "which", "state", "count", "oldest", "detail"))


def lines(unit: UnitOfWork, when: datetime, configured: Sequence[str]) -> list[dict[str, object]]:
    """Return the rows of `status`. `configured` lists the agencies in the configuration file."""
    from hkall_gateway.db import instances, quarantine

    there = [_gateway_row(one, one.state(when), unit) for one in instances.list_instances(unit)]
    open_now = [_status_row("requests", *counted) for counted in unit.requests.open_by_position()]
    waiting = [_status_row("outbox", *counted) for counted in unit.outbox.depths()]
    named = unit.partners.among([*configured, *unit.circuits.used()]).values()
    known = [_status_row("partner", one.agency, one.dialect, 1, None) for one in named]
    held = quarantine.depths(unit)
    kept = [_status_row("quarantine", who, QuarantineState.KEPT, count, oldest) for who, count, oldest in held]
    return there + open_now + waiting + _fault_rows(unit) + kept + known + _job_rows(unit, when) + _set_aside_rows(unit)


def _gateway_row(one: instances.Instance, state: str, unit: UnitOfWork) -> dict[str, object]:
    """Return the row for one gateway: its claimed messages, start time, version, process and host."""
    if state == "gone" and one.host == machine.host() and machine.runs(one.pid):
        state = "silent"  # the process exists, but hangs or uses another clock or database
    seen = one.seen_at.isoformat(timespec="seconds")
    detail = f"{one.version}, process {one.pid} on {one.host}, seen {seen}"
    held = {"version": one.version, "host": one.host, "pid": one.pid, "seen_at": one.seen_at}
    return _status_row("gateway", one.name, state, unit.outbox.held_by(one.name), one.since) | {"detail": detail} | held


def _fault_rows(unit: UnitOfWork) -> list[dict[str, object]]:
    """Return a row for each partner that refuses our agency, version or service, which is a fault in a configuration."""
    links = [link for agency in unit.circuits.used() if (link := unit.circuits.find(agency)).fault]
    return [
        _status_row("fault", link.agency, link.state, link.failures, link.down_since) | {"detail": link.fault} for link in links
    ]


def _job_rows(unit: UnitOfWork, when: datetime) -> list[dict[str, object]]:
    """Return a row for each import and each periodic round: its last run, result, next due time and delay."""
    from hkall_gateway.db import rounds
    from hkall_gateway.db.queries import cli_lists

    loads = [job for job in cli_lists.jobs(unit) if not job["name"].startswith(rounds.ROUND)]
    known = {job.name: job for job in rounds.jobs(unit)}
    ran = [_round_row(known.get(name, rounds.never_run(name)), when) for name in EVERY]
    return [_status_row("job", job["name"], "", job["count"], job["last_run"]) for job in loads] + ran


def _round_row(job: rounds.RoundState, when: datetime) -> dict[str, object]:
    from hkall_gateway.db import rounds

    held = job.lease_until is not None and job.lease_until >= when
    lag_s = job.lag_s(when)
    state = "running" if held else "never ran" if job.last_run is None else "late" if lag_s > 2 * LOOK_S else ""
    due = job.next_run.isoformat(timespec="seconds") if job.next_run else "now"
    detail = f"by {job.claimed_by}" if held else f"due {due}" + (f", {lag_s} s late" if lag_s else "")
    facts = {"last_run": job.last_run, "next_run": job.next_run, "lag_s": lag_s, "detail": detail}
    return _status_row("job", rounds.ROUND + job.name, state, job.count, job.last_run) | facts


def _set_aside_rows(unit: UnitOfWork) -> list[dict[str, object]]:
    """Return a row for each job that could not process some requests, with the number of these requests."""
    from hkall_gateway.db import rounds

    found = rounds.all_aside(unit)
    first = {one.round: one.at for one in reversed(found)}  # they are in the order of their times
    counted = Counter(one.round for one in found)
    return [_status_row("set aside", name, "", count, first[name]) for name, count in counted.items()]


def _status_row(what: str, which: str, state: str, count: int, oldest: object) -> dict[str, object]:
    return {"what": what, "which": which, "state": state, "count": count, "oldest": oldest}


COLUMNS = ("partner", "line", "breaker", "down_since", "heard_at", "waiting", "oldest", "dead", "lent_us", "we_lent")
RATES = ("balance", "asked", "fill_percent", "decline_percent", "turnaround_days", "fault")


@click.command()
@click.argument("agencies", nargs=-1)
@with_site
@json_option
def partners(site: Site, agencies: tuple[str, ...], as_json: bool) -> None:
    """Show the named partners, by default all that are configured or were ever sent a message.

    The columns are channel, circuit breaker, undelivered and dead messages, the balance and the days from the request to our
    hold shelf over 30 days, and the answers over 7 days.

    Example: hkall-gateway partners CUHK --json
    """
    if unknown := set(agencies) - site.read(lambda unit: unit.partners.among(agencies)).keys():
        raise CliError(f"{', '.join(sorted(unknown))}: not in the directory")
    configured = [p.agency for p in site.partners]
    show(site.read(bind(records, site.now(), agencies, configured)), as_json, COLUMNS + RATES)


def records(unit: UnitOfWork, when: datetime, named: Sequence[str], configured: Sequence[str]) -> list[dict[str, object]]:
    """Return a row for each agency in `named`; by default, for each agency configured or ever sent a message."""
    from hkall_gateway.circulation.staff.partner_lines import partner_lines

    return [asdict(row) for row in partner_lines(unit, when, named or sorted({*configured, *unit.circuits.used()}))]
