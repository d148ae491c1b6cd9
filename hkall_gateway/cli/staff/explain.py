"""explain: the decision, the rules, facts and policy keys that made it. The desk's own function runs, and is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from hkall_gateway.cli.options import REFUSED, CliError, Site, by_staff, json_option, with_site
from hkall_gateway.cli.show import show
from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.messages.commands import CheckOut, PartnerNotice, Place, Renew, RequestTitle
from hkall_gateway.desk.messages.results import Refused, Requested
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.rules.dates import calendar
from hkall_gateway.rules.rule_index import keys_of
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.sip2.screen_messages import say

if TYPE_CHECKING:
    from hkall_gateway.cli.work.facts import Fact
    from hkall_gateway.store.unit import Unit

Decide: TypeAlias = "Callable[[Unit, BorrowerFacts, datetime], Any]"


class _Undo(Exception):
    """Carries the answer out of a transaction that must leave no trace."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said


@dataclass(frozen=True, slots=True)
class ExplainQuestion:
    """A question to explain: the desk's deciding function, the rules behind a yes, and the patron whose facts it reads.

    `item` is (agency or "", barcode), `title` (number, volume), `role` the terminal's.
    """

    decide: Decide
    rules: tuple[str, ...]
    patron: str = ""
    item: tuple[str, str] = ("", "")
    title: tuple[str, str] = ("", "")
    role: str = ""


@click.group()
def explain() -> None:
    """Show the answer to a question, its rule and its facts; change no data.

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-08T23:59:59+08:00
    """


REQUEST = ("R1", "R2", "R4", "R5", "R6", "R7", "R11a", "R18", "R20", "R21", "R22")
BORROW = ("R13", "R14", "R16", "R18", "R19", "R20", "R21")
RENEW = ("R2", "R27", "R28", "R29", "R32")
RECALL = ("R23", "R24", "R25", "R26")
FINE = ("R40", "R41")

AT = click.option("--at", "at", default="", help="Decide as of this instant, such as 2017-03-09T00:00:00+08:00.")
PATRON = click.option("--patron", required=True, help="The card's barcode.")
ITEM = click.option("--item", required=True, help="The copy's barcode, or AGENCY/BARCODE.")


@explain.command()
@PATRON
@click.option("--bib", required=True, help="The title's number in the union catalogue.")
@click.option("--volume", default="", help="The volume wanted.")
@click.option("--pickup", default="", help="The code of the pickup location.")
@click.option("--hold", is_flag=True, help="Decide as a hold: also if no copy can be sent now.")
@AT
@with_site
@json_option
def request(site: Site, patron: str, bib: str, volume: str, pickup: str, hold: bool, at: str, as_json: bool) -> None:
    """Show whether this patron may request this title, and which lenders would be asked.

    Example: hkall-gateway explain request --patron P1 --bib b1
    """

    from hkall_gateway.desk import borrowing

    ask = RequestTitle(by_staff("explain"), patron, bib, volume, pickup, hold=hold)
    decide = _deciding(borrowing.request_title, ask, site)
    _tell(site, ExplainQuestion(decide, REQUEST, patron, title=(bib, volume)), at, as_json)


@explain.command()
@PATRON
@ITEM
@click.option("--role", default="counter", help="counter, selfcheck or bookdrop.")
@AT
@with_site
@json_option
def borrow(site: Site, patron: str, item: str, role: str, at: str, as_json: bool) -> None:
    """Show whether this patron may borrow this copy, and until when.

    Example: hkall-gateway explain borrow --patron P1 --item C00001
    """

    from hkall_gateway.desk import counter

    agency, barcode = _item(item)
    ask = CheckOut(by_staff("explain"), Place(role, site.library.pickup_locations[0]), patron, barcode, agency)
    decide = _deciding(counter.check_out, ask, site)
    _tell(site, ExplainQuestion(decide, BORROW, patron, (agency, barcode), role=role), at, as_json)


@explain.command()
@ITEM
@click.option("--patron", default="", help="The card that asks; the default is the borrower of the copy.")
@click.option("--staff", is_flag=True, help="Decide as for staff at the counter.")
@AT
@with_site
@json_option
def renew(site: Site, item: str, patron: str, staff: bool, at: str, as_json: bool) -> None:
    """Show whether this loan may be renewed, and until when.

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-09T00:00:00+08:00
    """

    from hkall_gateway.desk import counter

    agency, barcode = _item(item)
    ask = Renew(by_staff("explain"), patron, barcode, agency, staff=staff)
    _tell(site, ExplainQuestion(_deciding(counter.renew, ask, site), RENEW, patron, (agency, barcode)), at, as_json)


@explain.command()
@ITEM
@click.option("--by", "sender", default="", help="The library that recalls; the default is the copy's owner.")
@click.option(
    "--owner-says", default=None, type=click.DateTime(["%Y-%m-%d"]), help="The date that the owner names, YYYY-MM-DD."
)
@AT
@with_site
@json_option
def recall(site: Site, item: str, sender: str, owner_says: datetime | None, at: str, as_json: bool) -> None:
    """Show until when the patron could keep this copy if its owner recalled it now.

    Example: hkall-gateway explain recall --item CUHK/C00001
    """

    from hkall_gateway.desk import recalls

    agency, barcode = _item(item)
    wanted = owner_says.date() if owner_says else None

    def decide(unit: Unit, _facts: BorrowerFacts, when: datetime) -> Any:
        held = unit.requests_with(barcode, agency)
        owner = held[0].item_agency if len(held) == 1 else agency
        ask = PartnerNotice(by_staff("explain"), sender or owner, item=ItemKey(owner, barcode), due=wanted)
        return recalls.recalled(Context(unit, site.library, when), ask)

    _tell(site, ExplainQuestion(decide, RECALL, item=(agency, barcode)), at, as_json)


@explain.command()
@ITEM
@AT
@with_site
@json_option
def fine(site: Site, item: str, at: str, as_json: bool) -> None:
    """Show the fine if this copy came back now.

    Example: hkall-gateway explain fine --item C00001 --at 2017-03-23T12:00:00+08:00
    """
    agency, barcode = _item(item)

    def decide(unit: Unit, _facts: BorrowerFacts, when: datetime) -> dict[str, Any]:
        return _fine(unit, (agency, barcode), site, calendar.civil(when))

    _tell(site, ExplainQuestion(decide, FINE, item=(agency, barcode)), at, as_json)


def _fine(unit: Unit, item: tuple[str, str], site: Site, day: date) -> dict[str, Any]:
    from hkall_gateway.desk.common.counts import closed_days
    from hkall_gateway.rules.overdue_fine import fine_for

    agency, barcode = item
    loans = [r for r in unit.requests_with(barcode, agency) if r.due is not None]
    if len(loans) != 1:
        raise CliError(f"{barcode}: not on loan")
    cents = fine_for(loans[0], day, site.library.policy, closed_days(unit, site.library))
    return {"answer": f"{cents} cents", "cents": cents, "request": loans[0].id, "day": day}


# ---- deciding, and undoing it


def _item(text: str) -> tuple[str, str]:
    agency, slash, barcode = text.rpartition("/")
    return (agency, barcode) if slash else ("", text)


def _deciding(work: Callable[..., Any], ask: Any, site: Site) -> Decide:
    """A function of the desk, waiting for the facts and the time."""
    return lambda unit, facts, when: work(Context(unit, site.library, when), ask, facts)


def _tell(site: Site, question: ExplainQuestion, at: str, as_json: bool) -> None:
    from hkall_gateway.desk.ils.local_system import LOADED

    when = _instant(at, site)
    facts = site.borrower_facts(question.patron, question.title[0]) if question.patron else BorrowerFacts(None, LOADED)

    def work(unit: Unit) -> None:
        raise _Undo(_explained(unit, question, facts, site, when))

    try:
        site.run(work)
    except _Undo as undone:
        _show(undone.said, as_json)
        if undone.said["answer"] == "no":
            click.get_current_context().exit(REFUSED)


def _explained(unit: Unit, question: ExplainQuestion, borrower: BorrowerFacts, site: Site, when: datetime) -> dict[str, Any]:
    """The answer, the rules, the facts as they were before it, and the keys of the policy."""

    from hkall_gateway.cli.work import facts as explaining
    from hkall_gateway.desk.services import TRY_AGAIN

    unit.write_partners(site.partners)  # as `serve` will find them
    facts = list(_facts(unit, question, borrower, site))
    outcome = question.decide(unit, borrower, when) if borrower.reachable else TRY_AGAIN
    if isinstance(outcome, Requested):
        facts += explaining.of_lenders(unit, outcome.request, site.now())
    said = outcome if isinstance(outcome, dict) else _readable(outcome)
    rules = (said["rule"],) if said.get("rule") else question.rules
    about = (question.role, *explaining.named_rows(unit, question.patron, site.library))
    at = when.astimezone(calendar.HONG_KONG)
    return {**said, "at": at, "rules": rules, "facts": facts, "policy": keys_of(site.library.policy, rules, about)}


def _facts(unit: Unit, question: ExplainQuestion, borrower: BorrowerFacts, site: Site) -> Iterator[Fact]:
    from hkall_gateway.cli.work import facts as explaining

    if question.patron:
        yield from explaining.of_patron(unit, question.patron, borrower, site.library, site.now())
    if question.item[1]:
        agency, barcode = question.item
        yield from explaining.of_copy(unit, barcode, agency, site.now())
    if question.title[0]:
        yield from explaining.of_title(unit, *question.title, site.now())


def _readable(outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, Refused):
        words = say(outcome.why, "en", outcome.detail)
        return {"answer": "no", "why": outcome.why.value, "rule": outcome.rule, "words": words}
    # A request that would be made has no number yet.
    hidden = {"request"} if isinstance(outcome, Requested) else set()
    return {"answer": "yes", **{k: v for k, v in asdict(outcome).items() if v not in ("", None, False) and k not in hidden}}


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


# ---- showing


def _show(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show([{**said, "rules": list(said["rules"]), "facts": [asdict(fact) for fact in said["facts"]]}], as_json)
        return
    rows: list[dict[str, Any]] = [
        {"what": name, "value": value} for name, value in said.items() if name not in {"rules", "facts", "policy"}
    ]
    rows.append({"what": "rules", "value": ", ".join(said["rules"])})
    rows += [{"what": f.fact, "value": f.value, "source": f.source, "as_of": f.as_of} for f in said["facts"]]
    rows += [{"what": name, "value": value, "source": "policy"} for name, value in said["policy"].items()]
    show(rows, as_json, ("what", "value", "source", "as_of"))
