"""Commands outbox list, show, retry, done and drop: unsent messages and dead letters."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import click

from hkall_gateway.circulation.results import Refused
from hkall_gateway.cli.options import ROW, WRONG, CliError, Site, by_staff, combine_options, json_option, require_partner
from hkall_gateway.cli.show import echo, show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import OutboxState

if TYPE_CHECKING:
    from hkall_gateway.circulation.partners.unsent import UnsentMessage
    from hkall_gateway.db.outbox import OutboxRow
    from hkall_gateway.rules.vocabulary import Request

LISTED = ("id", "state", "recipient", "send", "request", "attempts", "made_at", "next_at", "last_error")


@click.group()
def outbox() -> None:
    """List, retry and settle messages to partners and patrons.

    Example: hkall-gateway outbox list --partner CUHK
    """


@outbox.command("list")
@click.option("--partner", default="", help="Only rows for this partner.")
@click.option("--error", default="", help="Only rows whose last error contains this text.")
@click.option("--dead", is_flag=True, help="Only dead rows: those that are no longer tried.")
@with_site
@json_option
def list_(site: Site, partner: str, error: str, dead: bool, as_json: bool) -> None:
    """List undelivered rows, oldest first.

    Example: hkall-gateway outbox list --dead
    """
    from hkall_gateway.circulation import listings
    from hkall_gateway.db.outbox import UNSETTLED

    states = (OutboxState.DEAD,) if dead else UNSETTLED
    rows = site.execute(listings.outbox_rows(partner, error, states))
    if not rows:
        require_partner(site, partner)
    show((_row_facts(r) for r in rows), as_json, LISTED)
    unreadable = [number for number, line in site.execute(listings.unreadable_rows()) if partner in ("", line)]
    if unreadable:
        numbers = " ".join(map(str, unreadable))
        echo(f"this version of the program cannot read {len(unreadable)} more: {numbers}", err=True)


def _row_facts(row: OutboxRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in LISTED} | {"send": row.send.value}


@outbox.command("show")
@click.argument("row", type=ROW)
@with_site
@json_option
def show_(site: Site, row: int, as_json: bool) -> None:
    """Show one row: its document without secrets, and the result of each attempt.

    Example: hkall-gateway outbox show 17
    """
    from hkall_gateway.circulation import queries
    from hkall_gateway.circulation.partners import unsent

    message = site.execute(unsent.find_unsent(row))
    if message is None:
        raise CliError(f"{row}: no such row in the outbox")
    request = site.execute(queries.find_request(message.row.request))
    facts = _message_facts(message, request)
    attempts = [asdict(attempt) for attempt in message.tries]
    document = _shown_document(message, site.library.agency)
    if as_json:
        show([{**facts, "tries": attempts, "document": document}], as_json)
        return
    show(({"fact": name, "value": value} for name, value in facts.items() if value not in ("", None)), False)
    show(attempts, False)
    echo(document)


def _message_facts(message: UnsentMessage, request: Request | None) -> dict[str, object]:
    facts = _row_facts(message.row)
    if request:
        facts |= {"position": request.position.value, "title": request.full_title}
    return facts | {
        "if_done": message.if_done,
        "if_dropped": message.if_dropped,
        "may_have_arrived": message.may_have_arrived,
    }


def _shown_document(message: UnsentMessage, agency: str) -> str:
    """Return a partner's document as it would be sent now, without the secret, or the data of a letter."""
    from hkall_gateway.protocols import find_protocol

    row, partner = message.row, message.partner
    if not isinstance(row.payload, PartnerMessage):
        return "\n".join(f"{name}: {value}" for name, value in asdict(row.payload).items() if value)
    if partner is None:
        return f"{row.recipient}: not in the directory"
    shown = find_protocol(partner.protocol).operator.show(row.payload, partner, agency)
    return shown or "the partner's flow has no document for it"


_ROWS = combine_options(
    click.argument("rows", nargs=-1, type=ROW),
    click.option("--partner", default="", help="Every undelivered row of this partner."),
    click.option("--error", default="", help="Every undelivered row whose last error contains this text."),
)
_REASON = click.option("--reason", required=True, help="Why, for the journal.")


@outbox.command()
@_ROWS
@with_site
def retry(site: Site, rows: tuple[int, ...], partner: str, error: str) -> None:
    """Try again at once, with a fresh count of attempts.

    Example: hkall-gateway outbox retry 17 18
    """
    _settle_each(site, "retry", rows, partner, error)


@outbox.command()
@_ROWS
@_REASON
@with_site
def done(site: Site, rows: tuple[int, ...], partner: str, error: str, reason: str) -> None:
    """Settle rows delivered by other means: the request continues as if the partner had answered. In bulk, only dead rows.

    Example: hkall-gateway outbox done 17 --reason "told by telephone"
    """
    _settle_each(site, "done", rows, partner, error, reason)


@outbox.command()
@_ROWS
@_REASON
@with_site
def drop(site: Site, rows: tuple[int, ...], partner: str, error: str, reason: str) -> None:
    """Drop rows that should not be sent: a request goes to the next lender. In bulk, only dead rows.

    Example: hkall-gateway outbox drop --partner CUHK --error "Unknown Item" --reason "the copy is gone"
    """
    _settle_each(site, "drop", rows, partner, error, reason)


def _settle_each(
    site: Site,
    how: Literal["retry", "done", "drop"],
    rows: tuple[int, ...],
    partner: str,
    error: str,
    reason: str = "",
) -> None:
    """Retry or settle each row in its own transaction. Exit with code 1 if that was refused for any row."""
    from hkall_gateway.circulation import listings
    from hkall_gateway.circulation.partners import unsent
    from hkall_gateway.db.outbox import UNSETTLED

    states, by = UNSETTLED if how == "retry" else (OutboxState.DEAD,), by_staff(f"outbox {how}")
    if not rows and not partner and not error:
        raise CliError("name rows, a partner with --partner, or an error with --error", WRONG)
    wanted = rows or tuple(row.id for row in site.execute(listings.outbox_rows(partner, error, states)))
    refusals = []
    for row in wanted:
        command = unsent.Settle(by=by, number=row, reason=reason, kind="outbox", how=how)
        outcome = site.execute(command)
        if isinstance(outcome, Refused):
            refusals.append((row, outcome))
    if not wanted:
        raise CliError(f"{' '.join(filter(None, [partner, error]))}: nothing undelivered there")
    if len(refusals) < len(wanted):
        echo(f"{len(wanted) - len(refusals)} of {len(wanted)}")
    if refusals:
        words = {Reason.REASON_NEEDED: "a reason is needed"}
        others = "not in the outbox, settled already, or under way now"
        raise CliError("; ".join(f"{row}: {words.get(refusal.why, others)}" for row, refusal in refusals))
