"""Commands requests list, show and trace, and the commands of `request`, from a table: steps that staff carry out by hand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.circulation.results import Refused
from hkall_gateway.cli.options import (
    DAY,
    MOST_CENTS,
    WRONG,
    CliError,
    Option,
    Site,
    by_staff,
    combine_options,
    json_option,
    require_partner,
)
from hkall_gateway.cli.show import show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.sip2.screen_messages import say

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


LISTED = ("id", "side", "position", "partner", "patron", "item_agency", "item_barcode", "title", "due", "moved_at")
LENDERS = ("rank", "agency", "barcode", "wire_id", "outcome", "skip", "reason", "their_number")
TRACED = ("at", "request", "who", "channel", "message", "event", "source", "target", "rule", "outcome", "detail")


@click.group()
def requests() -> None:
    """List, show and trace requests, as borrower and as lender.

    Example: hkall-gateway requests trace C00001
    """


@requests.command("list")
@click.option("--position", default="", help="Only requests at this position, such as RECEIVED.")
@click.option("--partner", default="", help="Only requests with this partner.")
@with_site
@json_option
def list_(site: Site, position: str, partner: str, as_json: bool) -> None:
    """List open requests, oldest first.

    Example: hkall-gateway requests list --position RECEIVED
    """
    if position and position.upper() not in tuple(Position):
        raise CliError(f"--position: {position!r} is no position; one of {', '.join(Position)}", WRONG)
    from hkall_gateway.circulation import listings

    found = site.execute(listings.open_requests(position.upper(), partner))
    if not found:
        require_partner(site, partner)
    show((asdict(r) for r in found), as_json, LISTED)


@requests.command("show")
@click.argument("request")
@with_site
@json_option
def show_(site: Site, request: str, as_json: bool) -> None:
    """Show one request, and the lenders that were or can be asked, with their ranks and the reasons.

    Example: hkall-gateway requests show R-7K2M4Q9XW3TD
    """
    from hkall_gateway.circulation import listings, queries

    found = site.execute(queries.find_request(request))
    if found is None:
        raise CliError(f"{request}: no such request")
    cards = site.execute(listings.cards_of(found.patron)) if found.patron else ()
    facts = {**asdict(found), "former_cards": ", ".join(cards[1:])}
    listed = [asdict(c) for c in site.execute(listings.lenders_of(request))]
    if as_json:
        show([{**facts, "candidates": listed}], as_json)
        return
    show(({"fact": name, "value": value} for name, value in facts.items() if value not in ("", None, False, 0)), False)
    if listed:
        show(listed, False, LENDERS)


@requests.command()
@click.argument("what")
@with_site
@json_option
def trace(site: Site, what: str, as_json: bool) -> None:
    """Show the history of a request, a barcode or a patron's card (a former one too), with the rule behind each refusal.

    Example: hkall-gateway requests trace P1
    """
    from hkall_gateway.circulation import listings

    lines = site.execute(listings.history_of(what))
    if not lines:
        raise CliError(f"{what}: no request, copy or patron of that name in the journal")
    shown = []
    for line in lines:
        facts = json.loads(str(line["detail"] or "{}"))
        plain = {k: v["v"] if isinstance(v, dict) else v for k, v in facts.items() if k != "position"}
        shown.append({**line, "detail": " ".join(f"{k}={v}" for k, v in plain.items() if v not in ("", None))})
    show(shown, as_json, TRACED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One staff command: its name on the command line, its help text, and its special OPTIONS."""

    command: str
    help: str
    takes: tuple[str, ...] = ()


def _read_commands(table: Mapping[str, Mapping[str, Any]]) -> tuple[Command, ...]:
    return tuple(Command(command=name, **{**row, "takes": tuple(row.get("takes", ()))}) for name, row in table.items())


_TABLES: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
COMMANDS, CHOICES = _read_commands(_TABLES["commands"]), _read_commands(_TABLES["choices"])

# fmt: off
OPTIONS: Mapping[str, Option] = {
    "cents": click.option("--cents", type=click.IntRange(0, MOST_CENTS), default=None, help="The owner's price, in cents."),
    "on":    click.option("--on", type=DAY, default=None, help="The day of the event, YYYY-MM-DD."),
    "to":    click.option("--to", default="", help="The position."),
    "item":  click.option("--item", default="", help="The copy, AGENCY/BARCODE."),
}
# fmt: on

REASON = click.option("--reason", default="", help="Why, for the journal.")


@click.group()
def request() -> None:
    """Carry out by hand a step of a request; WHAT is a request's number, a barcode, or AGENCY/BARCODE.

    Example: hkall-gateway request return C00001 --on 2017-03-15 --reason "found in the drop"
    """


def _register_command(row: Command) -> None:
    def run(
        site: Site,
        what: str,
        reason: str,
        as_json: bool,
        on: date | None = None,
        cents: int | None = None,
        to: str = "",
        item: str = "",
    ) -> None:
        from hkall_gateway.circulation import queries
        from hkall_gateway.circulation.staff.actions import Act

        if to and to.upper() not in tuple(Position):
            raise CliError(f"--to: {to!r} is no position; one of {', '.join(Position)}", WRONG)
        is_number = site.execute(queries.find_request(what)) is not None
        agency, _, barcode = (item if is_number else what).rpartition("/")
        command = Act(
            by=by_staff(row.command),
            request=what if is_number else "",
            barcode=barcode,
            agency=agency,
            reason=reason,
            on=on,
            cents=cents,
            position=Position(to.upper()) if to else None,
            action=row.command,
        )
        outcome = site.execute(command)
        if (
            isinstance(outcome, Refused)
            and outcome.why is Reason.UNKNOWN_ITEM
            and not command.request
            and what.upper().startswith("R-")
        ):
            raise CliError(f"{what}: no request with this number")
        _print_result(outcome, as_json, what)

    run.__doc__ = f"{row.help}\n\nExample: hkall-gateway request {_command_name(row)} C00001"
    own = (OPTIONS[name] for name in reversed(row.takes))
    request.command(_command_name(row))(combine_options(with_site, json_option, *own, REASON, click.argument("what"))(run))


def _register_choice(row: Command) -> None:
    def run(site: Site, what: str, lender: str, reason: str, as_json: bool) -> None:
        from hkall_gateway.circulation.staff.actions import Act

        agency, _, barcode = lender.partition("/")
        command = Act(by=by_staff(row.command), request=what, barcode=barcode, agency=agency, reason=reason, action=row.command)
        _print_result(site.execute(command), as_json)

    run.__doc__ = f'{row.help}\n\nExample: hkall-gateway request {row.command} R-7K2M4Q9XW3TD LU/L1 --reason "they telephoned"'
    options = combine_options(click.argument("what"), click.argument("lender"), REASON, with_site, json_option)
    request.command(row.command)(options(run))


def _command_name(row: Command) -> str:
    return row.command.replace("_", "-")


def _print_result(outcome: Refused | DataclassInstance, as_json: bool, what: str = "") -> None:
    """Print the result of an action. Raise CliError for a refusal, and name `what` in the message if it is unknown."""
    if isinstance(outcome, Refused):
        words = say(outcome.why, "en", outcome.detail)
        raise CliError(f"{what}: {words}" if what and outcome.why is Reason.UNKNOWN_ITEM else words)
    show([{k: v for k, v in asdict(outcome).items() if v not in ("", None, False)}], as_json)


@request.command()
@click.option("--patron", required=True, help="The card's barcode.")
@click.option("--bib", required=True, help="The title's number in the union catalogue.")
@click.option("--volume", default="", help="The volume wanted.")
@click.option("--pickup", default="", help="The code of the pickup location.")
@with_site
@json_option
def place(site: Site, patron: str, bib: str, volume: str, pickup: str, as_json: bool) -> None:
    """Place a request for a patron by the rules, except that a second request for a title is allowed.

    Example: hkall-gateway request place --patron P1 --bib b1
    """
    from hkall_gateway.circulation.borrowing import RequestTitle

    command = RequestTitle(
        by=by_staff("place"),
        patron=patron,
        bib_id=bib,
        volume=volume,
        pickup_location=pickup,
        staff=True,
    )
    _print_result(site.execute(command), as_json)


@request.command()
@click.argument("what")
@REASON
@with_site
@json_option
def reopen(site: Site, what: str, reason: str, as_json: bool) -> None:
    """Place an ended request again, as a new request.

    Example: hkall-gateway request reopen R-7K2M4Q9XW3TD --reason "the lender found it"
    """
    from hkall_gateway.circulation.staff.actions import Reopen

    _print_result(site.execute(Reopen(by=by_staff("reopen"), request=what, reason=reason)), as_json)


for _row in COMMANDS:
    _register_command(_row)
for _row in CHOICES:
    _register_choice(_row)
