"""Commands notices and bounce: letters and their outcomes, and bounces that a mail alias hands over."""

from __future__ import annotations

import sys

import click

from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, json_option
from hkall_gateway.cli.show import echo, show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.stored_words import NoticeState

MOST_BYTES = 10_000_000


@click.command()
@click.option("--failed", is_flag=True, help="List only letters that could not be delivered (R42).")
@with_site
@json_option
def notices(site: Site, failed: bool, as_json: bool) -> None:
    """List letters and their outcomes.

    `not_needed` means that the letter was not sent, because its reason no longer applied. `unsure` means that it may have
    arrived, and that it was not sent again for the same reason.

    Example: hkall-gateway notices --failed
    """
    from hkall_gateway.circulation import listings

    every = (
        NoticeState.QUEUED,
        NoticeState.SENT,
        NoticeState.UNSURE,
        NoticeState.NOT_NEEDED,
        NoticeState.UNDELIVERABLE,
    )
    states = (NoticeState.UNDELIVERABLE,) if failed else every
    columns = ("id", "state", "kind", "about", "request", "patron", "made_at", "sent_at", "error")
    show(site.execute(listings.letters(states)), as_json, columns)


@click.command()
@with_site
def bounce(site: Site) -> None:
    """Read one bounce (RFC 3464) from standard input and mark its letter as undeliverable.

    Call it from an alias of the mail server, on the sender address of the letters. It marks only a letter that this library
    has signed (smtp.bounce_key_env); a report of a delay changes no letter.

    Example: hkall-gateway bounce < MESSAGE
    """
    from hkall_gateway.circulation import listings
    from hkall_gateway.circulation.partners.deliveries import MarkBounced
    from hkall_gateway.circulation.results import Refused
    from hkall_gateway.delivery.bounces import NotABounce, read_bounce
    from hkall_gateway.delivery.headers import is_ours

    if not site.bounce_key:
        raise CliError("smtp.bounce_key_env is missing: without a key no bounce can be verified", WRONG)
    try:
        back = read_bounce(sys.stdin.buffer.read(MOST_BYTES))
    except NotABounce as why:
        raise CliError(f"nothing was marked: {why}") from None
    found = site.execute(listings.find_letter(back.letter.notice))
    if found is None or found.kind != back.letter.kind or not is_ours(back.letter, found.request, site.bounce_key):
        raise CliError("nothing was marked: it is about a letter that this library has not signed, or has forgotten")
    what = f"letter {found.id}, {found.kind} of {found.request}"
    if not back.final:
        echo(f"{what}: {back.action} {back.status}, nothing was marked")
        return
    bounced = MarkBounced(by=by_staff("bounce"), letter=found.id, request=found.request, status=back.status)
    outcome = site.execute(bounced)
    is_repetition = isinstance(outcome, Refused) or outcome.again
    echo(f"{what}: undeliverable{' already' if is_repetition else ''} ({back.status})")
