"""outbox list|retry: what could not be told yet, and dead letters."""

from __future__ import annotations

from typing import Any

import click

from hkall_gateway.cli.show import show
from hkall_gateway.cli.site import WRONG, Ending, Site, json_option, with_site
from hkall_gateway.daemon import now
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit

LISTED = ("id", "state", "recipient", "send", "request", "attempts", "made_at", "next_at", "last_error")


@click.group()
def outbox() -> None:
    """What waits to be told to partners and patrons.

    Example: hkall-gateway outbox list --partner CUHK
    """


@outbox.command("list")
@click.option("--partner", default="", help="Only what this partner must hear.")
@click.option("--dead", is_flag=True, help="Only what was given up.")
@with_site
@json_option
def list_(site: Site, partner: str, dead: bool, as_json: bool) -> None:
    """Undelivered rows, oldest first.

    Example: hkall-gateway outbox list --dead
    """
    rows = site.run(_rows, partner, ("dead",) if dead else ("waiting", "dead"))
    show((_line(r) for r in rows), as_json, LISTED)


def _rows(unit: Unit, partner: str, states: tuple[str, ...]) -> tuple[OutboxRow, ...]:
    return unit.outbox.rows(partner=partner, states=states)


def _line(row: OutboxRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in LISTED} | {"send": row.send.value}


@outbox.command()
@click.argument("rows", nargs=-1, type=int)
@click.option("--partner", default="", help="Every undelivered row of this partner.")
@with_site
def retry(site: Site, rows: tuple[int, ...], partner: str) -> None:
    """Try again at once, with a fresh count of attempts.

    Example: hkall-gateway outbox retry 17 18
    """
    if not rows and not partner:
        raise Ending("name rows, or a partner with --partner", WRONG)
    wanted = rows or tuple(r.id for r in site.run(_rows, partner, ("waiting", "dead")))
    failed = [row for row in wanted if not site.run(_retry, row)]
    if failed or not wanted:
        raise Ending(f"{', '.join(map(str, failed)) or partner}: nothing undelivered there")
    click.echo(f"{len(wanted)} will be tried now")


def _retry(unit: Unit, row: int) -> bool:
    return unit.outbox.retry(row, now())
