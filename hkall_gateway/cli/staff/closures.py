"""Commands closures list and move: closed days, and due dates that a late announcement moves."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from hkall_gateway.cli.options import CliError, Site, by_staff, json_option
from hkall_gateway.cli.show import show
from hkall_gateway.cli.with_site import with_site


@click.group()
def closures() -> None:
    """List and move the closed days of libraries; `load closures` reads them.

    Example: hkall-gateway closures move --reason "typhoon" --dry-run
    """


@closures.command("list")
@with_site
@json_option
def list_(site: Site, as_json: bool) -> None:
    """List the closed days of every library, from today on.

    Example: hkall-gateway closures list
    """
    from hkall_gateway.circulation import listings

    show(site.execute(listings.closed_days_ahead()), as_json, ("agency", "day", "reason"))


@closures.command()
@click.option("--reason", default="", help="Why, for the journal.")
@click.option("--dry-run", is_flag=True, help="Show what would move, without moving it.")
@with_site
@json_option
def move(site: Site, reason: str, dry_run: bool, as_json: bool) -> None:
    """Move due dates and last days to collect that fall on a closed day of ours, from today on, to the next open day.

    Example: hkall-gateway closures move --reason "typhoon"
    """
    from hkall_gateway.circulation.find_request import staff_result
    from hkall_gateway.circulation.staff import closure_changes
    from hkall_gateway.db.database import finished

    if not reason.strip():
        raise CliError("a reason is needed: --reason")
    if dry_run:
        moves, _more = site.execute(closure_changes.would_move(most=sys.maxsize - 1))
        moved = [staff_result(move.request, due=move.new) for move in moves]
    else:
        job = closure_changes.MoveClosedDays(by=by_staff("closures move"), reason=reason)
        moved = finished(site.circulation.run_job(job))
    show([asdict(result) for result in moved], as_json, ("request", "position", "title", "due"))
