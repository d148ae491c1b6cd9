"""The command `slips`: prints a slip for every book of the pull list; a repeated print is marked as one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.messages.staff_commands import StaffCommand
from hkall_gateway.cli.options import Site, by_staff, with_site
from hkall_gateway.cli.show import echo
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import ItemKey, Request

if TYPE_CHECKING:
    from hkall_gateway.db.unit import Unit


@click.command()
@with_site
def slips(site: Site) -> None:
    """Print a slip for every book of the pull list; a slip printed before shows its date.

    Example: hkall-gateway slips | lp
    """

    from hkall_gateway.circulation.staff import actions
    from hkall_gateway.db.queries import cli_lists

    by = by_staff("slips")
    for request in site.run(cli_lists.pull_list):
        echo("\n".join([*site.run(_slip, request), ""]))
        site.run(in_context, actions.act, site.library, site.now(), StaffCommand(by, request.id), "print")


def _slip(unit: Unit, request: Request) -> tuple[str, ...]:
    """Return the lines of a pull slip: the borrowing library, the book, its call number and barcode; no reader is known."""

    from hkall_gateway.circulation.staff import lender_list

    copy = unit.holding(ItemKey(request.item_agency, request.item_barcode))
    partner, printed = unit.partner(request.partner), lender_list.printed_at(unit, request)
    lines = (
        f"{request.id} for {request.partner}, {partner.name if partner else ''}",
        " / ".join(filter(None, [request.title, request.volume, copy.author if copy else ""])),
        f"{copy.call_number if copy else ''}  barcode {request.item_barcode}".strip(),
        *_warning(printed),
    )
    return tuple(filter(None, lines))


def _warning(printed: datetime | None) -> Iterator[str]:
    if printed is not None:
        yield f"printed before, on {printed.astimezone(HONG_KONG):%Y-%m-%d %H:%M}"
