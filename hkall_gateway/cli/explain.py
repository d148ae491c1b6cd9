"""explain request|borrow|renew: the decision and the rule that made it. The very function of the desk runs, and is undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from hkall_gateway.cli.show import show
from hkall_gateway.cli.site import REFUSED, Site, by_staff, json_option, with_site
from hkall_gateway.daemon import now
from hkall_gateway.desk import borrowing, circulation
from hkall_gateway.desk.asks import CheckOut, Outcome, Place, Refused, Renew, RequestTitle
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.sip2.words import say
from hkall_gateway.store.unit import Unit


class _Undo(Exception):
    """Carries the outcome out of a transaction that must leave no trace."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


@click.group()
def explain() -> None:
    """What would be answered, by which rule; nothing is changed.

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-08T23:59:59+08:00
    """


AT = click.option("--at", "at", default="", help="As if it were this instant, such as 2017-03-09T00:00:00+08:00.")
PATRON = click.option("--patron", required=True, help="The card's barcode.")
ITEM = click.option("--item", required=True, help="The copy's barcode, or AGENCY/BARCODE.")


@explain.command()
@PATRON
@click.option("--bib", required=True, help="The title's number in the union catalogue.")
@click.option("--volume", default="", help="The volume wanted.")
@AT
@with_site
@json_option
def request(site: Site, patron: str, bib: str, volume: str, at: str, as_json: bool) -> None:
    """May this patron request this title?

    Example: hkall-gateway explain request --patron P1 --bib b1
    """
    ask = RequestTitle(by_staff("explain"), patron, bib, volume)
    _tell(site, patron, at, as_json, lambda unit, facts, when: borrowing.request_title(unit, ask, facts, site.house, when))


@explain.command()
@PATRON
@ITEM
@click.option("--role", default="counter", help="counter, selfcheck or bookdrop.")
@AT
@with_site
@json_option
def borrow(site: Site, patron: str, item: str, role: str, at: str, as_json: bool) -> None:
    """May this patron borrow this copy, and until when?

    Example: hkall-gateway explain borrow --patron P1 --item C00001
    """
    agency, barcode = _item(item)
    place = Place(role, site.house.pickup_locations[0])
    ask = CheckOut(by_staff("explain"), place, patron, barcode, agency)
    _tell(site, patron, at, as_json, lambda unit, facts, when: circulation.check_out(unit, ask, facts, site.house, when))


@explain.command()
@ITEM
@click.option("--staff", is_flag=True, help="As staff at the counter.")
@AT
@with_site
@json_option
def renew(site: Site, item: str, staff: bool, at: str, as_json: bool) -> None:
    """May this loan be renewed, and until when?

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-09T00:00:00+08:00
    """
    agency, barcode = _item(item)
    ask = Renew(by_staff("explain"), "", barcode, agency, staff=staff)
    _tell(site, "", at, as_json, lambda unit, facts, when: circulation.renew(unit, ask, facts, site.house, when))


def _item(text: str) -> tuple[str, str]:
    agency, slash, barcode = text.rpartition("/")
    return (agency, barcode) if slash else ("", text)


Decide = Callable[[Unit, BorrowerFacts, datetime], Outcome]


def _tell(site: Site, patron: str, at: str, as_json: bool, decide: Decide) -> None:
    outcome = _decided(site, patron, _instant(at), decide)
    show([_readable(outcome)], as_json)
    if isinstance(outcome, Refused):
        raise SystemExit(REFUSED)


def _instant(at: str) -> datetime:
    if not at:
        return now()
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise click.BadParameter(f"{at!r} is not an instant", param_hint="--at") from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{at!r} has no offset; add +08:00", param_hint="--at")
    return found


def _decided(site: Site, patron: str, when: datetime, decide: Decide) -> Outcome:
    def work(unit: Unit) -> None:
        unit.write_partners([p.plain() for p in site.config.partners])  # as `serve` will find them
        facts = BorrowerFacts(unit.patron(patron) if patron else None, "snapshot")
        raise _Undo(decide(unit, facts, when))

    try:
        site.run(work)
    except _Undo as undone:
        return undone.outcome
    raise AssertionError("the decision was not undone")


def _readable(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Refused):
        words = say(outcome.why, "en", outcome.detail)
        return {"answer": "no", "why": outcome.why.value, "rule": outcome.rule, "words": words}
    kept = {k: v for k, v in asdict(outcome).items() if v not in ("", None, False)}
    return {"answer": "yes", **kept}
