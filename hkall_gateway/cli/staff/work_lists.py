"""Commands of the work lists (pull-list, expected, overdues …), from a table, and slips for the pull list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hkall_gateway.cli import ENTRIES
from hkall_gateway.cli.lazy import Entry
from hkall_gateway.cli.options import Site, by_staff, json_option
from hkall_gateway.cli.show import echo, show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.dates import HONG_KONG

if TYPE_CHECKING:
    from hkall_gateway.circulation.staff.console import SlipRow


BOOK = ("id", "partner", "item_agency", "item_barcode", "title")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "pull-list": ("moved_at",),
    "expected": ("moved_at",),
    "expired-pickups": ("patron", "pickup_last"),
    "overdues": ("patron", "due"),
    "recalls": ("patron", "recalled_on"),
    "renewals": ("patron", "renewal_sync"),
    "lender-dates": ("patron", "due", "lender_due"),
    "stuck": ("position", "moved_at", "set_aside", "fault"),
    "flagged": ("position", "flags", "dropped_on"),
}
"""Columns of each list in addition to `BOOK`. `cli_lists.LISTS` defines the requests of each list."""


def _make_command(entry: Entry) -> click.Command:
    def run(site: Site, as_json: bool) -> None:
        from hkall_gateway.circulation import listings

        rows = [
            {**asdict(row.request), "set_aside": row.set_aside, "fault": row.fault}
            for row in site.execute(listings.work_list_rows(entry.name))
        ]
        show(rows, as_json, (*BOOK, *COLUMNS[entry.name]))

    run.__doc__ = f"{entry.help}\n\nExample: hkall-gateway {entry.name} --json"
    made: click.Command = click.command(entry.name)(with_site(json_option(run)))
    return made


COMMANDS: dict[str, click.Command] = {entry.name: _make_command(entry) for entry in ENTRIES if entry.name in COLUMNS}


@click.command()
@with_site
def slips(site: Site) -> None:
    """Print a slip for every book of the pull list; a slip printed before shows its date.

    Example: hkall-gateway slips | lp
    """
    from hkall_gateway.circulation import listings
    from hkall_gateway.circulation.staff import console
    from hkall_gateway.circulation.staff.actions import Act
    from hkall_gateway.rules.positions import SlipKind

    requests = [row.request for row in site.execute(listings.work_list_rows("pull-list"))]
    for slip in site.execute(console.slips_for(requests, SlipKind.PULL)):
        echo("\n".join([*_slip_lines(slip), ""]))
        site.execute(Act(by=by_staff("slips"), request=slip.request.id, action="print"))


def _slip_lines(slip: SlipRow) -> tuple[str, ...]:
    """Return the lines of a pull slip: the borrowing library, the book, its call number and barcode."""
    request, copy = slip.request, slip.copy
    partner_name = slip.partner.name if slip.partner else ""
    author = copy.author if copy else ""
    call_number = copy.call_number if copy else ""
    lines = [
        f"{request.id} for {request.partner}, {partner_name}",
        " / ".join(filter(None, [request.full_title, request.volume, author])),
        f"{call_number}  barcode {request.item_barcode}".strip(),
    ]
    if slip.printed_at:
        lines.append(f"printed before, on {slip.printed_at.astimezone(HONG_KONG):%Y-%m-%d %H:%M}")
    return tuple(filter(None, lines))
