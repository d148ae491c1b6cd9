"""partners: how the line to each of them is, what waits, and whether lending and borrowing are in balance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from hkall_gateway.cli.show import show
from hkall_gateway.cli.site import Site, json_option, with_site
from hkall_gateway.rules.breaker import circuit
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.store import partners as kept
from hkall_gateway.store.partners import Answers
from hkall_gateway.store.unit import Unit

COLUMNS = ("partner", "line", "breaker", "down_since", "heard_at", "waiting", "oldest", "dead", "lent_us", "we_lent")
RATES = ("balance", "asked", "fill_percent", "decline_percent")


@click.command()
@with_site
@json_option
def partners(site: Site, as_json: bool) -> None:
    """Every partner: line, breaker, undelivered and dead messages, balance of 30 days, answers of 7 days.

    Example: hkall-gateway partners --json
    """
    show(site.run(_lines, site.now()), as_json, COLUMNS + RATES)


def _lines(unit: Unit, when: datetime) -> list[dict[str, Any]]:
    lent, borrowed = kept.balance(unit, Side.BORROWING, when), kept.balance(unit, Side.LENDING, when)
    said, depths = kept.answers(unit, when), unit.outbox.depths()
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
            **_rates(said.get(agency, Answers())),
        }
        for agency, link in unit.links.all().items()
    ]


def _waiting(agency: str, depths: tuple[tuple[str, str, int, datetime], ...]) -> dict[str, Any]:
    mine = [(state, count, oldest) for who, state, count, oldest in depths if who == agency]
    return {
        "waiting": sum(count for state, count, _ in mine if state != "dead"),
        "oldest": min((oldest for _, _, oldest in mine), default=None),
        "dead": sum(count for state, count, _ in mine if state == "dead"),
    }


def _rates(said: Answers) -> dict[str, Any]:
    no = round(100 * said.decline_rate)
    return {
        "asked": said.asked,
        "fill_percent": 100 - no if said.asked else None,
        "decline_percent": no if said.asked else None,
    }
