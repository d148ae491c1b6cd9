"""Commands of the work lists (pull-list, expected, overdues …), from a table, and slips for the pull list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hkall_gateway.cli import ENTRIES
from hkall_gateway.cli.lazy import Entry
from hkall_gateway.cli.options import Site, by_staff, json_option, with_site
from hkall_gateway.cli.show import echo, show
from hkall_gateway.db import bind
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.vocabulary import ItemKey, Request

if TYPE_CHECKING:
    from hkall_gateway.db.unit_of_work import UnitOfWork


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


def _list_rows(unit: UnitOfWork, name: str, waits: Waits, when: datetime) -> list[dict[str, object]]:
    """Return the requests of a list, each with the job that could not process it and the error."""
    from hkall_gateway.db.queries import cli_lists, work_lists

    found = cli_lists.open_list(unit, name, work_lists.Moment(when, waits))
    numbers = [request.id for request in found]
    aside, faults = work_lists.round_errors(unit, numbers), work_lists.partner_faults(unit, numbers)
    return [asdict(r) | {"set_aside": aside.get(r.id, ""), "fault": faults.get(r.id, "")} for r in found]


def _make_command(entry: Entry) -> click.Command:
    def run(site: Site, as_json: bool) -> None:
        rows = site.read(bind(_list_rows, entry.name, site.library.policy.waits, site.now()))
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
    from hkall_gateway.circulation.staff.actions import Act
    from hkall_gateway.db.queries import cli_lists
    from hkall_gateway.db.queries.work_lists import Moment

    by = by_staff("slips")
    now = Moment(site.now(), site.library.policy.waits)
    for request in site.read(bind(cli_lists.open_list, "pull-list", now)):
        echo("\n".join([*site.read(bind(_slip_lines, request)), ""]))
        site.execute(Act(by=by, request=request.id, action="print"))


def _slip_lines(unit: UnitOfWork, request: Request) -> tuple[str, ...]:
    """Return the lines of a pull slip: the borrowing library, the book, its call number and barcode."""
    from hkall_gateway.circulation.staff import lender_list

    copy = unit.holdings.find(ItemKey(request.item_agency, request.item_barcode))
    partner, printed = unit.partners.find(request.partner), lender_list.printed_at(unit, request)
    lines = (
        f"{request.id} for {request.partner}, {partner.name if partner else ''}",
        " / ".join(filter(None, [request.full_title, request.volume, copy.author if copy else ""])),
        f"{copy.call_number if copy else ''}  barcode {request.item_barcode}".strip(),
        f"printed before, on {printed.astimezone(HONG_KONG):%Y-%m-%d %H:%M}" if printed else "",
    )
    return tuple(filter(None, lines))
