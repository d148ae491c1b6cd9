"""requests list|show|trace: where a book is, and why a patron was refused, with rule numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from hkall_gateway.cli.options import WRONG, CliError, Site, json_option, require_partner, with_site
from hkall_gateway.cli.show import show
from hkall_gateway.rules.vocabulary import Candidate, Position, Request

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

    from hkall_gateway.db.unit import Unit

    if position and position.upper() not in tuple(Position):
        raise CliError(f"--position: {position!r} is no position; one of {', '.join(Position)}", WRONG)
    found = site.run(Unit.open_list, position.upper(), partner)
    if not found:
        require_partner(site, partner)
    show((asdict(r) for r in found), as_json, LISTED)


@requests.command("show")
@click.argument("request")
@with_site
@json_option
def show_(site: Site, request: str, as_json: bool) -> None:
    """Show one request, and the lenders that were or can be asked: the rank of each with its reasons.

    Example: hkall-gateway requests show R-7K2M4Q9XW3TD
    """

    from hkall_gateway.db.loads import former_cards
    from hkall_gateway.db.unit import Unit

    found = site.run(Unit.request, request)
    if found is None:
        raise CliError(f"{request}: no such request")
    cards = site.run(former_cards.cards_of, found.patron) if found.patron else ()
    _print_one(found, cards[1:], site.run(Unit.candidates, request), as_json)


def _print_one(found: Request, former: Sequence[str], candidates: Sequence[Candidate], as_json: bool) -> None:
    facts, listed = {**asdict(found), "former_cards": ", ".join(former)}, [asdict(c) for c in candidates]
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

    from hkall_gateway.db.loads import former_cards

    lines = site.run(former_cards.history, what)
    if not lines:
        raise CliError(f"{what}: no request, copy or patron of that name in the journal")
    show((_readable(line) for line in lines), as_json, TRACED)


def _readable(line: dict[str, Any]) -> dict[str, Any]:
    facts = json.loads(line["detail"] or "{}")
    plain = {k: v["v"] if isinstance(v, dict) else v for k, v in facts.items() if k != "position"}
    told = " ".join(f"{k}={v}" for k, v in plain.items() if v not in ("", None))
    return {**line, "detail": told}
