"""closures: on which days libraries are closed, and what moves when a day was announced late."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.find_request import StaffCommand
from hkall_gateway.circulation.results import Done
from hkall_gateway.cli.options import CliError, Site, by_staff, json_option, with_site
from hkall_gateway.cli.show import show
from hkall_gateway.db import bind
from hkall_gateway.rules import dates

if TYPE_CHECKING:
    from hkall_gateway.db.unit_of_work import UnitOfWork

BATCH = 200


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
    from hkall_gateway.db.queries import cli_lists

    show(site.write(bind(cli_lists.closures, dates.civil(site.now()))), as_json, ("agency", "day", "reason"))


@closures.command()
@click.option("--reason", default="", help="Why, for the journal.")
@click.option("--dry-run", is_flag=True, help="Show what would move, without moving it.")
@with_site
@json_option
def move(site: Site, reason: str, dry_run: bool, as_json: bool) -> None:
    """Move due dates and last days to collect that fall on a closed day of ours, from today on, to the next open day.

    Example: hkall-gateway closures move --reason "typhoon"
    """
    if not reason.strip():
        raise CliError("a reason is needed: --reason")
    moved: list[Done] = []
    after: str | None = ""
    while after is not None:
        done, after = _batch(site, StaffCommand(by_staff("closures move"), reason=reason), after, dry_run)
        moved += done
    show([asdict(one) for one in moved], as_json, ("request", "position", "title", "due"))


class _Undo(Exception):
    """Carries the answer out of a transaction that must leave no trace."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer


def _batch(site: Site, command: StaffCommand, after: str, dry_run: bool) -> tuple[tuple[Done, ...], str | None]:
    """One transaction; undone where it is only asked what would move."""
    try:
        return site.write(bind(_moving, command, site, site.now(), after, dry_run))
    except _Undo as undone:
        answer: tuple[tuple[Done, ...], str | None] = undone.answer
        return answer


def _moving(
    unit: UnitOfWork, command: StaffCommand, site: Site, now: datetime, after: str, dry_run: bool
) -> tuple[tuple[Done, ...], str | None]:
    from hkall_gateway.circulation.staff import closure_changes

    answer = closure_changes.move(Context(unit, site.library, now), command, after, BATCH)
    if dry_run:
        raise _Undo(answer)
    return answer
