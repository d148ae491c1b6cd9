"""Commands of the work lists (pull-list, expected, overdues …), from a table, and slips for the pull list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import click

from hkall_gateway.cli.options import Site, by_staff, json_option, with_site
from hkall_gateway.cli.show import echo, show
from hkall_gateway.db import bind
from hkall_gateway.rules import dates
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import ItemKey, Request

if TYPE_CHECKING:
    from hkall_gateway.db.unit_of_work import UnitOfWork


Query: TypeAlias = "Callable[[UnitOfWork, Policy, datetime], tuple[Request, ...]]"

STALLED = ("position", "moved_at", "set_aside", "fault")
FLAGGED = ("position", "flags", "dropped_on")
LENT = ("patron", "due", "lender_due")
BOOK = ("id", "partner", "item_agency", "item_barcode", "title")


@dataclass(frozen=True, slots=True)
class WorkList:
    """One list: the name of its command, its query, and its columns beside those of the book."""

    name: str
    query: Query
    columns: tuple[str, ...]
    help: str


def _find_stuck(unit: UnitOfWork, policy: Policy, when: datetime) -> tuple[Request, ...]:
    """Return the requests that need a clerk, the longest waiting first.

    They make no progress, a round failed on them, or the partner refuses our messages.
    """
    from hkall_gateway.db.queries import cli_lists, work_lists

    return cli_lists.stuck(unit, work_lists.Moment(when, policy.waits))


def _find_overdues(unit: UnitOfWork, _policy: Policy, when: datetime) -> tuple[Request, ...]:
    from hkall_gateway.db.queries import cli_lists

    return cli_lists.overdues(unit, dates.civil(when))


def _named_query(name: str) -> Query:
    """Return the query for one of `cli_lists.LISTS`."""

    def query(unit: UnitOfWork, _policy: Policy, _when: datetime) -> tuple[Request, ...]:
        from hkall_gateway.db.queries import cli_lists

        return cli_lists.open_list(unit, name)

    return query


QUESTIONS: tuple[WorkList, ...] = (
    WorkList("pull-list", _named_query("pull-list"), ("moved_at",), "List the copies to fetch from our shelves now."),
    WorkList("expected", _named_query("expected"), ("moved_at",), "List the copies on their way to our counter."),
    WorkList(
        "expired-pickups",
        _named_query("expired-pickups"),
        ("patron", "pickup_last"),
        "List the copies to take off the hold shelf (R15).",
    ),
    WorkList("overdues", _find_overdues, ("patron", "due"), "List loans whose due date is over (R39)."),
    WorkList("recalls", _named_query("recalls"), ("patron", "recalled_on"), "List the copies that their owner recalls (R23)."),
    WorkList("renewals", _named_query("renewals"), ("patron", "renewal_sync"), "List pending or denied renewals (R28)."),
    WorkList("lender-dates", _named_query("lender-dates"), LENT, "List loans past a lender's date (R32)."),
    WorkList("stuck", _find_stuck, STALLED, "List requests that stand still for too long."),
    WorkList("flagged", _named_query("flagged"), FLAGGED, "List requests for staff to look at, and why."),
)


def _list_rows(unit: UnitOfWork, question: WorkList, policy: Policy, when: datetime) -> list[dict[str, object]]:
    """Return the requests, with the job that could not process them and the error."""
    from hkall_gateway.db.queries import work_lists

    found = question.query(unit, policy, when)
    numbers = [request.id for request in found]
    aside, faults = work_lists.round_errors(unit, numbers), work_lists.partner_faults(unit, numbers)
    return [asdict(r) | {"set_aside": aside.get(r.id, ""), "fault": faults.get(r.id, "")} for r in found]


def _make_command(question: WorkList) -> click.Command:
    def run(site: Site, as_json: bool) -> None:
        show(site.write(bind(_list_rows, question, site.library.policy, site.now())), as_json, (*BOOK, *question.columns))

    run.__doc__ = f"{question.help}\n\nExample: hkall-gateway {question.name} --json"
    made: click.Command = click.command(question.name)(with_site(json_option(run)))
    return made


COMMANDS: dict[str, click.Command] = {question.name: _make_command(question) for question in QUESTIONS}


@click.command()
@with_site
def slips(site: Site) -> None:
    """Print a slip for every book of the pull list; a slip printed before shows its date.

    Example: hkall-gateway slips | lp
    """
    from hkall_gateway.circulation.find_request import StaffCommand
    from hkall_gateway.circulation.staff import actions
    from hkall_gateway.db.queries import cli_lists

    by = by_staff("slips")
    for request in site.write(bind(cli_lists.open_list, "pull-list")):
        echo("\n".join([*site.write(bind(_slip_lines, request)), ""]))
        site.act(actions.act, StaffCommand(by, request.id), "print")


def _slip_lines(unit: UnitOfWork, request: Request) -> tuple[str, ...]:
    """Return the lines of a pull slip: the borrowing library, the book, its call number and barcode."""
    from hkall_gateway.circulation.staff import lender_list

    copy = unit.holdings.find(ItemKey(request.item_agency, request.item_barcode))
    partner, printed = unit.partners.find(request.partner), lender_list.printed_at(unit, request)
    lines = (
        f"{request.id} for {request.partner}, {partner.name if partner else ''}",
        " / ".join(filter(None, [request.title, request.volume, copy.author if copy else ""])),
        f"{copy.call_number if copy else ''}  barcode {request.item_barcode}".strip(),
        f"printed before, on {printed.astimezone(HONG_KONG):%Y-%m-%d %H:%M}" if printed else "",
    )
    return tuple(filter(None, lines))
