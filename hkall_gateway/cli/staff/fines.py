"""Commands of `fines`: what patrons owe for HKALL books, and what we owe them, in Hong Kong cents."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hkall_gateway.circulation.results import Refused
from hkall_gateway.cli.options import CENTS, ROW, CliError, Site, by_staff, json_option
from hkall_gateway.cli.show import show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.sip2.screen_messages import say

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LISTED = ("id", "patron", "request", "kind", "cents", "paid_cents", "waived_cents", "left_cents", "reason", "at")


@click.group()
def fines() -> None:
    """List, pay and waive the charges of patrons, and give back what we owe them.

    Example: hkall-gateway fines list --patron P1
    """


@fines.command("list")
@click.option("--patron", default="", help="List only the charges of this card, or of the one that replaced it.")
@with_site
@json_option
def list_(site: Site, patron: str, as_json: bool) -> None:
    """List charges that are not settled, oldest first. A negative sum is what we owe the patron.

    Example: hkall-gateway fines list
    """
    from hkall_gateway.circulation import listings

    show(site.execute(listings.unpaid_charges(patron)), as_json, LISTED)


@fines.command()
@click.argument("patron")
@click.argument("cents", type=CENTS)
@click.option("--fine", type=ROW, default=None, help="The number of one charge; the default is the oldest first.")
@click.option("--transaction", default="", help="The number of the payment in the cash box; each number is taken once.")
@with_site
@json_option
def pay(site: Site, patron: str, cents: int, fine: int | None, transaction: str, as_json: bool) -> None:
    """Record a payment of a patron's charges.

    Example: hkall-gateway fines pay P1 600
    """
    from hkall_gateway.circulation.fines import Pay

    payment = Pay(
        by=by_staff("pay"),
        card=patron,
        cents=cents,
        transaction_id=transaction,
        fine=fine,
        staff=True,
    )
    _print_result(site.execute(payment), as_json)


@fines.command()
@click.argument("fine", type=ROW)
@click.option("--reason", required=True, help="Why, for the journal.")
@click.option("--cents", type=CENTS, default=None, help="Waive only this part of it.")
@with_site
@json_option
def waive(site: Site, fine: int, reason: str, cents: int | None, as_json: bool) -> None:
    """Waive a charge, or a part of it.

    Example: hkall-gateway fines waive 17 --reason "typhoon"
    """
    from hkall_gateway.circulation.fines import Waive

    waiver = Waive(by=by_staff("waive"), fine=fine, reason=reason, cents=cents)
    _print_result(site.execute(waiver), as_json)


@fines.command()
@click.argument("patron")
@click.argument("cents", type=CENTS)
@click.option("--transaction", default="", help="The number of the payment in the cash box; each number is taken once.")
@with_site
@json_option
def refund(site: Site, patron: str, cents: int, transaction: str, as_json: bool) -> None:
    """Record that a patron got money back which we owed for a book that was paid for and found again.

    Example: hkall-gateway fines refund P1 30000
    """
    from hkall_gateway.circulation.fines import Refund

    command = Refund(by=by_staff("refund"), card=patron, cents=cents, transaction_id=transaction)
    _print_result(site.execute(command), as_json)


@fines.command()
@click.argument("what", type=click.Choice(["charge", "payment"]))
@click.argument("number", type=ROW)
@click.option("--reason", required=True, help="Why, for the journal.")
@with_site
@json_option
def settle(site: Site, what: str, number: int, reason: str, as_json: bool) -> None:
    """Settle a charge or a payment that contradicts the journal; `doctor` names it.

    A charge gets the sums of its payments and waivers in the journal. A payment that no charge received is booked on the
    patron's charges, oldest first. What was paid beyond a charge is then owed to the patron; see `fines refund`.

    Example: hkall-gateway fines settle charge 17 --reason "paid, but not on the charge"
    """
    from hkall_gateway.circulation.settling import SettleCharge, SettlePayment

    by = by_staff("settle")
    if what == "charge":
        outcome = site.execute(SettleCharge(by=by, fine=number, reason=reason))
    else:
        outcome = site.execute(SettlePayment(by=by, payment=number, reason=reason))
    _print_result(outcome, as_json)


def _print_result(outcome: Refused | DataclassInstance, as_json: bool) -> None:
    if isinstance(outcome, Refused):
        raise CliError(say(outcome.why, "en", outcome.detail))
    show([asdict(outcome)], as_json)
