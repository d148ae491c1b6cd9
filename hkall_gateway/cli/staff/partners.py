"""partners: the state of each channel, its unsent messages, and the balance of lending and borrowing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.cli.options import CliError, Site, json_option, with_site
from hkall_gateway.cli.show import show
from hkall_gateway.rules.circuit import circuit
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.rules.vocabulary import Side

if TYPE_CHECKING:
    from hkall_gateway.store.partners import RequestReplies
    from hkall_gateway.store.unit import Unit

COLUMNS = ("partner", "line", "breaker", "down_since", "heard_at", "waiting", "oldest", "dead", "lent_us", "we_lent")
RATES = ("balance", "asked", "fill_percent", "decline_percent", "turnaround_days", "fault")


@click.command()
@click.argument("agencies", nargs=-1)
@with_site
@json_option
def partners(site: Site, agencies: tuple[str, ...], as_json: bool) -> None:
    """Show the partners named, else those that are configured or were ever sent a message: channel, breaker, undelivered and
    dead messages, balance of 30 days and days from the request to our shelf, answers of 7 days.

    Example: hkall-gateway partners CUHK --json
    """

    from hkall_gateway.store.unit import Unit

    if unknown := set(agencies) - site.run(Unit.partners, agencies).keys():
        raise CliError(f"{', '.join(sorted(unknown))}: not in the directory")
    configured = [p.agency for p in site.partners]
    show(site.run(lines, site.now(), agencies, configured), as_json, COLUMNS + RATES)


def lines(unit: Unit, when: datetime, named: Sequence[str], configured: Sequence[str]) -> list[dict[str, Any]]:
    """One row each of `named`; without any, of those that are configured or were ever told anything."""

    from hkall_gateway.store import partners as kept
    from hkall_gateway.store.partners import RequestReplies

    lent, borrowed = kept.balance(unit, Side.BORROWING, when), kept.balance(unit, Side.LENDING, when)
    said, took, depths = kept.answers(unit, when), kept.turnaround_days(unit, when), unit.outbox.depths()
    return [
        {
            "partner": agency,
            "line": link.state,
            "breaker": circuit(link, when),
            "down_since": link.down_since,
            "heard_at": link.heard_at,
            **_waiting(agency, depths),
            "lent_us": lent.get(agency, 0),
            "we_lent": borrowed.get(agency, 0),
            "balance": borrowed.get(agency, 0) - lent.get(agency, 0),
            **_rates(said.get(agency, RequestReplies())),
            "fault": link.fault,
            "turnaround_days": round(took[agency], 1) if agency in took else None,
        }
        for agency in named or sorted({*configured, *unit.circuits.used()})
        for link in [unit.circuits.one(agency)]
    ]


def _waiting(agency: str, depths: tuple[tuple[str, OutboxState, int, datetime], ...]) -> dict[str, Any]:
    mine = [(state, count, oldest) for who, state, count, oldest in depths if who == agency]
    return {
        "waiting": sum(count for state, count, _ in mine if state is not OutboxState.DEAD),
        "oldest": min((oldest for _, _, oldest in mine), default=None),
        "dead": sum(count for state, count, _ in mine if state is OutboxState.DEAD),
    }


def _rates(said: RequestReplies) -> dict[str, Any]:
    return {
        "asked": said.asked,
        "fill_percent": None if said.fill_rate is None else round(100 * said.fill_rate),
        "decline_percent": round(100 * said.decline_rate) if said.asked else None,
    }
