"""The explain commands: run a command's handler, show the decision with its rules, facts and policy keys, and roll back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

import click

from hkall_gateway.circulation.results import Refused
from hkall_gateway.cli.options import DAY, REFUSED, CliError, Option, Site, by_staff, combine_options, json_option
from hkall_gateway.cli.show import show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules import dates
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.sip2.screen_messages import say

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from hkall_gateway.circulation.staff.explaining import ExplainQuestion, FineNow

    Outcome: TypeAlias = Refused | FineNow | DataclassInstance


@click.group()
def explain() -> None:
    """Show how a question would be decided, with the rule and the facts behind the answer. Change no data.

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-08T23:59:59+08:00
    """


ALL = click.option("--all", "whole", is_flag=True, help="Show empty facts and all keys of the policy that were read, too.")
AT = click.option("--at", "at", default="", help="Decide as of this instant, such as 2017-03-09T00:00:00+08:00.")
PATRON = click.option("--patron", required=True, help="The card's barcode.")
ITEM = click.option("--item", required=True, help="The copy's barcode, or AGENCY/BARCODE.")


def _question_command(*options: Option) -> Callable[[Callable[..., ExplainQuestion]], None]:
    """Register a function that builds a question from these options as a command of `explain`."""

    def register(make_question: Callable[..., ExplainQuestion]) -> None:
        def run(site: Site, at: str, whole: bool, as_json: bool, **words: object) -> None:
            _print_answer(site, make_question(**words), at, whole=whole, as_json=as_json)

        run.__doc__ = make_question.__doc__
        explain.command(make_question.__name__)(combine_options(*options, AT, ALL, with_site, json_option)(run))

    return register


@_question_command(
    PATRON,
    click.option("--bib", required=True, help="The title's number in the union catalogue."),
    click.option("--volume", default="", help="The volume wanted."),
    click.option("--pickup", default="", help="The code of the pickup location."),
    click.option("--hold", is_flag=True, help="Decide as a hold: also if no copy can be sent now."),
)
def request(patron: str, bib: str, volume: str, pickup: str, hold: bool) -> ExplainQuestion:
    """Show whether this patron may request this title, and which lenders would be asked.

    Example: hkall-gateway explain request --patron P1 --bib b1
    """
    from hkall_gateway.circulation.staff import explaining

    return explaining.request(by_staff("explain"), patron, bib, volume, pickup, hold=hold)


@_question_command(PATRON, ITEM, click.option("--role", default="counter", help="counter, selfcheck or bookdrop."))
def borrow(patron: str, item: str, role: str) -> ExplainQuestion:
    """Show whether this patron may borrow this copy, and until when.

    Example: hkall-gateway explain borrow --patron P1 --item C00001
    """
    from hkall_gateway.circulation.staff import explaining

    return explaining.borrow(by_staff("explain"), patron, item, role)


@_question_command(
    ITEM,
    click.option("--patron", default="", help="The card that asks; the default is the borrower of the copy."),
    click.option("--staff", is_flag=True, help="Decide as for staff at the counter."),
)
def renew(item: str, patron: str, staff: bool) -> ExplainQuestion:
    """Show whether this loan may be renewed, and until when.

    Example: hkall-gateway explain renew --item C00001 --at 2017-03-09T00:00:00+08:00
    """
    from hkall_gateway.circulation.staff import explaining

    return explaining.renew(by_staff("explain"), item, patron, staff=staff)


@_question_command(
    ITEM,
    click.option("--by", "sender", default="", help="The library that recalls; the default is the copy's owner."),
    click.option("--owner-says", default=None, type=DAY, help="The date that the owner names, YYYY-MM-DD."),
)
def recall(item: str, sender: str, owner_says: date | None) -> ExplainQuestion:
    """Show until when the patron could keep this copy if its owner recalled it now.

    Example: hkall-gateway explain recall --item CUHK/C00001
    """
    from hkall_gateway.circulation.staff import explaining

    return explaining.recall(by_staff("explain"), item, sender, owner_says)


@_question_command(ITEM)
def fine(item: str) -> ExplainQuestion:
    """Show the fine if this copy came back now.

    Example: hkall-gateway explain fine --item C00001 --at 2017-03-23T12:00:00+08:00
    """
    from hkall_gateway.circulation.staff import explaining

    return explaining.fine(item)


def _print_answer(site: Site, question: ExplainQuestion, at: str, *, whole: bool, as_json: bool) -> None:
    """Print an explanation. With `whole`, include facts without a value, and policy keys even if the answer is yes."""
    try:
        when = dates.parse_instant(at) if at else site.now()
    except ValueError as error:
        raise click.BadParameter(f"{at!r} is not an instant: {error}", param_hint="--at") from None
    explanation = site.explain(question, when)
    answer = {**_answer_facts(explanation.outcome, question), "at": explanation.at.astimezone(dates.HONG_KONG)}
    if as_json:
        facts = [asdict(fact) for fact in explanation.facts]
        show([{**answer, "rules": list(explanation.rules), "facts": facts, "policy": explanation.policy}], as_json)
    else:
        rows: list[dict[str, object]] = [{"what": name, "value": value} for name, value in answer.items()]
        rows.append({"what": "rules", "value": ", ".join(explanation.rules)})
        facts_shown = [
            f for f in explanation.facts if whole or (f.value is not None and f.value is not False and f.value != "")
        ]
        rows += [{"what": f.fact, "value": f.value, "source": f.source, "as_of": f.as_of} for f in facts_shown]
        if whole or explanation.refused:
            rows += [{"what": name, "value": value, "source": "policy"} for name, value in explanation.policy.items()]
        show(rows, as_json, ("what", "value", "source", "as_of"))
    if explanation.refused:
        click.get_current_context().exit(REFUSED)


def _answer_facts(outcome: Outcome, question: ExplainQuestion) -> dict[str, object]:
    from hkall_gateway.circulation.borrowing import Requested
    from hkall_gateway.circulation.staff.explaining import FINE, FineNow

    if isinstance(outcome, Refused):
        if question.rules == FINE and outcome.why is Reason.NOT_ON_LOAN:
            raise CliError(f"{question.item[1]}: not on loan")
        words = say(outcome.why, "en", outcome.detail)
        return {"answer": "no", "why": outcome.why.value, "rule": outcome.rule, "words": words}
    if isinstance(outcome, FineNow):
        return {"answer": f"{outcome.cents} cents", "cents": outcome.cents, "request": outcome.request, "day": outcome.day}
    # A request that was not actually placed has no number.
    hidden = {"request"} if isinstance(outcome, Requested) else set()
    return {"answer": "yes", **{k: v for k, v in asdict(outcome).items() if v not in ("", None, False) and k not in hidden}}
