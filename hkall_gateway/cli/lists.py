"""The nine o'clock questions: pull-list, expected, expired-pickups, stuck, overdues, recalls, notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from hkall_gateway.cli.show import show
from hkall_gateway.cli.site import Site, json_option, with_site
from hkall_gateway.rules import calendar
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.store import lists, rounds
from hkall_gateway.store.unit import Unit

P = Position
STANDING = ("position", "moved_at", "set_aside")
BOOK = ("id", "partner", "item_agency", "item_barcode", "title")

# Days after which something that stands still is worth a look. Source: operations.md 7.3; stale limits of OpenRS and BONUS+.
STUCK_DAYS = {
    P.NEW: 1, P.REQUESTED: 3, P.CANCELLING: 3, P.PAGED: 3, P.IN_TRANSIT: 5, P.SHIPPED: 5, P.RECEIVED: 11,
    P.TO_RETURN: 2, P.RETURN_TRANSIT: 7,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """One list: its command, what it asks, and its columns beside those of the book."""

    name: str
    ask: Callable[[Unit, datetime], tuple[Request, ...]]
    columns: tuple[str, ...]
    help: str


def _stuck(unit: Unit, when: datetime) -> tuple[Request, ...]:
    """What stands still, and what a round could not do."""
    still = lists.stuck(unit, {position: when - timedelta(days=days) for position, days in STUCK_DAYS.items()})
    aside = [unit.request(one.request) for one in rounds.all_aside(unit)]
    return tuple({request.id: request for request in (*still, *aside) if request}.values())


def _overdues(unit: Unit, when: datetime) -> tuple[Request, ...]:
    return lists.overdues(unit, calendar.civil(when))


def _now(ask: Callable[[Unit], tuple[Request, ...]]) -> Callable[[Unit, datetime], tuple[Request, ...]]:
    return lambda unit, _when: ask(unit)


# fmt: off
QUESTIONS: tuple[Question, ...] = (
    Question("pull-list",       _now(lists.pull_list),       ("moved_at",),              "What to fetch from our shelves now."),
    Question("expected",        _now(lists.expected),        ("moved_at",),              "What is on its way to our counter."),
    Question("expired-pickups", _now(lists.expired_pickups), ("patron", "pickup_last"),  "What leaves the hold shelf (R15)."),
    Question("overdues",        _overdues,                   ("patron", "due"),          "Loans whose due date is over (R39)."),
    Question("recalls",         _now(lists.recalls),         ("patron", "recalled_on"),  "What its owner wants back (R23)."),
    Question("stuck",           _stuck,                      STANDING,                   "What stands still for too long."),
)
# fmt: on


def _rows(unit: Unit, question: Question, when: datetime) -> list[dict[str, Any]]:
    """The requests with the round that could not do them, and the error."""
    aside = {one.request: f"{one.round}: {one.error}" for one in rounds.all_aside(unit)}
    return [asdict(r) | {"set_aside": aside.get(r.id, "")} for r in question.ask(unit, when)]


def _command(question: Question) -> click.Command:
    def run(site: Site, as_json: bool) -> None:
        show(site.run(_rows, question, site.now()), as_json, (*BOOK, *question.columns))

    run.__doc__ = f"{question.help}\n\nExample: hkall-gateway {question.name} --json"
    made: click.Command = click.command(question.name)(with_site(json_option(run)))
    return made


COMMANDS: tuple[click.Command, ...] = tuple(_command(question) for question in QUESTIONS)


@click.command()
@click.option("--failed", is_flag=True, help="Only those that could not be delivered (R42).")
@with_site
@json_option
def notices(site: Site, failed: bool, as_json: bool) -> None:
    """Letters, and what became of them.

    Example: hkall-gateway notices --failed
    """
    states = ("undeliverable",) if failed else ("queued", "sent", "undeliverable")
    columns = ("id", "state", "kind", "about", "request", "patron", "made_at", "sent_at", "error")
    rows: tuple[dict[str, Any], ...] = site.run(lists.notices, states)
    show(rows, as_json, columns)
