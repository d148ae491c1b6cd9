"""partners: the state of each channel, its unsent messages, and the balance of lending and borrowing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.cli.options import CliError, Site, json_option, with_site
from hkall_gateway.cli.show import show

if TYPE_CHECKING:
    from hkall_gateway.db.unit import Unit

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

    from hkall_gateway.db.unit import Unit

    if unknown := set(agencies) - site.run(Unit.partners, agencies).keys():
        raise CliError(f"{', '.join(sorted(unknown))}: not in the directory")
    configured = [p.agency for p in site.partners]
    show(site.run(lines, site.now(), agencies, configured), as_json, COLUMNS + RATES)


def lines(unit: Unit, when: datetime, named: Sequence[str], configured: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row for each agency of `named`; by default of all that are configured or were sent a message."""

    from hkall_gateway.circulation.staff.partner_lines import partner_lines

    return [asdict(row) for row in partner_lines(unit, when, named or sorted({*configured, *unit.circuits.used()}))]
