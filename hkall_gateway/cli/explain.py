"""explain: the decision, the rule and the policy keys that made it. The very function of the desk runs, and is undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import click

from hkall_gateway.cli.show import show
from hkall_gateway.cli.site import REFUSED, Ending, Site, by_staff, json_option, with_site
from hkall_gateway.desk import borrowing, circulation, recalls, tally
from hkall_gateway.desk.asks import CheckOut, Heard, Place, Renew, RequestTitle
from hkall_gateway.desk.outcomes import Refused
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.rules import calendar
from hkall_gateway.rules.keys import keys_of
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.sip2.words import say
from hkall_gateway.store import lists
from hkall_gateway.store.unit import Unit


class _Undo(Exception):
    """Carries the outcome out of a transaction that must leave no trace."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


@click.group()
def explain() -> None:
    """What would be answered, by which rule; nothing is changed.

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-08T23:59:59+08:00
    """


REQUEST = ("R1", "R2", "R4", "R5", "R6", "R7", "R11a", "R20", "R21")
BORROW = ("R13", "R14", "R16", "R19", "R20", "R21")
RENEW = ("R27", "R28", "R29", "R32")

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
    _tell(
        site,
        patron,
        at,
        as_json,
        lambda unit, facts, when: borrowing.request_title(unit, ask, facts, site.house, when),
        REQUEST,
    )


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
    _tell(
        site, patron, at, as_json, lambda unit, facts, when: circulation.check_out(unit, ask, facts, site.house, when), BORROW
    )


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
    _tell(site, "", at, as_json, _deciding(circulation.renew, ask, site), RENEW)


@explain.command()
@ITEM
@click.option("--owner-says", default="", help="The date that the owner names, YYYY-MM-DD.")
@AT
@with_site
@json_option
def recall(site: Site, item: str, owner_says: str, at: str, as_json: bool) -> None:
    """If the owner recalled this copy: until when could the patron keep it?

    Example: hkall-gateway explain recall --item CUHK/C00001
    """
    agency, barcode = _item(item)
    wanted = date.fromisoformat(owner_says) if owner_says else None

    def decide(unit: Unit, _facts: BorrowerFacts, when: datetime) -> Any:
        held = unit.requests_with(barcode, agency)
        owner = held[0].item_agency if len(held) == 1 else agency
        ask = Heard(by_staff("explain"), owner, item=ItemKey(owner, barcode), due=wanted)
        return recalls.recalled(unit, ask, site.house, when)

    _tell(site, "", at, as_json, decide, ("R23", "R24", "R25", "R26"))


@explain.command()
@ITEM
@AT
@with_site
@json_option
def fine(site: Site, item: str, at: str, as_json: bool) -> None:
    """What would it cost if this copy came back now?

    Example: hkall-gateway explain fine --item C00001 --at 2017-03-23T12:00:00+08:00
    """
    agency, barcode = _item(item)
    when = _instant(at, site)
    found = site.run(_fine, barcode, agency, site, when)
    if found is None:
        raise Ending(f"{item}: not on loan")
    _show({"answer": f"{found['cents']} cents", **found}, site, ("R40", "R41"), as_json)


def _fine(unit: Unit, barcode: str, agency: str, site: Site, when: datetime) -> dict[str, Any] | None:
    loans = [r for r in unit.requests_with(barcode, agency) if r.due is not None]
    if len(loans) != 1:
        return None
    loan, day = loans[0], calendar.civil(when)
    cents = tally.fine_cents(loan, day, site.house, tally.closed_days(unit, site.house))
    return {"request": loan.id, "due": loan.due, "day": day, "recalled_on": loan.recalled_on, "cents": cents}


def _item(text: str) -> tuple[str, str]:
    agency, slash, barcode = text.rpartition("/")
    return (agency, barcode) if slash else ("", text)


Decide = Callable[[Unit, BorrowerFacts, datetime], Any]


def _deciding(work: Callable[..., Any], ask: Any, site: Site) -> Decide:
    """A function of the desk, waiting for the facts and the time."""
    return lambda unit, facts, when: work(unit, ask, facts, site.house, when)


def _tell(site: Site, patron: str, at: str, as_json: bool, decide: Decide, rules: tuple[str, ...]) -> None:
    outcome = _decided(site, patron, _instant(at, site), decide)
    decided_by = (outcome.rule,) if isinstance(outcome, Refused) else rules
    facts = site.run(_known, patron, site) if patron else {}
    _show({**_readable(outcome), **facts}, site, decided_by, as_json)
    if isinstance(outcome, Refused):
        click.get_current_context().exit(REFUSED)


def _show(said: dict[str, Any], site: Site, rules: tuple[str, ...], as_json: bool) -> None:
    keys = keys_of(site.house.policy, rules)
    if as_json:
        show([{**said, "rules": list(rules), "policy": keys}], as_json)
        return
    rows = [*said.items(), ("rules", ", ".join(rules)), *((f"policy {name}", value) for name, value in keys.items())]
    show(({"fact": name, "value": value} for name, value in rows), as_json)


def _known(unit: Unit, patron: str, site: Site) -> dict[str, Any]:
    """The facts behind a decision about a patron, and where they come from."""
    borrower = unit.patron(patron)
    if borrower is None:
        return {"source": "snapshot", "known": False}
    took = tally.counts(unit, borrower, site.house)
    loaded = next((job["last_run"] for job in lists.jobs(unit) if job["name"] == "load patrons"), None)
    return {
        "category": borrower.category,
        "study_mode": borrower.study_mode,
        "expires": borrower.expires,
        "blocked": borrower.blocked,
        "hkall_used": took.hkall_used,
        "local_loans": took.local_loans,
        "total_quota": took.total_quota,
        "source": "snapshot",
        "as_of": loaded,
    }


def _instant(at: str, site: Site) -> datetime:
    if not at:
        return site.now()
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise click.BadParameter(f"{at!r} is not an instant", param_hint="--at") from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{at!r} has no offset; add +08:00", param_hint="--at")
    return found


def _decided(site: Site, patron: str, when: datetime, decide: Decide) -> Any:
    def work(unit: Unit) -> None:
        unit.write_partners(site.partners)  # as `serve` will find them
        facts = BorrowerFacts(unit.patron(patron) if patron else None, "snapshot")
        raise _Undo(decide(unit, facts, when))

    try:
        site.run(work)
    except _Undo as undone:
        return undone.outcome
    raise AssertionError("the decision was not undone")


def _readable(outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, Refused):
        words = say(outcome.why, "en", outcome.detail)
        return {"answer": "no", "why": outcome.why.value, "rule": outcome.rule, "words": words}
    kept = {k: v for k, v in asdict(outcome).items() if v not in ("", None, False)}
    return {"answer": "yes", **kept}
