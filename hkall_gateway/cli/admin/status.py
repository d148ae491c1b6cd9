"""Commands status and partners: gateways, jobs, channels to partners, and undelivered messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hkall_gateway.app import machine
from hkall_gateway.cli.options import CliError, Site, json_option
from hkall_gateway.cli.show import show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.dates import ROUND_CHECK_S
from hkall_gateway.rules.stored_words import QuarantineState

if TYPE_CHECKING:
    from hkall_gateway.circulation.listings import SiteStatus
    from hkall_gateway.db.instances import Instance
    from hkall_gateway.db.rounds import RoundState
    from hkall_gateway.rules.circuit import CircuitState
    from hkall_gateway.rules.partners import Partner


NOBODY = "HKALL-STATUS"
"""A card that does not exist. The look-up only tests whether the library's own system answers."""


@click.command()
@with_site
@json_option
def status(site: Site, as_json: bool) -> None:
    """Show running gateways, open requests, unsent messages, rounds, and partners (configured, or ever sent a message).

    Example: hkall-gateway status --json
    """
    from hkall_gateway.circulation import listings
    from hkall_gateway.db.database import finished

    found: list[dict[str, object]] = []
    if site.asks_local_system:
        facts = finished(site.circulation.ils.facts(NOBODY))
        found.append(_status_row("ils", facts.source, "away" if facts.flag or not facts.reachable else "answers", 1, None))
    state = site.execute(listings.site_status([partner.agency for partner in site.partners]))
    found += lines(state, site.now())
    show(found, as_json, ("what", "which", "state", "count", "oldest", "detail"))


def lines(status: SiteStatus, when: datetime) -> list[dict[str, object]]:
    """Return the rows of `status`."""
    set_aside = Counter(failed.round for failed in status.set_aside)
    first_failure = {failed.round: failed.at for failed in reversed(status.set_aside)}  # oldest first
    return [
        *(_gateway_row(gateway, gateway.state(when), claimed) for gateway, claimed in status.gateways),
        *(_status_row("requests", *counted) for counted in status.requests),
        *(_status_row("outbox", *counted) for counted in status.outbox),
        *(_fault_row(channel) for channel in status.faults),
        *(_status_row("quarantine", who, QuarantineState.KEPT, count, oldest) for who, count, oldest in status.quarantined),
        *(_status_row("partner", partner.agency, _spoken(partner), 1, None) for partner in status.partners),
        *(_status_row("job", job["name"], "", job["count"], job["last_run"]) for job in status.loads),
        *(_round_row(job, when) for job in status.rounds),
        *(_status_row("set aside", name, "", count, first_failure[name]) for name, count in set_aside.items()),
    ]


def _spoken(partner: Partner) -> str:
    """Return the dialect of a partner with the usual protocol, or the name of its protocol."""
    from hkall_gateway.protocols import DEFAULT

    return partner.dialect if partner.protocol == DEFAULT else partner.protocol


def _gateway_row(gateway: Instance, state: str, claimed: int) -> dict[str, object]:
    """Return the row for one gateway: its claimed messages, start time, version, process and host."""
    if state == "gone" and gateway.host == machine.host() and machine.runs(gateway.pid):
        state = "silent"  # the process exists, but hangs or uses another clock or database
    seen = gateway.seen_at.isoformat(timespec="seconds")
    return _status_row("gateway", gateway.name, state, claimed, gateway.since) | {
        "detail": f"{gateway.version}, process {gateway.pid} on {gateway.host}, seen {seen}",
        "version": gateway.version,
        "host": gateway.host,
        "pid": gateway.pid,
        "seen_at": gateway.seen_at,
    }


def _fault_row(channel: CircuitState) -> dict[str, object]:
    """Return the row for a partner that refuses our agency, version or service, which is a fault in a configuration."""
    row = _status_row("fault", channel.agency, channel.state, channel.failures, channel.down_since)
    return row | {"detail": channel.fault}


def _round_row(job: RoundState, when: datetime) -> dict[str, object]:
    from hkall_gateway.db.rounds import ROUND

    is_held = job.lease_until is not None and job.lease_until >= when
    lag_s = job.lag_s(when)
    due = job.next_run.isoformat(timespec="seconds") if job.next_run else "now"
    detail = f"due {due}"
    if is_held:
        state, detail = "running", f"by {job.claimed_by}"
    elif job.last_run is None:
        state = "never ran"
    elif lag_s > 2 * ROUND_CHECK_S:
        state = "late"
    else:
        state = ""
    if lag_s and not is_held:
        detail += f", {lag_s} s late"
    facts = {"last_run": job.last_run, "next_run": job.next_run, "lag_s": lag_s, "detail": detail}
    return _status_row("job", ROUND + job.name, state, job.count, job.last_run) | facts


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
    from hkall_gateway.circulation import listings, queries

    unknown = set(agencies) - site.execute(queries.find_partners(agencies)).keys()
    if unknown:
        raise CliError(f"{', '.join(sorted(unknown))}: not in the directory")
    configured = [p.agency for p in site.partners]
    rows = site.execute(listings.partner_rows(agencies, configured))
    show([asdict(row) for row in rows], as_json, COLUMNS + RATES)
